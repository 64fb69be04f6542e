from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from alwatch.backups import RETRY_S, BackupClock
from alwatch.config import settings_table
from alwatch.store import database_in
from alwatch.store.backing_up import SPARE_BYTES, back_up
from alwatch.store.backup_files import WEEKS, backups_in
from alwatch.store.damage import ARRAY_TABLES, WHOLE_BYTES
from tests.store.helpers import NOW
from tests.store.test_backing_up import filled, n_videos
from tests.test_readme import README

DAY_S = 86400.0


class Time:
    """Both clocks of a daemon; `passes` lets time go by."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.set_back_s = 0.0

    def passes(self, seconds: float) -> None:
        self.now_s += seconds

    def clock(self) -> datetime:
        return NOW + timedelta(seconds=self.now_s - 1000.0 - self.set_back_s)

    def timer(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


def clock_over(state: Path, time: Time, *, every_s: float = DAY_S, keep: int = 7) -> BackupClock:
    return BackupClock(
        database_in(state),
        state / "backups",
        every_s=every_s,
        keep=keep,
        clock=time.clock,
        timer=time.timer,
    )


def tick(clock: BackupClock) -> None:
    """Tick, and let the backup that it begins, if any, come to its end."""
    clock.tick()
    for thread in threading.enumerate():
        if thread.name == "backup":
            thread.join(60)
            assert not thread.is_alive()


def n_backups(state: Path) -> int:
    return len(backups_in(state / "backups"))


def test_one_is_made_at_once_and_then_whenever_the_time_is_over(tmp_path: Path, time: Time) -> None:
    filled(tmp_path)
    clock = clock_over(tmp_path, time)
    found = []
    for _ in range(9):
        tick(clock)
        found.append(n_backups(tmp_path))
        time.passes(DAY_S / 4)
    assert found == [1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert n_videos(backups_in(tmp_path / "backups")[-1].path) == 3


def test_a_daemon_that_starts_again_waits_for_what_is_left_of_the_time(
    tmp_path: Path, time: Time
) -> None:
    back_up(filled(tmp_path), tmp_path / "backups", keep=7, now=time.clock())
    time.passes(0.75 * DAY_S)
    clock = clock_over(tmp_path, time)
    tick(clock)
    assert n_backups(tmp_path) == 1
    time.passes(0.25 * DAY_S)
    tick(clock)
    assert n_backups(tmp_path) == 2


def test_a_clock_that_was_set_back_costs_one_interval_at_most(tmp_path: Path, time: Time) -> None:
    back_up(filled(tmp_path), tmp_path / "backups", keep=7, now=time.clock())
    time.set_back_s = 30 * DAY_S
    clock = clock_over(tmp_path, time)
    tick(clock)
    assert n_backups(tmp_path) == 1
    for expected in (2, 3):
        time.passes(DAY_S)
        tick(clock)
        assert n_backups(tmp_path) == expected


def test_no_schedule_no_backup(tmp_path: Path, time: Time) -> None:
    filled(tmp_path)
    clock = clock_over(tmp_path, time, every_s=0)
    tick(clock)
    assert not (tmp_path / "backups").exists()


def test_one_that_fails_is_told_and_tried_again_after_an_hour(
    tmp_path: Path, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path)
    (tmp_path / "backups").write_text("in the way")
    clock = clock_over(tmp_path, time)
    with caplog.at_level(logging.ERROR):
        tick(clock)
        time.passes(RETRY_S / 2)
        tick(clock)
    assert len(caplog.records) == 1
    assert "No backup was made" in caplog.text
    (tmp_path / "backups").unlink()
    time.passes(RETRY_S / 2)
    tick(clock)
    assert n_backups(tmp_path) == 1


def test_a_tick_does_not_wait_and_a_stop_leaves_nothing_half_made(
    tmp_path: Path, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    begun, closing = threading.Event(), threading.Event()
    go_on = BackupClock._go_on

    def slow(self: BackupClock, left: int, total: int) -> None:
        begun.set()
        assert closing.wait(60)
        go_on(self, left, total)

    monkeypatch.setattr(BackupClock, "_go_on", slow)
    clock = clock_over(tmp_path, time)
    clock.tick()
    assert begun.wait(60)
    time.passes(2 * DAY_S)
    clock.tick()  # one at a time
    assert sum(thread.name == "backup" for thread in threading.enumerate()) == 1
    end = threading.Thread(target=clock.close)
    end.start()
    assert clock._is_closed.wait(60)
    closing.set()
    end.join(60)
    assert list((tmp_path / "backups").iterdir()) == []


def test_the_figures_in_the_readme_are_those_of_the_code() -> None:
    section = README.read_text("utf-8").split("## Backups")[1].split("\n## ")[0]
    settings = {name: default for name, default, _ in settings_table()}
    assert (settings["backup.every_h"], settings["backup.keep"]) == ("24", "7")
    assert "once a day (`backup.every_h`)" in section
    assert "last seven (`backup.keep`) and one of each week for eight weeks" in section
    assert WEEKS == 8
    assert SPARE_BYTES == WHOLE_BYTES == 256 * 2**20
    assert "would not keep 256 MiB free" in section
    assert "all of it up to 256 MiB, above that all but vectors and" in section
    assert ARRAY_TABLES == ("vectors", "scores")
