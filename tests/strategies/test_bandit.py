"""`bandit`: which strategy has paid."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from alwatch.config.sections import Queue
from alwatch.strategies.bandit import (
    ARMS,
    Bandit,
    BanditState,
    Round,
    choose_arm,
    error_fall_per_label,
    fault_of_bandit,
    replayed,
)
from alwatch.strategies.pool import Limits

TWO = Bandit(("minmax", "stride"))


def after(bandit: Bandit, rewards: list[tuple[str, float]]) -> BanditState:
    state = BanditState()
    for arm, reward in rewards:
        state = bandit.rewarded(state, arm, reward)
    return state


def test_counts_means_and_squares_are_kept() -> None:
    # 1, 2, 6: mean 3, squared deviations 4 + 1 + 9.
    state = after(TWO, [("minmax", 1), ("stride", 5), ("minmax", 2), ("minmax", 6)])
    assert state == BanditState(
        counts={"minmax": 3, "stride": 1},
        means={"minmax": 3.0, "stride": 5.0},
        squares={"minmax": 14.0, "stride": 0.0},
    )


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20))
def test_the_running_figures_are_those_of_all_rewards_at_once(rewards: list[float]) -> None:
    state = after(TWO, [("stride", reward) for reward in rewards])
    assert state.means["stride"] == pytest.approx(np.mean(rewards), abs=1e-6)
    expected = np.var(rewards) * len(rewards)
    assert state.squares["stride"] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_reward_leaves_the_old_state_alone() -> None:
    old = after(TWO, [("minmax", 1)])
    TWO.rewarded(old, "minmax", 9)
    assert old == after(TWO, [("minmax", 1)])


def test_a_state_goes_to_json_and_back() -> None:
    state = after(TWO, [("minmax", 0.1), ("stride", -0.2), ("minmax", 0.3)])
    assert BanditState(**json.loads(json.dumps(asdict(state)))) == state


def test_every_strategy_is_tried_once_before_any_is_tried_twice() -> None:
    bandit, rng = Bandit(("a", "b", "c", "d")), np.random.default_rng(0)
    for _ in range(20):
        state, chosen = BanditState(), []
        for reward in range(4):
            chosen.append(bandit.choose(state, rng))
            state = bandit.rewarded(state, chosen[-1], reward)
        assert sorted(chosen) == ["a", "b", "c", "d"]


def test_the_first_is_drawn_by_lot() -> None:
    assert {TWO.choose(BanditState(), np.random.default_rng(seed)) for seed in range(20)} == {
        "minmax",
        "stride",
    }


def test_the_odds_are_those_of_the_better_mean_given_the_noise() -> None:
    # minmax 1, 3 and stride 0, 2, 1: means 2 and 1, squares 2 + 2, three rewards to spare, so the
    # noise is sqrt(4 / 3); the difference has the variance 4 / 3 (1 / 2 + 1 / 3) = 10 / 9.
    state = after(TWO, [("minmax", 1), ("minmax", 3), ("stride", 0), ("stride", 2), ("stride", 1)])
    rng = np.random.default_rng(0)
    share = np.mean([TWO.choose(state, rng) == "minmax" for _ in range(10_000)])
    assert share == pytest.approx(norm.cdf(1 / np.sqrt(10 / 9)), abs=0.015)


def test_before_a_second_try_the_spread_of_rewards_is_the_noise() -> None:
    # Rewards 3 and 1: spread 1, the difference 2 has the variance 1 + 1.
    state, rng = after(TWO, [("minmax", 3), ("stride", 1)]), np.random.default_rng(0)
    share = np.mean([TWO.choose(state, rng) == "minmax" for _ in range(10_000)])
    assert share == pytest.approx(norm.cdf(2 / np.sqrt(2)), abs=0.015)


@pytest.mark.parametrize("scale", [0.001, 1.0, 1000.0])
def test_the_strategy_that_pays_best_is_used_most_whatever_the_unit(scale: float) -> None:
    bandit, rng = Bandit(("poor", "fair", "good")), np.random.default_rng(1)
    pays = {"poor": 0.0, "fair": 0.5, "good": 1.0}
    state = BanditState()
    for _ in range(200):
        arm = bandit.choose(state, rng)
        state = bandit.rewarded(state, arm, scale * (pays[arm] + 0.5 * rng.standard_normal()))
    assert state.counts["good"] > 140
    assert state.counts["poor"] < 30


def test_the_same_seed_gives_the_same_choice() -> None:
    state = after(TWO, [("minmax", 3), ("stride", 1)])
    choices = [[TWO.choose(state, np.random.default_rng(s)) for s in range(20)] for _ in range(2)]
    assert choices[0] == choices[1]


def test_what_is_known_of_strategies_no_longer_offered_is_kept_but_not_chosen() -> None:
    state = after(Bandit(("old", "minmax")), [("old", 99), ("minmax", 1)])
    rng = np.random.default_rng(0)
    assert TWO.choose(state, rng) == "stride"
    state = TWO.rewarded(state, "stride", 2)
    assert state.means["old"] == 99
    assert {TWO.choose(state, rng) for _ in range(50)} == {"minmax", "stride"}


def test_faults_are_named() -> None:
    with pytest.raises(ValueError, match="at least one strategy"):
        Bandit(())
    with pytest.raises(ValueError, match="each once"):
        Bandit(("minmax", "minmax"))
    with pytest.raises(ValueError, match=r"arm is 'kmeans'.*on offer: minmax, stride"):
        TWO.rewarded(BanditState(), "kmeans", 1.0)
    with pytest.raises(ValueError, match="reward is nan"):
        TWO.rewarded(BanditState(), "minmax", float("nan"))


def test_the_reward_is_the_fall_of_the_error_per_label() -> None:
    assert error_fall_per_label(5.0, 4.0, 50) == pytest.approx(0.02)
    assert error_fall_per_label(4.0, 5.0, 50) == pytest.approx(-0.02)
    with pytest.raises(ValueError, match="n_labels must be at least 1, got 0"):
        error_fall_per_label(5.0, 4.0, 0)


def test_the_audits_of_two_rounds_that_follow_each_other_give_the_reward_of_the_first() -> None:
    rounds = [Round("minmax", 10, 8.0), Round("stride", 5, 6.0), Round("minmax", 10, 7.0)]
    assert replayed(("minmax", "stride"), rounds) == BanditState(
        counts={"minmax": 1, "stride": 1},
        means={"minmax": pytest.approx(0.2), "stride": pytest.approx(-0.2)},
        squares={"minmax": 0.0, "stride": 0.0},
    )


@pytest.mark.parametrize(
    "rounds",
    [
        [],
        [Round("minmax", 10, 8.0)],
        [Round("minmax", 10, None), Round("stride", 10, 6.0)],
        [Round("minmax", 10, 8.0), Round("stride", 10, None)],
        [Round("minmax", 0, 8.0), Round("stride", 10, 6.0)],
        [Round(None, 10, 8.0), Round("stride", 10, 6.0)],
        [Round("kmeans", 10, 8.0), Round("stride", 10, 6.0)],
    ],
)
def test_a_round_without_audit_labels_or_a_strategy_on_offer_teaches_nothing(
    rounds: list[Round],
) -> None:
    assert replayed(("minmax", "stride"), rounds) == BanditState()


def test_what_was_never_used_comes_first() -> None:
    rounds = [Round("a", 10, 8.0), Round("b", 10, None), Round("a", 10, None)]
    arms = {choose_arm(("a", "b", "c"), rounds, np.random.default_rng(s))[0] for s in range(20)}
    assert arms == {"c"}


def test_one_whose_reward_is_on_its_way_is_not_taken_for_untried() -> None:
    # The reward of c needs an audit that comes with the next round.
    rounds = [Round("a", 10, 8.0), Round("b", 10, 6.0), Round("c", 10, 5.0)]
    chosen = {choose_arm(("a", "b", "c"), rounds, np.random.default_rng(s))[0] for s in range(40)}
    assert "c" not in chosen
    assert choose_arm(("c",), rounds, np.random.default_rng(0))[0] == "c"
    lost = [*rounds, Round("a", 10, None)]  # no longer on its way: nothing was audited
    assert choose_arm(("a", "b", "c"), lost, np.random.default_rng(0))[0] == "c"


def test_what_the_settings_offer_by_themselves_is_what_experiments_race() -> None:
    rules = Queue()
    assert rules.bandit_arms == ARMS
    assert fault_of_bandit(ARMS, Limits(audit_share=0.2), rules.budget) is None
    assert "audit_share is 0, " in str(fault_of_bandit(ARMS, Limits(), rules.budget))
