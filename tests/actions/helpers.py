"""Actions run as the daemon runs them, and what they are given."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from alwatch.actions.supervisor import ActionProcess
from alwatch.app import PARTS
from alwatch.records import ActionEnd

T = TypeVar("T")

KEY = "retrain-7-0a1b2c3d.1-test"
EVIDENCE: dict[str, Any] = {
    "key": "retrain-7-0a1b2c3d",
    "rule": "retrain",
    "seasons": ["2026"],
    "reason": "60 labels of season 2026 are unknown to the pose model",
    "figures": {"2026": {"videos": 3, "coverage": 0.25, "error_px": {"mean": 7.5}, "drift": []}},
}


def request(
    kind: str, settings: dict[str, Any], workdir: Path, evidence: dict[str, Any] = EVIDENCE
) -> dict[str, Any]:
    """What `python -m alwatch.actions` is asked."""
    return {
        "kind": kind,
        "part": PARTS["action"][kind],
        "settings": settings,
        "key": KEY,
        "evidence": evidence,
        "workdir": str(workdir),
    }


def run(
    kind: str,
    settings: dict[str, Any],
    workdir: Path,
    *,
    evidence: dict[str, Any] = EVIDENCE,
    timeout_s: float = 30,
) -> ActionEnd:
    """Do an action in its process, to its end."""
    process = ActionProcess(request(kind, settings, workdir, evidence), timeout_s=timeout_s)
    return wait_for(process.poll)


def wait_for(look: Callable[[], T | None], timeout_s: float = 30) -> T:
    """What `look` gives, as soon as it gives something."""
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        if found := look():
            return found
        time.sleep(0.01)
    raise AssertionError(f"nothing came of {look} in {timeout_s} s")


def is_gone(pid: int) -> bool:
    """Whether a process is no more; what is only to be reaped has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def program(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
