"""A learned policy: which strategy to use next, from how well each has paid so far.

It stands for the meta-learned teams of agents that choose frames for pose estimation (MATAL: Gong
et al. 2022, "Meta Agent Teaming Active Learning for Pose Estimation"), which need a simulator and
thousands of episodes. A season has a handful of rounds, each of which costs a person's hours, so
here a single agent without any state of the world chooses a strategy, not frames: a bandit, as in
"Active Learning by Learning" (Hsu & Lin 2015).

The choice is by Thompson sampling with normal rewards of unknown, common noise (after Agrawal &
Goyal 2013). Rewards have no fixed scale, which UCB1 would need. Two limits are of the matter and
not of the method: the error falls more slowly the more is labelled, so a strategy that is tried
late looks worse than it is; and with as many strategies as rounds nothing is learned, so few
should be offered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from alwatch.strategies.pool import Limits
from alwatch.strategies.registry import fault_of

BANDIT = "bandit"
"""The name under which this policy is asked for, where a strategy is named."""

ARMS = ("herding", "stride", "kmeans")
"""What is on offer where nothing else is said."""


@dataclass(frozen=True, slots=True)
class BanditState:
    """What has been learned. `dataclasses.asdict` and `BanditState(**that)` go to JSON and back.

    Parameters
    ----------
    counts : dict of str to int
        Rounds that each strategy was used and rewarded.
    means : dict of str to float
        Its mean reward.
    squares : dict of str to float
        Sum of its rewards' squared deviations from the mean.
    """

    counts: dict[str, int] = field(default_factory=dict)
    means: dict[str, float] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Round:
    """What was labelled between two trainings.

    Parameters
    ----------
    arm : str or None
        The strategy that chose; None where it was not one alone.
    n_labels : int
        Labels that came of it.
    error_px : float or None
        True error on the round's audit of the model that it was chosen with; None where nobody
        knows.
    """

    arm: str | None
    n_labels: int
    error_px: float | None


class Bandit:
    """Choose among strategies, the more often the better they have paid.

    Parameters
    ----------
    arms : tuple of str
        Names of the strategies on offer, at least one, each once. A state may know others, which
        are then not chosen, and need not know all.

    Raises
    ------
    ValueError
        No strategy is on offer, or one is named twice.
    """

    def __init__(self, arms: tuple[str, ...]) -> None:
        if not arms or len(set(arms)) < len(arms):
            raise ValueError(f"arms must name at least one strategy, each once; got {arms}")
        self._arms = arms

    def choose(self, state: BanditState, rng: np.random.Generator) -> str:
        """Choose the strategy of the next round.

        One that was never rewarded comes first, at random among several. After that a reward is
        drawn for each from what is believed of its mean, and the highest wins: normal about the
        mean so far, with the standard deviation ``noise / sqrt(count)``.
        """
        untried = [arm for arm in self._arms if state.counts.get(arm, 0) == 0]
        if untried:
            return untried[int(rng.integers(len(untried)))]
        means = np.array([state.means[arm] for arm in self._arms])
        counts = np.array([state.counts[arm] for arm in self._arms])
        believed = means + _noise(state, self._arms) / np.sqrt(counts) * rng.standard_normal(
            len(means)
        )
        return self._arms[int(believed.argmax())]

    def rewarded(self, state: BanditState, arm: str, reward: float) -> BanditState:
        """Note the reward of a round, see `error_fall_per_label`; returns a new state.

        Raises
        ------
        ValueError
            The strategy is not on offer, or the reward is not finite.
        """
        if arm not in self._arms:
            raise ValueError(
                f"arm is {arm!r}; rewards are kept only for those on offer: {', '.join(self._arms)}"
            )
        if not math.isfinite(reward):
            raise ValueError(
                f"reward is {reward}; it must be finite. Leave out a round without an audit."
            )
        count = state.counts.get(arm, 0) + 1
        mean = state.means.get(arm, 0.0)
        moved = mean + (reward - mean) / count
        square = state.squares.get(arm, 0.0) + (reward - mean) * (reward - moved)
        return BanditState(
            counts={**state.counts, arm: count},
            means={**state.means, arm: moved},
            squares={**state.squares, arm: square},
        )


def choose_arm(
    arms: tuple[str, ...], rounds: Sequence[Round], rng: np.random.Generator
) -> tuple[str, BanditState]:
    """Choose the strategy of the next round, from all rounds so far.

    Every one is used once before any is used twice. A reward comes a round late: one whose only
    reward is still on its way is not taken for untried.

    Parameters
    ----------
    arms : tuple of str
        On offer.
    rounds : sequence of Round
        In order. The audits of two that follow each other give the reward of the former.
    rng : numpy.random.Generator

    Returns
    -------
    arm : str
    state : BanditState
        What it was chosen from.
    """
    state = replayed(arms, rounds)
    used = {round_.arm for round_ in rounds}
    awaited = {round_.arm for round_ in rounds[-1:]} - state.counts.keys()
    unused = tuple(arm for arm in arms if arm not in used)
    others = tuple(arm for arm in arms if arm not in awaited)
    return Bandit(unused or others or arms).choose(state, rng), state


def replayed(arms: tuple[str, ...], rounds: Sequence[Round]) -> BanditState:
    """What the rounds so far have taught of some strategies.

    A round teaches nothing where it or the next one has no audit, or nothing was labelled.
    """
    bandit, state = Bandit(arms), BanditState()
    for one, after in pairwise(rounds):
        if one.arm not in arms or one.n_labels == 0:
            continue
        if one.error_px is not None and after.error_px is not None:
            reward = error_fall_per_label(one.error_px, after.error_px, one.n_labels)
            state = bandit.rewarded(state, one.arm, reward)
    return state


def fault_of_bandit(arms: tuple[str, ...], limits: Limits, budget: int) -> str | None:
    """One sentence on why the bandit cannot work by these settings; None if it can.

    The sentence begins with the name of the setting.
    """
    if BANDIT in arms or len(set(arms)) < len(arms) or not arms:
        return (
            f"bandit_arms is {', '.join(arms) or 'empty'}; it must name at least one strategy, "
            f"each once, and not {BANDIT} itself."
        )
    faults = [found.removeprefix("strategy is ") for arm in arms if (found := fault_of(arm))]
    if faults:
        return f"bandit_arms has {faults[0]}"
    if limits.audit_frames(budget) == 0:
        return (
            f"audit_share is {limits.audit_share:g}, which of {budget} frames is none, but the "
            "bandit learns from the true error on audit frames; set it to 0.2, say."
        )
    return None


def error_fall_per_label(error_before_px: float, error_after_px: float, n_labels: int) -> float:
    """The reward of a round: how far the audited error fell for each label that was made.

    Parameters
    ----------
    error_before_px, error_after_px : float
        True error on audit samples before the round's labels and after training on them.
    n_labels : int
        Labels of the round, >= 1.

    Returns
    -------
    float
        Pixels per label; negative where the error rose.

    Raises
    ------
    ValueError
        There are no labels.
    """
    if n_labels < 1:
        raise ValueError(f"n_labels must be at least 1, got {n_labels}")
    return (error_before_px - error_after_px) / n_labels


def _noise(state: BanditState, arms: tuple[str, ...]) -> float:
    """Standard deviation of a reward about its strategy's mean, pooled over strategies.

    While none has been used twice, the spread of all rewards stands in, an upper guess.
    """
    spare = sum(state.counts[arm] for arm in arms) - len(arms)
    if spare > 0:
        return math.sqrt(sum(state.squares[arm] for arm in arms) / spare)
    return float(np.std([state.means[arm] for arm in arms]))
