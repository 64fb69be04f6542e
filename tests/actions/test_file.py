from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alwatch.actions.disk import read_secret
from alwatch.actions.file import WriteFile
from alwatch.errors import ActionError
from tests.actions.helpers import EVIDENCE, KEY


def test_the_evidence_is_one_json_file_named_after_the_key(tmp_path: Path) -> None:
    outcome = WriteFile(folder=tmp_path).deliver(KEY, EVIDENCE, tmp_path)
    assert outcome == f"wrote {tmp_path / KEY}.json"
    assert [path.name for path in tmp_path.iterdir()] == [f"{KEY}.json"]
    assert json.loads((tmp_path / f"{KEY}.json").read_bytes()) == EVIDENCE


def test_twice_changes_nothing(tmp_path: Path) -> None:
    action = WriteFile(folder=tmp_path)
    action.deliver(KEY, EVIDENCE, tmp_path)
    before = (tmp_path / f"{KEY}.json").stat()
    assert "was there already" in action.deliver(KEY, EVIDENCE, tmp_path)
    assert (tmp_path / f"{KEY}.json").stat() == before


def test_a_folder_that_is_not_mounted_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="is no folder") as caught:
        WriteFile(folder=tmp_path / "drive").deliver(KEY, EVIDENCE, tmp_path)
    assert caught.value.again
    assert not (tmp_path / "drive").exists()


def test_a_key_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="cannot be the name of a file") as caught:
        WriteFile(folder=tmp_path).deliver("../out", EVIDENCE, tmp_path)
    assert not caught.value.again


def test_a_link_that_lies_in_wait_is_not_followed(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("mine")
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / f".{KEY}.json.part").symlink_to(own)
    WriteFile(folder=folder).deliver(KEY, EVIDENCE, tmp_path)
    assert own.read_text() == "mine"
    assert not (folder / f"{KEY}.json").is_symlink()


DYING = """\
import os, signal, sys
from pathlib import Path
from alwatch.actions.file import WriteFile
step, folder, key = sys.argv[1:]
setattr(os, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
WriteFile(folder=folder).deliver(key, {}, Path(folder))
"""


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_kill_leaves_the_whole_file_or_none(tmp_path: Path, step: str) -> None:
    died = subprocess.run([sys.executable, "-c", DYING, step, tmp_path, KEY], check=False)
    assert died.returncode == -signal.SIGKILL
    assert not (tmp_path / f"{KEY}.json").exists()
    WriteFile(folder=tmp_path).deliver(KEY, EVIDENCE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{KEY}.json"]


@pytest.mark.parametrize("content", ["", "\n", "one\ntwo\n"])
def test_a_secret_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret").write_text(content)
    with pytest.raises(ActionError, match="must hold the secret, one line"):
        read_secret(tmp_path / "secret")


def test_a_secret_that_is_not_there_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=r"read from .*secret: No such file"):
        read_secret(tmp_path / "secret")
