"""Databases as earlier versions of alwatch left them, made by their own migrations.

One archive at every version: two seasons with a video each, a queue that is half labelled, and
from version 2 on a pose model and its scores. Rows are written by hand, since today's store
writes today's.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from alwatch.store import database_in
from alwatch.store.schema import MIGRATIONS

NOTICED = "2026-01-05T08:00:00.000000+00:00"
SEEN = "2026-01-01T08:00:00.000000+00:00"
DONE = "2026-01-02T08:00:00.000000+00:00"
PROJECT = b"/labels/config.yaml"
POINTS = [["", "nose", 3.0, 4.0]]
VECTORS = np.arange(12, dtype=np.float16).reshape(3, 4)
MPE = np.array([[0.25], [0.5], [0.75]], np.float32)
FRAMES = (0, 25, 50)


def make_old_database(state_dir: Path, version: int) -> Path:
    """Make the database that the first `version` migrations give, and fill every table of it."""
    state_dir.mkdir(parents=True)
    database = database_in(state_dir)
    before = Migrations("alwatch")
    before._migrations = MIGRATIONS._migrations[:version]
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        before.apply(Database(db))
        db.execute(f"PRAGMA user_version = {version}")
        for number, fill in enumerate(_FILL, start=1):
            if number <= version:
                fill(db)
        _label(db, version)
        empty = [name for name in _tables(db) if _count(db, name) == 0]
        assert empty == [], f"no row in {empty}: add some for migration {version}"
    return database


def _tables(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def _count(db: sqlite3.Connection, table: str) -> int:
    return int(db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


def _insert(db: sqlite3.Connection, table: str, **values: object) -> None:
    marks = ", ".join("?" * len(values))
    columns = ", ".join(values)
    db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(values.values()))


def _archive_and_queue(db: sqlite3.Connection) -> None:
    _insert(db, "roots", path=b"/archive", online=1, problem="half of it", scanned_at=DONE)
    _insert(db, "embedders", id=1, name="test", weights="recipe-1", dim=4)
    for video_id, season in ((1, "2025"), (2, "2026")):
        path = f"/archive/{season}/cam\udcff.mp4".encode("utf-8", "surrogateescape")
        _insert(
            db,
            "videos",
            id=video_id,
            content_hash=f"hash-{video_id}",
            last_path=path,
            state="done",
            attempts=0,
            season=season,
            container="mp4",
            codec="h264",
            width_px=64,
            height_px=48,
            rotation_deg=0,
            fps=25.0,
            duration_s=4.0,
            n_frames=100,
            decoder_path="sequence",
            discovered_at=SEEN,
            changed_at=DONE,
        )
        _insert(
            db,
            "files",
            path=path,
            root=b"/archive",
            device=1,
            inode=video_id,
            size_bytes=100,
            mtime_ns=10,
            ctime_ns=10,
            present=1,
            video_id=video_id,
        )
        for frame in FRAMES:
            db.execute("INSERT INTO frames VALUES (?, ?, ?, 0)", [video_id, frame, frame / 25])
        _insert(
            db,
            "vectors",
            video_id=video_id,
            embedder_id=1,
            revision=video_id,
            n_frames=3,
            matrix=VECTORS.tobytes(),
        )
    _insert(
        db,
        "queues",
        id=1,
        season="2026",
        strategy="minmax",
        seed=0,
        budget=2,
        created_at=DONE,
        manifest=json.dumps({"audit_frames": 1}),
    )
    for rank, frame in ((1, 25), (2, 50)):
        _insert(
            db,
            "queue_frames",
            queue_id=1,
            rank=rank,
            video_id=2,
            frame_index=frame,
            score=0.5,
            reason="far",
        )
    _insert(
        db, "exports", queue_id=1, tool="deeplabcut", project=PROJECT, written=2, exported_at=DONE
    )
    _insert(db, "export_folders", tool="deeplabcut", project=PROJECT, folder="cam", video_id=2)


def _pose_model(db: sqlite3.Connection) -> None:
    _insert(
        db,
        "snapshots",
        id=1,
        kind="deeplabcut",
        name="snapshot-100",
        sha256="1" * 64,
        bodyparts='["nose"]',
        n_individuals=1,
        n_unique=0,
        first_seen_at=DONE,
    )
    _insert(db, "pose_model", id=1, snapshot_id=1, changed_at=DONE)
    _insert(
        db,
        "scorings",
        video_id=2,
        snapshot_id=1,
        state="done",
        attempts=0,
        n_frames=3,
        elapsed_s=1.5,
        frame_indices=np.array(FRAMES, "<i8").tobytes(),
        changed_at=DONE,
    )
    _insert(
        db,
        "scores",
        video_id=2,
        snapshot_id=1,
        signal="mpe",
        shape="[3, 1]",
        data=MPE.astype("<f4").tobytes(),
    )


def _withdrawn_queue(db: sqlite3.Connection) -> None:
    _insert(
        db,
        "queues",
        id=2,
        season="2026",
        strategy="random",
        seed=1,
        budget=1,
        created_at=DONE,
        manifest="{}",
        withdrawn_at=NOTICED,
    )
    _insert(
        db,
        "queue_frames",
        queue_id=2,
        rank=1,
        video_id=2,
        frame_index=25,
        score=0.1,
        reason="by lot",
        withdrawn=1,
    )


def _loop(db: sqlite3.Connection) -> None:
    _insert(db, "assessments", season="2026", inputs="x", figures='{"a": 1}', assessed_at=DONE)
    _insert(db, "season_changes", season="2026", state="quiet", reason="none", changed_at=DONE)
    _insert(
        db,
        "firings",
        id=1,
        rule="retrain",
        key="retrain-1",
        seasons='["2026"]',
        reason="why",
        evidence='{"b": 2}',
        fired_at=DONE,
    )
    _insert(
        db,
        "deliveries",
        id=1,
        firing_id=1,
        key="retrain-1.1-file",
        kind="file",
        settings='{"folder": "/x"}',
        state="delivered",
        attempts=1,
        changed_at=DONE,
    )
    _insert(
        db,
        "judgements",
        snapshot_id=1,
        verdict="promoted",
        judge="first",
        reason="the first",
        figures="{}",
        judged_at=DONE,
    )
    db.execute("UPDATE snapshots SET taught_until = first_seen_at")


_FILL: list[Callable[[sqlite3.Connection], None]] = [
    _archive_and_queue,
    _pose_model,
    _withdrawn_queue,
    _loop,
]
"""What each migration's tables are filled with, in their order."""


def _label(db: sqlite3.Connection, version: int) -> None:
    """One of the two queued frames is labelled; with points from version 2 on."""
    more: dict[str, object] = {"points": json.dumps(POINTS)} if version >= 2 else {}
    if version >= 3:
        more |= {"labeller": "ada", "state": "labelled", "changed_at": NOTICED}
    _insert(
        db,
        "labels",
        video_id=2,
        frame_index=25,
        tool="deeplabcut",
        project=PROJECT,
        noticed_at=NOTICED,
        **more,
    )
