from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from alwatch.store.backup_files import WEEKS, Backup, backup_name, backups_in, outdated

START = datetime(2026, 1, 5, 3, tzinfo=UTC)  # a Monday


def made(*days: float) -> list[Backup]:
    moments = [START + timedelta(days=day) for day in sorted(days)]
    return [Backup(Path(backup_name(moment)), moment) for moment in moments]


def test_only_files_named_as_backups_are_taken_for_some(tmp_path: Path) -> None:
    name = backup_name(START)
    for other in (name, f".{name}.part", "alwatch.sqlite", "alwatch-99999999T999999Z.sqlite"):
        (tmp_path / other).touch()
    assert backups_in(tmp_path) == [Backup(tmp_path / name, START)]
    assert backups_in(tmp_path / "missing") == []


def test_the_newest_stay_and_one_of_each_week() -> None:
    daily = made(*range(100))
    stay = [b for b in daily if b not in outdated(daily, keep=7)]
    days = [(b.made_at - START).days for b in stay]
    # Sundays are the last of their weeks; day 99 is a Tuesday, eight weeks before it is day 43.
    assert days == [48, 55, 62, 69, 76, 83, 90, 93, 94, 95, 96, 97, 98, 99]


def test_a_year_of_daily_backups_ends_with_few_of_them() -> None:
    there: list[Backup] = []
    for day in range(365):
        there += made(day)
        there = [b for b in there if b not in outdated(there, keep=7)]
        assert there[-1].made_at == START + timedelta(days=day)
    assert len(there) == 14
    assert there[-1].made_at - there[0].made_at > timedelta(weeks=WEEKS - 1)


@given(st.sets(st.floats(0, 1000), max_size=60), st.integers(1, 10))
def test_the_newest_are_never_outdated_and_to_ask_again_changes_nothing(
    days: set[float], keep: int
) -> None:
    backups = made(*days)
    gone = outdated(backups, keep=keep)
    assert not set(gone) & set(backups[-keep:])
    assert outdated([b for b in backups if b not in gone], keep=keep) == []
    assert len(backups) - len(gone) <= keep + WEEKS + 1
