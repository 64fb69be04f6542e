from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from alwatch.errors import DamagedStoreError
from alwatch.service import Lock
from alwatch.store import database_in
from tests.store.killing import damage
from tests.test_cli import Cli, archive, cli
from tests.videos import make_video, write_settings

__all__ = ["archive", "cli"]  # fixtures


def test_a_backup_is_made_verified_and_brought_back(archive: Cli) -> None:
    state = archive.folder / "state"
    made = archive.json("backup")
    assert Path(made["backup"]).parent == state / "backups"
    assert made["bytes"] == Path(made["backup"]).stat().st_size
    assert abs(datetime.now(UTC) - datetime.fromisoformat(made["made_at"])) < timedelta(hours=1)
    assert archive.json("status")["backup"]["backup"] == made["backup"]
    make_video(archive.folder / "archive" / "s" / "late.mp4", seed=9)
    assert archive("ingest") == 0
    restored = archive.json("restore", made["backup"])
    assert restored["restored"] == made["backup"]
    assert Path(restored["kept"]).parent == state
    assert archive.json("status")["videos"]["done"] == 2
    assert archive("ingest") == 0
    assert archive.json("status")["videos"]["done"] == 3
    assert archive.json("verify")["faults"] == []


def test_a_backup_goes_where_it_is_wanted(archive: Cli) -> None:
    (archive.folder / "stick").mkdir()
    assert Path(archive.json("backup", "stick")["backup"]).parent == archive.folder / "stick"
    assert archive.json("backup", "mine.sqlite")["backup"] == str(archive.folder / "mine.sqlite")
    assert archive("backup", "archive/mine.sqlite") == 2
    assert "outside the archive" in archive.err
    (archive.folder / "alwatch.yaml").open("a").write("backup: {folder: stick, keep: 1}\n")
    kept = Path(archive.json("backup")["backup"])
    assert list((archive.folder / "stick").iterdir()) == [kept]


def test_check_says_where_backups_go_and_when_they_cannot(archive: Cli) -> None:
    def told() -> str:
        archive("check")
        lines = archive.out.splitlines()
        at = next(n for n, line in enumerate(lines) if "backup.folder" in line)
        return "\n".join(lines[at : at + 2])

    assert f"{archive.folder}/state/backups; none yet" in told()
    made = archive.json("backup")["made_at"]
    assert f"the newest is of {made[:10]} {made[11:16]} UTC" in told()
    (archive.folder / "alwatch.yaml").open("a").write("backup: {folder: drive}\n")
    assert f"{archive.folder}/drive is not there\n      -> make it, or mount" in told()
    assert archive("check") == 1
    (archive.folder / "drive").mkdir()
    assert f"{archive.folder}/drive; none yet" in told()


def test_a_damaged_database_is_found_named_and_brought_back(archive: Cli) -> None:
    made = archive.json("backup")["backup"]
    assert archive("queue", "s", "--budget", 2) == 0
    damage(database_in(archive.folder / "state"), "videos")
    for command in (["ingest"], ["queue", "s"], ["backup"]):
        assert archive(*command) == 3, command
        assert len(archive.err.splitlines()) == 1
        assert "is damaged" in archive.err
    assert archive("verify") == 1
    assert f"`alwatch restore {made}`" in archive.out
    report = archive.json("verify")
    assert report["faults"]
    assert report["newest_backup"]["backup"] == made
    assert archive("restore", made) == 0
    assert archive("verify") == 0
    assert archive.out == f"ok    {archive.folder / 'state' / 'alwatch.sqlite'}\n"


def test_a_similarity_index_of_another_database_is_found(archive: Cli) -> None:
    assert archive("reindex") == 0
    assert archive.json("verify")["faults"] == []
    with sqlite3.connect(database_in(archive.folder / "state")) as db:
        matrix = db.execute("SELECT matrix FROM vectors").fetchone()[0]
        backwards = np.frombuffer(matrix, np.float16)[::-1].tobytes()
        db.execute("UPDATE vectors SET matrix = ?", [backwards])
    assert archive("verify") == 1
    assert "other vectors of video" in archive.out
    assert archive("reindex") == 0
    assert archive("verify") == 0


def test_a_restore_beside_the_daemon_is_refused(archive: Cli) -> None:
    made = archive.json("backup")["backup"]
    with Lock(archive.folder / "state"):
        assert archive("restore", made) == 3
        assert "in use by another alwatch" in archive.err
    assert archive("restore", made) == 0


def test_without_a_database_there_is_nothing_to_verify_or_back_up(cli: Cli) -> None:
    write_settings(cli.folder)
    assert cli("verify") == 1
    assert cli("backup") == 3
    assert not (cli.folder / "state" / "alwatch.sqlite").exists()


def test_the_daemon_does_not_wait_for_a_damaged_database_to_mend(
    archive: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alwatch.service import Daemon, Notifier
    from tests.videos import make_app

    damage(database_in(archive.folder / "state"), "videos")
    app = make_app(archive.folder)
    daemon = Daemon(app, Notifier(None))
    monkeypatch.setattr(daemon, "_sync_labels", lambda: app.store.videos.recover(app.clock()))
    monkeypatch.setattr(daemon, "_pause", lambda reason: pytest.fail(f"paused: {reason}"))
    with pytest.raises(DamagedStoreError):
        daemon._loop()
    app.close()
