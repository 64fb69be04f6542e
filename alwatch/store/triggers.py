"""Firings of the trigger rules, and the outbox of what they ask for.

A firing and its deliveries are written in one transaction. A delivery is counted as an attempt
before it is made and marked when it has ended, so a kill in between has it made again, with the
same key: at least once, and whoever receives it can tell repeats.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from alwatch.store.connection import Connection, moment, to_moment, to_text

DeliveryState = Literal["waiting", "working", "delivered", "failed", "cancelled"]
"""`waiting` for its turn, or for `retry_at`; `working`; the rest are final, until retried."""


@dataclass(frozen=True, slots=True)
class Firing:
    """One time that a rule has fired: for which seasons, why, and on what evidence.

    It is closed when a new snapshot has been judged, or by hand; `closed_by` says which.
    """

    id: int
    rule: str
    key: str
    seasons: tuple[str, ...]
    reason: str
    evidence: dict[str, Any]
    fired_at: datetime
    closed_at: datetime | None = None
    closed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One action that a firing asks for: `settings` are the action's as they were then.

    `outcome` says, in one line, what came of the last attempt.
    """

    id: int
    firing_id: int
    key: str
    kind: str
    settings: dict[str, Any]
    state: DeliveryState
    attempts: int
    retry_at: datetime | None
    outcome: str | None
    changed_at: datetime


class Triggers:
    """What fired, and what became of it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- firings -------------------------------------------------------------------------------

    def fire(
        self,
        rule: str,
        *,
        seasons: Sequence[str],
        reason: str,
        evidence: dict[str, Any],
        actions: Sequence[tuple[str, dict[str, Any]]],
        now: datetime,
    ) -> Firing:
        """Keep that a rule fires, and what it asks for, in one transaction.

        Parameters
        ----------
        rule : str
        seasons : sequence of str
            For which its conditions hold.
        reason : str
        evidence : dict
            JSON.
        actions : sequence of (kind, settings)
            What is to be delivered; settings are JSON.
        now : datetime
        """
        with self._connection.write() as db:
            firing_id = db.execute(
                "INSERT INTO firings (rule, key, seasons, reason, evidence, fired_at) "
                "VALUES (?, '', ?, ?, ?, ?)",
                [rule, json.dumps(list(seasons)), reason, json.dumps(evidence), to_text(now)],
            ).lastrowid
            assert firing_id is not None
            digest = hashlib.sha256(f"{rule}\0{seasons}\0{to_text(now)}".encode()).hexdigest()
            key = f"{rule}-{firing_id}-{digest[:8]}"
            db.execute("UPDATE firings SET key = ? WHERE id = ?", [key, firing_id])
            db.executemany(
                "INSERT INTO deliveries (firing_id, key, kind, settings, state, attempts, "
                "changed_at) VALUES (?, ?, ?, ?, 'waiting', 0, ?)",
                [
                    (firing_id, f"{key}.{n}-{kind}", kind, json.dumps(settings), to_text(now))
                    for n, (kind, settings) in enumerate(actions, start=1)
                ],
            )
        return next(firing for firing in self.firings() if firing.id == firing_id)

    def firings(self, *, open_only: bool = False) -> list[Firing]:
        """Every firing, the oldest first."""
        rows = self._connection.rows(
            "SELECT * FROM firings WHERE NOT ? OR closed_at IS NULL ORDER BY id", [open_only]
        )
        return [_firing(row) for row in rows]

    def firing_of(self, delivery: Delivery) -> Firing:
        """The firing that asks for a delivery."""
        (row,) = self._connection.rows("SELECT * FROM firings WHERE id = ?", [delivery.firing_id])
        return _firing(row)

    def close(self, firing: Firing, by: str, now: datetime) -> None:
        """Keep that nothing more is expected of a firing; one that is closed stays as it is."""
        with self._connection.write() as db:
            db.execute(
                "UPDATE firings SET closed_at = ?, closed_by = ? "
                "WHERE id = ? AND closed_at IS NULL",
                [to_text(now), by, firing.id],
            )

    # --- deliveries ----------------------------------------------------------------------------

    def deliveries(self, *states: DeliveryState, firing: Firing | None = None) -> list[Delivery]:
        """Deliveries in these states (all of them without any), of one firing or of all."""
        marks = ", ".join("?" * len(states))
        rows = self._connection.rows(
            "SELECT * FROM deliveries WHERE (? IS NULL OR firing_id = ?) "
            f"{f'AND state IN ({marks})' if states else ''} ORDER BY id",
            [firing and firing.id, firing and firing.id, *states],
        )
        return [_delivery(row) for row in rows]

    def claim(self, now: datetime, *, besides: Sequence[str] = ()) -> Delivery | None:
        """Take the next delivery that is due, its attempt counted before it is made.

        Parameters
        ----------
        now : datetime
        besides : sequence of str
            Kinds that are not taken now.
        """
        with self._connection.write() as db:
            row = db.execute(
                "UPDATE deliveries SET state = 'working', attempts = attempts + 1, changed_at = ? "
                "WHERE id = (SELECT id FROM deliveries WHERE state = 'waiting' "
                "AND (retry_at IS NULL OR retry_at <= ?) "
                f"AND kind NOT IN ({', '.join('?' * len(besides))}) ORDER BY id LIMIT 1) "
                "RETURNING *",
                [to_text(now), to_text(now), *besides],
            ).fetchone()
        return None if row is None else _delivery(row)

    def end(
        self,
        delivery: Delivery,
        state: DeliveryState,
        outcome: str,
        now: datetime,
        *,
        retry_at: datetime | None = None,
        tried: bool = True,
    ) -> None:
        """Keep how an attempt went: `waiting` is to be tried again, not before `retry_at`.

        With `tried` false it is no attempt. A delivery that was cancelled meanwhile stays so.
        """
        with self._connection.write() as db:
            db.execute(
                "UPDATE deliveries SET state = ?, outcome = ?, retry_at = ?, changed_at = ?, "
                "attempts = attempts - ? WHERE id = ? AND state = 'working'",
                [state, outcome, to_text(retry_at), to_text(now), not tried, delivery.id],
            )

    def cancel(self, delivery: Delivery, now: datetime) -> bool:
        """Let a delivery that has not ended be given up; whether it could be."""
        with self._connection.write() as db:
            return bool(
                db.execute(
                    "UPDATE deliveries SET state = 'cancelled', retry_at = NULL, "
                    "outcome = 'cancelled by hand', changed_at = ? "
                    "WHERE id = ? AND state IN ('waiting', 'working')",
                    [to_text(now), delivery.id],
                ).rowcount
            )

    def retry(self, delivery: Delivery, now: datetime) -> bool:
        """Let a delivery be made (again) at once, under its own key; False while it works."""
        with self._connection.write() as db:
            return bool(
                db.execute(
                    "UPDATE deliveries SET state = 'waiting', attempts = 0, retry_at = NULL, "
                    "changed_at = ? WHERE id = ? AND state != 'working'",
                    [to_text(now), delivery.id],
                ).rowcount
            )

    def recover(self, now: datetime) -> int:
        """Give back what is being delivered; only the lock's holder may call this."""
        with self._connection.write() as db:
            return db.execute(
                "UPDATE deliveries SET state = 'waiting', changed_at = ? WHERE state = 'working'",
                [to_text(now)],
            ).rowcount


def _firing(row: sqlite3.Row) -> Firing:
    return Firing(
        id=row["id"],
        rule=row["rule"],
        key=row["key"],
        seasons=tuple(json.loads(row["seasons"])),
        reason=row["reason"],
        evidence=json.loads(row["evidence"]),
        fired_at=moment(row["fired_at"]),
        closed_at=to_moment(row["closed_at"]),
        closed_by=row["closed_by"],
    )


def _delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(
        id=row["id"],
        firing_id=row["firing_id"],
        key=row["key"],
        kind=row["kind"],
        settings=json.loads(row["settings"]),
        state=row["state"],
        attempts=row["attempts"],
        retry_at=to_moment(row["retry_at"]),
        outcome=row["outcome"],
        changed_at=moment(row["changed_at"]),
    )
