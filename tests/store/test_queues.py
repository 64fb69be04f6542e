from __future__ import annotations

from pathlib import Path

import pytest

from alwatch.errors import StoreError
from alwatch.records import LabelledFrame, LabelState, Queue
from alwatch.store import Store
from tests.store.helpers import NOW, add_video, seen


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def add(store: Store, *frames: tuple[int, int]) -> Queue:
    return store.queues.add(
        season="s1",
        strategy="minmax",
        seed=3,
        budget=5,
        picks=[(video, frame, frame / 2, f"reason {frame}") for video, frame in frames],
        manifest={"software": "x"},
        now=NOW,
    )


def test_a_queue_comes_back_as_it_was_kept(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4, 7])
    queue = add(store, (video, 7), (video, 0))
    assert store.queues.get(queue.id) == queue
    assert [(f.rank, f.frame, f.score, f.reason) for f in queue.frames] == [
        (1, 7, 3.5, "reason 7"),
        (2, 0, 0.0, "reason 0"),
    ]
    assert queue.frames[0].video == Path("/archive/a.mp4")
    assert queue.manifest == {"software": "x"}


def test_what_the_manifest_has_for_review_comes_back_with_its_video(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4, 7])
    queue = store.queues.add(
        season="s1",
        strategy="minmax",
        seed=3,
        budget=5,
        picks=[(video, 0, 0.5, "x")],
        manifest={"review": [(video, 7, 0.8, "odd"), (video, 4, 0.3, "odd too")]},
        now=NOW,
    )
    assert [(f.video, f.frame, f.rank, f.score, f.reason) for f in queue.review] == [
        (Path("/archive/a.mp4"), 7, 1, 0.8, "odd"),
        (Path("/archive/a.mp4"), 4, 2, 0.3, "odd too"),
    ]
    assert [frame.frame for frame in queue.frames] == [0]


def test_no_frame_is_queued_twice_and_the_second_queue_is_not_kept_in_part(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4, 7])
    add(store, (video, 7))
    with pytest.raises(StoreError, match="ask for it again"):
        add(store, (video, 0), (video, 7))
    assert [summary.frames for summary in store.queues.summaries()] == [1]


def test_a_queue_outlives_the_content_it_came_from(store: Store) -> None:
    video = add_video(store, "a.mp4", [0])
    queue = add(store, (video, 0))
    store.videos.link(seen("a.mp4", size=5), "other content", NOW)
    assert store.queues.get(queue.id).frames[0].video == Path("/archive/a.mp4")


def test_an_unknown_queue_is_a_key_error(store: Store) -> None:
    with pytest.raises(KeyError):
        store.queues.get(1)


def test_frames_are_grouped_by_video_in_frame_order(store: Store) -> None:
    a, b = add_video(store, "a.mp4", [0, 4, 7]), add_video(store, "b.mp4", [1])
    videos = store.queues.by_video(add(store, (b, 1), (a, 7), (a, 0)))
    assert [[f.frame for f in video.frames] for video in videos] == [[0, 7], [1]]
    assert (videos[0].width_px, videos[0].height_px, videos[0].n_frames) == (64, 48, 1000)
    assert videos[0].content_hash == "hash-of-a.mp4"


def test_labels_are_what_the_project_holds_now(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4, 7])
    project = Path("/p")

    def sync(*frames: int) -> tuple[int, int, int]:
        found = [(video, LabelledFrame(project, "a", frame, project)) for frame in frames]
        return store.labels.set("deeplabcut", project, found, NOW)

    assert sync(0, 4) == (2, 0, 0)
    assert sync(0, 4) == (0, 0, 0)
    assert sync(4, 7) == (1, 0, 1)


def test_a_summary_tells_progress_and_exports(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4, 7])
    queue = add(store, (video, 0), (video, 4))
    project = Path("/p/config.yaml")
    store.queues.add_export(queue, "deeplabcut", project, 2, [("a", video)], NOW)
    store.queues.add_export(queue, "deeplabcut", project, 0, [("a", video)], NOW)
    label = LabelledFrame(project, "a", 4, project)
    store.labels.set("deeplabcut", project, [(video, label)], NOW)
    (summary,) = store.queues.summaries()
    assert (summary.frames, summary.labelled) == (2, 1)
    assert summary.exported_to == ("deeplabcut",)
    assert store.queues.export_folders("deeplabcut", project) == {"a": video}
    assert store.queues.exported_to() == {("deeplabcut", project)}


def test_progress_counts_each_frame_once_whoever_labelled_it(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4, 7, 9])
    add(store, (video, 0), (video, 4), (video, 7), (video, 9))
    project = Path("/p")

    def done(frame: int, labeller: str, state: LabelState) -> tuple[int, LabelledFrame]:
        return video, LabelledFrame(project, "a", frame, project, (), labeller, state)

    found = [
        done(0, "Ana", "labelled"), done(0, "Bo", "labelled"), done(4, "Ana", "skipped"),
        done(4, "Bo", "labelled"), done(7, "Ana", "empty"),
    ]  # fmt: skip
    store.labels.set("label_studio", project, found, NOW)
    (summary,) = store.queues.summaries()
    assert (summary.frames, summary.labelled, summary.skipped) == (4, 2, 1)


def test_a_withdrawn_queue_is_kept_and_its_frames_may_be_queued_again(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4, 7])
    queue = add(store, (video, 0), (video, 4))
    store.queues.add_export(queue, "folder", Path("/p"), 2, [("a", video)], NOW)
    for moment in (NOW, NOW.replace(day=2)):
        store.queues.withdraw(queue, moment)
    first, second = add(store, (video, 4)), store.queues.get(queue.id)
    assert second.frames == queue.frames
    summaries = store.queues.summaries()
    assert [summary.withdrawn_at for summary in summaries] == [NOW, None]
    assert store.queues.exports_of(queue) == []
    (season,) = store.pools.season_counts()
    assert season.queued == 1
    with pytest.raises(StoreError):
        add(store, (video, 4))
    store.queues.withdraw(first, NOW)
    (season,) = store.pools.season_counts()
    assert season.queued == 0


def test_an_export_that_has_only_begun_is_known_and_can_be_given_up(store: Store) -> None:
    video = add_video(store, "a.mp4", [0])
    queue = add(store, (video, 0))
    one, other = ("folder", Path("/p")), ("coco", Path("/q"))
    for to in (one, other):
        store.queues.begin_export(queue, *to)
    store.queues.add_export(queue, *other, 1, [("a", video)], NOW)
    assert store.queues.exports_of(queue) == [other, one]
    assert store.queues.exports_of(queue, ended=True) == [other]
    for to in (one, other):
        store.queues.begin_export(queue, *to)
        store.queues.give_up_export(queue, *to)
    assert store.queues.exports_of(queue) == [other]


def test_the_audit_frames_of_a_season_are_the_first_of_its_queues(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4, 7, 9, 12])
    given = {"strategy": "minmax", "seed": 3, "budget": 5, "now": NOW}
    for season, frames, audit in (("s1", (7, 0), 1), ("s2", (4,), 1), ("s1", (9, 12), 0)):
        picks = [(video, frame, 0.5, "x") for frame in frames]
        store.queues.add(season=season, picks=picks, manifest={"audit_frames": audit}, **given)  # type: ignore[arg-type]
    assert store.queues.audit_frames("s1") == [(video, 7)]
    assert store.queues.frames() == {(video, frame) for frame in (0, 4, 7, 9, 12)}
    store.queues.withdraw(store.queues.get(1), NOW)
    assert store.queues.audit_frames("s1") == []
    assert store.queues.frames() == {(video, frame) for frame in (4, 9, 12)}


def test_a_queue_of_a_version_that_knew_no_audit_has_none(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 4])
    add(store, (video, 0))
    assert store.queues.audit_frames("s1") == []
