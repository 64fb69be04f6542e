"""What holds for every action, whatever it does."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from alwatch.app import PARTS
from alwatch.config.triggers import Action
from tests.actions.helpers import program, run
from tests.actions.receivers import MailServer, Receiver, running

KINDS = ("file", "command", "webhook", "mail", "slurm")


@pytest.fixture
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """What the settings say of an action of this kind that can be done here."""
    hook, mail = Receiver(), MailServer()
    program(tmp_path / "bin" / "squeue", "true")
    program(tmp_path / "bin" / "sbatch", "echo 17")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    given: dict[str, dict[str, Any]] = {
        "file": {"folder": tmp_path},
        "command": {"command": ["/bin/echo", "done"]},
        "webhook": {"url": hook.url, "allow_private": True},
        "mail": {"to": ["a@lab.example"], "sender": "b@lab.example", "smtp": mail.address},
        "slurm": {"command": ["train.sh"]},
    }
    with running(hook), running(mail.server):
        yield Action(do=request.param, **given[request.param]).model_dump(mode="json")


def test_every_kind_is_looked_at() -> None:
    assert set(KINDS) == set(PARTS["action"]) - {"deeplabcut"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_action_takes_what_the_settings_call_so(kind: str) -> None:
    part = EntryPoint(kind, PARTS["action"][kind], "alwatch.action").load()
    own = {name for name in inspect.signature(part).parameters if not name.startswith("now")}
    assert own <= set(Action.model_fields)


@pytest.mark.parametrize(("kind", "settings"), [(k, k) for k in KINDS], indirect=["settings"])
def test_an_action_is_done_and_may_be_repeated(
    kind: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    for _ in range(2):
        end = run(kind, settings, tmp_path / "work")
        assert end.delivered, end.outcome
        assert end.outcome and end.outcome.isprintable()
