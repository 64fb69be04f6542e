"""What every strategy must do, run over all of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alwatch.strategies.pool import LEVELS, Limits, Picks, Pool
from alwatch.strategies.registry import STRATEGIES, select
from tests.strategies.pools import (
    Referee,
    counts,
    grouped,
    make_pool,
    names,
    reordered,
    walks,
    with_scores,
    with_taken,
)

every_strategy = pytest.mark.parametrize("strategy", sorted(STRATEGIES))
NO_LIMITS = Limits()
DETERMINISTIC = {
    "bayesian",
    "density_coreset",
    "weighted_kcentre",
    "balanced_herding",
    "confidence",
    "ensemble",
    "herding",
    "influence_published",
    "kmeans_alternate",
    "learned_loss",
    "liu_ferrari",
    "minmax",
    "mpe",
    "mpe_softmax",
    "novelty",
    "uncertainty_herding",
}
"""Strategies whose queue the seed does not change, but for the audit and equal scores."""
GOLDEN = {
    "balanced_herding": [288, 57, 145, 263, 227, 31, 100, 214, 186, 274, 247, 171],
    "dlc_uniform": [288, 57, 175, 215, 88, 247, 40, 120, 191, 74, 255, 47],
    "herding": [288, 57, 145, 263, 227, 31, 100, 214, 186, 171, 274, 247],
    "influence": [288, 57, 145, 225, 100, 263, 31, 165, 214, 115, 249, 21],
    "minmax": [288, 57, 179, 238, 241, 212, 122, 29, 265, 181, 226, 110],
    "random": [288, 57, 12, 167, 115, 35, 285, 131, 172, 282, 29, 140],
    "stride": [288, 57, 121, 226, 100, 278, 15, 150, 197, 73, 249, 40],
    "uniform": [288, 57, 40, 14, 189, 274, 221, 77, 104, 132, 160, 248],
}
"""Rows as they were before videos could be grouped."""


def run(pool: Pool, strategy: str, budget: int, limits: Limits = NO_LIMITS, seed: int = 0) -> Picks:
    scored = with_scores(pool, STRATEGIES[strategy].needs) if strategy in STRATEGIES else pool
    return select(
        scored, strategy=strategy, budget=budget, limits=limits, rng=np.random.default_rng(seed)
    )


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """A few short videos, with repeated frames, odd times and some frames taken."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n = sum(lengths)
    vectors = rng.standard_normal((n, 3)).round(draw(st.integers(0, 3)))
    frame = np.concatenate([np.sort(rng.choice(50, length, replace=False)) for length in lengths])
    video = np.repeat(rng.permutation(9)[: len(lengths)], lengths)
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    pool = make_pool(vectors, video, frame, frame / 10, dtype=dtype)
    pool = with_taken(pool, rng.choice(n, draw(st.integers(0, min(n, 4))), replace=False))
    if draw(st.booleans()):
        pool = grouped(pool, rng.integers(3, size=4), rng.integers(2, size=4))
    kept = np.flatnonzero(rng.random(n) < draw(st.sampled_from([0.5, 1.0])))
    return reordered(pool, rng.permutation(kept))


limits = st.builds(
    Limits,
    per_video_max=st.none() | st.integers(1, 5),
    min_gap_s=st.sampled_from([0.0, 0.1, 0.5, 2.0]),
    near_duplicate_quantile=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    equal_share_max=st.sampled_from([None, 1.0, 1.5]),
    audit_share=st.sampled_from([0.0, 0.15, 1.0]),
    per_individual_max=st.none() | st.integers(1, 5),
    per_session_max=st.none() | st.integers(1, 9),
    share_by=st.sampled_from(LEVELS),
)


@every_strategy
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pool=pools(), limits=limits, budget=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_queue_keeps_every_limit_and_is_short_only_when_nothing_is_open(
    strategy: str, pool: Pool, limits: Limits, budget: int, seed: int
) -> None:
    Referee(pool, limits).check(run(pool, strategy, budget, limits, seed), budget)


@every_strategy
def test_where_no_groups_are_given_each_video_is_one(strategy: str) -> None:
    pool = with_taken(walks(n_videos=5, n_frames=40, seed=3), [0, 1, 70])
    own = range(5)
    for share_by in LEVELS:
        limits = Limits(4, 0.3, 0.3, 1.3, audit_share=0.15, share_by=share_by)
        for seed in range(2):
            plain = run(pool, strategy, 12, limits, seed)
            given = run(grouped(pool, own, own), strategy, 12, limits, seed)
            assert plain.rows.tolist() == given.rows.tolist()
            assert plain.reasons == given.reasons


@pytest.mark.parametrize("strategy", sorted(GOLDEN))
def test_without_groups_the_picks_are_those_of_before_there_were_any(strategy: str) -> None:
    pool = with_taken(walks(n_videos=5, n_frames=60, seed=3), [0, 1, 70, 200])
    limits = Limits(4, 0.3, 0.3, equal_share_max=1.3, outlier_share=0.05, audit_share=0.15)
    assert run(pool, strategy, 12, limits, seed=1).rows.tolist() == GOLDEN[strategy]


@every_strategy
def test_an_individual_of_many_videos_has_one_equal_share(strategy: str) -> None:
    pool = grouped(walks(n_videos=6, n_frames=30, seed=0), [0, 0, 0, 0, 1, 2], range(6))
    limits = Limits(equal_share_max=1.0)
    assert counts(pool, run(pool, strategy, 12, limits), "individual") == [4, 4, 4]
    by_video = run(pool, strategy, 12, replace(limits, share_by="video"))
    assert counts(pool, by_video) == [2] * 6


@every_strategy
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    individual=st.lists(st.integers(0, 4), min_size=5, max_size=5),
    lengths=st.lists(st.integers(1, 12), min_size=5, max_size=5),
    each=st.integers(1, 4),
)
def test_a_budget_that_can_be_dealt_evenly_gives_everyone_their_share(
    strategy: str, individual: list[int], lengths: list[int], each: int
) -> None:
    kept = np.concatenate([12 * video + np.arange(n) for video, n in enumerate(lengths)])
    pool = grouped(reordered(walks(5, 12, seed=0), kept), individual, range(5))
    _, held = np.unique(pool.groups("individual")[0], return_counts=True)
    picks = run(pool, strategy, each * len(held), Limits(equal_share_max=1.0))
    found = counts(pool, picks, "individual")
    assert all(n >= min(each, has) for n, has in zip(found, held.tolist(), strict=True))


@every_strategy
def test_what_an_individual_cannot_use_goes_to_the_others(strategy: str) -> None:
    short = reordered(walks(n_videos=3, n_frames=30, seed=0), np.r_[0:30, 30, 60])
    pool = grouped(short, [5, 9, 9], [0, 0, 0])
    limits = Limits(equal_share_max=1.0)
    assert counts(pool, run(pool, strategy, 9, limits), "individual") == [7, 2]
    capped = replace(limits, per_individual_max=6)
    assert counts(pool, run(pool, strategy, 9, capped), "individual") == [6, 2]


@every_strategy
@settings(max_examples=20, deadline=None)
@given(pool=pools(), limits=limits, budget=st.integers(1, 40), order=st.randoms())
def test_the_same_seed_gives_the_same_queue_in_whatever_order_the_pool_is_read(
    strategy: str, pool: Pool, limits: Limits, budget: int, order: object
) -> None:
    first = run(pool, strategy, budget, limits)
    shuffled = list(range(len(pool.video)))
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    again = reordered(pool, np.array(shuffled, dtype=np.int64))
    second = run(again, strategy, budget, limits)
    assert names(again, second) == names(pool, first)
    assert second.reasons == first.reasons
    assert second.scores.tolist() == first.scores.tolist()


@every_strategy
def test_realistic_pools_keep_all_limits_at_once(strategy: str) -> None:
    pool = with_taken(walks(n_videos=6, n_frames=200, seed=5), [3, 250, 251, 900])
    limits = Limits(per_video_max=8, min_gap_s=1.0, near_duplicate_quantile=0.5, audit_share=0.15)
    picks = run(pool, strategy, 40, limits)
    Referee(pool, limits).check(picks, 40)
    assert len(picks.rows) == 40
    assert picks.reasons[:6] == ("random audit sample",) * 6
    assert "random audit sample" not in picks.reasons[6:]
    assert picks.n_audit == 6


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - DETERMINISTIC))
def test_another_seed_gives_another_queue(strategy: str) -> None:
    pool = walks(n_videos=4, n_frames=50, seed=1)
    queues = {tuple(sorted(names(pool, run(pool, strategy, 10, seed=seed)))) for seed in range(6)}
    assert len(queues) > 1


@every_strategy
def test_the_seed_decides_the_audit(strategy: str) -> None:
    pool, limits = walks(n_videos=4, n_frames=50, seed=1), Limits(audit_share=0.5)
    queues = {tuple(names(pool, run(pool, strategy, 8, limits, seed))[:4]) for seed in range(6)}
    assert len(queues) > 1


@every_strategy
def test_a_season_is_queued_to_its_last_frame_over_many_rounds(strategy: str) -> None:
    pool, marked = walks(n_videos=3, n_frames=11, seed=2), []
    while rows := run(with_taken(pool, marked), strategy, 7, seed=len(marked)).rows.tolist():
        assert not set(marked) & set(rows)
        marked += rows
    assert sorted(marked) == list(range(33))


@every_strategy
@pytest.mark.parametrize("n_taken", [0, 1])
def test_an_empty_pool_gives_an_empty_queue(strategy: str, n_taken: int) -> None:
    full = with_taken(make_pool(np.ones((2, 3))), range(n_taken))
    for width in (0, 3):
        empty = reordered(full, np.empty(0, np.int64))
        pool = make_pool(np.empty((0, width))) if n_taken == 0 else empty
        picks = run(pool, strategy, 5)
        assert picks.rows.shape == picks.scores.shape == (0,)
        assert picks.reasons == ()


@every_strategy
def test_a_pool_of_one_frame_gives_that_frame(strategy: str) -> None:
    assert run(make_pool([[1.0, 2]]), strategy, 5).rows.tolist() == [0]
    assert run(make_pool([[0.0, 0]]), strategy, 5).rows.tolist() == [0]


@every_strategy
def test_of_frames_that_are_all_equal_one_is_enough(strategy: str) -> None:
    pool = make_pool(np.full((3000, 2), 0.1), np.arange(3000) % 3, np.arange(3000) // 3)
    assert len(run(pool, strategy, 50, Limits(near_duplicate_quantile=0.5)).rows) == 1


@every_strategy
def test_a_budget_beyond_the_pool_takes_the_whole_pool(strategy: str) -> None:
    pool = walks(n_videos=3, n_frames=7, seed=0)
    assert sorted(run(pool, strategy, 1000).rows.tolist()) == list(range(21))


@every_strategy
def test_where_everything_is_taken_nothing_is_picked(strategy: str) -> None:
    pool = walks(n_videos=2, n_frames=5, seed=0)
    assert len(run(with_taken(pool, range(10)), strategy, 3).rows) == 0


@every_strategy
def test_the_callers_arrays_are_left_alone(strategy: str) -> None:
    pool = with_taken(walks(n_videos=2, n_frames=20, seed=0), [4])
    for name in Pool.__slots__:
        if isinstance(array := getattr(pool, name), np.ndarray):
            array.flags.writeable = False
    assert len(run(pool, strategy, 6, Limits(1, 0.5, 0.5, audit_share=0.5)).rows) == 2


def test_an_unknown_strategy_is_answered_with_the_nearest_and_all_names() -> None:
    with pytest.raises(ValueError) as caught:
        run(make_pool([[1.0]]), "minimax", 5)
    every_name = ", ".join(sorted(STRATEGIES))
    assert str(caught.value) == (
        f"strategy is 'minimax'; did you mean minmax? It must be one of {every_name}."
    )
    with pytest.raises(ValueError, match=f"strategy is '42'; It must be one of {every_name}"):
        run(make_pool([[1.0]]), "42", 5)


@pytest.mark.parametrize("budget", [0, -5])
def test_a_budget_below_one_is_refused(budget: int) -> None:
    with pytest.raises(ValueError, match=f"budget is {budget}; it must be a whole number >= 1"):
        run(make_pool([[1.0]]), "random", budget)


def test_a_strategy_is_imported_only_when_it_is_used() -> None:
    program = "import sys, alwatch.strategies.registry; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
