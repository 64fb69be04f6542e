from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest

from alwatch.errors import StoreError
from alwatch.records import EmbedderIdentity, RootScan
from alwatch.store import Store
from tests.store.helpers import NOW, add_video, ingested, seen


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def test_new_content_becomes_a_ready_video(store: Store) -> None:
    assert store.videos.link(seen("a.mp4"), "h", NOW)
    assert store.videos.counts().waiting == 1


def test_a_second_copy_of_known_content_is_not_new(store: Store) -> None:
    add_video(store, "a.mp4", [0])
    assert not store.videos.link(seen("copy.mp4", inode=2), "hash-of-a.mp4", NOW)
    assert store.videos.claim(NOW) is None
    assert store.videos.counts().done == 1


def test_a_renamed_file_keeps_its_video(store: Store) -> None:
    video_id = add_video(store, "a.mp4", [0])
    store.videos.record_scan(RootScan(Path("/archive"), True, (seen("b.mp4"),)), NOW)
    store.videos.link(seen("b.mp4"), "hash-of-a.mp4", NOW)
    found = store.videos.at(Path("/archive/b.mp4"))
    assert found is not None
    assert (found.id, found.path) == (video_id, Path("/archive/b.mp4"))
    assert store.videos.counts().offline == 0


def test_overwritten_content_is_superseded_and_the_new_one_ingested(store: Store) -> None:
    add_video(store, "a.mp4", [0, 1])
    assert store.videos.link(seen("a.mp4", size=200), "other", NOW)
    claim = store.videos.claim(NOW)
    assert claim is not None
    assert claim.content_hash == "other"
    (old,) = store.videos.listing("superseded")
    assert (old.path, old.present) == (Path("/archive/a.mp4"), False)
    counts = store.videos.counts()
    assert (counts.done, counts.waiting) == (0, 1)


def test_quarantined_content_gets_another_try_when_its_file_is_touched(store: Store) -> None:
    store.videos.link(seen("a.mp4"), "h", NOW)
    claim = store.videos.claim(NOW)
    assert claim is not None
    store.videos.set_aside(claim.video_id, "quarantined", "no permission", NOW)
    assert store.videos.claim(NOW) is None
    store.videos.link(seen("a.mp4", inode=2), "h", NOW)
    again = store.videos.claim(NOW)
    assert again is not None
    assert again.attempts == 1


def test_an_attempt_is_counted_before_it_is_made_and_survives_a_crash(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.videos.link(seen("a.mp4"), "h", NOW)
    first = store.videos.claim(NOW)
    store.close()  # the process dies here
    store = Store(tmp_path)
    assert store.videos.claim(NOW) is None
    assert store.videos.recover(NOW) == 1
    second = store.videos.claim(NOW)
    assert first is not None
    assert second is not None
    assert (first.attempts, second.attempts) == (1, 2)


def test_a_released_claim_was_no_attempt(store: Store) -> None:
    store.videos.link(seen("a.mp4"), "h", NOW)
    claim = store.videos.claim(NOW)
    assert claim is not None
    store.videos.release(claim, NOW)
    again = store.videos.claim(NOW)
    assert again is not None
    assert again.attempts == 1


def test_a_video_that_failed_waits_behind_those_that_did_not(store: Store) -> None:
    store.videos.link(seen("a.mp4"), "a", NOW)
    failed = store.videos.claim(NOW)
    assert failed is not None
    store.videos.set_aside(failed.video_id, "ready", "crashed", NOW)
    store.videos.link(seen("b.mp4", inode=2), "b", NOW)
    order = [store.videos.claim(NOW), store.videos.claim(NOW)]
    assert [claim and claim.content_hash for claim in order] == ["b", "a"]


def test_a_waiting_video_is_claimed_when_its_time_has_come(store: Store) -> None:
    store.videos.link(seen("a.mp4"), "a", NOW)
    claim = store.videos.claim(NOW)
    assert claim is not None
    later = NOW + timedelta(minutes=10)
    store.videos.set_aside(claim.video_id, "waiting", "no moov", NOW, retry_at=later)
    assert store.videos.claim(NOW) is None
    assert store.videos.claim(later) is not None


def test_files_of_an_offline_root_are_kept_and_come_back(store: Store) -> None:
    add_video(store, "a.mp4", [0])
    root, files = Path("/archive"), (seen("a.mp4"),)
    store.videos.record_scan(RootScan(root, True, files), NOW)
    store.videos.record_scan(RootScan(root, False, problem="gone"), NOW)
    assert store.videos.counts() == dataclasses.replace(store.videos.counts(), done=0, offline=1)
    assert store.videos.root_problems() == [(root, False, "gone")]
    store.videos.record_scan(RootScan(root, True, files), NOW)
    assert (store.videos.counts().done, store.videos.counts().offline) == (1, 0)


def test_files_in_a_folder_that_could_not_be_scanned_are_not_taken_for_gone(store: Store) -> None:
    add_video(store, "a.mp4", [0])
    store.videos.record_scan(RootScan(Path("/archive"), True, (), "1 folder is locked"), NOW)
    assert store.videos.counts().done == 1
    store.videos.record_scan(RootScan(Path("/archive"), True), NOW)
    assert store.videos.counts().offline == 1


def test_nothing_on_an_offline_root_is_claimed(store: Store) -> None:
    store.videos.link(seen("a.mp4"), "a", NOW)
    store.videos.record_scan(RootScan(Path("/archive"), False, problem="gone"), NOW)
    assert store.videos.claim(NOW) is None


def test_a_claim_can_be_limited_to_paths(store: Store) -> None:
    store.videos.link(seen("a.mp4"), "a", NOW)
    store.videos.link(seen("b.mp4", inode=2), "b", NOW)
    claim = store.videos.claim(NOW, under=[Path("/archive/b.mp4")])
    assert claim is not None
    assert claim.content_hash == "b"


def test_names_that_are_not_utf8_survive(store: Store) -> None:
    name = b"a\xff\n-.mp4".decode("utf-8", "surrogateescape")
    store.videos.link(seen(name), "a", NOW)
    claim = store.videos.claim(NOW)
    assert claim is not None
    assert claim.file.path == Path("/archive") / name


def test_videos_without_vectors_of_an_embedder_are_made_ready_again(store: Store) -> None:
    add_video(store, "a.mp4", [0])
    assert store.videos.requeue_without_vectors(ingested([0]).embedder, NOW) == 0
    assert store.videos.requeue_without_vectors(EmbedderIdentity("dino", "x", 8), NOW) == 1
    assert store.videos.claim(NOW) is not None


def test_seasons_follow_the_settings(store: Store) -> None:
    add_video(store, "a.mp4", [0], season="old")
    assert store.videos.assign_seasons(lambda file, recorded_at: "new", NOW) == 1
    assert store.videos.assign_seasons(lambda file, recorded_at: "new", NOW) == 0
    assert [counts.season for counts in store.pools.season_counts()] == ["new"]


def test_ingesting_again_replaces_the_frames_of_a_video(store: Store) -> None:
    video_id = add_video(store, "a.mp4", [0, 5, 9])
    store.videos.finish(video_id, ingested([2, 4]), "s1", NOW)
    assert store.pools.n_frames() == 2


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="state_dir"):
        Store(tmp_path / "file" / "state")


def test_a_damaged_database_is_explained(tmp_path: Path) -> None:
    (tmp_path / "alwatch.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="damaged"):
        Store(tmp_path)
