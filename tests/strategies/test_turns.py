"""Streams of candidates, and how they take turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.strategies.pool import Limits
from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import (
    Candidate,
    dealt,
    equal_shares,
    in_turns,
    ranked,
    take_from,
    take_in_turns,
)
from tests.strategies.pools import grouped, make_pool, on_circle, with_taken

NO_LIMITS = Limits()


def selection_of(
    lengths: list[int],
    budget: int,
    taken: object = (),
    *,
    individual: list[int] | None = None,
    limits: Limits = NO_LIMITS,
) -> Selection:
    """Videos of these many frames, all frames different."""
    pool = make_pool(
        on_circle(0.1 * np.arange(sum(lengths))),
        np.repeat(np.arange(len(lengths)), lengths),
        np.concatenate([np.arange(length) for length in lengths]),
    )
    pool = with_taken(pool, taken)
    if individual is not None:
        pool = grouped(pool, individual, range(len(lengths)))
    return Selection(pool, limits, budget)


def stream(rows: list[int], name: str) -> object:
    return ranked(
        np.array(rows), -np.arange(len(rows), dtype=np.float64), name, np.random.default_rng(0)
    )


def test_the_highest_score_comes_first_and_nan_last() -> None:
    scores = np.array([0.25, np.nan, 0.75, -0.5])
    given_rows = list(ranked(np.array([4, 5, 6, 7]), scores, "{:.2f}", np.random.default_rng(0)))
    assert given_rows == [
        (6, 0.75, "0.75"),
        (4, 0.25, "0.25"),
        (7, -0.5, "-0.50"),
        (5, 0.0, "not scored yet, drawn at random"),
    ]


@pytest.mark.parametrize("score", [1.0, np.nan])
def test_equal_scores_and_missing_ones_are_drawn_at_random(score: float) -> None:
    first = Counter(
        next(ranked(np.arange(3), np.full(3, score), "", np.random.default_rng(seed)))[0]
        for seed in range(300)
    )
    assert min(first[row] for row in range(3)) > 70  # 100 each are expected, with a spread of 8


def test_streams_take_turns_and_drop_out_when_nothing_of_them_is_open() -> None:
    selection = selection_of([10], budget=10, taken=[0, 3])
    take_from(
        selection, in_turns(selection, [stream([0, 1, 2], "a"), stream([3], "b"), stream([4], "c")])
    )
    picks = selection.picks()
    assert picks.rows.tolist() == [1, 4, 2]
    assert picks.reasons == ("a", "c", "a")


def test_taking_ends_with_the_budget() -> None:
    selection = selection_of([10], budget=2)
    take_from(selection, in_turns(selection, [stream([5, 6], "a"), stream([7], "b")]))
    assert selection.picks().rows.tolist() == [5, 7]


def test_videos_with_fewer_labelled_frames_come_first_and_full_ones_not_at_all() -> None:
    selection = selection_of([3, 3, 1, 3], budget=5, taken=[0, 1, 3, 6])
    orders = {
        tuple(video for ((video, _),) in dealt(selection, np.random.default_rng(seed)))
        for seed in range(9)
    }
    assert orders == {(3, 1, 0)}


def test_videos_are_dealt_equal_shares_of_the_budget() -> None:
    groups = dealt(selection_of([2, 9, 9], budget=8), np.random.default_rng(0))
    assert sorted(groups) == [[(0, 2)], [(1, 3)], [(2, 3)]]
    groups = dealt(selection_of([2, 9, 9], budget=1), np.random.default_rng(0))
    assert sorted(share for ((_, share),) in groups) == [0, 0, 1]


def test_individuals_are_dealt_equal_shares_and_their_videos_equal_parts() -> None:
    # Three videos of one individual, one of another that has but two frames: 8 = 6 + 2.
    selection = selection_of([9, 1, 9, 2], budget=8, individual=[7, 7, 7, 3])
    groups = dealt(selection, np.random.default_rng(0))
    shares = {video: share for group in groups for video, share in group}
    assert sorted(sorted(video for video, _ in group) for group in groups) == [[0, 1, 2], [3]]
    assert (shares[3], shares[1], sorted([shares[0], shares[2]])) == (2, 1, [2, 3])


def test_a_cap_per_individual_bounds_what_is_dealt_to_its_videos() -> None:
    selection = selection_of(
        [9, 9, 9], 8, individual=[7, 7, 3], limits=Limits(per_individual_max=3)
    )
    groups = dealt(selection, np.random.default_rng(0))
    assert sorted(sum(share for _, share in group) for group in groups) == [3, 3]


def test_an_individual_labelled_in_another_season_comes_later() -> None:
    pool = grouped(make_pool(on_circle(range(4)), [0, 0, 1, 1]), [7, 3], [0, 0])
    pool = replace(
        pool,
        taken_vectors=np.array([[0, -1.0]]),
        taken_video=np.array([9]),
        taken_frame=np.array([0]),
        taken_time_s=np.array([0.0]),
        taken_individual=np.array([3]),
        taken_session=np.array([5]),
    )
    for seed in range(5):
        selection = Selection(pool, Limits(), 1)
        assert dealt(selection, np.random.default_rng(seed)) == [[(0, 1)], [(1, 0)]]


def test_individuals_take_turns_and_so_do_the_videos_of_each() -> None:
    selection = selection_of([5, 5, 5], budget=8, individual=[7, 7, 3])

    def stream(video: int, share: int) -> Iterator[Candidate]:
        for row in range(5 * video, 5 * video + 5):
            yield row, 0.0, "x"

    take_in_turns(selection, [[(0, 1), (1, 1)], [(2, 2)]], stream)
    assert selection.picks().rows.tolist() == [0, 10, 5, 11, 1, 12, 6, 13]


@given(st.lists(st.integers(0, 12), max_size=6), st.integers(0, 50))
def test_equal_shares_are_dealt_one_by_one(most: list[int], budget: int) -> None:
    expected = [0] * len(most)
    while budget and expected != most:
        for i in range(len(most)):
            if budget and expected[i] < most[i]:
                expected[i] += 1
                budget -= 1
    shares = equal_shares(np.array(most, dtype=np.int64), budget + sum(expected))
    assert shares.tolist() == expected
