from __future__ import annotations

from fractions import Fraction

import numpy as np

from alwatch.records import Timeline
from alwatch.video.numbering import FrameNumbering


def timeline(*pts: int) -> Timeline:
    return Timeline(
        pts=np.array(pts, dtype=np.int64),
        keyframe=np.zeros(len(pts), dtype=np.bool_),
        time_base=Fraction(1, 30),
        source="packets",
        seekable=True,
    )


def test_without_loss_the_ordinal_is_the_index() -> None:
    numbering = FrameNumbering(timeline(0, 10, 20), pts_outlives_loss=True)
    assert [numbering.index_of(p) for p in (0, 10, 20)] == [0, 1, 2]
    assert not numbering.contradicted


def test_after_a_loss_the_pts_tells_the_index() -> None:
    numbering = FrameNumbering(timeline(0, 10, 20, 30, 40), pts_outlives_loss=True)
    assert numbering.index_of(0) == 0
    numbering.note_loss()
    assert numbering.index_of(30) == 3
    assert numbering.index_of(40) == 4


def test_a_skipped_pts_without_a_loss_is_a_contradiction_and_the_ordinal_stands() -> None:
    numbering = FrameNumbering(timeline(0, 10, 20, 30), pts_outlives_loss=True)
    assert [numbering.index_of(p) for p in (0, 20, 30)] == [0, 1, 2]
    assert numbering.contradicted


def test_after_a_loss_a_frame_whose_pts_is_not_to_be_believed_has_no_index() -> None:
    contradicted = FrameNumbering(timeline(0, 10, 20, 30), pts_outlives_loss=True)
    contradicted.index_of(10)
    contradicted.note_loss()
    assert contradicted.index_of(20) is None
    no_real_pts = FrameNumbering(timeline(0, 10, 20, 30), pts_outlives_loss=False)
    no_real_pts.note_loss()
    assert no_real_pts.index_of(20) is None
    no_timeline = FrameNumbering(None, pts_outlives_loss=True)
    assert no_timeline.index_of(None) == 0
    no_timeline.note_loss()
    assert no_timeline.index_of(20) is None


def test_after_a_loss_an_unknown_or_repeated_pts_has_no_index() -> None:
    numbering = FrameNumbering(timeline(0, 10, 20, 30), pts_outlives_loss=True)
    numbering.note_loss()
    assert numbering.index_of(10) == 1
    assert numbering.index_of(10) is None
    assert numbering.index_of(15) is None
    assert numbering.index_of(None) is None
    assert numbering.index_of(99) is None
    assert numbering.index_of(30) == 3
