from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alwatch.records import LabelledFrame, RootScan
from alwatch.store import Store
from tests.store.helpers import EMBEDDER, NOW, add_video, ingested


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def label(store: Store, video_id: int, *frames: int) -> None:
    labels = [(video_id, LabelledFrame(Path("/p"), "a", f, Path("/p/x.csv"))) for f in frames]
    store.labels.set("deeplabcut", Path("/p"), labels, NOW)


def queue(store: Store, video_id: int, *frames: int) -> None:
    picks = [(video_id, frame, 0.0, "because") for frame in frames]
    store.queues.add(
        season="s1", strategy="random", seed=0, budget=9, picks=picks, manifest={}, now=NOW
    )


def test_vectors_come_back_bit_for_bit(store: Store) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float16)
    add_video(store, "a.mp4", [1, 5, 8], vectors=vectors)
    frames = store.pools.season_frames(EMBEDDER, "s1")
    np.testing.assert_array_equal(frames.vectors, vectors)
    assert frames.frame_indices.tolist() == [1, 5, 8]
    assert frames.times_s.tolist() == [1 / 25, 5 / 25, 8 / 25]


def test_rows_do_not_depend_on_the_order_of_ingestion(tmp_path: Path) -> None:
    stores = [Store(tmp_path / "one"), Store(tmp_path / "two")]
    for store, paths in zip(stores, (["a.mp4", "b.mp4"], ["b.mp4", "a.mp4"]), strict=True):
        for path in paths:
            add_video(store, path, [0, 1], vectors=np.full((2, 4), ord(path[0])))
    one, two = (store.pools.season_frames(EMBEDDER).vectors for store in stores)
    np.testing.assert_array_equal(one, two)


def test_an_unknown_season_is_empty(store: Store) -> None:
    frames = store.pools.season_frames(EMBEDDER, "nowhere")
    assert frames.vectors.shape == (0, 4)
    assert frames.labelled.shape == (0,)


def test_labelled_counts_before_queued(store: Store) -> None:
    video_id = add_video(store, "a.mp4", [0, 1, 2, 3])
    queue(store, video_id, 1, 2)
    label(store, video_id, 2, 3)
    frames = store.pools.season_frames(EMBEDDER)
    assert frames.labelled.tolist() == [False, False, True, True]
    assert frames.queued.tolist() == [False, True, False, False]
    (counts,) = store.pools.season_counts()
    assert (counts.frames, counts.labelled, counts.queued) == (4, 2, 1)


def test_a_label_in_two_projects_counts_once(store: Store) -> None:
    video_id = add_video(store, "a.mp4", [0, 1])
    label(store, video_id, 0)
    again = [(video_id, LabelledFrame(Path("/q"), "a", 0, Path("/q/x.csv")))]
    store.labels.set("deeplabcut", Path("/q"), again, NOW)
    assert store.pools.season_counts()[0].labelled == 1


def test_videos_whose_root_is_offline_are_not_in_the_pool_but_their_labels_count(
    store: Store,
) -> None:
    video_id = add_video(store, "a.mp4", [0, 1])
    label(store, video_id, 0)
    store.videos.record_scan(RootScan(Path("/archive"), False, problem="gone"), NOW)
    assert len(store.pools.season_frames(EMBEDDER).frame_indices) == 0
    assert store.pools.marked_frames(EMBEDDER).labelled.tolist() == [True, False]


def test_only_what_is_new_since_a_revision_is_read(store: Store) -> None:
    first = add_video(store, "a.mp4", [0])
    revision = max(part.revision for part in store.pools.vectors_since(EMBEDDER, 0))
    second = add_video(store, "b.mp4", [0])
    assert [p.video_id for p in store.pools.vectors_since(EMBEDDER, revision)] == [second]
    store.videos.finish(first, ingested([0]), "s1", NOW)
    new = [p.video_id for p in store.pools.vectors_since(EMBEDDER, revision)]
    assert new == [second, first]


def test_one_view_does_not_see_what_is_written_meanwhile(tmp_path: Path) -> None:
    reader, writer = Store(tmp_path), Store(tmp_path)
    with reader.pools.one_view():
        assert reader.pools.n_frames() == 0
        add_video(writer, "a.mp4", [0, 1])
        assert reader.pools.n_frames() == 0
    assert reader.pools.n_frames() == 2


def test_a_season_keeps_its_videos_when_a_drive_is_offline_but_not_when_they_are_gone(
    store: Store,
) -> None:
    one = add_video(store, "a.mp4", [0, 4], season="s2", root="/drive")
    other = add_video(store, "b.mp4", [0], season="s1")
    without = add_video(store, "c.mp4", [], season="s1")
    videos = store.pools.season_videos(EMBEDDER)
    assert [(video.id, video.season, video.frames) for video in videos] == [
        (one, "s2", 2),
        (other, "s1", 1),
    ]
    assert videos[0].path == Path("/drive/a.mp4")
    assert videos[0].discovered_at == NOW
    store.videos.record_scan(RootScan(Path("/drive"), online=False, problem="away"), NOW)
    store.videos.record_scan(RootScan(Path("/archive"), online=True), NOW)
    assert [video.id for video in store.pools.season_videos(EMBEDDER)] == [one]
    assert without not in [video.id for video in videos]
    assert store.videos.seasons() == {one: "s2", other: "s1", without: "s1"}
