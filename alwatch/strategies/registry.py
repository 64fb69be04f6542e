"""The strategies by name, and the one way to run them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

import numpy as np

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.selection import Selection


@dataclass(frozen=True, slots=True)
class Strategy:
    """Where a strategy's function is, and which scores the pool must have for it.

    The function takes the selection and the random generator, and picks from the open rows until
    the selection wants no more. It is imported on first use.
    """

    function: str
    needs: tuple[str, ...] = ()


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "balanced_herding": Strategy("alwatch.strategies.balanced_herding:fill"),
        "badge": Strategy("alwatch.strategies.badge:fill", needs=("confidence",)),
        "bayesian": Strategy("alwatch.strategies.bayesian:fill", needs=("ensemble",)),
        "confidence": Strategy("alwatch.strategies.ranked:confidence", needs=("confidence",)),
        "density_coreset": Strategy("alwatch.strategies.density_coreset:fill"),
        "dlc_jump": Strategy("alwatch.strategies.deeplabcut:fill_jump", needs=("change",)),
        "dlc_kmeans": Strategy("alwatch.strategies.deeplabcut:fill_kmeans"),
        "dlc_uniform": Strategy("alwatch.strategies.deeplabcut:fill_uniform"),
        "dropquery": Strategy("alwatch.strategies.dropquery:fill", needs=("confidence",)),
        "ensemble": Strategy("alwatch.strategies.ranked:ensemble", needs=("ensemble",)),
        "influence": Strategy("alwatch.strategies.influence:fill"),
        "influence_published": Strategy("alwatch.strategies.influence:fill_published"),
        "herding": Strategy("alwatch.strategies.herding:fill"),
        "kmeans": Strategy("alwatch.strategies.kmeans:fill"),
        "kmeans_alternate": Strategy("alwatch.strategies.kmeans_alternate:fill", needs=("mpe",)),
        "learned_loss": Strategy("alwatch.strategies.ranked:learned_loss", needs=("learned_loss",)),
        "liu_ferrari": Strategy("alwatch.strategies.liu_ferrari:fill", needs=("confidence",)),
        "minmax": Strategy("alwatch.strategies.minmax:fill"),
        "mpe": Strategy("alwatch.strategies.ranked:mpe", needs=("mpe",)),
        "mpe_softmax": Strategy("alwatch.strategies.ranked:mpe_softmax", needs=("mpe_softmax",)),
        "novelty": Strategy("alwatch.strategies.ranked:novelty", needs=("novelty",)),
        "probcover": Strategy("alwatch.strategies.probcover:fill"),
        "random": Strategy("alwatch.strategies.random:fill"),
        "stride": Strategy("alwatch.strategies.stride:fill"),
        "uncertainty_herding": Strategy(
            "alwatch.strategies.uncertainty_herding:fill", needs=("confidence",)
        ),
        "typiclust": Strategy("alwatch.strategies.typiclust:fill"),
        "uniform": Strategy("alwatch.strategies.uniform:fill"),
        "weighted_kcentre": Strategy(
            "alwatch.strategies.weighted_kcentre:fill", needs=("confidence",)
        ),
    }
)
"""The strategies by name."""


def fault_of(name: str, *, beside: tuple[str, ...] = ()) -> str | None:
    """One sentence on what is wrong with a strategy's name; None if nothing is.

    Parameters
    ----------
    name : str
    beside : tuple of str
        Names that are right as well, though they are no strategy.
    """
    known = sorted({*STRATEGIES, *beside})
    if name in known:
        return None
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"strategy is {name!r}; {hint}It must be one of {', '.join(known)}."


def lacking_scores(name: str, scores: Iterable[str]) -> tuple[str, ...]:
    """Which of these a strategy needs and does not find there."""
    return tuple(sorted(set(STRATEGIES[name].needs) - set(scores)))


def select(
    pool: Pool,
    *,
    strategy: str,
    budget: int,
    limits: Limits,
    rng: np.random.Generator,
) -> Picks:
    """Choose frames to label.

    Parameters
    ----------
    pool : Pool
    strategy : str
        A name of `STRATEGIES`.
    budget : int
        Number of frames, >= 1.
    limits : Limits
        Hold for every strategy. The audit share comes first.
    rng : numpy.random.Generator
        The same state and pool give the same picks; the order of the pool's rows does not
        matter.

    Returns
    -------
    Picks
        `budget` frames, or fewer where the limits leave no more. Never one that is taken.

    Raises
    ------
    ValueError
        The strategy is not known, or lacks scores that it needs; or the budget is below 1.
    """
    fault = fault_of(strategy)
    if fault is not None:
        raise ValueError(fault)
    if budget < 1:
        raise ValueError(f"budget is {budget}; it must be a whole number >= 1.")
    lacking = lacking_scores(strategy, pool.scores)
    if lacking:
        raise ValueError(f"strategy is {strategy!r}, which needs the scores {', '.join(lacking)}.")
    selection = Selection(pool, limits, budget)
    selection.take_audit(rng)
    module, function = STRATEGIES[strategy].function.split(":")
    fill = getattr(import_module(module), function)
    fill(selection, rng)
    if selection.remaining and selection.lift_equal_shares():
        fill(selection, rng)
    return selection.picks()
