"""Deliveries whose process is killed: `python -m tests.dying_deliveries FOLDER`.

For every step of claiming, starting, polling and ending, a process is killed before it and
another one goes on. Prints one JSON object with what was seen; the tests judge it. With `--work`
it only delivers what is due, until nothing is left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alwatch.actions.supervisor import ActionProcess
from alwatch.delivery import Deliverer, workdir_of
from alwatch.store import Store
from alwatch.store.triggers import Delivery, Triggers
from tests.actions.helpers import program


def utc_now() -> datetime:
    return datetime.now(UTC)


def deliver(folder: Path) -> None:
    """Work until nothing waits, as the daemon's loop does."""
    with Store(folder / "state") as store:

        def start(delivery: Delivery, evidence: dict[str, Any]) -> ActionProcess:
            request = {
                "kind": "command",
                "part": "alwatch.actions.command:RunCommand",
                "settings": delivery.settings,
                "key": delivery.key,
                "evidence": evidence,
                "workdir": str(workdir_of(store, delivery)),
            }
            return ActionProcess(request, timeout_s=60)

        deliverer = Deliverer(store, start, utc_now)
        while store.triggers.deliveries("waiting", "working"):
            if not deliverer.work():
                time.sleep(0.01)


def die_at(step: int) -> None:
    """Make this process kill itself at its `step`-th step: before or after one of these calls."""
    left = step

    def count() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def dying(made: Callable[..., Any], *, before: bool = True) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if before:
                count()
            answer = made(*args, **kwargs)
            if before or answer is not None:
                count()
            return answer

        return call

    # What is asked at every turn of the loop is a step only when something comes of it.
    os.waitid = dying(os.waitid, before=False)
    Triggers.claim = dying(Triggers.claim, before=False)  # type: ignore[method-assign]
    subprocess.Popen = dying(subprocess.Popen)  # type: ignore[assignment, misc]
    Triggers.end = dying(Triggers.end)  # type: ignore[method-assign]


def fire(folder: Path, *, count: int = 1, work: str = "") -> set[str]:
    """Ask for deliveries by a program that writes its key down; returns the keys."""
    script = program(folder / "program", f'{work}\necho "$ALWATCH_KEY" >> {folder}/received')
    with Store(folder / "state") as store:
        store.triggers.fire(
            "retrain",
            seasons=["2026"],
            reason="a test",
            evidence={},
            actions=[("command", {"command": [str(script)]})] * count,
            now=utc_now(),
        )
        return {delivery.key for delivery in store.triggers.deliveries()}


def outcome(folder: Path) -> tuple[list[str], set[str]]:
    """The keys that were received, and the states that the deliveries are in."""
    with Store(folder / "state") as store:
        states = {delivery.state for delivery in store.triggers.deliveries()}
    return (folder / "received").read_text().split(), {str(state) for state in states}


def killed_at_every_step(root: Path) -> dict[str, Any]:
    faults: list[str] = []
    repeats = 0
    for step in range(100):
        folder = root / str(step)
        keys = fire(folder)
        arguments = ["--die", str(step), str(folder)]
        command = [sys.executable, "-m", "tests.dying_deliveries", *arguments]
        code = subprocess.run(command, check=False).returncode
        if code not in (0, -signal.SIGKILL):
            faults.append(f"step {step}: exit status {code}")
        deliver(folder)
        received, states = outcome(folder)
        repeats += len(received) - 1
        if set(received) != keys or states != {"delivered"}:
            faults.append(f"step {step}: received {received} of {keys}; {states}")
        if code == 0:
            return {"steps": step, "faults": faults, "repeats": repeats}
    return {"steps": -1, "faults": faults, "repeats": repeats}


def main(arguments: list[str]) -> None:
    match arguments:
        case ["--work", folder]:
            deliver(Path(folder))
        case ["--die", step, folder]:
            die_at(int(step))
            deliver(Path(folder))
        case [folder]:
            print(json.dumps(killed_at_every_step(Path(folder))))


if __name__ == "__main__":
    main(sys.argv[1:])
