from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from alwatch.errors import StoreError
from alwatch.records import LabelledPoint
from alwatch.store import DATABASE_NAME, Store
from alwatch.store.connection import SCHEMA_VERSION, Connection
from alwatch.store.schema import MIGRATIONS
from tests.store.helpers import NOW, seen


def pragma(path: Path, name: str) -> object:
    return sqlite3.connect(path).execute(f"PRAGMA {name}").fetchone()[0]


def test_the_version_is_the_number_of_migrations(tmp_path: Path) -> None:
    Store(tmp_path).close()
    assert pragma(tmp_path / DATABASE_NAME, "user_version") == SCHEMA_VERSION
    assert len(MIGRATIONS._migrations) == SCHEMA_VERSION


def test_the_database_is_kept_in_write_ahead_mode(tmp_path: Path) -> None:
    Store(tmp_path).close()
    assert pragma(tmp_path / DATABASE_NAME, "journal_mode") == "wal"


def test_a_database_of_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE_NAME) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreError, match="newer alwatch"):
        Store(tmp_path)
    assert pragma(tmp_path / DATABASE_NAME, "user_version") == SCHEMA_VERSION + 1


def test_a_transaction_that_raises_leaves_nothing(tmp_path: Path) -> None:
    connection = Connection(tmp_path / "x.sqlite", checkpoints=True, backups=tmp_path)
    with pytest.raises(RuntimeError), connection.write() as db:
        db.execute("INSERT INTO roots (path, online) VALUES (x'00', 1)")
        raise RuntimeError
    assert connection.rows("SELECT * FROM roots") == []


def test_foreign_keys_are_enforced(tmp_path: Path) -> None:
    connection = Connection(tmp_path / "x.sqlite", checkpoints=True, backups=tmp_path)
    with pytest.raises(sqlite3.IntegrityError), connection.write() as db:
        db.execute("INSERT INTO frames VALUES (99, 0, 0.0, 0)")


def test_an_acknowledged_write_survives_sigkill(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from alwatch.store import Store\n"
        "from tests.store.helpers import NOW, seen\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for n in range(20):\n"
        "    store.videos.link(seen(f'{n}.mp4'), str(n), NOW)\n"
        "    print(n, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, check=False
    )
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    acknowledged = len(run.stdout.split())
    assert acknowledged == 20
    assert Store(tmp_path).videos.counts().waiting == acknowledged


def test_a_read_only_state_folder_is_explained(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.close()
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from alwatch.errors import StoreError\n"
        "from alwatch.store import Store\n"
        "from tests.store.helpers import NOW, seen\n"
        "os.setuid(65534)\n"
        "try:\n"
        "    Store(Path(sys.argv[1])).videos.link(seen('a.mp4'), 'a', NOW)\n"
        "except StoreError as error:\n"
        "    print(error)\n"
    )
    if os.getuid() != 0:
        pytest.skip("needs root, to become another user")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(0o755)
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "state_dir" in run.stdout or "may be written" in run.stdout, run.stderr


def test_linking_after_reopening_sees_what_was_written(tmp_path: Path) -> None:
    Store(tmp_path).videos.link(seen("a.mp4"), "a", NOW)
    assert not Store(tmp_path).videos.link(seen("a.mp4"), "a", NOW)


def test_labels_and_queues_of_an_older_version_are_taken_over(tmp_path: Path) -> None:
    before = Migrations("alwatch")
    before._migrations = MIGRATIONS._migrations[:2]
    with sqlite3.connect(tmp_path / DATABASE_NAME) as db:
        before.apply(Database(db))
        db.execute("PRAGMA user_version = 2")
        db.execute(
            "INSERT INTO videos (id, content_hash, last_path, state, discovered_at, changed_at) "
            "VALUES (1, 'h', x'2f61', 'done', '2026-01-01', '2026-01-01')"
        )
        points = '[["", "nose", 1.0, 2.0]]'
        row = (1, 7, "deeplabcut", b"/p", "2026-01-02T00:00:00+00:00", points)
        db.execute("INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?)", row)
        db.execute("INSERT INTO queues VALUES (1, 's', 'minmax', 0, 1, '2026-01-01', '{}')")
        db.execute("INSERT INTO queue_frames VALUES (1, 1, 1, 7, 0.5, 'far')")
    with Store(tmp_path) as store:
        assert store.labels.points() == {(1, 7): (LabelledPoint("", "nose", 1.0, 2.0),)}
        (summary,) = store.queues.summaries()
        assert (summary.frames, summary.labelled, summary.withdrawn_at) == (1, 1, None)
    assert pragma(tmp_path / DATABASE_NAME, "user_version") == SCHEMA_VERSION
    assert (
        sqlite3.connect(tmp_path / DATABASE_NAME).execute("PRAGMA foreign_key_check").fetchall()
        == []
    )
