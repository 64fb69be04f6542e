"""Whether a database is whole: everything that can be told from itself."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from alwatch.errors import shown
from alwatch.store.connection import BUSY_TIMEOUT_S, SCHEMA_VERSION
from alwatch.store.damage import explained, is_damage
from alwatch.store.presence import Presence

_SHOWN = 20


def faults_of(database: Path, *, backups: Path) -> Iterator[str]:
    """Look through a whole database, which others may write to meanwhile; nothing is changed.

    Rows are looked at only where the file itself is sound, and of this software's schema.

    Parameters
    ----------
    database : Path
    backups : Path

    Raises
    ------
    StoreError
        It cannot be read, for another reason than damage.
    """
    uri = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with (
            Presence(database.absolute().parent),
            closing(
                sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            ) as db,
        ):
            db.execute("BEGIN")
            yield from _faults(db)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise explained(error, database, backups) from error
        yield f"the file is damaged: {error}"


def schema_of_database(database: Path) -> int:
    """The schema version of a sound database, which is not touched."""
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def _faults(db: sqlite3.Connection) -> Iterator[str]:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        yield f"its schema is {version}; this alwatch knows {SCHEMA_VERSION}"
        return
    found = [text for (text,) in db.execute(f"PRAGMA integrity_check({_SHOWN})")]
    if found != ["ok"]:
        yield from (f"the file is damaged: {line}" for line in found)
        return
    for table, row, parent, _ in db.execute("PRAGMA foreign_key_check").fetchmany(_SHOWN):
        yield f"row {row} of {table} belongs to a row of {parent} that is not there"
    if version == SCHEMA_VERSION:
        yield from _schema_faults(db)
        yield from _frame_faults(db)
        yield from _score_faults(db)


def _schema_faults(db: sqlite3.Connection) -> Iterator[str]:
    """Compare with the tables of a database that is made now."""
    from sqlite_utils import Database

    from alwatch.store.schema import MIGRATIONS

    with closing(sqlite3.connect(":memory:")) as new:
        MIGRATIONS.apply(Database(new))
        wanted, has = _columns(new), _columns(db)
    for table in sorted(wanted.keys() | has.keys()):
        if wanted.get(table) != has.get(table):
            yield f"table {table} is not as schema {SCHEMA_VERSION} has it"


def _columns(db: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Table to its columns and its indexes."""
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        table: [
            *db.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', [table]),
            *db.execute(
                'SELECT name, "unique", partial FROM pragma_index_list(?) ORDER BY 1', [table]
            ),
        ]
        for table in tables
        if table != "sqlite_stat1"
    }


_ARRAYS = """
    SELECT video_id, name, dim, vectors.n_frames AS n, length(matrix) AS bytes,
        (SELECT COUNT(*) FROM frames WHERE frames.video_id = vectors.video_id) AS frames
    FROM vectors JOIN embedders ON embedders.id = embedder_id
    WHERE bytes != 2 * n * dim OR frames != n
"""
_OUTSIDE = """
    SELECT {what}, video_id, frame_index, n_frames FROM {table} JOIN videos ON videos.id = video_id
    WHERE frame_index < 0 OR frame_index >= n_frames
"""


def _frame_faults(db: sqlite3.Connection) -> Iterator[str]:
    for video_id, name, dim, n, n_bytes, frames in db.execute(_ARRAYS).fetchmany(_SHOWN):
        yield (
            f"the vectors of video {video_id} by {shown(name)} are {n_bytes} bytes for {n} frames "
            f"of {dim} values; {frames} frames are kept"
        )
    for table, what in (("queue_frames", "queue_id"), ("frames", "NULL")):
        sql = _OUTSIDE.format(table=table, what=what)
        for queue, video_id, frame, n in db.execute(sql).fetchmany(_SHOWN):
            whose = "the frames kept" if queue is None else f"queue {queue}"
            yield f"{whose}: frame {frame} of video {video_id}, which has {n}"


def _score_faults(db: sqlite3.Connection) -> Iterator[str]:
    heads = db.execute(
        "SELECT video_id, snapshot_id, n_frames, length(frame_indices) FROM scorings "
        "WHERE frame_indices IS NOT NULL"
    ).fetchall()
    n_frames = {(video_id, snapshot_id): n for video_id, snapshot_id, n, _ in heads}
    for video_id, snapshot_id, n, n_bytes in heads:
        if n_bytes != 8 * n:
            yield f"video {video_id}, snapshot {snapshot_id}: {n_bytes} bytes of frames for {n}"
    rows = db.execute("SELECT video_id, snapshot_id, signal, shape, length(data) FROM scores")
    for video_id, snapshot_id, signal, shape, n_bytes in rows:
        if not _fits(shape, n_bytes, n_frames.get((video_id, snapshot_id))):
            yield (
                f"{shown(signal)} of video {video_id} by snapshot {snapshot_id} is {n_bytes} bytes "
                f"for a shape of {shown(shape)}"
            )


def _fits(shape: str, n_bytes: int, n_frames: int | None) -> bool:
    try:
        sides = json.loads(shape)
        return bool(sides[0] == n_frames and 4 * math.prod(sides) == n_bytes)
    except (ValueError, TypeError, IndexError):
        return False
