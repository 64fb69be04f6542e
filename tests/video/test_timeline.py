from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.video.timeline import (
    NO_PTS,
    PacketLookup,
    PacketTable,
    build_timeline,
    plan_seek_runs,
    seek_cost,
    sequence_cost,
    timeline_from_census,
    validate_indices,
)

BASE = Fraction(1, 30)


def table(
    pts: list[int],
    keyframe: list[int] | None = None,
    discard: list[int] | None = None,
    size: list[int] | None = None,
) -> PacketTable:
    n = len(pts)
    return PacketTable(
        pts=np.array(pts, dtype=np.int64),
        keyframe=np.array(keyframe or [0] * n, dtype=np.bool_),
        discard=np.array(discard or [0] * n, dtype=np.bool_),
        size_bytes=np.array(size or [100] * n, dtype=np.int64),
        position=np.arange(n, dtype=np.int64) * 1000,
    )


def test_the_index_is_the_rank_of_the_pts() -> None:
    timeline = build_timeline(table([0, 3, 1, 2, 4], keyframe=[1, 0, 0, 0, 1]), BASE)
    assert timeline is not None
    assert timeline.pts.tolist() == [0, 1, 2, 3, 4]
    assert timeline.keyframe.tolist() == [True, False, False, False, True]
    assert timeline.seekable
    assert timeline.source == "packets"


def test_hidden_and_empty_packets_are_no_frames() -> None:
    timeline = build_timeline(table([-2, -1, 0, 1, 2], discard=[1, 1, 0, 0, 0]), BASE)
    assert timeline is not None
    assert timeline.pts.tolist() == [0, 1, 2]
    timeline = build_timeline(table([0, 1, 2], size=[10, 0, 10]), BASE)
    assert timeline is not None
    assert timeline.pts.tolist() == [0, 2]


@pytest.mark.parametrize("pts", [[], [0, NO_PTS, 2], [0, 1, 1, 2]])
def test_packets_without_a_pts_of_their_own_make_no_timeline(pts: list[int]) -> None:
    assert build_timeline(table(pts), BASE) is None


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=60, unique=True), st.randoms())
def test_stored_order_does_not_matter(pts: list[int], random: object) -> None:
    shuffled = list(pts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    keys = set(pts[::3])
    timeline = build_timeline(table(shuffled, keyframe=[p in keys for p in shuffled]), BASE)
    assert timeline is not None
    assert timeline.pts.tolist() == sorted(pts)
    assert {int(p) for p in timeline.pts[timeline.keyframe]} == keys


def test_a_packet_is_known_by_its_pts_size_and_position() -> None:
    lookup = PacketLookup(table([0, 3, 1, 1, 4], size=[10, 20, 30, 30, 40]))
    assert lookup.holds(3, 20, 1000)
    assert not lookup.holds(3, 20, 2000)
    assert not lookup.holds(3, 21, 1000)
    assert not lookup.holds(1, 30, 2000)  # two packets share this PTS
    assert not lookup.holds(2, 20, 1000)


def test_a_census_keeps_pts_that_increase_and_replaces_those_that_do_not() -> None:
    keyframe = np.array([True, False, False])
    kept = timeline_from_census(np.array([5, 7, 11]), keyframe, BASE, Fraction(1, 25))
    assert kept.pts.tolist() == [5, 7, 11]
    assert kept.seekable
    made_up = timeline_from_census(np.array([1, 4, 3]), keyframe, BASE, Fraction(1, 25))
    assert made_up.pts.tolist() == [0, 1, 2]
    assert not made_up.seekable
    assert made_up.time_s(2) == pytest.approx(2 / 25)


def test_seek_runs_start_at_the_keyframe_before_each_frame() -> None:
    timeline = build_timeline(table(list(range(10)), keyframe=[1, 0, 0, 0, 1, 0, 0, 0, 1, 0]), BASE)
    assert timeline is not None
    runs = plan_seek_runs(timeline, np.array([1, 3, 4, 9]))
    assert runs is not None
    assert [(r.key, r.wanted.tolist()) for r in runs] == [(0, [1, 3]), (4, [4]), (8, [9])]
    assert seek_cost(timeline, runs) == (4 + 1 + 2) + 3 * 5
    assert sequence_cost(np.array([1, 3, 4, 9])) == 10


def test_seeks_among_nothing_but_keyframes_cost_their_frames_alone() -> None:
    timeline = build_timeline(table(list(range(10)), keyframe=[1] * 10), BASE)
    assert timeline is not None
    runs = plan_seek_runs(timeline, np.array([1, 3, 4, 9]))
    assert runs is not None
    assert seek_cost(timeline, runs) == 4


def test_frames_before_the_first_keyframe_cannot_be_sought() -> None:
    timeline = build_timeline(table([0, 1, 2, 3], keyframe=[0, 0, 1, 0]), BASE)
    assert timeline is not None
    assert plan_seek_runs(timeline, np.array([1, 3])) is None
    assert plan_seek_runs(timeline, np.array([3])) is not None


@given(st.data())
def test_seek_runs_cover_just_the_frames_asked_for(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 200))
    keys = data.draw(st.sets(st.integers(0, n - 1))) | {0}
    wanted = sorted(data.draw(st.sets(st.integers(0, n - 1))))
    timeline = build_timeline(table(list(range(n)), keyframe=[i in keys for i in range(n)]), BASE)
    assert timeline is not None
    runs = plan_seek_runs(timeline, np.array(wanted, dtype=np.int64))
    assert runs is not None
    assert [i for run in runs for i in run.wanted.tolist()] == wanted
    for run in runs:
        assert run.key == max(k for k in keys if k <= run.wanted[0])
        assert not any(run.key < k <= run.wanted[-1] for k in keys)


@pytest.mark.parametrize("indices", [[0, 0], [2, 1], [-1, 2], [3, 10]])
def test_indices_that_name_no_frames_are_refused(indices: list[int]) -> None:
    with pytest.raises(ValueError, match="frame"):
        validate_indices(np.array(indices), 10)
