from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from alwatch.seasons.assess import assess_seasons, inputs_of
from alwatch.seasons.figures import SeasonFigures
from alwatch.store import Store
from tests.seasons.labs import Lab
from tests.store.helpers import EMBEDDER


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Store(tmp_path) as store:
        yield Lab(store)


def test_counts_and_new_labels_of_a_season_without_a_pose_model(lab: Lab) -> None:
    a, b = lab.videos("2026", "ab")
    (c,) = lab.videos("2025", "c")
    lab.queue("2026", [(a, 0), (a, 5), (b, 0)])
    lab.label((a, 0), (b, 10), (c, 0))
    found = lab.assess("2026")
    assert (found.videos, found.frames, found.labelled, found.queued) == (2, 20, 2, 2)
    assert found.new_labels == 1  # (b, 10) was in no queue
    assert lab.assess("2025").new_labels == 0
    assert (found.snapshot, found.error_px, found.uncertainty) == (None, None, None)


def test_labels_are_new_until_a_snapshot_comes_after_them(lab: Lab) -> None:
    a, b = lab.videos("2026", "ab")
    lab.train(8)
    lab.queue("2026", [(a, 0), (a, 5), (b, 0)])
    lab.label((a, 0), (b, 0))
    assert lab.assess("2026").new_labels == 2
    lab.train(4)
    assert lab.assess("2026").new_labels == 0


def test_the_error_is_that_of_the_current_snapshot_on_audit_frames_it_cannot_know(lab: Lab) -> None:
    a, b = lab.videos("2026", "ab")
    (c,) = lab.videos("2025", "c")
    lab.label((c, 0))
    lab.train(8)
    lab.queue("2026", [(a, 0), (a, 5), (b, 0), (b, 5)], audit=3)
    lab.label((a, 0), (a, 5), (b, 0), (b, 5))
    found = lab.assess("2026")
    assert found.error_px is not None
    # The nose lies 8 px beside the truth and the tail 16.
    assert (found.error_px.mean, found.error_px.frames, found.error_px.videos) == (12, 3, 2)
    assert found.error_px.low == found.error_px.high == 12
    assert found.baseline_px == 12  # on the frame of 2025
    assert lab.assess("2025").error_px is None
    lab.train(4)
    found = lab.assess("2026")
    assert found.error_px is None
    assert found.baseline_px == 6


def test_one_video_says_nothing_of_how_videos_differ(lab: Lab) -> None:
    (a,) = lab.videos("2026", "a")
    lab.train(8)
    lab.queue("2026", [(a, 0)], audit=1)
    lab.label((a, 0))
    found = lab.assess("2026")
    assert found.error_px is not None
    assert (found.error_px.low, found.error_px.high) == (0, float("inf"))
    text = json.dumps(found.as_dict(), allow_nan=False)
    assert SeasonFigures.from_dict(json.loads(text)) == found


def test_uncertainty_is_the_mean_over_the_seasons_frames(lab: Lab) -> None:
    a, b = lab.videos("2026", "ab")
    (c,) = lab.videos("2025", "c")
    lab.train(8, uncertainty={a: 0.2, b: 0.4, c: 0.1})
    assert lab.assess("2026").uncertainty == pytest.approx(0.3, abs=1e-6)
    assert lab.assess("2025").uncertainty == pytest.approx(0.1, abs=1e-6)


def test_coverage_is_the_share_of_frames_near_a_label_of_any_season(lab: Lab) -> None:
    (a,) = lab.videos("2025", "a", direction=0, spread=0)
    lab.videos("2026", "b", direction=0, spread=0)
    lab.videos("2027", "c", direction=1, spread=0)
    assert lab.assess("2025").coverage == 0
    lab.label(*((a, frame) for frame in range(0, 50, 5)))
    assert lab.assess("2025").coverage == 1
    assert lab.assess("2027").coverage == 0


def test_several_seasons_cost_one_reading_and_give_the_same_figures(lab: Lab) -> None:
    a, _ = lab.videos("2025", "ab")
    lab.videos("2026", "cd", direction=1)
    lab.label((a, 0))
    lab.train(8)
    both = assess_seasons(
        lab.store, EMBEDDER, ["2025", "2026", "1999"], before={}, drift_alpha=0.05
    )
    assert both == {season: lab.assess(season) for season in ("2025", "2026")}


def test_new_videos_of_another_kind_are_drift_and_alike_ones_are_not(lab: Lab) -> None:
    old = lab.videos("2025", "abcdefgh")
    lab.label((old[0], 0))
    lab.train(8)
    lab.videos("2026", "ijkl", direction=1)
    lab.videos("2027", "mnop")
    lab.score(lab.store.snapshots.current().snapshot, 8)  # type: ignore[arg-type]
    found = lab.assess("2026")
    vectors, doubt = found.drift
    assert (vectors.over, vectors.reference, vectors.new) == ("embeddings", 8, 4)
    assert vectors.is_found
    assert vectors.enough
    assert vectors.alpha == 0.05 / 2 / 2  # half at the first look, half of that for each test
    assert vectors.p == pytest.approx(1 / 495)  # the most extreme of C(12, 4) ways
    assert len(vectors.videos) == 4
    assert vectors.videos[0][0].startswith("/archive/2026/")
    assert (doubt.over, doubt.is_found) == ("uncertainty", False)
    assert (found.looks, found.drift_looks) == (1, 1)
    alike = lab.assess("2027")
    assert not any(each.is_found for each in alike.drift)
    assert (alike.looks, alike.drift_looks) == (1, 0)


def test_scores_that_will_not_come_are_not_waited_for(lab: Lab) -> None:
    lab.label((lab.videos("2025", "abcdefgh")[0], 0))
    lab.train(8)
    lab.videos("2026", "ijkl", direction=1)  # not scored
    assert lab.assess("2026").looks == 0
    lab.store.snapshots.switch_off(lab.now)
    (drift,) = lab.assess("2026").drift
    assert drift.is_found
    assert drift.over == "embeddings"


def test_doubt_alone_can_be_the_drift(lab: Lab) -> None:
    old = lab.videos("2025", "abcdefgh")
    lab.label((old[0], 0))
    lab.train(8, uncertainty={video: 0.1 + video / 100 for video in old})
    new = lab.videos("2026", "ijkl")
    snapshot = lab.store.snapshots.current().snapshot
    assert snapshot is not None
    assert lab.assess("2026").looks == 0  # the new videos have yet to be scored
    lab.score(snapshot, 8, uncertainty={video: 0.6 + video / 100 for video in new})
    vectors, doubt = lab.assess("2026").drift
    assert doubt.is_found
    assert doubt.effect > 3
    assert not vectors.is_found


def test_a_season_is_looked_at_again_when_its_new_videos_have_doubled(lab: Lab) -> None:
    lab.label((lab.videos("2025", "abcdefgh")[0], 0))
    first = lab.assess("2026") if lab.videos("2026", "ijkl", direction=1) else None
    assert first is not None
    assert (first.looks, first.drift[0].new) == (1, 4)
    lab.videos("2026", "mno", direction=1)
    assert lab.assess("2026", first).drift == first.drift
    lab.videos("2026", "p", direction=1)
    second = lab.assess("2026", first)
    assert (second.looks, second.drift_looks, second.drift[0].new) == (2, 2, 8)
    assert second.campaign == first.campaign
    assert second.drift[0].alpha == pytest.approx(0.05 / 6)
    assert lab.assess("2026", first) == second


def test_what_is_taught_anew_begins_another_campaign(lab: Lab) -> None:
    lab.label((lab.videos("2025", "abcdefgh")[0], 0))
    new = lab.videos("2026", "ijkl", direction=1)
    before = lab.assess("2026")
    assert before.drift_looks == 1
    lab.label((new[0], 0))  # now 2026 itself is taught: its four videos are what later ones meet
    after = lab.assess("2026", before)
    assert after.campaign != before.campaign
    assert (after.drift, after.looks, after.drift_looks) == ((), 0, 0)
    lab.videos("2026", "mnopq", direction=2)
    later = lab.assess("2026", after)
    assert (later.drift[0].reference, later.drift[0].new) == (12, 5)
    assert later.drift[0].is_found


def test_a_season_without_anything_to_compare_with_is_not_looked_at(lab: Lab) -> None:
    lab.videos("2026", "abcdefgh")
    found = lab.assess("2026")
    assert (found.drift, found.looks, found.novel_videos) == ((), 0, ())


def test_a_video_like_none_that_is_labelled_is_novel(lab: Lab) -> None:
    old = lab.videos("2025", [f"o{n}" for n in range(24)])
    lab.label(*((video, 0) for video in old))
    lab.videos("2026", ["usual1", "usual2"], spread=0)
    lab.videos("2026", ["strange"], direction=3)
    assert lab.assess("2026").novel_videos == (("/archive/2026/strange.mp4", 1 / 25),)
    assert lab.assess("2025").novel_videos == ()


def test_the_inputs_of_a_season_stay_until_something_of_it_changes(lab: Lab) -> None:
    a, _ = lab.videos("2025", "ab")
    lab.videos("2026", "c")
    snapshot = lab.train(8)

    def changed() -> set[str]:
        nonlocal inputs
        before, inputs = inputs, inputs_of(lab.store, EMBEDDER)
        return {season for season in inputs if inputs[season] != before.get(season)}

    inputs: dict[str, str] = {}
    assert changed() == {"2025", "2026"}
    assert changed() == set()
    lab.videos("2026", "d")
    lab.score(snapshot, 8)
    assert changed() == {"2026", "2025"}  # of others, two videos are a doubling
    lab.videos("2026", "e")
    lab.score(snapshot, 8)
    assert changed() == {"2026"}
    lab.queue("2025", [(a, 0), (a, 5)])
    assert changed() == {"2025", "2026"}
    lab.label((a, 0))
    assert changed() == {"2025", "2026"}
    lab.train(4)
    assert changed() == {"2025", "2026"}
    assert changed() == set()


def test_figures_of_a_later_version_are_read_without_what_is_new(lab: Lab) -> None:
    lab.videos("2026", "a")
    found = lab.assess("2026")
    assert SeasonFigures.from_dict(found.as_dict() | {"later": 5}) == found


def test_videos_of_one_session_are_no_more_evidence_than_one(lab: Lab) -> None:
    old = lab.videos("2025", "abcdefgh")
    lab.label((old[0], 0))
    lab.train(8)
    new = lab.videos("2026", "klmnopqr", direction=1)
    lab.score(lab.store.snapshots.current().snapshot, 8)  # type: ignore[arg-type]
    alone = lab.assess("2026")
    assert (alone.drift[0].reference, alone.drift[0].new) == (8, 8)
    # Two sessions of four videos: too few for a look.
    lab.sessions_of = lambda ids: {i: f"day-{new.index(i) // 4}" for i in ids if i in new}
    assert lab.assess("2026").drift == ()
    lab.sessions_of = lambda ids: {i: f"day-{new.index(i) // 2}" for i in ids if i in new}
    pairs = lab.assess("2026")
    assert (pairs.drift[0].reference, pairs.drift[0].new) == (8, 4)
    assert pairs.drift[0].is_found


def test_a_model_that_is_surer_of_new_videos_calls_for_no_labels(lab: Lab) -> None:
    old = lab.videos("2025", "abcdefgh")
    lab.label((old[0], 0))
    new = lab.videos("2026", "klmnopqr")
    lab.train(8, uncertainty={video: 0.05 for video in new})
    vectors, doubt = lab.assess("2026").drift
    assert not vectors.is_found
    assert doubt.p <= doubt.alpha
    assert doubt.effect < 0
    assert not doubt.is_found
