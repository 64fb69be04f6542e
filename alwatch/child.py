"""A child process that answers requests: starting it, hearing it, and ending it for certain.

Each request is a line of JSON on its standard input; each answer a line of JSON on its standard
output with, after it, as many raw bytes as its `bytes` says. The child ends when its input does.
Both sides of that conversation are here; what is talked about is the business of its rooms.
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import re
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from alwatch.records import ImageArray

_BUFFER_BYTES = 64 * 2**20  # answered ahead of the consumer
_PIPE_BYTES = 2**20
_END_S = 5.0  # a killed child that is not gone by then is stuck in the kernel
_BEAT_S = 0.2

# The child's Python may be another one, without alwatch: only this package is shown to it, not
# all that is installed beside it.
_START = """\
import sys
sys.path[:] = [entry for entry in sys.path if entry]  # not what lies in the working directory
import importlib.util, runpy
package, module = sys.argv[1:3]
spec = importlib.util.spec_from_file_location(
    "alwatch", package + "/__init__.py", submodule_search_locations=[package])
sys.modules["alwatch"] = found = importlib.util.module_from_spec(spec)
spec.loader.exec_module(found)
runpy.run_module(module, run_name="__main__")
"""


def command_in(python: Path, module: str, *arguments: str) -> list[str]:
    """The command that runs a module of alwatch under any Python, as a program.

    The module finds `arguments` in `sys.argv[3:]`.
    """
    return [str(python), "-c", _START, str(Path(__file__).resolve().parent), module, *arguments]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the child: its kind, its fields, and the raw bytes that came with it."""

    kind: str
    fields: dict[str, Any]
    payload: ImageArray


class SilenceError(Exception):
    """The child said nothing for the time allowed."""


class ChildEndedError(Exception):
    """The child has ended, or was ended, and nothing more will come."""


class AnswerBuffer:
    """Hands answers from the thread that reads them to the consumer; bounded by bytes.

    The child thus runs ahead of a consumer that takes its time, but not without end.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._held_bytes = 0
        self._answers: deque[Answer] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, answer: Answer) -> bool:
        """Add an answer, waiting for room; False if there is nobody to take it any more."""
        size = answer.payload.nbytes
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._closed
                    or not self._answers
                    or self._held_bytes + size <= self._capacity_bytes
                )
            )
            if self._closed:
                return False
            self._answers.append(answer)
            self._held_bytes += size
            self._changed.notify_all()
            return True

    def get(self, timeout_s: float) -> Answer:
        """Take the oldest answer, waiting for one.

        Raises
        ------
        SilenceError
            None came within `timeout_s`.
        ChildEndedError
            None will come.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._answers or self._closed, timeout_s)
            if self._answers:
                answer = self._answers.popleft()
                self._held_bytes -= answer.payload.nbytes
                self._changed.notify_all()
                return answer
            raise ChildEndedError if self._closed else SilenceError

    def close(self, *, discard: bool = False) -> None:
        """Let nothing more in; `discard` also drops what is held."""
        with self._changed:
            self._closed = True
            if discard:
                self._answers.clear()
            self._changed.notify_all()


class Child:
    """One running child process.

    Parameters
    ----------
    command : sequence of str
    settings : dict
        The first line it is sent.
    env : mapping of str
        Its environment.
    pass_fds : sequence of int
        File descriptors that it shares with this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        settings: dict[str, Any],
        *,
        env: Mapping[str, str],
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            pass_fds=pass_fds,
            start_new_session=True,  # Ctrl-C is for the parent to handle
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._stdin, self._stderr = self._process.stdin, self._process.stderr
        with suppress(OSError):
            fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stderr.fileno(), False)
        self._words = ""
        self._answers = AnswerBuffer(_BUFFER_BYTES)
        self._reading = threading.Thread(
            target=_pump, args=(self._process.stdout, self._answers), daemon=True
        )
        self._reading.start()
        self.busy = False
        """Whether a request is being served whose last answer has not been taken."""
        with suppress(SilenceError, ChildEndedError):  # the first answer will tell
            self.send(settings, timeout_s=_END_S)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, request: dict[str, Any], timeout_s: float) -> None:
        """Send one request.

        Raises
        ------
        SilenceError
            The child took nothing for `timeout_s`.
        ChildEndedError
            It is gone.
        """
        self._words = ""
        left = memoryview(json.dumps(request).encode() + b"\n")
        while left:
            if not select.select([], [self._stdin], [], timeout_s)[1]:
                raise SilenceError
            try:
                left = left[os.write(self._stdin.fileno(), left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise ChildEndedError from None

    def receive(self, timeout_s: float) -> Answer:
        """Take the next answer; raises as `AnswerBuffer.get`."""
        answer = self._answers.get(timeout_s)
        self._listen()
        return answer

    def end(self) -> None:
        """Kill the child and what it has started, and reap it.

        Safe to call again and from any thread.
        """
        self._answers.close(discard=True)
        if self._process.returncode is None:  # else the number may be another process's by now
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._reading.join(_END_S)
        self._listen()
        for pipe in (self._stdin, self._stderr):
            with suppress(OSError):
                pipe.close()

    def cause_of_end(self) -> str:
        """Say how the child ended; call before `end`, once nothing more comes from it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._listen()
        code = self._process.returncode
        if code is None:
            return "it closed its output"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit status {code}"

    def last_words(self, count: int) -> str:
        """Return the latest distinct messages on its standard error, as one short line."""
        lines: list[str] = []
        for raw in reversed(self._words.splitlines()):
            line = re.sub(r"\[([\w,]+) @ 0x[0-9a-f]+\]", r"\1:", raw).strip()
            line = "".join(c for c in line if c.isprintable())[:160]
            if line and line not in lines and "message repeated" not in line:
                lines.append(line)
            if len(lines) == count:
                break
        return "; ".join(reversed(lines))

    def _listen(self) -> None:
        with suppress(BlockingIOError, ValueError, OSError):
            while chunk := os.read(self._stderr.fileno(), 1 << 16):
                self._words = (self._words + chunk.decode("utf-8", "replace"))[-4096:]


def _pump(stdout: IO[bytes], answers: AnswerBuffer) -> None:
    """Read answers until the child's output ends or nobody takes them."""
    with closing(answers), stdout, suppress(OSError, ValueError, KeyError, MemoryError):
        while line := stdout.readline():
            fields = json.loads(line)
            payload = np.empty(fields["bytes"], dtype=np.uint8)
            if _fill(stdout, payload) and not answers.put(Answer(fields["kind"], fields, payload)):
                break


def _fill(stdout: IO[bytes], payload: ImageArray) -> bool:
    view = payload.data
    while view:
        count = stdout.readinto(view)  # type: ignore[attr-defined]
        if not count:
            return False
        view = view[count:]
    return True


# --- the child's side --------------------------------------------------------------------------


class Answers:
    """Writes a child's answers to its parent.

    Standard output is taken over: whatever else prints there goes to standard error, so that
    nothing gets between the answers. Nor can a flood of messages hold up the work: standard
    error does not block.
    """

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
        os.dup2(2, 1)
        os.set_blocking(2, False)
        self._last_s = 0.0

    def send(self, kind: str, *payload: memoryview, **fields: object) -> None:
        """Write one answer and its raw bytes."""
        fields = {"kind": kind, "bytes": sum(p.nbytes for p in payload), **fields}
        self._out.write(json.dumps(fields).encode() + b"\n")
        for part in payload:
            self._out.write(part)
        self._out.flush()
        self._last_s = time.monotonic()

    def beat(self, position: int) -> None:
        """Say that work goes on, unless that was said a moment ago."""
        if time.monotonic() - self._last_s >= _BEAT_S:
            self.send("beat", position=position)


def requests(stdin: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield requests; a thread watches stdin, so that the parent's end is ours at any time."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        for line in stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield json.loads(lines.get())
