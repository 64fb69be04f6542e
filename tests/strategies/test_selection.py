"""What a pick closes, and the audit share."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from alwatch.strategies.pool import Limits
from alwatch.strategies.registry import select
from alwatch.strategies.selection import Selection
from tests.strategies.pools import grouped, make_pool, on_circle, reordered, walks, with_taken


def still_open(selection: Selection) -> list[int]:
    return [row for row in range(len(selection.open_mask)) if selection.is_open(row)]


def test_a_pick_closes_itself_and_nothing_else_without_limits() -> None:
    selection = Selection(make_pool(on_circle([0, 1, 2])), Limits(), 3)
    selection.take(1, 0.5, "because")
    assert still_open(selection) == [0, 2]
    assert selection.remaining == 2


def test_a_taken_frame_is_closed_even_where_its_vector_has_changed() -> None:
    pool = with_taken(make_pool(on_circle([0, 10, 20])), [1])
    moved = replace(pool, taken_vectors=on_circle([77]).astype(np.float32))
    assert still_open(Selection(moved, Limits(), 3)) == [0, 2]


def test_frames_of_one_video_nearer_in_time_than_the_gap_are_closed() -> None:
    pool = make_pool(on_circle(range(8)), video=[0] * 6 + [1] * 2, frame=[*range(6), 2, 3])
    selection = Selection(pool, Limits(min_gap_s=2.0), 8)
    selection.take(2, 0.0, "x")
    assert still_open(selection) == [0, 4, 5, 6, 7]


def test_frames_exactly_one_gap_apart_stay_open_though_their_times_are_rounded() -> None:
    pool = make_pool(on_circle(range(5)), time_s=np.arange(5) / 10)  # 0.3 - 0.2 < 0.1 in float64
    selection = Selection(pool, Limits(min_gap_s=0.1), 5)
    selection.take(2, 0.0, "x")
    assert still_open(selection) == [0, 1, 3, 4]


def test_the_gap_is_kept_to_frames_labelled_before() -> None:
    pool = with_taken(make_pool(on_circle(range(6))), [0])
    assert still_open(Selection(pool, Limits(min_gap_s=3.0), 6)) == [3, 4, 5]


def test_near_duplicates_are_no_farther_than_the_videos_own_neighbours() -> None:
    # Steps of video 0: 1, 1, 8, 1 degrees; three quarters are 2.75 or less. Video 1 lies between.
    degrees = np.array([0, 1.0, 2, 10, 11])
    pool = make_pool(
        np.concatenate([on_circle(degrees), on_circle(degrees + 0.5)]),
        video=[0] * 5 + [1] * 5,
        frame=[*range(5), *range(5)],
    )
    selection = Selection(pool, Limits(near_duplicate_quantile=0.75), 10)
    selection.take(1, 0.0, "x")
    assert still_open(selection) == [3, 4, 5, 6, 7, 8, 9]


def test_a_jumpy_video_has_wider_near_duplicates_than_a_calm_one() -> None:
    pool = make_pool(
        on_circle([0, 8, 18, 30, 100, 101, 103, 106]),
        video=[0] * 4 + [1] * 4,
        frame=[*range(4), *range(4)],
    )
    selection = Selection(pool, Limits(near_duplicate_quantile=0.75), 8)  # 11 and 2.5 degrees
    selection.take(1, 0.0, "x")
    selection.take(4, 0.0, "x")
    assert still_open(selection) == [3, 6, 7]


def test_in_a_video_that_moves_evenly_neighbours_are_duplicates_despite_rounding() -> None:
    selection = Selection(make_pool(on_circle(range(0, 90, 10))), Limits(None, 0.0, 0.5), 9)
    selection.take(4, 0.0, "x")
    assert still_open(selection) == [0, 1, 2, 6, 7, 8]


def test_identical_vectors_are_near_duplicates_in_any_video() -> None:
    vectors = np.array([[0.0, 1], [0, 1], [1, 0], [-0.0, 1]])
    selection = Selection(make_pool(vectors, video=[0, 0, 0, 1], frame=[0, 1, 2, 0]), Limits(), 4)
    selection.take(0, 0.0, "x")
    assert still_open(selection) == [2]


def test_frames_identical_to_a_labelled_one_are_closed() -> None:
    pool = make_pool(np.array([[1, 2], [3, 4], [1, 2]]), video=[0, 1, 2], dtype=np.float16)
    assert still_open(Selection(with_taken(pool, [0]), Limits(), 3)) == [1]


def test_a_video_at_its_cap_is_closed_and_labelled_frames_do_not_count() -> None:
    pool = make_pool(on_circle(range(6)), video=[0] * 4 + [1] * 2, frame=[0, 1, 2, 3, 0, 1])
    selection = Selection(with_taken(pool, [0]), Limits(per_video_max=2), 6)
    assert selection.room(0) == 2
    selection.take(1, 0.0, "x")
    assert still_open(selection) == [2, 3, 4, 5]
    selection.take(3, 0.0, "x")
    assert still_open(selection) == [4, 5]
    assert selection.room(0) == 0


def test_a_closed_row_cannot_be_picked() -> None:
    selection = Selection(make_pool(on_circle([0, 90])), Limits(min_gap_s=5), 2)
    selection.take(0, 0.0, "x")
    with pytest.raises(ValueError, match="row 1 cannot be picked"):
        selection.take(1, 0.0, "x")


def test_nothing_is_picked_beyond_the_budget() -> None:
    selection = Selection(make_pool(on_circle([0, 90])), Limits(), 1)
    selection.take(0, 0.0, "x")
    assert not selection.wants_more
    with pytest.raises(ValueError, match="row 1 cannot be picked"):
        selection.take(1, 0.0, "x")


def test_picks_carry_the_pools_own_row_numbers() -> None:
    pool = make_pool(on_circle([0, 90, 180]), video=[5, 2, 2], frame=[0, 8, 4])
    selection = Selection(pool, Limits(), 3)
    for row in range(3):  # in the order of (video, time, frame)
        selection.take(row, row / 2, f"reason {row}")
    picks = selection.picks()
    assert picks.rows.tolist() == [2, 1, 0]
    assert picks.scores.tolist() == [0, 0.5, 1]
    assert picks.reasons == ("reason 0", "reason 1", "reason 2")


def test_the_nearest_open_row_is_found_on_the_given_scale() -> None:
    pool = make_pool(on_circle(range(5)), time_s=[0, 1, 2, 10, 20])
    selection = Selection(pool, Limits(), 5)
    assert selection.nearest_open(7.0, selection.time_s) == 3
    assert selection.nearest_open(7.0, selection.time_s, slice(0, 3)) == 2
    selection.take(3, 0.0, "x")
    assert selection.nearest_open(9.0, selection.time_s) == 2
    assert selection.nearest_open(9.0, selection.time_s, slice(3, 4)) is None


def test_the_audit_goes_round_the_videos() -> None:
    pool = walks(n_videos=4, n_frames=30, seed=0)
    selection = Selection(pool, Limits(audit_share=0.5), 20)
    selection.take_audit(np.random.default_rng(0))
    picks = selection.picks()
    assert picks.reasons == ("random audit sample",) * 10
    assert picks.n_audit == 10
    assert sorted(Counter(pool.video[picks.rows].tolist()).values()) == [2, 2, 3, 3]
    assert set(pool.video[picks.rows[:4]].tolist()) == {0, 1, 2, 3}


def test_the_audit_draws_every_frame_of_a_video_equally_often() -> None:
    pool = make_pool(on_circle(range(5)))
    counts: Counter[int] = Counter()
    for seed in range(1000):
        selection = Selection(pool, Limits(audit_share=1.0), 1)
        selection.take_audit(np.random.default_rng(seed))
        counts.update(selection.picks().rows.tolist())
    assert min(counts.values()) > 150  # 200 each are expected, with a spread of 13
    assert len(counts) == 5


def test_the_audit_ends_when_nothing_is_open() -> None:
    selection = Selection(make_pool(on_circle([0, 1, 2])), Limits(min_gap_s=9, audit_share=1), 3)
    selection.take_audit(np.random.default_rng(0))
    assert len(selection.picks().rows) == 1


def test_known_vectors_are_those_labelled_and_those_picked() -> None:
    pool = with_taken(make_pool([[2.0, 0], [0, 3], [0, -1]]), [0])
    selection = Selection(pool, Limits(), 2)
    selection.take(2, 0.0, "x")
    assert selection.known_vectors().tolist() == [[1, 0], [0, -1]]
    assert selection.n_known == 2


def test_vectors_that_have_become_known_since_are_the_last_of_all() -> None:
    pool = with_taken(make_pool(on_circle([0, 90, 180, 270])), [0, 1])
    selection = Selection(pool, Limits(), 2)
    for row in (3, 2):
        selection.take(row, 0.0, "x")
    for since in range(5):
        expected = selection.known_vectors()[since:].tolist()
        assert selection.known_vectors(since=since).tolist() == expected
    assert selection.n_known == 4


def test_a_video_has_no_more_than_so_many_times_its_equal_share() -> None:
    # Six frames of three videos are two each; 1.3 times that, rounded up, are three.
    pool = make_pool(on_circle(range(12)), video=[0] * 8 + [1] * 2 + [2] * 2)
    selection = Selection(pool, Limits(equal_share_max=1.3), 6)
    for row in (0, 2, 4):
        selection.take(row, 0.0, "x")
    assert still_open(selection) == [8, 9, 10, 11]
    assert selection.lift_equal_shares()
    assert still_open(selection) == [1, 3, 5, 6, 7, 8, 9, 10, 11]


def test_what_a_short_video_cannot_use_goes_to_the_others() -> None:
    # Nine of three videos are three each, but the last two have only one frame.
    pool = make_pool(on_circle(range(10)), video=[0] * 8 + [1, 2])
    limits = Limits(equal_share_max=1.0)
    for strategy in ("minmax", "herding", "stride", "kmeans"):
        rng = np.random.default_rng(0)
        picks = select(pool, strategy=strategy, budget=9, limits=limits, rng=rng)
        assert np.bincount(pool.video[picks.rows]).tolist() == [7, 1, 1]
        five = select(pool, strategy=strategy, budget=5, limits=limits, rng=rng)
        assert np.bincount(pool.video[five.rows]).tolist() == [3, 1, 1]


def test_a_cap_per_video_holds_beyond_equal_shares() -> None:
    pool = make_pool(on_circle(range(10)), video=[0] * 8 + [1, 2])
    limits = Limits(equal_share_max=1.0, per_video_max=4)
    rng = np.random.default_rng(0)
    picks = select(pool, strategy="random", budget=9, limits=limits, rng=rng)
    assert np.bincount(pool.video[picks.rows]).tolist() == [4, 1, 1]


def test_a_cap_per_session_closes_all_of_its_videos() -> None:
    # Two individuals in each of two sessions: videos 0 and 1 are of one, 2 and 3 of the other.
    pool = grouped(
        make_pool(on_circle(range(8)), np.repeat(range(4), 2)), [0, 1, 0, 1], [0, 0, 1, 1]
    )
    selection = Selection(pool, Limits(per_session_max=2, per_individual_max=3), 8)
    assert [selection.room(video) for video in range(4)] == [2, 2, 2, 2]
    selection.take(0, 0.0, "x")
    assert [selection.room(video) for video in range(4)] == [1, 1, 2, 2]
    selection.take(2, 0.0, "x")
    assert still_open(selection) == [4, 5, 6, 7]
    selection.take(6, 0.0, "x")
    selection.take(7, 0.0, "x")
    assert still_open(selection) == []


def test_a_cap_that_fills_up_later_holds_when_equal_shares_are_lifted() -> None:
    pool = grouped(make_pool(on_circle(range(6)), [0] * 4 + [1, 1]), [0, 1], [3, 3])
    selection = Selection(pool, Limits(equal_share_max=1.0, per_session_max=2), 2)
    selection.take(0, 0.0, "x")  # video 0 has its share, and its session room for one more
    assert still_open(selection) == [4, 5]
    selection.take(4, 0.0, "x")
    assert not selection.lift_equal_shares()
    assert still_open(selection) == []


def test_frames_without_an_animal_are_closed_and_unscored_ones_stay() -> None:
    pool = make_pool(on_circle(range(4)))
    scored = replace(pool, scores={"presence": np.array([0.9, 0.1, np.nan, 0.5])})
    assert still_open(Selection(scored, Limits(presence_min=0.5), 4)) == [0, 2, 3]
    assert still_open(Selection(pool, Limits(presence_min=0.5), 4)) == [0, 1, 2, 3]


def test_the_frames_that_are_unlike_all_others_of_their_video_are_closed() -> None:
    # Row 3 is 90 degrees from anything in its video; in the other video row 9 is.
    degrees = [0, 1, 2, 92, 3, 50, 51, 52, 53, 143]
    pool = make_pool(on_circle(degrees), video=[0] * 5 + [1] * 5)
    assert still_open(Selection(pool, Limits(outlier_share=0.2), 4)) == [0, 1, 2, 4, 5, 6, 7, 8]


def test_what_was_left_out_comes_back_to_be_looked_at() -> None:
    # Rows 3 and 9 are 50 and 90 degrees from anything in their video, whose frames else lie one
    # degree apart; in the pool's own order they are rows 6 and 0. Row 2 is labelled.
    degrees = [0, 1, 2, 53, 3, 50, 51, 52, 53, 143]
    pool = make_pool(on_circle(degrees), video=[0] * 5 + [1] * 5)
    back = with_taken(reordered(pool, np.arange(10)[::-1]), [7])
    picks = select(
        back,
        strategy="herding",
        budget=3,
        limits=Limits(outlier_share=0.2),
        rng=np.random.default_rng(0),
    )
    assert [row for row, _, _ in picks.review] == [0, 6]
    np.testing.assert_allclose(
        [distance for _, distance, _ in picks.review], [2**0.5, 0.8452], atol=1e-4
    )
    assert picks.review[1][2].startswith(
        "unlike any other frame of its video (distance 0.85; median 0.02): a hand in the picture"
    )
    assert not {0, 6} & set(picks.rows.tolist())
    assert (
        select(
            back, strategy="herding", budget=3, limits=Limits(), rng=np.random.default_rng(0)
        ).review
        == ()
    )


def test_an_outlier_that_is_labelled_or_has_no_animal_needs_no_second_look() -> None:
    pool = make_pool(on_circle([0, 1, 2, 92, 3, 200]))
    scored = replace(pool, scores={"presence": np.array([1, 1, 1, 0.1, 1, 1])})
    limits = Limits(outlier_share=0.4, presence_min=0.5)
    assert Selection(with_taken(scored, [5]), limits, 3).picks().review == ()
    rows = [row for row, _, _ in Selection(scored, limits, 3).picks().review]
    assert rows == [5]


def test_a_score_is_in_the_selections_own_order() -> None:
    pool = make_pool(on_circle([0, 1, 2]), frame=[2, 0, 1])
    selection = Selection(replace(pool, scores={"mpe": np.array([0.2, 0.0, 0.1])}), Limits(), 3)
    assert selection.score("mpe").tolist() == [0.0, 0.1, 0.2]
    with pytest.raises(ValueError, match="no scores 'flip'; there are: mpe"):
        selection.score("flip")
