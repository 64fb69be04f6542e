from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from alwatch.records import FrameScores, Snapshot
from alwatch.store import Store, backups_beside, database_in
from alwatch.store.connection import SCHEMA_VERSION
from alwatch.store.integrity import faults_of
from tests.store.helpers import NOW, add_video, make_current
from tests.store.killing import damage

SNAPSHOT = Snapshot("deeplabcut", "one", "1" * 64, ("nose",), 1, 0)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with a video of four values a frame, its scores and a queue; all is well."""
    with Store(tmp_path) as store:
        video_id = add_video(store, "a.mp4", [0, 5, 9])
        make_current(store, SNAPSHOT, NOW)
        claim = store.scores.claim(SNAPSHOT, NOW)
        assert claim is not None
        scores = FrameScores(claim.frame_indices, {"mpe": np.zeros((3, 1), np.float32)})
        store.scores.finish(claim, SNAPSHOT, scores, elapsed_s=1.0, now=NOW)
        store.queues.add(
            season="s1",
            strategy="random",
            seed=0,
            budget=1,
            picks=[(video_id, 5, 0.5, "why")],
            manifest={},
            now=NOW,
        )
    return database_in(tmp_path)


def faults(database: Path) -> list[str]:
    return list(faults_of(database, backups=backups_beside(database.parent)))


def test_a_sound_database_has_no_faults_also_while_it_is_in_use(database: Path) -> None:
    assert faults(database) == []
    with Store(database.parent) as store:
        add_video(store, "b.mp4", [0])
        assert faults(database) == []
    assert faults(database) == []


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        (
            "UPDATE vectors SET matrix = substr(matrix, 2)",
            "the vectors of video 1 by test are 23 bytes for 3 frames of 4 values; 3 frames are "
            "kept",
        ),
        (
            "UPDATE embedders SET dim = 5",
            "the vectors of video 1 by test are 24 bytes for 3 frames of 5 values; 3 frames are "
            "kept",
        ),
        (
            "DELETE FROM frames WHERE frame_index = 9",
            "the vectors of video 1 by test are 24 bytes for 3 frames of 4 values; 2 frames are "
            "kept",
        ),
        (
            "UPDATE queue_frames SET frame_index = 1000",
            "queue 1: frame 1000 of video 1, which has 1000",
        ),
        (
            "UPDATE queue_frames SET frame_index = -1",
            "queue 1: frame -1 of video 1, which has 1000",
        ),
        (
            "UPDATE frames SET frame_index = 1000 WHERE frame_index = 9",
            "the frames kept: frame 1000 of video 1, which has 1000",
        ),
        (
            "UPDATE scores SET shape = '[3, 2]'",
            "mpe of video 1 by snapshot 1 is 12 bytes for a shape of [3, 2]",
        ),
        (
            "UPDATE scores SET shape = 'no'",
            "mpe of video 1 by snapshot 1 is 12 bytes for a shape of no",
        ),
        (
            "UPDATE scores SET shape = '[]'",
            "mpe of video 1 by snapshot 1 is 12 bytes for a shape of []",
        ),
        (
            "UPDATE scorings SET frame_indices = x'00'",
            "video 1, snapshot 1: 1 bytes of frames for 3",
        ),
        (
            "INSERT INTO exports VALUES (9, 'folder', x'2f', NULL, 0)",
            "row 1 of exports belongs to a row of queues that is not there",
        ),
        ("DROP TABLE firings", f"table firings is not as schema {SCHEMA_VERSION} has it"),
        ("CREATE TABLE more (a)", f"table more is not as schema {SCHEMA_VERSION} has it"),
        ("DROP INDEX idx_queue_frames_video_id_frame_index", "table queue_frames is not as schema"),
        (
            f"PRAGMA user_version = {SCHEMA_VERSION + 1}",
            f"its schema is {SCHEMA_VERSION + 1}; this alwatch knows {SCHEMA_VERSION}",
        ),
    ],
)
def test_each_fault_is_found_and_named(database: Path, sql: str, found: str) -> None:
    with sqlite3.connect(database) as db:
        db.execute(sql)
    assert [fault for fault in faults(database) if fault.startswith(found)], faults(database)


def test_scores_of_other_frames_than_were_scored_are_found(database: Path) -> None:
    with sqlite3.connect(database) as db:
        db.execute(
            "UPDATE scores SET shape = ?, data = ?", [json.dumps([2, 1]), np.zeros(2, "<f4")]
        )
    assert faults(database) == ["mpe of video 1 by snapshot 1 is 8 bytes for a shape of [2, 1]"]


@pytest.mark.parametrize("table", ["videos", "vectors", "scores", "frames"])
def test_damage_is_told_and_not_raised(database: Path, table: str) -> None:
    damage(database, table)
    assert faults(database)
    assert all("damaged" in fault for fault in faults(database))


def test_what_is_no_database_is_told_and_not_raised(database: Path) -> None:
    database.write_bytes(b"?" * 5000)
    assert faults(database) == ["the file is damaged: file is not a database"]


def test_a_fault_in_a_table_is_not_one_of_a_database_that_has_yet_to_be_migrated(
    database: Path,
) -> None:
    def older() -> Iterator[str]:
        with sqlite3.connect(database) as db:
            db.execute("DROP TABLE firings")
            db.execute("PRAGMA user_version = 1")
        return faults_of(database, backups=database.parent)

    assert list(older()) == []
