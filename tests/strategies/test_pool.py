"""Pools, picks and limits are checked when they are made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alwatch.strategies.pool import Limits, Picks
from tests.strategies.pools import grouped, make_pool, with_taken


def test_a_pool_names_all_wrong_shapes_at_once() -> None:
    pool = make_pool(np.zeros((3, 2)))
    with pytest.raises(ValueError) as caught:
        replace(
            pool,
            video=np.zeros(2, np.int64),
            time_s=np.zeros(3, np.int64),
            taken_frame=np.zeros(1, np.int64),
        )
    assert str(caught.value) == (
        "video must be int of shape (3,), got int64 of shape (2,); "
        "time_s must be float of shape (3,), got int64 of shape (3,); "
        "taken_frame must be int of shape (0,), got int64 of shape (1,)"
    )


def test_a_pool_refuses_vectors_that_are_no_float_matrix() -> None:
    pool = make_pool(np.zeros((3, 2)))
    for vectors in (np.zeros(3), np.zeros((3, 2), int)):
        with pytest.raises(ValueError, match="vectors must be a 2-D float array"):
            replace(pool, vectors=vectors)


def test_a_pool_refuses_taken_vectors_of_another_width() -> None:
    pool = with_taken(make_pool(np.zeros((3, 2))), [0])
    with pytest.raises(ValueError, match="vectors are 2 wide but taken_vectors 5"):
        replace(pool, taken_vectors=np.zeros((1, 5), np.float32))


def test_a_pool_names_all_wrong_values_at_once() -> None:
    vectors = np.zeros((6000, 2))
    vectors[[0, 5999], 1] = np.nan, np.inf
    with pytest.raises(ValueError) as caught:
        make_pool(vectors, frame=[*range(5999), 7], time_s=[np.nan] + [0.0] * 5999)
    assert str(caught.value) == (
        "vectors has NaN or infinity in 2 of its rows; time_s has NaN or infinity in 1 of its "
        "rows; frame 7 of video 0 is listed twice"
    )


def test_a_pool_refuses_nan_in_taken_vectors() -> None:
    pool = with_taken(make_pool(np.ones((3, 2))), [1])
    with pytest.raises(ValueError, match="taken_vectors has NaN or infinity in 1 of its rows"):
        replace(pool, taken_vectors=np.full((1, 2), np.nan, np.float16))


def test_without_groups_each_video_is_its_own_individual_and_session() -> None:
    pool = with_taken(make_pool(np.eye(3), [4, 4, 9]), [2])
    assert [array.tolist() for array in pool.groups("individual")] == [[4, 4, 9], [9]]
    given = grouped(pool, [1, 0], [5, 5])
    assert [array.tolist() for array in given.groups("individual")] == [[1, 1, 0], [0]]
    assert [array.tolist() for array in given.groups("session")] == [[5, 5, 5], [5]]


def test_a_pool_refuses_groups_that_do_not_fit_its_frames() -> None:
    pool = with_taken(make_pool(np.eye(3), [4, 4, 9]), [2])
    with pytest.raises(ValueError, match="individual and taken_individual must be given together"):
        replace(pool, individual=np.zeros(3, np.int64))
    with pytest.raises(ValueError, match=r"session must be int of shape \(3,\), got float64"):
        replace(pool, session=np.zeros(3), taken_session=np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="video 4 has more than one session"):
        replace(pool, session=np.array([0, 1, 1]), taken_session=np.array([1]))
    with pytest.raises(ValueError, match="video 9 has more than one individual"):
        replace(pool, individual=np.array([0, 0, 1]), taken_individual=np.array([2]))


def test_picks_must_be_equally_long() -> None:
    with pytest.raises(ValueError, match="equally long"):
        Picks(rows=np.zeros(2, np.int64), scores=np.zeros(2), reasons=("one",))


def test_limits_name_all_their_faults_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        Limits(
            0,
            min_gap_s=-1,
            near_duplicate_quantile=2,
            audit_share=float("nan"),
            per_session_max=-1,
            per_individual_max=1.5,  # type: ignore[arg-type]
            share_by="cage",  # type: ignore[arg-type]
        )
    assert str(caught.value) == (
        "per_video_max must be a whole number >= 1 or None, got 0; per_individual_max must be a "
        "whole number >= 1 or None, got 1.5; per_session_max must be a whole number >= 1 or None, "
        "got -1; min_gap_s must be at least 0 and finite, got -1; share_by must be one of "
        "video, individual, session, got 'cage'; near_duplicate_quantile must lie between 0 and "
        "1, got 2; audit_share must lie between 0 and 1, got nan"
    )
