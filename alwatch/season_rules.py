"""Which season a video belongs to: by its path, its date or a table of patterns.

Its individual and its session are read from the path in the same way: see `named_group`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Literal

_FIRST_YEAR, _LAST_YEAR = 1990, 2100

_YEAR_FIRST = re.compile(
    r"(?<!\d)(?P<year>\d{4})(?P<sep>[-_.])(?P<month>\d{2})(?P=sep)(?P<day>\d{2})(?!\d)"
)
_YEAR_LAST = re.compile(
    r"(?<!\d)(?P<first>\d{2})(?P<sep>[-_.])(?P<second>\d{2})(?P=sep)(?P<year>\d{4})(?!\d)"
)
_DIGITS_ONLY = re.compile(
    r"(?<!\d)(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})"
    r"(?:(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?)?(?!\d)"
)


@dataclass(frozen=True, slots=True)
class SeasonRange:
    """A season from its first to its last day, both included."""

    season: str
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class SeasonRule:
    """How a lab tells its seasons apart.

    Parameters
    ----------
    source : {"path", "date", "mapping"}
        What decides.
    pattern : compiled regular expression, for "path"
        Searched for in the path; its group `season` is the season's name.
    ranges : tuple of SeasonRange, for "date"
        Without any, the calendar year is the season.
    mapping : tuple of (pattern, season), for "mapping"
        Shell patterns for the whole path, of which the first that fits decides; `*` also
        crosses folders.
    otherwise : str
        The season of a video that fits nowhere.
    """

    source: Literal["path", "date", "mapping"] = "date"
    pattern: re.Pattern[str] | None = None
    ranges: tuple[SeasonRange, ...] = ()
    mapping: tuple[tuple[str, str], ...] = ()
    otherwise: str = "unassigned"

    def __post_init__(self) -> None:
        if self.source == "path" and (
            self.pattern is None or "season" not in self.pattern.groupindex
        ):
            raise ValueError("seasons from the path need a pattern with a group named `season`")


def season_of(
    path_in_root: PurePath, *, rule: SeasonRule, recorded_at: datetime | None, mtime_s: float
) -> str:
    """Name the season of a video.

    Parameters
    ----------
    path_in_root : PurePath
        The file's path relative to its archive root.
    rule : SeasonRule
    recorded_at : datetime or None
        The container's creation time; without a time zone it is taken as UTC.
    mtime_s : float
        The file's modification time in seconds since 1970, UTC.

    Returns
    -------
    str
        The season's name; `rule.otherwise` where the rule says nothing.
    """
    if rule.source == "date":
        day = recording_date(path_in_root.name, recorded_at=recorded_at, mtime_s=mtime_s)
        season = None if day is None else _season_of_date(day, rule.ranges)
    elif rule.source == "path" and rule.pattern is not None:
        season = named_group(path_in_root, rule.pattern, "season")
    else:
        text = path_in_root.as_posix()
        season = next((name for glob, name in rule.mapping if fnmatchcase(text, glob)), None)
    return season or rule.otherwise


def named_group(path_in_root: PurePath, pattern: re.Pattern[str], group: str) -> str | None:
    """What a named group of a pattern finds in a path; None where it finds nothing."""
    found = pattern.search(path_in_root.as_posix())
    return (found.group(group) or None) if found else None


def recording_date(file_name: str, *, recorded_at: datetime | None, mtime_s: float) -> date | None:
    """Say on which day a video was recorded: by its container, else its name, else its mtime.

    Days outside the years 1990 to 2100 do not count: they come from clocks that were never set
    (1904 and 1970 are the zeros of QuickTime and Unix). Container and modification times are
    taken in UTC, so that the answer does not depend on the machine that asks.
    """
    for day in (_container_date(recorded_at), date_in_name(file_name), _date_of_mtime(mtime_s)):
        if day is not None:
            return day
    return None


def date_in_name(file_name: str) -> date | None:
    """Find the first date in a file name, or None.

    Read are 2018-10-30, 2018_10_30, 2018.10.30, 20181030, the last also with hours and minutes
    or seconds right behind it, and day and month before the year where only one order makes
    sense: 30-10-2018 and 10-30-2018 are dates, 05-03-2018 is not. Longer runs of digits are not.
    """
    return next((day for _, day in sorted(_dates_in(file_name))), None)


def _dates_in(text: str) -> Iterator[tuple[int, date]]:
    for match in (*_YEAR_FIRST.finditer(text), *_DIGITS_ONLY.finditer(text)):
        groups = {k: int(v) for k, v in match.groupdict("0").items() if k != "sep"}
        day = _date(groups["year"], groups["month"], groups["day"])
        if day and _is_time(*(groups.get(k, 0) for k in ("hour", "minute", "second"))):
            yield match.start(), day
    for match in _YEAR_LAST.finditer(text):
        year, first, second = (int(match[k]) for k in ("year", "first", "second"))
        readings = {_date(year, second, first), _date(year, first, second)} - {None}
        if len(readings) == 1:
            (day,) = readings
            if day is not None:
                yield match.start(), day


def _season_of_date(day: date, ranges: tuple[SeasonRange, ...]) -> str | None:
    if not ranges:
        return str(day.year)
    return next((r.season for r in ranges if r.first <= day <= r.last), None)


def _container_date(recorded_at: datetime | None) -> date | None:
    if recorded_at is None or not _FIRST_YEAR - 1 <= recorded_at.year <= _LAST_YEAR + 1:
        return None  # far years would overflow when the time zone is taken off
    aware = recorded_at if recorded_at.tzinfo else recorded_at.replace(tzinfo=UTC)
    return _plausible(aware.astimezone(UTC).date())


def _date_of_mtime(mtime_s: float) -> date | None:
    try:
        return _plausible(datetime.fromtimestamp(mtime_s, UTC).date())
    except (ValueError, OverflowError, OSError):
        return None


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return _plausible(date(year, month, day))
    except ValueError:
        return None


def _plausible(day: date) -> date | None:
    return day if _FIRST_YEAR <= day.year <= _LAST_YEAR else None


def _is_time(hour: int, minute: int, second: int) -> bool:
    try:
        time(hour, minute, second)
    except ValueError:
        return False
    return True
