"""The folder of backups: what its files are called, which there are, and which may go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

WEEKS = 8
"""For so many weeks one backup of each is kept, beside the newest ones."""

_NAME = re.compile(r"alwatch-(\d{8}T\d{6}Z)\.sqlite")
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup, and when it was made, which is its name."""

    path: Path
    made_at: datetime

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"backup": str(self.path), "made_at": self.made_at.isoformat(timespec="seconds")}


def backup_name(now: datetime) -> str:
    """What a backup that is made now is called."""
    return f"alwatch-{now.astimezone(UTC):{_TIME}}.sqlite"


def backups_in(folder: Path) -> list[Backup]:
    """The backups in a folder, the newest last; none where it cannot be read."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
    found = []
    for name in names:
        if (match := _NAME.fullmatch(name)) and (made_at := _moment(match[1])):
            found.append(Backup(folder / name, made_at))
    return found


def outdated(backups: Sequence[Backup], *, keep: int) -> list[Backup]:
    """The backups that may go.

    The `keep` newest stay, and the newest of each calendar week for the `WEEKS` weeks before
    the last one of them all.

    Parameters
    ----------
    backups : sequence of Backup
        The newest last.
    keep : int
        At least 1.
    """
    if not backups:
        return []
    since = backups[-1].made_at - timedelta(weeks=WEEKS)
    of_weeks = {b.made_at.isocalendar()[:2]: b for b in backups if b.made_at > since}
    stay = {*backups[-keep:], *of_weeks.values()}
    return [backup for backup in backups if backup not in stay]


def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
