from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from alwatch.errors import DamagedStoreError, StoreError
from alwatch.store import DATABASE_NAME, Store, damage, database_in
from tests.store.helpers import EMBEDDER, NOW, add_video, seen
from tests.store.killing import damage as overwrite
from tests.store.test_backing_up import filled


@pytest.mark.parametrize("table", ["videos", "frames", "vectors", "queues", "labels"])
def test_a_damaged_database_is_read_but_never_written_to(tmp_path: Path, table: str) -> None:
    database = filled(tmp_path)
    overwrite(database, table)
    before = database.read_bytes()
    with Store(tmp_path) as store:
        assert store.snapshots.known() == []
        for _ in range(2):
            with pytest.raises(DamagedStoreError, match="is damaged"):
                store.snapshots.set_candidate(None, NOW)
    assert database.read_bytes() == before


def test_the_message_names_the_newest_backup_in_one_line(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    for day in ("01", "03", "02"):
        (tmp_path / "elsewhere" / f"alwatch-202603{day}T060504Z.sqlite").touch()
    overwrite(database_in(tmp_path), "videos")
    with (
        Store(tmp_path, backups=tmp_path / "elsewhere") as store,
        pytest.raises(DamagedStoreError) as error,
    ):
        store.videos.recover(NOW)
    newest = tmp_path / "elsewhere" / "alwatch-20260303T060504Z.sqlite"
    assert str(error.value).endswith(
        "was left as it is; bring back the backup of 2026-03-03 06:05 UTC by "
        f"`alwatch restore {newest}`."
    )
    assert "\n" not in str(error.value)


def test_without_a_backup_the_message_says_how_to_start_anew(tmp_path: Path) -> None:
    filled(tmp_path)
    overwrite(database_in(tmp_path), "videos")
    with Store(tmp_path) as store, pytest.raises(DamagedStoreError, match="there is no backup in"):
        store.videos.recover(NOW)


def test_what_is_no_database_is_not_opened(tmp_path: Path) -> None:
    database_in(tmp_path).write_bytes(b"?" * 5000)
    with pytest.raises(DamagedStoreError, match="not a database"):
        Store(tmp_path)
    assert database_in(tmp_path).read_bytes() == b"?" * 5000


def test_a_file_that_was_cut_off_is_damaged(tmp_path: Path) -> None:
    database = filled(tmp_path)
    with open(database, "r+b") as file:
        file.truncate(database.stat().st_size // 2)
    with pytest.raises(DamagedStoreError), Store(tmp_path) as store:
        store.videos.recover(NOW)


def test_damage_that_appears_while_it_is_open_is_told_apart_from_trouble(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for number in range(30):
            add_video(store, f"{number}.mp4", list(range(200)))
        store.videos.recover(NOW)
        overwrite(database_in(tmp_path), "frames")
        with sqlite3.connect(database_in(tmp_path)) as other:  # so that its pages are read anew
            other.execute("UPDATE videos SET reason = 'x'")
        with pytest.raises(DamagedStoreError):
            store.pools.season_frames(EMBEDDER)


def test_a_locked_database_is_not_taken_for_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alwatch.store.connection.BUSY_TIMEOUT_S", 0.0)
    filled(tmp_path)
    other = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Store(tmp_path) as store, pytest.raises(StoreError, match="locked") as error:
        store.videos.link(seen("new.mp4"), "new", NOW)
    other.close()
    assert not isinstance(error.value, DamagedStoreError)


def test_of_a_large_database_all_but_the_arrays_is_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damage, "WHOLE_BYTES", 0)
    for table, is_found in (("vectors", False), ("frames", True)):
        database = filled(tmp_path / table)
        overwrite(database, table)
        with sqlite3.connect(database) as db:
            assert (damage.quick_fault(db) is not None) is is_found
