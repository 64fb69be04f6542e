from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from alwatch.errors import DamagedStoreError, StopRequestedError, StoreError
from alwatch.store import Store, database_in
from alwatch.store.backing_up import back_up, schema_of, write_backup
from alwatch.store.connection import SCHEMA_VERSION
from tests.store.helpers import NOW, add_video, seen
from tests.store.killing import damage, in_child, kill_at


def n_videos(database: Path) -> int:
    with sqlite3.connect(database) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(db.execute("SELECT COUNT(*) FROM videos").fetchone()[0])


def filled(folder: Path, n: int = 3) -> Path:
    """A closed database that has `n` videos."""
    with Store(folder) as store:
        for number in range(store.videos.counts().done, n):
            add_video(store, f"{number}.mp4", [0, 5])
    return database_in(folder)


def test_a_backup_is_one_file_that_has_everything(tmp_path: Path) -> None:
    database = filled(tmp_path / "state")
    made = back_up(database, tmp_path / "state" / "backups", keep=7, now=NOW)
    assert made.path.name == "alwatch-20260301T120000Z.sqlite"
    assert [path.name for path in made.path.parent.iterdir()] == [made.path.name]
    assert (schema_of(made.path), n_videos(made.path)) == (SCHEMA_VERSION, 3)


def test_what_is_not_in_the_database_file_yet_is_in_the_backup(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_video(store, "a.mp4", [0])
        assert database_in(tmp_path).with_name("alwatch.sqlite-wal").stat().st_size > 0
        write_backup(database_in(tmp_path), tmp_path / "copy.sqlite")
    assert n_videos(tmp_path / "copy.sqlite") == 1


def test_a_backup_is_of_one_moment_while_others_write(tmp_path: Path) -> None:
    database = filled(tmp_path, 1)
    with Store(tmp_path) as store:
        for number in range(400):  # more than one slice
            store.seasons.assess("s", str(number), {"x": "y" * 20_000}, NOW)
        seen_left: list[int] = []

        def write_between(left: int, total: int) -> None:
            seen_left.append(left)
            store.videos.link(seen(f"new-{len(seen_left)}.mp4"), f"new-{len(seen_left)}", NOW)

        write_backup(database, tmp_path / "copy.sqlite", on_slice=write_between)
        assert len(seen_left) > 1
        assert seen_left == sorted(seen_left, reverse=True), "it never began again"
        assert store.videos.counts().waiting == len(seen_left)
    assert n_videos(tmp_path / "copy.sqlite") == 1


def test_writers_do_not_wait_for_a_backup(tmp_path: Path) -> None:
    database, held, go_on = filled(tmp_path), threading.Event(), threading.Event()

    def wait(left: int, total: int) -> None:
        held.set()
        assert go_on.wait(60)

    backup = threading.Thread(
        target=write_backup, args=(database, tmp_path / "copy"), kwargs={"on_slice": wait}
    )
    backup.start()
    try:
        assert held.wait(60)
        with Store(tmp_path) as store:
            assert store.videos.link(seen("late.mp4"), "late", NOW)
    finally:
        go_on.set()
        backup.join()
    assert n_videos(tmp_path / "copy") == 3


def test_one_that_is_told_to_stop_leaves_nothing(tmp_path: Path) -> None:
    def stop(left: int, total: int) -> None:
        raise StopRequestedError("stopping")

    database = filled(tmp_path / "state")
    (tmp_path / "out").mkdir()
    with pytest.raises(StopRequestedError):
        write_backup(database, tmp_path / "out" / "copy", on_slice=stop)
    assert not list((tmp_path / "out").iterdir())


def test_an_older_backup_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    database = filled(tmp_path / "state")
    target = tmp_path / "copy.sqlite"
    write_backup(database, target)
    filled(tmp_path / "state", 4)
    write_backup(database, target)
    assert n_videos(target) == 4
    target.write_bytes(b"a thesis")
    with pytest.raises(StoreError, match="not a backup of alwatch"):
        write_backup(database, target)
    assert target.read_bytes() == b"a thesis"
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE cookies (a)")
    for wrong in (foreign, database, tmp_path):
        with pytest.raises(StoreError, match="not a backup"):
            write_backup(database, wrong)
    assert n_videos(database) == 4


def test_a_disk_without_room_gets_no_backup_and_keeps_the_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, folder = filled(tmp_path), tmp_path / "backups"
    old = back_up(database, folder, keep=1, now=NOW)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**28))
    with pytest.raises(StoreError, match="must stay free"):
        back_up(database, folder, keep=1, now=NOW + timedelta(days=1))
    assert list(folder.iterdir()) == [old.path]


def test_a_disk_that_fills_up_meanwhile_keeps_the_older_ones(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys\n"
        "from datetime import timedelta\n"
        "from pathlib import Path\n"
        "from alwatch.store.backing_up import back_up\n"
        "from alwatch.errors import StoreError\n"
        "from tests.store.helpers import NOW\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))\n"
        "folder = Path(sys.argv[1])\n"
        "try:\n"
        "    back_up(folder / 'alwatch.sqlite', folder / 'backups', keep=1,\n"
        "            now=NOW + timedelta(days=1))\n"
        "except StoreError as error:\n"
        "    print(error)\n"
    )
    database = filled(tmp_path)
    old = back_up(database, tmp_path / "backups", keep=1, now=NOW)
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "cannot be written" in run.stdout, run.stderr
    assert list((tmp_path / "backups").iterdir()) == [old.path]


def test_a_damaged_database_gives_no_backup_and_takes_none_away(tmp_path: Path) -> None:
    database = filled(tmp_path)
    old = back_up(database, tmp_path / "backups", keep=1, now=NOW)
    damage(database, "videos")
    with pytest.raises(DamagedStoreError):
        back_up(database, tmp_path / "backups", keep=1, now=NOW + timedelta(days=1))
    assert list((tmp_path / "backups").iterdir()) == [old.path]


def test_a_folder_that_is_not_there_may_be_a_drive_that_is_not_mounted(tmp_path: Path) -> None:
    database = filled(tmp_path / "state")
    with pytest.raises(StoreError, match="its drive mounted"):
        back_up(database, tmp_path / "drive", keep=7, now=NOW)
    assert not (tmp_path / "drive").exists()


def test_what_a_kill_left_is_taken_away_later_but_not_one_in_the_making(tmp_path: Path) -> None:
    database, folder = filled(tmp_path), tmp_path / "backups"
    folder.mkdir()
    stale, fresh = folder / ".alwatch-1.sqlite.part", folder / ".alwatch-2.sqlite.part"
    for part in (stale, fresh):
        part.touch()
    os.utime(stale, (0, 0))
    made = back_up(database, folder, keep=7, now=NOW)
    assert sorted(folder.iterdir()) == sorted([fresh, made.path])


def test_killed_at_any_step_there_is_the_old_backup_or_the_new_one(tmp_path: Path) -> None:
    state, target = tmp_path / "state", tmp_path / "copy.sqlite"
    database = filled(state, 1)
    write_backup(database, target)
    filled(state, 2)
    found = []

    def die_at(step: int) -> Callable[[], Any]:
        def body() -> None:
            kill_at(step)
            write_backup(database, target, on_slice=lambda left, total: os.utime(state))

        return body

    for step in range(100):
        code = in_child(die_at(step))
        found.append(n_videos(target))
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert found == sorted(found)
    assert (found[0], found[-1]) == (1, 2)
    assert len(found) > 5
    assert json.dumps(sorted(p.name for p in tmp_path.iterdir())) == '["copy.sqlite", "state"]'
