from __future__ import annotations

from pathlib import Path

import pytest

from alwatch.records import LabelledFrame, LabelledPoint, Queue
from alwatch.store import Store
from alwatch.store.projects import Remembered
from tests.store.helpers import NOW, add_video

OLD, NEW, OTHER = Path("/labs/old"), Path("/labs/new"), Path("/labs/other")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def queue_in(store: Store, project: Path, video: int, frame: int) -> Queue:
    queue = store.queues.add(
        season="s1",
        strategy="minmax",
        seed=1,
        budget=1,
        picks=[(video, frame, 0.5, "x")],
        manifest={},
        now=NOW,
    )
    store.queues.add_export(queue, "folder", project, 1, [("a-1", video)], NOW)
    return queue


def label(store: Store, project: Path, video: int, frame: int, x_px: float, day: int = 1) -> None:
    points = (LabelledPoint("", "nose", x_px, 2.0),)
    found = LabelledFrame(project, "a-1", frame, project, points)
    store.labels.set("folder", project, [(video, found)], NOW.replace(day=day))


def test_all_that_is_remembered_of_a_project_moves_and_nothing_else(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4, 7])
    queue, other = queue_in(store, OLD, video, 0), queue_in(store, OTHER, video, 4)
    label(store, OLD, video, 0, 10)
    label(store, OTHER, video, 4, 11)
    store.queues.begin_export(queue, "coco", OLD)
    store.projects.move("folder", OLD, NEW)
    assert store.projects.known() == {
        ("coco", OLD): Remembered(1, 0),
        ("folder", NEW): Remembered(1, 1),
        ("folder", OTHER): Remembered(1, 1),
    }
    assert store.queues.exports_of(queue, ended=True) == [("folder", NEW)]
    assert store.queues.exports_of(other) == [("folder", OTHER)]
    assert store.queues.export_folders("folder", NEW) == {"a-1": video}
    assert store.queues.export_folders("folder", OLD) == {}


def test_a_label_that_moves_keeps_the_moment_at_which_it_was_first_noticed(store: Store) -> None:
    """Though it was read at the new place already: by that moment a snapshot may know it."""
    video = add_video(store, "a.mp4", [0])
    queue_in(store, OLD, video, 0)
    label(store, OLD, video, 0, 10, day=1)
    label(store, NEW, video, 0, 10, day=9)
    store.projects.move("folder", OLD, NEW)
    label(store, OTHER, video, 0, 10.5, day=5)
    assert store.labels.points()[video, 0][0].x_px == 10.5  # the one noticed last


def test_a_forgotten_project_keeps_its_labels_and_the_videos_of_its_folders(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4])
    queue = queue_in(store, OLD, video, 0)
    label(store, OLD, video, 4, 10)
    store.projects.forget("folder", OLD, drops_labels=False)
    assert store.projects.known() == {("folder", OLD): Remembered(0, 1)}
    assert store.queues.exports_of(queue) == []
    assert set(store.labels.points()) == {(video, 4)}
    assert store.queues.export_folders("folder", OLD) == {"a-1": video}


def test_with_its_labels_nothing_is_left_of_a_project(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4])
    queue_in(store, OLD, video, 0)
    queue_in(store, OTHER, video, 4)
    for project in (OLD, OTHER):
        label(store, project, video, 4, 10)
    store.projects.forget("folder", OLD, drops_labels=True)
    assert store.projects.known() == {("folder", OTHER): Remembered(1, 1)}
    assert store.queues.export_folders("folder", OLD) == {}


def test_what_setting_labels_would_change_can_be_asked_first(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4])
    label(store, OLD, video, 0, 10)
    there = LabelledFrame(OLD, "a-1", 4, OLD)
    moved = LabelledFrame(OLD, "a-1", 0, OLD, (LabelledPoint("", "nose", 12.0, 2.0),))
    assert store.labels.changes("folder", OLD, [(video, moved), (video, there)]) == (1, 1, 0)
    assert store.labels.changes("folder", OLD, [(video, there)]) == (1, 0, 1)
    assert store.labels.points()[video, 0][0].x_px == 10
