"""The pose model's snapshots: which one scores, which one is judged, and how it was judged."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from alwatch.records import FileSignature, LocatedSnapshot, Snapshot
from alwatch.store.connection import Connection, moment, to_moment, to_text

if TYPE_CHECKING:
    import sqlite3

Verdict = Literal["promoted", "aside"]
"""A promoted snapshot is the current one from then on; one set aside is not taken by itself."""

Judge = Literal["gate", "hand", "first"]
"""The promotion gate, a person, or nobody: there was no snapshot before."""

SnapshotState = Literal["current", "candidate", "aside", "former", "not judged"]

ID_OF_SNAPSHOT = "(SELECT id FROM snapshots WHERE kind = ? AND sha256 = ?)"


@dataclass(frozen=True, slots=True)
class CurrentModel:
    """The snapshot that scores now, and what keeps it from doing so."""

    snapshot: Snapshot | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was decided about a snapshot, compared with the one that was current then.

    `first_seen_at` is when that snapshot was first seen, whatever was judged before.
    """

    id: int
    snapshot: Snapshot
    against: Snapshot | None
    verdict: Verdict
    judge: Judge
    reason: str
    figures: dict[str, Any]
    at: datetime
    first_seen_at: datetime


@dataclass(frozen=True, slots=True)
class KnownSnapshot:
    """A snapshot with its state and its last judgement."""

    snapshot: Snapshot
    state: SnapshotState
    first_seen_at: datetime
    judgement: Judgement | None


class Snapshots:
    """Every snapshot that was ever current or a candidate, and its judgements.

    Judgements are only ever added. One that makes a snapshot current does so in its own
    transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def register(
        self, located: LocatedSnapshot, now: datetime, *, seen_at: datetime | None = None
    ) -> None:
        """Keep a snapshot and where its files lie; one that is known keeps when it was first seen.

        Parameters
        ----------
        located : LocatedSnapshot
        now : datetime
            Labels noticed until now it may have been trained on.
        seen_at : datetime, optional
            When it was first seen; now without it.
        """
        snapshot = located.snapshot
        with self._connection.write() as db:
            db.execute(
                "INSERT INTO snapshots (kind, name, sha256, bodyparts, n_individuals, n_unique, "
                "located, first_seen_at, taught_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (kind, sha256) DO UPDATE SET name = excluded.name, "
                "located = excluded.located",
                [
                    snapshot.kind,
                    snapshot.name,
                    snapshot.sha256,
                    json.dumps(snapshot.bodyparts),
                    snapshot.n_individuals,
                    snapshot.n_unique,
                    _located_to_text(located),
                    to_text(seen_at or now),
                    to_text(now),
                ],
            )

    def located(self, snapshot: Snapshot) -> LocatedSnapshot | None:
        """What its worker needs to load it; None where it was last current in an older alwatch."""
        sql = f"SELECT located FROM snapshots WHERE id = {ID_OF_SNAPSHOT}"
        text = self._connection.value(sql, key_of(snapshot))
        return None if text is None else _located_of_text(snapshot, text)

    # --- which one scores ----------------------------------------------------------------------

    def current(self) -> CurrentModel:
        """The snapshot that scores, and what is wrong with it, if anything is."""
        rows = self._connection.rows(
            "SELECT snapshots.*, problem FROM pose_model "
            "LEFT JOIN snapshots ON snapshots.id = snapshot_id"
        )
        if not rows:
            return CurrentModel(None, None)
        return CurrentModel(snapshot_of(rows[0]) if rows[0]["id"] else None, rows[0]["problem"])

    def candidate(self) -> Snapshot | None:
        """The snapshot that is being judged."""
        rows = self._connection.rows(
            "SELECT snapshots.* FROM pose_model JOIN snapshots ON snapshots.id = candidate_id"
        )
        return snapshot_of(rows[0]) if rows else None

    def set_candidate(self, snapshot: Snapshot | None, now: datetime) -> None:
        """Let a registered snapshot be judged; None where none is to be any more."""
        with self._connection.write() as db:
            _set(db, "candidate_id", _id_of(db, snapshot), now)

    def set_problem(self, problem: str | None, now: datetime) -> None:
        """Record what keeps the pose model from scoring; None where nothing does."""
        with self._connection.write() as db:
            _set(db, "problem", problem, now)

    def switch_off(self, now: datetime) -> None:
        """Keep that the settings name no pose model: no scores and no judgement are to come."""
        with self._connection.write() as db:
            if _value(db, "SELECT snapshot_id FROM pose_model") is not None:
                _set(db, "candidate_id", None, now)
                _set(db, "problem", "pose_model.kind is none", now)

    # --- judgements ----------------------------------------------------------------------------

    def promote(
        self,
        snapshot: Snapshot,
        *,
        judge: Judge,
        reason: str,
        now: datetime,
        against: Snapshot | None,
        figures: dict[str, Any] | None = None,
    ) -> bool:
        """Make a registered snapshot the current one; there is no candidate then.

        Parameters
        ----------
        snapshot : Snapshot
        judge : Judge
        reason : str
        now : datetime
        against : Snapshot or None
            The current one, to which the judgement holds.
        figures : dict, optional
            What it was judged by, as JSON.

        Returns
        -------
        bool
            False, and nothing is kept, where another one has become current meanwhile.
        """
        with self._connection.write() as db:
            if not _is_current(db, against):
                return False
            _judge(db, snapshot, against, "promoted", judge, reason, figures, now)
            _make_current(db, snapshot, now)
        return True

    def set_aside(
        self,
        snapshot: Snapshot,
        *,
        judge: Judge,
        reason: str,
        now: datetime,
        against: Snapshot | None,
        figures: dict[str, Any] | None = None,
    ) -> bool:
        """Let the current snapshot stay, and a candidate be none any more; else as `promote`."""
        with self._connection.write() as db:
            if not _is_current(db, against):
                return False
            _judge(db, snapshot, against, "aside", judge, reason, figures, now)
            if _value(db, "SELECT candidate_id FROM pose_model") == _id_of(db, snapshot):
                _set(db, "candidate_id", None, now)
        return True

    def roll_back(self, to: Snapshot, *, now: datetime, against: Snapshot) -> bool:
        """Set the current snapshot aside and make a former one current; else as `promote`."""
        with self._connection.write() as db:
            if not _is_current(db, against):
                return False
            gone, back = f"rolled back to {to.name}", f"rolled back from {against.name}"
            _judge(db, against, to, "aside", "hand", gone, None, now)
            _judge(db, to, against, "promoted", "hand", back, None, now)
            _make_current(db, to, now)
        return True

    def judgements(self) -> list[Judgement]:
        """Every judgement, the oldest first."""
        snapshots = {row["id"]: row for row in self._connection.rows("SELECT * FROM snapshots")}
        return [
            Judgement(
                id=row["id"],
                snapshot=snapshot_of(snapshots[row["snapshot_id"]]),
                against=snapshot_of(snapshots[row["against_id"]]) if row["against_id"] else None,
                verdict=row["verdict"],
                judge=row["judge"],
                reason=row["reason"],
                figures=json.loads(row["figures"]),
                at=moment(row["judged_at"]),
                first_seen_at=moment(snapshots[row["snapshot_id"]]["first_seen_at"]),
            )
            for row in self._connection.rows("SELECT * FROM judgements ORDER BY id")
        ]

    def last_judgement(self, snapshot: Snapshot | None = None) -> Judgement | None:
        """The last judgement of a snapshot, or of any."""
        found = [j for j in self.judgements() if snapshot is None or j.snapshot.is_same(snapshot)]
        return found[-1] if found else None

    def known(self) -> list[KnownSnapshot]:
        """Every snapshot with its state, the oldest first."""
        last = {judgement.snapshot: judgement for judgement in self.judgements()}
        rows = self._connection.rows(
            "SELECT snapshots.*, pose_model.snapshot_id IS snapshots.id AS is_current, "
            "candidate_id IS snapshots.id AS is_candidate "
            "FROM snapshots LEFT JOIN pose_model ORDER BY first_seen_at, snapshots.id"
        )
        found = []
        for row in rows:
            snapshot = snapshot_of(row)
            judgement = last.get(snapshot)
            state = _state(row, judgement)
            found.append(KnownSnapshot(snapshot, state, moment(row["first_seen_at"]), judgement))
        return found

    def scored(self) -> list[Snapshot]:
        """Every snapshot that has scores, the oldest first."""
        rows = self._connection.rows(
            "SELECT * FROM snapshots WHERE EXISTS "
            "(SELECT 1 FROM scorings WHERE snapshot_id = snapshots.id "
            "AND frame_indices IS NOT NULL) "
            "ORDER BY first_seen_at, id"
        )
        return [snapshot_of(row) for row in rows]

    def first_seen(self, snapshot: Snapshot) -> datetime:
        """When a snapshot was first noticed."""
        sql = f"SELECT first_seen_at FROM snapshots WHERE id = {ID_OF_SNAPSHOT}"
        return moment(self._connection.value(sql, key_of(snapshot)))

    # --- what it was taught --------------------------------------------------------------------

    def taught_until(self, snapshot: Snapshot) -> datetime | None:
        """The moment until which labels that were noticed may have been trained on."""
        sql = f"SELECT taught_until FROM snapshots WHERE id = {ID_OF_SNAPSHOT}"
        return to_moment(self._connection.value(sql, key_of(snapshot)))

    def set_taught_until(self, snapshot: Snapshot, until: datetime) -> None:
        """Keep that a registered snapshot knows no label that was noticed later."""
        self._tell(snapshot, "taught_until", to_text(until))

    def held_out(self, snapshot: Snapshot) -> frozenset[tuple[int, int]]:
        """Frames (video id, frame index) that its training surely left out."""
        sql = f"SELECT held_out FROM snapshots WHERE id = {ID_OF_SNAPSHOT}"
        text = self._connection.value(sql, key_of(snapshot))
        return frozenset((video_id, frame) for video_id, frame in json.loads(text or "[]"))

    def set_held_out(self, snapshot: Snapshot, frames: Collection[tuple[int, int]]) -> None:
        """Keep which frames the training of a registered snapshot has left out."""
        self._tell(snapshot, "held_out", json.dumps(sorted(frames)))

    def _tell(self, snapshot: Snapshot, column: str, value: str | None) -> None:
        with self._connection.write() as db:
            db.execute(
                f"UPDATE snapshots SET {column} = ? WHERE id = ?", [value, _id_of(db, snapshot)]
            )


def key_of(snapshot: Snapshot) -> list[str]:
    """What tells snapshots apart: parameters of `ID_OF_SNAPSHOT`."""
    return [snapshot.kind, snapshot.sha256]


def snapshot_of(row: Any) -> Snapshot:
    """A snapshot from its row."""
    return Snapshot(
        kind=row["kind"],
        name=row["name"],
        sha256=row["sha256"],
        bodyparts=tuple(json.loads(row["bodyparts"])),
        n_individuals=row["n_individuals"],
        n_unique=row["n_unique"],
    )


def _state(row: Any, judgement: Judgement | None) -> SnapshotState:
    if row["is_current"]:
        return "current"
    if row["is_candidate"]:
        return "candidate"
    if judgement is not None:
        return "aside" if judgement.verdict == "aside" else "former"
    return "not judged" if row["located"] else "former"  # it was current in an older alwatch


def _located_to_text(located: LocatedSnapshot) -> str:
    files = [[str(path), asdict(signature)] for path, signature in located.files]
    return json.dumps({"model": located.model, "files": files})


def _located_of_text(snapshot: Snapshot, text: str) -> LocatedSnapshot:
    told = json.loads(text)
    files = tuple((Path(path), FileSignature(**signature)) for path, signature in told["files"])
    return LocatedSnapshot(snapshot, told["model"], files)


def _value(db: sqlite3.Connection, sql: str, parameters: Collection[Any] = ()) -> Any:
    row = db.execute(sql, tuple(parameters)).fetchone()
    return None if row is None else row[0]


def _id_of(db: sqlite3.Connection, snapshot: Snapshot | None) -> int | None:
    if snapshot is None:
        return None
    found: int | None = _value(db, f"SELECT {ID_OF_SNAPSHOT}", key_of(snapshot))
    if found is None:
        raise KeyError(snapshot)
    return found


def _is_current(db: sqlite3.Connection, snapshot: Snapshot | None) -> bool:
    return bool(_value(db, "SELECT snapshot_id FROM pose_model") == _id_of(db, snapshot))


def _set(db: sqlite3.Connection, column: str, value: int | str | None, now: datetime) -> None:
    db.execute(
        f"INSERT INTO pose_model (id, {column}, changed_at) VALUES (1, ?, ?) "
        f"ON CONFLICT (id) DO UPDATE SET {column} = excluded.{column}, "
        "changed_at = excluded.changed_at",
        [value, to_text(now)],
    )


def _make_current(db: sqlite3.Connection, snapshot: Snapshot, now: datetime) -> None:
    _set(db, "snapshot_id", _id_of(db, snapshot), now)
    _set(db, "candidate_id", None, now)
    _set(db, "problem", None, now)


def _judge(
    db: sqlite3.Connection,
    snapshot: Snapshot,
    against: Snapshot | None,
    verdict: Verdict,
    judge: Judge,
    reason: str,
    figures: dict[str, Any] | None,
    now: datetime,
) -> None:
    db.execute(
        "INSERT INTO judgements (snapshot_id, against_id, verdict, judge, reason, figures, "
        "judged_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            _id_of(db, snapshot),
            _id_of(db, against),
            verdict,
            judge,
            reason,
            json.dumps(figures or {}),
            to_text(now),
        ],
    )
