"""Databases of every released schema, opened by today's code and read by the store's own API."""

from __future__ import annotations

import os
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from alwatch.errors import DamagedStoreError
from alwatch.records import EmbedderIdentity, FileSignature, LabelledPoint, Snapshot
from alwatch.store import Store, backups_beside, database_in
from alwatch.store.backing_up import schema_of, write_backup
from alwatch.store.connection import SCHEMA_VERSION
from alwatch.store.integrity import faults_of
from alwatch.store.restoring import restore_backup
from tests.store.helpers import NOW, seen
from tests.store.killing import damage
from tests.store.old_databases import FRAMES, MPE, VECTORS, make_old_database

EMBEDDER = EmbedderIdentity("test", "recipe-1", 4)
SNAPSHOT = Snapshot("deeplabcut", "snapshot-100", "1" * 64, ("nose",), 1, 0)
PROJECT = Path("/labels/config.yaml")
VIDEO = Path(os.fsdecode(b"/archive/2026/cam\xff.mp4"))
RELEASED = range(1, SCHEMA_VERSION)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """State folders by schema version."""
    root = tmp_path_factory.mktemp("old")
    for version in RELEASED:
        make_old_database(root / str(version), version)
    return {version: root / str(version) for version in RELEASED}


@pytest.fixture(params=RELEASED)
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def state(old: dict[int, Path], version: int, tmp_path: Path) -> Path:
    return Path(shutil.copytree(old[version], tmp_path / "state"))


def test_an_old_database_becomes_the_one_that_is_made_today(state: Path) -> None:
    Store(state).close()
    assert list(faults_of(database_in(state), backups=backups_beside(state))) == []
    assert schema_of(database_in(state)) == SCHEMA_VERSION


def test_videos_files_and_roots_are_all_there(state: Path) -> None:
    with Store(state) as store:
        assert [(v.id, v.season, v.state, v.n_frames) for v in store.videos.listing()] == [
            (1, "2025", "done", 100),
            (2, "2026", "done", 100),
        ]
        assert store.videos.by_id([2])[2].path == VIDEO
        assert store.videos.known_signatures()[VIDEO] == FileSignature(1, 2, 100, 10, 10)
        assert store.videos.root_problems() == [(Path("/archive"), True, "half of it")]
        assert store.videos.counts().done == 2


def test_frames_and_vectors_are_all_there(state: Path) -> None:
    with Store(state) as store:
        assert store.pools.embedders() == [EMBEDDER]
        assert (store.pools.n_frames(), store.pools.n_vectors(EMBEDDER)) == (6, 6)
        frames = store.pools.season_frames(EMBEDDER, "2026")
        assert frames.frame_indices.tolist() == list(FRAMES)
        assert frames.labelled.tolist() == [False, True, False]
        assert frames.queued.tolist() == [False, False, True]
        np.testing.assert_array_equal(frames.vectors, VECTORS)
        assert [part.revision for part in store.pools.vectors_since(EMBEDDER, 1)] == [2]
        counts = {c.season: (c.frames, c.labelled, c.queued) for c in store.pools.season_counts()}
        assert counts == {"2025": (3, 0, 0), "2026": (3, 1, 1)}
        assert len(store.pools.marked_frames(EMBEDDER).video_ids) == 3


def test_queues_and_where_they_went_are_all_there(state: Path, version: int) -> None:
    with Store(state) as store:
        queue = store.queues.get(1)
        assert [(f.video, f.frame, f.rank, f.score, f.reason) for f in queue.frames] == [
            (VIDEO, 25, 1, 0.5, "far"),
            (VIDEO, 50, 2, 0.5, "far"),
        ]
        first, *others = store.queues.summaries()
        assert (first.frames, first.labelled, first.exported_to) == (2, 1, ("deeplabcut",))
        assert [q.withdrawn_at is not None for q in others] == [True] * (version >= 3)
        assert store.queues.exports_of(queue, ended=True) == [("deeplabcut", PROJECT)]
        assert store.queues.export_folders("deeplabcut", PROJECT) == {"cam": 2}
        assert set(store.queues.audit_frames()) == {(2, 25)}
        assert store.queues.audited_in_projects() == [("deeplabcut", PROJECT, "cam", 25)]
        assert [video.n_frames for video in store.queues.by_video(queue)] == [100]


def test_labels_are_all_there(state: Path, version: int) -> None:
    with Store(state) as store:
        assert store.labels.count("deeplabcut", PROJECT) == 1
        assert store.labels.conflicts() == []
        points = {(2, 25): (LabelledPoint("", "nose", 3.0, 4.0),)}
        assert store.labels.points() == (points if version >= 2 else {})


def test_what_the_pose_model_said_is_all_there(state: Path, version: int) -> None:
    if version < 2:
        pytest.skip("there was no pose model then")
    with Store(state) as store:
        assert store.snapshots.current().snapshot == SNAPSHOT
        assert store.snapshots.scored() == [SNAPSHOT]
        assert store.snapshots.taught_until(SNAPSHOT) == datetime(2026, 1, 2, 8, tzinfo=UTC)
        (known,) = store.snapshots.known()
        assert (known.snapshot, known.state) == (SNAPSHOT, "current")
        assert store.snapshots.held_out(SNAPSHOT) == frozenset()
        assert store.snapshots.located(SNAPSHOT) is None
        assert store.scores.scored_videos(SNAPSHOT) == [(2, "2026")]
        scores = store.scores.of_video(2, SNAPSHOT)
        assert scores is not None
        assert scores.frame_indices.tolist() == list(FRAMES)
        np.testing.assert_array_equal(scores.signals["mpe"], MPE)
        assert store.scores.progress(SNAPSHOT).videos_done == 1
        assert list(store.labels.points(after=SNAPSHOT)) == [(2, 25)]


def test_seasons_and_triggers_can_be_read(state: Path, version: int) -> None:
    with Store(state) as store:
        assert len(store.seasons.assessments()) == (version >= 4)
        assert len(store.seasons.changes()) == (version >= 4)
        assert len(store.triggers.firings()) == (version >= 4)
        assert len(store.triggers.deliveries()) == (version >= 4)


def test_work_goes_on(state: Path) -> None:
    with Store(state) as store:
        assert store.videos.link(seen("new.mp4", inode=9), "new", NOW)
        claim = store.videos.claim(NOW)
        assert claim is not None
        assert claim.content_hash == "new"
        again = store.queues.add(
            season="2026",
            strategy="minmax",
            seed=0,
            budget=1,
            picks=[(2, 0, 0.5, "far")],
            manifest={},
            now=NOW,
        )
        assert [frame.frame for frame in again.frames] == [0]


def test_a_backup_of_then_can_be_brought_back_today(
    state: Path, version: int, tmp_path: Path
) -> None:
    write_backup(database_in(state), tmp_path / "backup.sqlite")
    (tmp_path / "now").mkdir()
    done = restore_backup(
        tmp_path / "backup.sqlite",
        database_in(tmp_path / "now"),
        index=tmp_path / "now" / "index",
        now=NOW,
    )
    assert done.schema == version
    with Store(tmp_path / "now") as store:
        assert store.videos.counts().done == 2


def test_a_damaged_old_database_is_not_migrated(state: Path, version: int) -> None:
    damage(database_in(state), "queues")
    with pytest.raises(DamagedStoreError):
        Store(state)
    with sqlite3.connect(database_in(state)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
