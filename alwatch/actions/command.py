"""`do: command`: a program of the lab's, with the evidence on its standard input."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from alwatch.actions.disk import as_json
from alwatch.errors import ActionError, shown

EX_TEMPFAIL = 75  # of sysexits.h
_KEPT_BYTES = 2**16
_SHOWN_CHARACTERS = 200
_LOOK_S = 0.1
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


class RunCommand:
    """Runs a program, which no shell reads, and waits for its end.

    Exit status 0 is success, and the last line that it wrote is the outcome; 75 asks for another
    attempt later, which is not counted; any other is a failed attempt. What it leaves running
    behind is ended with it.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    nice : int
        How far it stands back behind other programs.
    """

    def __init__(self, *, command: Sequence[str], nice: int = 10) -> None:
        self._command = list(command)
        self._nice = nice

    def deliver(self, key: str, evidence: dict[str, Any], workdir: Path) -> str:
        """Run it in `workdir`, where `output.txt` keeps the end of what it writes.

        Raises
        ------
        ActionError
            It cannot be run, or ends with another status than 0.
        """
        with tempfile.TemporaryFile(dir=workdir) as stdin:
            stdin.write(as_json(evidence))
            stdin.seek(0)
            with self._start(key, stdin, workdir) as process:
                output = _end_of_output(process)
        (workdir / "output.txt").write_bytes(output)
        return self._judge(process.returncode, last_line(output))

    def _start(self, key: str, stdin: IO[bytes], workdir: Path) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=workdir,
                env=os.environ | {"ALWATCH_KEY": key},
                preexec_fn=_limits(self._nice),
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ActionError(
                f"{shown(self._command[0])} cannot be run: {reason}. Correct command, or make the "
                "program executable for this user."
            ) from error

    def _judge(self, code: int, said: str) -> str:
        program = shown(self._command[0])
        if code == 0:
            return said or f"{program} ended with exit status 0"
        how = f"exit status {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
        message = f"{program}: {how}{said and f': {said}'}"
        if code == EX_TEMPFAIL:
            raise ActionError(f"{message} (it wants to be asked later)", counts=False)
        raise ActionError(message)


def last_line(output: bytes) -> str:
    """The last line that says anything, as it may be shown."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines()]
    said = next((line for line in reversed(lines) if line), "")
    return shown(said[:_SHOWN_CHARACTERS])


def _limits(nice: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None)

    def set_limits() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody would hear its outcome
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.nice(nice)

    return set_limits


def _end_of_output(process: subprocess.Popen[bytes]) -> bytes:
    """Read until the program ends, whoever else may still hold its output then."""
    assert process.stdout is not None
    handle, kept = process.stdout.fileno(), b""

    def read(wait_s: float) -> bool:
        nonlocal kept
        if not select.select([handle], [], [], wait_s)[0]:
            return True
        chunk = os.read(handle, _KEPT_BYTES)
        kept = (kept + chunk)[-_KEPT_BYTES:]
        return bool(chunk)

    while process.poll() is None:
        if not read(_LOOK_S):
            process.wait()
    for _ in range(16):  # what the pipe may hold; no more, as those left behind may write on
        if not read(0):
            break
    return kept
