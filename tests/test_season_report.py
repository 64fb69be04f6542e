from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alwatch.season_report import season_report, summary_of
from alwatch.store import Store
from tests.seasons.labs import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Store(tmp_path) as store:
        yield Lab(store)


def report_of(lab: Lab, season: str = "2026") -> dict[str, Any]:
    report = season_report(lab.store, season, lab.assess(season))
    json.dumps(report, allow_nan=False)
    return report


@pytest.fixture
def labelled(lab: Lab) -> Lab:
    """Two videos; a queue of two random and two chosen frames, labelled; then a training.

    The first snapshot is 2 px beside the truth on the first video and 4 px on the second, and
    one pixel more at frames from 20 on; the tail is twice as far off as the nose.
    """
    a, b = lab.videos("2026", "ab")
    lab.train(lambda video, frame: (2 if video == a else 4) + (frame >= 20), uncertainty=0.4)
    lab.queue("2026", [(a, 0), (b, 0), (a, 20), (b, 20)], audit=2, trust=0.1)
    lab.label((a, 0), (b, 0), (a, 20), (b, 20))
    lab.train(1, uncertainty=0.1)
    return lab


def test_without_a_second_snapshot_there_is_nothing_to_compare(lab: Lab) -> None:
    (a,) = lab.videos("2026", "a")
    assert report_of(lab)["rounds"] == []
    lab.train(3)
    lab.queue("2026", [(a, 0), (a, 5)], audit=1)
    lab.label((a, 0), (a, 5))
    report = report_of(lab)
    assert report["change"] is None
    assert "Nothing can be compared yet" in summary_of(report)
    (snapshot,) = report["snapshots"]
    # 3 px at the nose and 6 at the tail; one video says nothing of how videos differ
    assert snapshot["error_px"] == {
        "mean": 4.5, "low": 0.0, "high": None, "frames": 1, "videos": 1,
    }  # fmt: skip
    assert snapshot["honest_frames"] == 1


def test_the_error_before_and_after_is_of_the_same_audited_frames(labelled: Lab) -> None:
    report = report_of(labelled)
    change = report["change"]
    assert (change["before"], change["after"]) == ("snapshot-1", "snapshot-2")
    # before: (2 + 4) / 2 = 3 on the one, (4 + 8) / 2 = 6 on the other; after: (1 + 2) / 2
    assert change["all"]["before_px"] == pytest.approx(4.5)
    assert change["all"]["after_px"] == pytest.approx(1.5)
    assert change["all"]["difference_px"] == pytest.approx(-3.0)
    assert (change["frames"], change["honest_frames"], change["honest"]) == (2, 0, None)
    assert [row["honest"] for row in change["by_frame"]] == [False, False]
    before, after = report["snapshots"]
    assert (before["honest_frames"], after["honest_frames"]) == (2, 0)
    assert (before["labels"], after["labels"]) == (0, 4)
    assert before["honest_error_px"]["mean"] == pytest.approx(4.5)
    assert after["honest_error_px"] is None
    assert [before["current"], after["current"]] == [False, True]
    assert before["uncertainty"] == pytest.approx(0.4, abs=1e-6)
    assert after["uncertainty"] == pytest.approx(0.1, abs=1e-6)
    assert "from 4.5 px (snapshot-1) to 1.5 px (snapshot-2)" in summary_of(report)
    assert "its own error is too low" in summary_of(report)


def test_by_bodypart_and_by_video_the_worst_first(labelled: Lab) -> None:
    change = report_of(labelled)["change"]
    assert change["bodyparts"] == [
        {"bodypart": "nose", "before_px": 3.0, "after_px": 1.0, "frames": 2},
        {"bodypart": "tail", "before_px": 6.0, "after_px": 2.0, "frames": 2},
    ]
    assert [
        (Path(row["video"]).name, row["before_px"], row["after_px"]) for row in change["videos"]
    ] == [("b.mp4", 6.0, 1.5), ("a.mp4", 3.0, 1.5)]


def test_audit_frames_labelled_after_both_snapshots_are_honest(labelled: Lab) -> None:
    a, b = 1, 2
    labelled.queue("2026", [(a, 10), (b, 10), (a, 30)], audit=2)
    labelled.label((a, 10), (b, 10))
    report = report_of(labelled)
    change = report["change"]
    assert (change["frames"], change["honest_frames"]) == (4, 2)
    assert change["honest"]["before_px"] == pytest.approx(4.5)
    assert "that neither was trained on" in summary_of(report)
    assert [(row["frame"], row["honest"]) for row in change["by_frame"]] == [
        (0, False), (10, True), (0, False), (10, True),
    ]  # fmt: skip


def test_a_round_is_judged_by_the_snapshot_that_chose_it(labelled: Lab) -> None:
    (row,) = report_of(labelled)["rounds"]
    assert (row["frames"], row["labelled"], row["snapshot"]) == (4, 4, "snapshot-1")
    # chosen: (3 + 6) / 2 = 4.5 and (5 + 10) / 2 = 7.5
    assert row["chosen_px"]["mean"] == pytest.approx(6.0)
    assert row["random_px"]["mean"] == pytest.approx(4.5)
    assert row["rank_correlation"] == pytest.approx(1.0)
    assert (row["compared"], row["trust"]) == (4, 0.1)
    assert row["proved_trust"] == pytest.approx(4 / 24)


def test_withdrawn_queues_and_other_seasons_are_left_out(labelled: Lab) -> None:
    (c,) = labelled.videos("2027", "c")
    labelled.queue("2027", [(c, 0)], audit=1)
    labelled.store.queues.withdraw(labelled.queue("2026", [(1, 40)], audit=1), labelled.later())
    assert len(report_of(labelled)["rounds"]) == 1
    assert report_of(labelled, "2027")["labels"] == {
        "labelled": 0, "queues": 1, "audited": 0, "audited_videos": 0,
    }  # fmt: skip


def test_a_round_made_without_a_pose_model_tells_no_errors(lab: Lab) -> None:
    (a,) = lab.videos("2026", "a")
    lab.queue("2026", [(a, 0)], audit=1)
    lab.label((a, 0))
    lab.train(3)
    (row,) = report_of(lab)["rounds"]
    assert (row["snapshot"], row["random_px"], row["rank_correlation"]) == (None, None, None)
