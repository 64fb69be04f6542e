from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from alwatch.records import (
    LabelledFrame,
    LabelledPoint,
    LabelState,
    LocatedSnapshot,
    Queue,
    Snapshot,
)
from alwatch.store import Store
from alwatch.store.labels import Conflict
from tests.store.helpers import NOW, add_video

PROJECT, OTHER = Path("/labs/mouse/config.yaml"), Path("/labs/second")
DIAGONAL_PX = 80.0  # of 64x48, so that two points 1.6 px apart still mean the same place


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def label(
    frame: int,
    x_px: float | None = None,
    *,
    bodypart: str = "nose",
    labeller: str = "",
    state: LabelState = "labelled",
) -> LabelledFrame:
    points = () if x_px is None else (LabelledPoint("", bodypart, x_px, 2.0),)
    return LabelledFrame(PROJECT, "a", frame, PROJECT, points, labeller, state)


def test_each_person_has_a_label_of_their_own(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4])
    both = [(video, label(4, 10, labeller="Ana")), (video, label(4, 11, labeller="Bo"))]
    assert store.labels.set("deeplabcut", PROJECT, both, NOW) == (2, 0, 0)
    assert store.labels.set("deeplabcut", PROJECT, both[:1], NOW) == (0, 0, 1)


def test_a_label_that_is_moved_or_becomes_empty_has_changed(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4])
    for given, changes in [
        (label(4, 10), (1, 0, 0)),
        (label(4, 10.5), (0, 1, 0)),
        (label(4, state="empty"), (0, 1, 0)),
        (label(4, state="empty"), (0, 0, 0)),
    ]:
        assert store.labels.set("sleap", PROJECT, [(video, given)], NOW) == changes


def test_two_projects_that_agree_count_once_and_the_later_one_counts(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4])
    store.labels.set("deeplabcut", PROJECT, [(video, label(4, 10))], NOW)
    store.labels.set("folder", OTHER, [(video, label(4, 11.5))], NOW.replace(day=2))
    assert store.labels.conflicts() == []
    assert store.labels.points() == {(video, 4): (LabelledPoint("", "nose", 11.5, 2.0),)}


def test_points_too_far_apart_are_a_conflict_and_count_for_nothing(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4])
    both = [(video, label(4, 10, labeller="Ana")), (video, label(4, 12, labeller="Bo"))]
    store.labels.set("deeplabcut", PROJECT, [*both, (video, label(0, 5))], NOW)
    assert store.labels.conflicts() == [
        Conflict(video, 4, ("Ana in mouse", "Bo in mouse"), "nose", 2.0)
    ]
    assert set(store.labels.points()) == {(video, 0)}


def test_points_of_different_bodyparts_do_not_disagree(store: Store) -> None:
    video = add_video(store, "a.mp4", [0])
    store.labels.set("deeplabcut", PROJECT, [(video, label(0, 10))], NOW)
    store.labels.set("folder", OTHER, [(video, label(0, 60, bodypart="tail"))], NOW)
    assert store.labels.conflicts() == []


@pytest.mark.parametrize(("state", "n_conflicts"), [("empty", 1), ("skipped", 0)])
def test_nothing_there_contradicts_a_label_and_passing_over_does_not(
    store: Store, state: LabelState, n_conflicts: int
) -> None:
    video = add_video(store, "a.mp4", [0])
    store.labels.set("deeplabcut", PROJECT, [(video, label(0, 10))], NOW)
    store.labels.set("label_studio", OTHER, [(video, label(0, state=state))], NOW)
    conflicts = store.labels.conflicts()
    assert len(conflicts) == n_conflicts
    assert all(conflict.bodypart is None for conflict in conflicts)


def test_a_frame_that_was_passed_over_leaves_the_pool_and_is_not_labelled(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4])
    store.labels.set("label_studio", PROJECT, [(video, label(4, state="skipped"))], NOW)
    (season,) = store.pools.season_counts()
    assert (season.labelled, season.queued) == (0, 0)
    (embedder,) = store.pools.embedders()
    frames = store.pools.season_frames(embedder)
    assert frames.labelled.tolist() == [False, True]


# --- what a snapshot cannot know -----------------------------------------------------------------

SNAPSHOT = Snapshot("deeplabcut", "snapshot-050", "a" * 64, ("nose",))
BEFORE, AFTER, LATER = NOW, NOW + timedelta(hours=2), NOW + timedelta(hours=3)


@pytest.fixture
def taught(store: Store) -> int:
    """A snapshot that was first seen between BEFORE and AFTER, and a video."""
    video = add_video(store, "a.mp4", [0, 4, 8])
    store.snapshots.register(LocatedSnapshot(SNAPSHOT, {}), NOW + timedelta(hours=1))
    return video


def queue(store: Store, video: int, frames: list[int]) -> Queue:
    return store.queues.add(
        season="s1", strategy="random", seed=0, budget=len(frames),
        picks=[(video, frame, 0.0, "") for frame in frames], manifest={}, now=NOW,
    )  # fmt: skip


def unknown(store: Store, **more: bool) -> set[int]:
    return {frame for _, frame in store.labels.points(after=SNAPSHOT, **more)}


def test_labels_that_a_fresh_install_finds_may_be_as_old_as_any(store: Store, taught: int) -> None:
    store.labels.set("deeplabcut", PROJECT, [(taught, label(f, 10)) for f in (0, 4)], AFTER)
    assert unknown(store) == set()


def test_labels_that_join_those_of_a_known_video_are_new(store: Store, taught: int) -> None:
    first, both = [(taught, label(0, 10))], [(taught, label(f, 10)) for f in (0, 4)]
    store.labels.set("deeplabcut", PROJECT, first, BEFORE)
    store.labels.set("deeplabcut", PROJECT, both, AFTER)
    assert unknown(store) == {4}


def test_labels_that_join_those_of_another_project_may_be_old(store: Store, taught: int) -> None:
    store.labels.set("deeplabcut", PROJECT, [(taught, label(0, 10))], BEFORE)
    store.labels.set("deeplabcut", OTHER, [(taught, label(4, 10))], AFTER)
    assert unknown(store) == set()


def test_labels_of_queued_frames_are_new_even_as_the_first_of_a_video(
    store: Store, taught: int
) -> None:
    queue(store, taught, [0, 4])
    store.labels.set("deeplabcut", PROJECT, [(taught, label(f, 10)) for f in (0, 8)], AFTER)
    assert unknown(store) == {0}


def test_labels_that_were_there_before_the_snapshot_are_known_queued_or_not(
    store: Store, taught: int
) -> None:
    queue(store, taught, [0])
    store.labels.set("deeplabcut", PROJECT, [(taught, label(0, 10))], BEFORE)
    assert unknown(store) == set()
    store.snapshots.set_taught_until(SNAPSHOT, NOW - timedelta(hours=1))
    assert unknown(store) == {0}


def test_a_frame_that_is_known_from_one_project_stays_known(store: Store, taught: int) -> None:
    queue(store, taught, [0])
    store.labels.set("deeplabcut", PROJECT, [(taught, label(0, 10))], BEFORE)
    store.labels.set("folder", OTHER, [(taught, label(0, 10))], AFTER)
    assert unknown(store) == set()


def test_a_label_that_is_corrected_is_no_new_one(store: Store, taught: int) -> None:
    queue(store, taught, [0])
    store.labels.set("deeplabcut", PROJECT, [(taught, label(0, 10))], BEFORE)
    store.labels.set("deeplabcut", PROJECT, [(taught, label(0, 20))], AFTER)
    assert unknown(store) == set()


def test_frames_of_a_withdrawn_queue_are_not_told_by_it(store: Store, taught: int) -> None:
    store.queues.withdraw(queue(store, taught, [0]), NOW)
    store.labels.set("deeplabcut", PROJECT, [(taught, label(0, 10))], AFTER)
    assert unknown(store) == set()


def test_held_out_frames_count_where_they_are_asked_for(store: Store, taught: int) -> None:
    queue(store, taught, [8])
    labels = [(taught, label(f, 10)) for f in (0, 4)]
    store.labels.set("deeplabcut", PROJECT, labels, BEFORE)
    store.labels.set("deeplabcut", PROJECT, [*labels, (taught, label(8, 10))], AFTER)
    store.snapshots.set_held_out(SNAPSHOT, {(taught, 4), (taught, 400)})
    assert unknown(store) == {8}
    assert unknown(store, held_out=True) == {4, 8}


def test_of_a_snapshot_that_nobody_has_seen_nothing_is_told(store: Store, taught: int) -> None:
    queue(store, taught, [0])
    store.labels.set("deeplabcut", PROJECT, [(taught, label(0, 10))], LATER)
    stranger = Snapshot("deeplabcut", "x", "f" * 64, ("nose",))
    assert store.labels.points(after=stranger) == {}


def test_a_frame_is_first_noticed_by_whoever_labels_it_first(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4, 7])
    store.labels.set("folder", OTHER, [(video, label(4, 11.5))], NOW.replace(day=2))
    both = [(video, label(4, 10)), (video, label(7, state="skipped"))]
    store.labels.set("deeplabcut", PROJECT, both, NOW.replace(day=3))
    assert store.labels.noticed_at() == {(video, 4): NOW.replace(day=2)}
    assert store.labels.frames() == {video: [4, 7]}
