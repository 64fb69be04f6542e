"""An attempt at an action as a child process: started, heard, and ended for certain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from alwatch.errors import shown
from alwatch.records import ActionEnd

GRACE_S = 5.0
"""What a process that is asked to end has left before it is killed."""

_ROOT = Path(__file__).resolve().parents[2]
_ANSWER_BYTES = 2**16
_LOG_BYTES = 4096
_SHOWN_CHARACTERS = 300

# Neither the working directory nor PYTHONPATH shows it alwatch: what it starts inherits both.
_START = """\
import runpy, sys
sys.path.append(sys.argv.pop(1))
runpy.run_module("alwatch.actions", run_name="__main__")
"""


class ActionProcess:
    """A `RunningAction`. No call of it waits.

    It leads a session of its own, and when it has ended, however, all that it has started there
    is killed.

    Parameters
    ----------
    request : dict
        As `python -m alwatch.actions` reads it; `workdir` is made where it is missing, and
        receives what the process writes to standard error as `log.txt`.
    timeout_s : float
        After this it is ended.
    clock_s : callable
        Seconds that only grow.

    Raises
    ------
    OSError
        It cannot be started.
    """

    def __init__(
        self,
        request: dict[str, Any],
        *,
        timeout_s: float,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        workdir = Path(request["workdir"])
        workdir.mkdir(parents=True, exist_ok=True)
        self._log_file = workdir / "log.txt"
        self._clock_s = clock_s
        self._timeout_s = timeout_s
        self._due_s = clock_s() + timeout_s
        self._kill_s: float | None = None
        self._why = ""
        self._end: ActionEnd | None = None
        self._answer = b""
        self._unsent = memoryview(json.dumps(request | {"ends_with_input": True}).encode() + b"\n")
        with open(self._log_file, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(_ROOT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=workdir,
                start_new_session=True,
            )
        assert self._process.stdin and self._process.stdout
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._stdin, False)
        os.set_blocking(self._stdout, False)
        self._send()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def poll(self) -> ActionEnd | None:
        """How it has ended, if it has."""
        if self._end is not None:
            return self._end
        self._send()
        self._listen()
        # Until it is reaped its number is no other process's.
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            self._end = self._reap()
        elif self._kill_s is None:
            if self._clock_s() >= self._due_s:
                self._ask_to_end(f"it was ended after {self._timeout_s:g} s (timeout_s)")
        elif self._clock_s() >= self._kill_s:
            self._signal(signal.SIGKILL)
        return self._end

    def stop(self) -> None:
        """Ask it to end, unless it is asked already."""
        if self._kill_s is None and self._end is None:
            self._ask_to_end("it was ended with the daemon or by hand")

    def _ask_to_end(self, why: str) -> None:
        self._why = why
        self._kill_s = self._clock_s() + GRACE_S
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _send(self) -> None:
        """Send what the pipe takes of the request."""
        with suppress(BlockingIOError, BrokenPipeError):
            while self._unsent:
                self._unsent = self._unsent[os.write(self._stdin, self._unsent) :]

    def _listen(self) -> None:
        with suppress(BlockingIOError):
            while chunk := os.read(self._stdout, _ANSWER_BYTES):
                self._answer = (self._answer + chunk)[-_ANSWER_BYTES:]

    def _reap(self) -> ActionEnd:
        self._signal(signal.SIGKILL)
        code = self._process.wait()
        self._listen()
        assert self._process.stdin and self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        with suppress(ValueError, TypeError):
            return ActionEnd(**json.loads(self._answer))
        return ActionEnd(delivered=False, outcome=self._why or self._cause(code))

    def _cause(self, code: int) -> str:
        how = f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        said = self._last_line()
        return f"its process died ({how})" + (f": {said}" if said else "")

    def _last_line(self) -> str:
        with suppress(OSError), open(self._log_file, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
            lines = log.read().decode("utf-8", "replace").split("\n")
            return shown(next((x for x in reversed(lines) if x.strip()), "")[:_SHOWN_CHARACTERS])
        return ""
