"""Roots, files and videos: where content lies, and what has become of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from alwatch.records import (
    EmbedderIdentity,
    FileSignature,
    IngestedVideo,
    RootScan,
    SeenFile,
    VideoState,
)
from alwatch.store.connection import Connection, to_blob, to_moment, to_path, to_text

SIGNATURE = "device, inode, size_bytes, mtime_ns, ctime_ns"
IS_HERE = (
    "EXISTS (SELECT 1 FROM files LEFT JOIN roots ON roots.path = files.root "
    "WHERE files.video_id = videos.id AND present AND COALESCE(online, 1))"
)
"""Condition on `videos`: one of its files is there, on a root that is online."""

IS_KNOWN = (
    "videos.season IS NOT NULL AND videos.state IN ('done', 'partial') AND EXISTS "
    "(SELECT 1 FROM files WHERE files.video_id = videos.id AND present)"
)
"""Condition on `videos`: it is ingested, and its file was there when its root was last online."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A video taken for work: one of its files, and how often it was tried, this time included."""

    video_id: int
    content_hash: str
    attempts: int
    file: SeenFile


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """What a page or a command shows of a video.

    `root` is the archive folder that `path` lies in; None where that is not known any more.
    """

    id: int
    path: Path
    root: Path | None
    content_hash: str
    state: VideoState
    reason: str | None
    season: str | None
    present: bool
    width_px: int | None
    height_px: int | None
    n_frames: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Videos by what has become of them; `waiting` has yet to be worked on, `offline` no file."""

    done: int
    partial: int
    quarantined: int
    waiting: int
    offline: int


class Videos:
    """The archive as the store knows it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- what the scans found ------------------------------------------------------------------

    def known_signatures(self) -> dict[Path, FileSignature]:
        """Every file that is linked to a video, with the signature it had then."""
        rows = self._connection.rows(f"SELECT path, {SIGNATURE} FROM files WHERE present")
        return {to_path(row["path"]): signature_of(row) for row in rows}

    def record_scan(self, scan: RootScan, now: datetime) -> None:
        """Keep a root's state and which of its files are there.

        Absence is not deletion: the files of a root that is offline are not touched, and where
        part of a root could not be scanned none is taken for gone.
        """
        root = to_blob(scan.root)
        known = self._connection.rows("SELECT path, present FROM files WHERE root = ?", [root])
        seen = {to_blob(file.path) for file in scan.files}
        changed = [
            (int(row["path"] in seen), row["path"])
            for row in known
            if bool(row["present"]) != (row["path"] in seen)
            and (row["path"] in seen or (scan.online and scan.problem is None))
        ]
        with self._connection.write() as db:
            db.execute(
                "INSERT INTO roots (path, online, problem, scanned_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (path) DO UPDATE SET online = excluded.online, "
                "problem = excluded.problem, scanned_at = excluded.scanned_at",
                [root, scan.online, scan.problem, to_text(now)],
            )
            db.executemany("UPDATE files SET present = ? WHERE path = ?", changed)

    def files_under(self, root: Path) -> int:
        """How many files the latest good scan of `root` had."""
        return int(
            self._connection.value(
                "SELECT COUNT(*) FROM files WHERE root = ? AND present", [to_blob(root)]
            )
        )

    def root_problems(self) -> list[tuple[Path, bool, str]]:
        """Roots whose latest scan had something to say: path, online, problem."""
        rows = self._connection.rows(
            "SELECT path, online, problem FROM roots WHERE problem IS NOT NULL ORDER BY path"
        )
        return [(to_path(row["path"]), bool(row["online"]), row["problem"]) for row in rows]

    def link(self, file: SeenFile, content_hash: str, now: datetime) -> bool:
        """Tie a file to the video that is its content; True where that content is new.

        A rename, a move or a second copy finds its video and costs nothing. A path whose bytes
        have changed goes to the new content's video; content that no path holds any more is
        marked superseded. Content that was set aside gets another try, since whatever was
        wrong with its file (permission, a broken disk) may have been mended.
        """
        with self._connection.write() as db:
            found = db.execute(
                "SELECT id, state FROM videos WHERE content_hash = ?", [content_hash]
            ).fetchone()
            if found is None:
                video_id = db.execute(
                    "INSERT INTO videos "
                    "(content_hash, last_path, state, discovered_at, changed_at) "
                    "VALUES (?, ?, 'ready', ?, ?)",
                    [content_hash, to_blob(file.path), to_text(now), to_text(now)],
                ).lastrowid
            else:
                video_id = found["id"]
                db.execute(
                    "UPDATE videos SET last_path = ? WHERE id = ?", [to_blob(file.path), video_id]
                )
                if found["state"] in ("superseded", "quarantined"):
                    _make_ready(db, video_id, now)
            before = db.execute(
                "SELECT video_id FROM files WHERE path = ?", [to_blob(file.path)]
            ).fetchone()
            db.execute(
                f"INSERT INTO files (path, root, {SIGNATURE}, present, video_id) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?) "
                "ON CONFLICT (path) DO UPDATE SET root = excluded.root, device = excluded.device, "
                "inode = excluded.inode, size_bytes = excluded.size_bytes, "
                "mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, present = 1, "
                "video_id = excluded.video_id",
                [
                    to_blob(file.path),
                    to_blob(file.root),
                    file.signature.device,
                    file.signature.inode,
                    file.signature.size_bytes,
                    file.signature.mtime_ns,
                    file.signature.ctime_ns,
                    video_id,
                ],
            )
            # What could not be scored may be readable at this place.
            db.execute(
                "UPDATE scorings SET state = 'ready', attempts = 0 "
                "WHERE video_id = ? AND state = 'failed'",
                [video_id],
            )
            if before is not None and before["video_id"] != video_id:
                _supersede_if_orphaned(db, before["video_id"], now)
        return found is None

    def mark_absent(self, file: SeenFile) -> None:
        """Record that a file is not there any more, ahead of the scan that will find so."""
        with self._connection.write() as db:
            db.execute("UPDATE files SET present = 0 WHERE path = ?", [to_blob(file.path)])

    def unlink(self, file: SeenFile, now: datetime) -> None:
        """Forget what a changed file was; the next scan finds it as a new one."""
        with self._connection.write() as db:
            row = db.execute(
                "DELETE FROM files WHERE path = ? RETURNING video_id", [to_blob(file.path)]
            ).fetchone()
            if row is not None:
                _supersede_if_orphaned(db, row["video_id"], now)

    # --- work ----------------------------------------------------------------------------------

    def recover(self, now: datetime, *, tried: bool = True) -> int:
        """Give back what is claimed; how many there were. Only the lock's holder may call this.

        Parameters
        ----------
        now : datetime
        tried : bool
            Whether the attempts stay counted. They do after a kill, since a video that kills
            its reader must not do so for ever, and do not where the store itself failed.
        """
        with self._connection.write() as db:
            return db.execute(
                "UPDATE videos SET state = 'ready', attempts = MAX(attempts - ?, 0), "
                "changed_at = ? WHERE state = 'working'",
                [0 if tried else 1, to_text(now)],
            ).rowcount

    def requeue_without_vectors(self, embedder: EmbedderIdentity, now: datetime) -> int:
        """Make videos that have no vectors of this embedder ready again; how many there were."""
        with self._connection.write() as db:
            return db.execute(
                "UPDATE videos SET state = 'ready', attempts = 0, changed_at = ? "
                "WHERE state IN ('done', 'partial') AND NOT EXISTS (SELECT 1 FROM vectors "
                "JOIN embedders ON embedders.id = embedder_id WHERE video_id = videos.id "
                "AND name = ? AND weights = ? AND dim = ?)",
                [to_text(now), embedder.name, embedder.weights, embedder.dim],
            ).rowcount

    def claim(self, now: datetime, *, under: Iterable[Path] | None = None) -> Claim | None:
        """Take the video that has been ready longest, counting the attempt before it is made.

        Videos that failed before come after those that did not.

        Parameters
        ----------
        now : datetime
        under : paths, optional
            Take only videos that have a file with one of these paths.
        """
        where = ""
        parameters: list[str | bytes | None] = [to_text(now)]
        if under is not None:
            blobs = [to_blob(path) for path in under]
            where = f"AND files.path IN ({', '.join('?' * len(blobs))})"
            parameters += blobs
        with self._connection.write() as db:
            row = db.execute(
                "SELECT videos.id, content_hash, attempts, files.path, files.root, "
                f"{SIGNATURE} FROM videos JOIN files ON files.video_id = videos.id AND present "
                "LEFT JOIN roots ON roots.path = files.root "
                "WHERE (state = 'ready' OR (state = 'waiting' AND retry_at <= ?)) "
                f"AND COALESCE(online, 1) {where} "
                "ORDER BY attempts, videos.id, files.path LIMIT 1",
                parameters,
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE videos SET state = 'working', attempts = attempts + 1, changed_at = ? "
                "WHERE id = ?",
                [to_text(now), row["id"]],
            )
        file = SeenFile(to_path(row["path"]), to_path(row["root"]), signature_of(row))
        return Claim(row["id"], row["content_hash"], row["attempts"] + 1, file)

    def release(self, claim: Claim, now: datetime) -> None:
        """Give a claim back untried, as when the daemon is asked to stop."""
        with self._connection.write() as db:
            db.execute(
                "UPDATE videos SET state = 'ready', attempts = MAX(attempts - 1, 0), "
                "changed_at = ? WHERE id = ? AND state = 'working'",
                [to_text(now), claim.video_id],
            )

    def set_aside(
        self,
        video_id: int,
        state: Literal["ready", "waiting", "quarantined"],
        reason: str,
        now: datetime,
        *,
        retry_at: datetime | None = None,
    ) -> None:
        """Record why a video could not be ingested, and whether it will be tried again."""
        with self._connection.write() as db:
            _set_state(db, video_id, state, reason, now, retry_at)

    def finish(self, video_id: int, result: IngestedVideo, season: str, now: datetime) -> None:
        """Write a video's frames, vectors and final state in one transaction."""
        info = result.info
        rows = zip(
            result.frame_indices.tolist(),
            result.times_s.tolist(),
            result.keyframes.tolist(),
            strict=True,
        )
        with self._connection.write() as db:
            db.execute("DELETE FROM vectors WHERE video_id = ?", [video_id])
            before = db.execute(
                "SELECT frame_index FROM frames WHERE video_id = ? ORDER BY 1", [video_id]
            ).fetchall()
            if [index for (index,) in before] != result.frame_indices.tolist():
                db.execute("UPDATE scorings SET state = 'stale' WHERE video_id = ?", [video_id])
            db.execute("DELETE FROM frames WHERE video_id = ?", [video_id])
            db.executemany(
                "INSERT INTO frames VALUES (?, ?, ?, ?)",
                ((video_id, index, time_s, int(key)) for index, time_s, key in rows),
            )
            db.execute(
                "INSERT INTO vectors VALUES "
                "(?, ?, (SELECT COALESCE(MAX(revision), 0) + 1 FROM vectors), ?, ?)",
                [
                    video_id,
                    _embedder_id(db, result.embedder),
                    len(result.frame_indices),
                    result.vectors.tobytes(),
                ],
            )
            db.execute(
                "UPDATE videos SET state = ?, reason = ?, retry_at = NULL, attempts = 0, "
                "season = ?, container = ?, codec = ?, width_px = ?, height_px = ?, "
                "rotation_deg = ?, fps = ?, duration_s = ?, recorded_at = ?, n_frames = ?, "
                "decoder_path = ?, changed_at = ? WHERE id = ?",
                [
                    result.state,
                    result.note,
                    season,
                    info.container,
                    info.codec,
                    info.width_px,
                    info.height_px,
                    info.rotation_deg,
                    info.fps,
                    info.duration_s,
                    to_text(info.recorded_at),
                    result.n_frames,
                    result.decoder_path,
                    to_text(now),
                    video_id,
                ],
            )

    def assign_seasons(
        self, season_of: Callable[[SeenFile, datetime | None], str], now: datetime
    ) -> int:
        """Put every ingested video into the season the settings say; how many moved."""
        rows = self._connection.rows(
            f"SELECT id, season, recorded_at, path, root, {SIGNATURE} FROM videos "
            "JOIN files ON files.video_id = videos.id AND present "
            "WHERE season IS NOT NULL GROUP BY id HAVING path = MIN(path)"
        )
        moved = []
        for row in rows:
            file = SeenFile(to_path(row["path"]), to_path(row["root"]), signature_of(row))
            season = season_of(file, to_moment(row["recorded_at"]))
            if season != row["season"]:
                moved.append((season, to_text(now), row["id"]))
        if moved:
            with self._connection.write() as db:
                db.executemany("UPDATE videos SET season = ?, changed_at = ? WHERE id = ?", moved)
        return len(moved)

    # --- what there is -------------------------------------------------------------------------

    def unfinished(self, paths: Iterable[Path] | None = None) -> int:
        """How many videos are ready, working or waiting, of all or of those at `paths`."""
        sql = (
            "SELECT COUNT(DISTINCT video_id) FROM files JOIN videos ON videos.id = video_id "
            "WHERE present AND state IN ('ready', 'working', 'waiting')"
        )
        if paths is None:
            return int(self._connection.value(sql))
        blobs = [to_blob(path) for path in paths]
        marks = ", ".join("?" * len(blobs))
        return int(self._connection.value(f"{sql} AND path IN ({marks})", blobs))

    def next_retry_at(self) -> datetime | None:
        """When the first waiting video is to be tried again."""
        return to_moment(
            self._connection.value("SELECT MIN(retry_at) FROM videos WHERE state = 'waiting'")
        )

    def counts(self) -> Counts:
        """Count the videos for the status."""
        rows = self._connection.rows(
            f"SELECT state, {IS_HERE} AS here, COUNT(*) AS n FROM videos "
            "WHERE state <> 'superseded' GROUP BY 1, 2"
        )

        def total(*states: str) -> int:
            return sum(row["n"] for row in rows if row["here"] and row["state"] in states)

        return Counts(
            done=total("done"),
            partial=total("partial"),
            quarantined=total("quarantined"),
            waiting=total("ready", "working", "waiting"),
            offline=sum(row["n"] for row in rows if not row["here"]),
        )

    def listing(self, *states: VideoState) -> list[StoredVideo]:
        """Videos in these states (all, if none is named), with one of their paths."""
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        return [_stored(row) for row in self._connection.rows(f"{_LISTING} {where}", states)]

    def at(self, path: Path) -> StoredVideo | None:
        """The video whose content lies at this path."""
        rows = self._connection.rows(
            f"{_LISTING} WHERE videos.id = (SELECT video_id FROM files WHERE path = ?)",
            [to_blob(path)],
        )
        return _stored(rows[0]) if rows else None

    def by_id(self, video_ids: Iterable[int]) -> dict[int, StoredVideo]:
        """Look up videos by their ids."""
        return {
            video_id: _stored(row)
            for video_id in set(video_ids)
            for row in self._connection.rows(f"{_LISTING} WHERE videos.id = ?", [video_id])
        }

    def seasons(self) -> dict[int, str]:
        """The season of every video that has one, by video id."""
        rows = self._connection.rows("SELECT id, season FROM videos WHERE season IS NOT NULL")
        return {row["id"]: row["season"] for row in rows}

    def file_of(self, video_id: int) -> SeenFile | None:
        """A file that holds this content, with its signature; None where no root has one now."""
        rows = self._connection.rows(
            f"SELECT files.path, root, {SIGNATURE} FROM files "
            "LEFT JOIN roots ON roots.path = root "
            "WHERE video_id = ? AND present AND COALESCE(online, 1) ORDER BY files.path LIMIT 1",
            [video_id],
        )
        if not rows:
            return None
        return SeenFile(to_path(rows[0]["path"]), to_path(rows[0]["root"]), signature_of(rows[0]))

    def newest_of(self, season: str) -> datetime | None:
        """When the newest video of a season was discovered; None where it has none."""
        sql = (
            "SELECT MAX(discovered_at) FROM videos "
            "WHERE season = ? AND state IN ('done', 'partial')"
        )
        return to_moment(self._connection.value(sql, [season]))

    def by_stem(self) -> dict[str, int]:
        """File name without its suffix to video id, for names that only one video bears."""
        stems: dict[str, set[int]] = {}
        for row in self._connection.rows("SELECT path, video_id FROM files"):
            stems.setdefault(to_path(row["path"]).stem, set()).add(row["video_id"])
        return {stem: next(iter(ids)) for stem, ids in stems.items() if len(ids) == 1}


PATH_OF_VIDEO = (
    "COALESCE((SELECT path FROM files WHERE video_id = videos.id AND present "
    "ORDER BY path LIMIT 1), last_path)"
)
"""Expression on `videos`: where its content lies, or else lay last."""

_LISTING = (
    f"SELECT videos.*, {PATH_OF_VIDEO} AS path, {IS_HERE} AS here, "
    f"(SELECT root FROM files WHERE files.path = {PATH_OF_VIDEO}) AS root FROM videos"
)


def _stored(row: sqlite3.Row) -> StoredVideo:
    return StoredVideo(
        id=row["id"],
        path=to_path(row["path"]),
        root=None if row["root"] is None else to_path(row["root"]),
        content_hash=row["content_hash"],
        state=row["state"],
        reason=row["reason"],
        season=row["season"],
        present=bool(row["here"]),
        width_px=row["width_px"],
        height_px=row["height_px"],
        n_frames=row["n_frames"],
    )


def signature_of(row: sqlite3.Row) -> FileSignature:
    """The signature in a row that was selected with `SIGNATURE`."""
    return FileSignature(
        row["device"], row["inode"], row["size_bytes"], row["mtime_ns"], row["ctime_ns"]
    )


def _set_state(
    db: sqlite3.Connection,
    video_id: int,
    state: VideoState,
    reason: str | None,
    now: datetime,
    retry_at: datetime | None = None,
) -> None:
    db.execute(
        "UPDATE videos SET state = ?, reason = ?, retry_at = ?, changed_at = ? WHERE id = ?",
        [state, reason, to_text(retry_at), to_text(now), video_id],
    )


def _make_ready(db: sqlite3.Connection, video_id: int, now: datetime) -> None:
    _set_state(db, video_id, "ready", None, now)
    db.execute("UPDATE videos SET attempts = 0 WHERE id = ?", [video_id])


def _supersede_if_orphaned(db: sqlite3.Connection, video_id: int, now: datetime) -> None:
    held = db.execute("SELECT 1 FROM files WHERE video_id = ? LIMIT 1", [video_id]).fetchone()
    if held is None:
        _set_state(db, video_id, "superseded", "its file was overwritten", now)


def _embedder_id(db: sqlite3.Connection, embedder: EmbedderIdentity) -> int:
    key = [embedder.name, embedder.weights, embedder.dim]
    db.execute("INSERT OR IGNORE INTO embedders (name, weights, dim) VALUES (?, ?, ?)", key)
    return int(
        db.execute(
            "SELECT id FROM embedders WHERE name = ? AND weights = ? AND dim = ?", key
        ).fetchone()[0]
    )
