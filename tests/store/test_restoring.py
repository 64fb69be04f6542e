from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from alwatch.errors import DamagedStoreError, StoreError
from alwatch.store import DATABASE_NAME, Store, database_in
from alwatch.store.backing_up import write_backup
from alwatch.store.connection import SCHEMA_VERSION
from alwatch.store.restoring import restore_backup
from tests.store.helpers import NOW, add_video, seen
from tests.store.killing import damage, in_child, kill_at
from tests.store.test_backing_up import filled, n_videos

KEPT = f"{DATABASE_NAME}.replaced-20260301T120000Z"


def restore(backup: Path, state: Path) -> Path | None:
    return restore_backup(backup, database_in(state), index=state / "index", now=NOW).kept


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup of a database that had one video; its state folder has three by now."""
    database = filled(tmp_path / "state", 1)
    write_backup(database, tmp_path / "backup.sqlite")
    filled(tmp_path / "state", 3)
    return tmp_path / "backup.sqlite"


def test_a_restored_database_is_the_backup_and_the_former_one_stays(
    tmp_path: Path, backup: Path
) -> None:
    state = tmp_path / "state"
    (state / "index").mkdir()
    (state / "index" / "x.faiss").write_bytes(b"of the former one")
    assert restore(backup, state) == state / KEPT
    assert {path.name for path in state.iterdir()} == {DATABASE_NAME, KEPT}
    assert n_videos(state / KEPT) == 3
    with Store(state) as store:
        assert store.videos.counts().done == 1
        add_video(store, "next.mp4", [0])


def test_a_restore_can_itself_be_undone(tmp_path: Path, backup: Path) -> None:
    state = tmp_path / "state"
    restore(backup, state)
    later = NOW + timedelta(hours=1)
    restore_backup(state / KEPT, database_in(state), index=state / "index", now=later)
    assert n_videos(database_in(state)) == 3


def test_what_is_only_in_the_log_stays_with_the_former_database(
    tmp_path: Path, backup: Path
) -> None:
    state = tmp_path / "state"

    def write_and_die() -> None:
        Store(state).videos.link(seen("in-the-log.mp4"), "log", NOW)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(write_and_die) == -signal.SIGKILL
    assert database_in(state).with_name(f"{DATABASE_NAME}-wal").stat().st_size > 0
    restore(backup, state)
    assert {path.name for path in state.iterdir()} == {DATABASE_NAME, KEPT}
    assert n_videos(state / KEPT) == 4
    assert n_videos(database_in(state)) == 1


@pytest.mark.parametrize("size", [0, 50, 5000])
def test_a_database_that_is_none_any_more_is_replaced_and_its_log_goes_with_it(
    tmp_path: Path, backup: Path, size: int
) -> None:
    state = tmp_path / "state"
    database_in(state).write_bytes(b"?" * size)
    for end in ("-wal", "-shm"):
        (state / f"{DATABASE_NAME}{end}").write_bytes(b"!" * 32)
    restore(backup, state)
    assert n_videos(database_in(state)) == 1
    if size:
        assert (state / KEPT).read_bytes() == b"?" * size
    with Store(state) as store:
        assert store.videos.counts().done == 1


def test_a_damaged_database_is_restored_as_its_error_says(tmp_path: Path) -> None:
    state = tmp_path / "state"
    database, name = filled(state, 2), "alwatch-20260228T000000Z.sqlite"
    (state / "backups").mkdir()
    write_backup(database, state / "backups" / name)
    damage(database, "videos")
    with Store(state) as store, pytest.raises(DamagedStoreError) as error:
        store.videos.recover(NOW)
    assert f"`alwatch restore {state / 'backups' / name}`" in str(error.value)
    restore(state / "backups" / name, state)
    assert n_videos(database) == 2


def test_where_there_is_no_database_the_backup_becomes_it(tmp_path: Path, backup: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / f"{DATABASE_NAME}-wal").write_bytes(b"of one that was taken away by hand")
    assert restore(backup, tmp_path / "new") is None
    assert n_videos(database_in(tmp_path / "new")) == 1


def test_the_rights_of_the_former_database_stay(tmp_path: Path, backup: Path) -> None:
    database_in(tmp_path / "state").chmod(0o640)
    backup.chmod(0o444)
    restore(backup, tmp_path / "state")
    assert database_in(tmp_path / "state").stat().st_mode & 0o777 == 0o640


def broken(backup: Path) -> None:
    damage(backup, "frames")


def newer(backup: Path) -> None:
    with sqlite3.connect(backup) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def orphaned(backup: Path) -> None:
    with sqlite3.connect(backup) as db:
        db.execute("INSERT INTO frames VALUES (99, 0, 0.0, 0)")


def foreign(backup: Path) -> None:
    backup.unlink()
    with sqlite3.connect(backup) as db:
        db.execute("CREATE TABLE cookies (a)")


def text(backup: Path) -> None:
    backup.write_text("a thesis\n" * 1000)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (broken, "damaged"),
        (newer, "newer alwatch"),
        (orphaned, "belongs to none of videos"),
        (foreign, "not a database of alwatch"),
        (text, "no database, and the database was left as it is; name a backup"),
        (Path.unlink, "is not there"),
    ],
)
def test_a_file_that_is_no_good_backup_changes_nothing(
    tmp_path: Path, backup: Path, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(backup)
    with pytest.raises(StoreError, match=says):
        restore(backup, tmp_path / "state")
    assert [path.name for path in (tmp_path / "state").iterdir()] == [DATABASE_NAME]
    assert n_videos(database_in(tmp_path / "state")) == 3


def test_while_another_process_has_the_database_open_nothing_is_restored(
    tmp_path: Path, backup: Path
) -> None:
    with (
        Store(tmp_path / "state") as store,
        pytest.raises(StoreError, match="open in another process"),
    ):
        restore(backup, tmp_path / "state")
    assert n_videos(database_in(tmp_path / "state")) == 3
    restore(backup, store.state_dir)


def test_killed_at_any_step_there_is_the_former_database_or_the_backup(
    tmp_path: Path, backup: Path
) -> None:
    found = []

    def die_at(step: int, state: Path) -> Callable[[], Any]:
        def body() -> None:
            kill_at(step)
            restore(backup, state)

        return body

    def leave_a_log() -> None:
        Store(tmp_path / "state").videos.link(seen("in-the-log.mp4"), "log", NOW)
        os.kill(os.getpid(), signal.SIGKILL)

    in_child(leave_a_log)
    for step in range(200):
        state = tmp_path / f"state-{step}"
        shutil.copytree(tmp_path / "state", state)
        code = in_child(die_at(step, state))
        with Store(state) as store:
            found.append(store.videos.counts().done + store.videos.counts().waiting)
            store.videos.recover(NOW)
        assert n_videos(database_in(state)) == found[-1]
        for kept in state.glob("*.replaced-*Z"):
            assert n_videos(kept) == 4
        if code == 0:
            break
        assert code == -signal.SIGKILL
        restore_backup(  # which needs nobody to clear up first
            backup, database_in(state), index=state / "index", now=NOW + timedelta(hours=1)
        )
        assert n_videos(database_in(state)) == 1
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == (4, 1)
    assert len(found) > 10
