from __future__ import annotations

import os
from pathlib import Path

import pytest

from alwatch.actions import mail
from alwatch.check import Finding, check_actions
from alwatch.config import load_settings
from tests.actions.helpers import program
from tests.videos import SETTINGS, write_settings


def findings(folder: Path, action: str) -> list[Finding]:
    """What is found of one action, written as YAML."""
    rule = f"triggers:\n  - new_labels: 5\n    actions: [{{{action}}}]\n"
    return list(check_actions(load_settings(write_settings(folder, SETTINGS + rule))))


def finding(folder: Path, action: str) -> Finding:
    (only,) = findings(folder, action)
    assert only.subject == "triggers[0].actions[0]"
    return only


def test_without_rules_there_is_nothing_to_find(tmp_path: Path) -> None:
    assert not list(check_actions(load_settings(write_settings(tmp_path))))


def test_the_folder_of_a_file_must_be_there_and_writable(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    found = finding(tmp_path, "do: file, folder: there")
    assert (found.level, found.found) == ("ok", f"file: {tmp_path}/there is writable")
    assert not list((tmp_path / "there").iterdir())
    found = finding(tmp_path, "do: file, folder: absent")
    assert found.level == "fault"
    assert "absent cannot be written: No such file or directory; make it" in found.found


def test_a_command_must_be_executable(tmp_path: Path) -> None:
    own = program(tmp_path / "own", "true")
    assert finding(tmp_path, f"do: command, command: [{own}]").found == f"command: {own}"
    assert finding(tmp_path, "do: command, command: [sh, -c, x]").level == "ok"
    own.chmod(0o644)
    for name in (str(own), "no-such-program"):
        found = finding(tmp_path, f"do: command, command: [{name}]")
        assert found.level == "fault"
        assert f"{name} is no program that can be run here" in found.found


def test_a_command_by_a_relative_path_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "own", "true")
    monkeypatch.chdir(tmp_path)
    assert "full path" in finding(tmp_path, "do: command, command: [./own]").found


def test_slurm_needs_its_commands_and_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = program(tmp_path / "train.sh", "true")
    action = f"do: slurm, command: [{script}]"
    assert "sbatch is no program" in finding(tmp_path, action).found
    for name in ("sbatch", "squeue"):
        program(tmp_path / "bin" / name, "true")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert finding(tmp_path, action).level == "ok"
    assert "absent.sh is no file" in finding(tmp_path, "do: slurm, command: [/absent.sh]").found


def test_of_a_webhook_only_the_server_is_shown(tmp_path: Path) -> None:
    found = finding(tmp_path, "do: webhook, url: 'https://a:pa55word@8.8.8.8/T0ken'")
    assert (found.level, found.found) == ("ok", "webhook: https://8.8.8.8")
    assert finding(tmp_path, "do: webhook, url: 'https://'").level == "fault"


def test_a_webhook_to_this_machine_must_be_allowed(tmp_path: Path) -> None:
    action = "do: webhook, url: 'http://localhost:9'"
    assert "set allow_private" in finding(tmp_path, action).found
    assert finding(tmp_path, f"{action}, allow_private: true").level == "ok"


def test_mail_needs_a_server_or_sendmail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    action = "do: mail, to: [a@b], sender: c@d"
    assert finding(tmp_path, f"{action}, smtp: 'h:587'").found == "mail: by h:587"
    assert "must be host:port" in finding(tmp_path, f"{action}, smtp: 'h:x'").found
    monkeypatch.setattr(mail, "_SENDMAIL_FOLDERS", str(tmp_path))
    assert "set smtp" in finding(tmp_path, action).found
    sendmail = program(tmp_path / "sendmail", "true")
    assert finding(tmp_path, action).found == f"mail: by {sendmail}"


def test_a_secret_must_be_readable_and_not_for_everyone(tmp_path: Path) -> None:
    action = "do: webhook, url: 'https://8.8.8.8', secret_file: secret"
    assert "secret: No such file" in finding(tmp_path, action).found
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o640)
    assert [each.level for each in findings(tmp_path, action)] == ["ok", "ok"]
    secret.chmod(0o644)
    _, found = findings(tmp_path, action)
    assert (found.subject, found.level) == ("triggers[0].actions[0].secret_file", "warning")
    assert found.remedy == f"chmod o= {secret}"
    assert "s3cret" not in found.found
