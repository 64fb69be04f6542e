"""A pose model in a process of its own: whatever becomes of it, the daemon lives."""

from __future__ import annotations

import math
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from alwatch.child import Answer, Child, ChildEndedError, SilenceError, command_in
from alwatch.errors import PoseModelError, SettingsError, UnscorableError
from alwatch.records import LocatedSnapshot, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import FloatArray, ImageArray, IntArray

_SLICE_S = 1.0


@dataclass(frozen=True, slots=True)
class WorkerRules:
    """How a pose model's worker is run.

    Parameters
    ----------
    python : Path, optional
        The interpreter; by default alwatch's own.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    batch_size : int
        Frames in one forward pass; fewer where they do not fit into memory.
    wants : frozenset of {"flip", "features"}
        What is computed beside the signals of the one pass: a second pass over the mirrored
        frames; the backbone's features.
    open_s : float
        The longest that importing its package and loading the model may take.
    stall_s : float
        The longest that one batch may take.
    """

    python: Path | None = None
    device: str = "auto"
    batch_size: int = 8
    wants: frozenset[str] = frozenset()
    open_s: float = 300.0
    stall_s: float = 120.0


@dataclass(frozen=True, slots=True)
class FrameMaps:
    """Score maps (m, k, h, w) with the frame of each and the bodypart of each channel.

    `of_crops` says that they are of crops around the animals, not of whole frames.
    """

    values: FloatArray
    frame: IntArray
    bodyparts: IntArray
    of_crops: bool


class PoseProcess:
    """A `PoseScorer` whose model lives in a worker process, started on first use.

    A worker that crashes, hangs or runs out of memory is replaced, and the frames at hand are
    tried again in batches half as large, down to one, and once more then. Where memory was the
    cause, the batches stay small.

    Parameters
    ----------
    located : LocatedSnapshot
    rules : WorkerRules
    on_progress : callable, optional
        Told, after every batch, how many frames it had, and 0 about every second in between;
        what it raises ends the work.
    """

    def __init__(
        self,
        located: LocatedSnapshot,
        rules: WorkerRules,
        *,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        self._located = located
        self._rules = rules
        self._on_progress = on_progress
        self._batch_size = rules.batch_size
        self._child: Child | None = None
        self._frames_fd = os.memfd_create("alwatch-frames")
        self._capacity_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker; safe to call twice."""
        self._end_child()
        if self._frames_fd >= 0:
            os.close(self._frames_fd)
            self._frames_fd = -1

    @property
    def snapshot(self) -> Snapshot:
        """The version of the model that the scores are of."""
        return self._located.snapshot

    @property
    def batch_size(self) -> int:
        """Frames in one forward pass, as far as is known by now what fits."""
        return self._batch_size

    @property
    def child_pid(self) -> int | None:
        """Process id of the worker, if one runs."""
        return None if self._child is None else self._child.pid

    def open(self) -> None:
        """Start the worker and load the model.

        Raises
        ------
        SettingsError
            The interpreter, a package or the model is not what the settings need.
        PoseModelError
            The worker died, took longer than `open_s`, or loaded files that have changed.
        """
        if self._child is not None:
            return
        python = self._rules.python or Path(sys.executable)
        if not (python.is_file() and os.access(python, os.X_OK)):
            raise SettingsError(_no_program(python))
        settings = {
            "kind": self.snapshot.kind,
            "model": self._located.model,
            "device": self._rules.device,
            "wants": sorted(self._rules.wants),
            "frames_fd": self._frames_fd,
        }
        command = command_in(python, "alwatch.pose_models.worker")
        env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        try:
            self._child = Child(command, settings, env=env, pass_fds=[self._frames_fd])
        except OSError as error:
            raise SettingsError(_no_program(python, f": {error.strerror}")) from error
        opened = list(self._answers({"ask": "open"}, self._rules.open_s))
        try:
            self._check(tuple(opened[0].fields["bodyparts"]))
        except BaseException:
            self._end_child()
            raise

    def _check(self, found: tuple[str, ...]) -> None:
        """Whether what was loaded is what was asked for."""
        if found != self.snapshot.bodyparts:
            raise SettingsError(
                f"The pose model {self.snapshot.name} has the bodyparts {', '.join(found)}; its "
                f"settings name {', '.join(self.snapshot.bodyparts)}. Correct pose_model.project."
            )
        for path, signature in self._located.files:
            if not signature.is_of(path):
                raise PoseModelError(
                    f"{path} changed while {self.snapshot.name} was loaded; it is tried again as "
                    "it is then."
                )

    def score(self, frames: ImageArray) -> dict[str, FloatArray]:
        """Signals of RGB uint8 frames of shape (n, h, w, 3), each of shape (n, ...).

        Raises
        ------
        SettingsError, PoseModelError
            As `open`.
        UnscorableError
            Not even single frames could be scored.
        """
        done: list[dict[str, FloatArray]] = []
        n_done, batch_size, failed_alone = 0, self._batch_size, False
        while n_done < len(frames):
            try:
                for answer in self._ask("score", frames[n_done:], batch_size):
                    done.append(_arrays(answer))
                    n_done += answer.fields["n"]
                    self._progress(answer.fields["n"])
            except _WorkerFailed as failure:
                if failed_alone or not failure.may_pass:
                    raise UnscorableError(
                        f"{self.snapshot.name} could not score {len(frames) - n_done} frames of "
                        f"{frames.shape[2]}x{frames.shape[1]} pixels, in batches of {batch_size}: "
                        f"{failure}."
                    ) from None
                failed_alone = batch_size == 1
                batch_size = max(1, batch_size // 2)
                if failure.is_memory:
                    self._batch_size = batch_size
        names = done[0].keys() if done else ()
        return {name: np.concatenate([part[name] for part in done]) for name in names}

    def score_maps(self, frames: ImageArray) -> list[FrameMaps]:
        """Score maps of frames, for drawing them.

        Raises
        ------
        SettingsError, PoseModelError
            As `score`, but nothing is tried again.
        """
        try:
            return [
                FrameMaps(
                    _arrays(answer)["values"],
                    np.array(answer.fields["frame"], np.int64),
                    np.array(answer.fields["bodyparts"], np.int64),
                    answer.fields["of_crops"],
                )
                for answer in (self._ask("maps", frames, self._batch_size) if len(frames) else ())
            ]
        except _WorkerFailed as failure:
            raise PoseModelError(
                f"{self.snapshot.name} could not give score maps: {failure}."
            ) from None

    # --- the worker ------------------------------------------------------------------------

    def _ask(self, what: str, frames: ImageArray, batch_size: int) -> Iterator[Answer]:
        self.open()
        self._share(frames)
        request = {"ask": what, "shape": list(frames.shape), "batch_size": batch_size}
        return self._answers(request, self._rules.stall_s)

    def _share(self, frames: ImageArray) -> None:
        """Put frames where the worker sees them: memory that no crash can leave behind."""
        if frames.nbytes > self._capacity_bytes:
            os.ftruncate(self._frames_fd, frames.nbytes)
            self._capacity_bytes = frames.nbytes
        with mmap.mmap(self._frames_fd, self._capacity_bytes) as memory:
            shared: NDArray[np.uint8] = np.frombuffer(memory, np.uint8, frames.nbytes)
            shared[:] = frames.reshape(-1)
            del shared  # else the memory cannot be unmapped

    def _answers(self, request: dict[str, Any], patience_s: float) -> Iterator[Answer]:
        child = self._child
        assert child is not None
        whole = False
        try:
            child.send(request, patience_s)
            while True:
                answer = self._receive(child, patience_s)
                if answer.kind == "end":
                    whole = True
                    return
                if answer.kind == "error":
                    # The worker ends too: what an error leaves behind in it, nobody knows.
                    raise self._explained(request, **answer.fields)
                yield answer
        except SilenceError:
            cause = f"its worker said nothing for {patience_s:g} s"
            raise self._failure(request, cause, may_pass=True) from None
        except ChildEndedError:
            end = child.cause_of_end()  # first: only then are its last words complete
            words = child.last_words(2)
            cause = f"its worker ended ({end}{'; ' + words if words else ''})"
            killed = "SIGKILL" in end  # by the kernel, as a rule, because memory ran out
            raise self._failure(request, cause, may_pass=True, is_memory=killed) from None
        finally:
            if not whole:
                self._end_child()

    def _receive(self, child: Child, patience_s: float) -> Answer:
        """The next answer; about every second in between, whoever waits for the work is told."""
        for _ in range(math.ceil(patience_s / _SLICE_S) - 1):
            try:
                return child.receive(_SLICE_S)
            except SilenceError:
                self._progress(0)
        return child.receive(min(patience_s, _SLICE_S))

    def _progress(self, n_frames: int) -> None:
        if self._on_progress is not None:
            self._on_progress(n_frames)

    def _explained(
        self, request: dict[str, Any], *, error: str, message: str, **_: Any
    ) -> Exception:
        if error == "settings":
            return SettingsError(*message.split("\n"))
        is_memory = error == "memory"
        cause = f"memory ran out ({message})" if is_memory else message.rstrip(".")
        return self._failure(request, cause, may_pass=is_memory, is_memory=is_memory)

    def _failure(
        self, request: dict[str, Any], cause: str, *, may_pass: bool, is_memory: bool = False
    ) -> Exception:
        if request["ask"] == "open":
            return PoseModelError(f"{self.snapshot.name} could not be loaded: {cause}.")
        return _WorkerFailed(cause, may_pass=may_pass, is_memory=is_memory)

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()


class _WorkerFailed(Exception):
    """The frames at hand could not be scored; another worker or a smaller batch may help."""

    def __init__(self, cause: str, *, may_pass: bool, is_memory: bool) -> None:
        super().__init__(cause)
        self.may_pass = may_pass
        self.is_memory = is_memory


def _no_program(python: Path, why: str = "") -> str:
    return (
        f"pose_model.python is {python}, which is not a program that can be run{why}; name the "
        "Python of the environment that holds the model's package."
    )


def _arrays(answer: Answer) -> dict[str, FloatArray]:
    arrays, start = {}, 0
    values = answer.payload.view(np.float32)
    for name, shape in answer.fields["arrays"].items():
        size = int(np.prod(shape))
        arrays[name] = values[start : start + size].reshape(shape)
        start += size
    return arrays
