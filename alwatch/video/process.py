"""A video decoded in a child process, so that no file can take the daemon along."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from alwatch.child import Answer, Child, ChildEndedError, SilenceError
from alwatch.errors import (
    AlwatchError,
    DecoderDiedError,
    SettingsError,
    VideoError,
    VideoIncompleteError,
)
from alwatch.records import DecoderPath, Frame, Timeline, VideoInfo
from alwatch.video.limits import DecodeLimits, FastPath
from alwatch.video.source import shown_path
from alwatch.video.timeline import validate_indices

if TYPE_CHECKING:
    from alwatch.records import IntArray

__all__ = ["DecodeLimits", "FastPath", "VideoProcess", "open_video"]

_ERRORS: dict[str, type[AlwatchError]] = {
    error.__name__: error for error in (VideoError, VideoIncompleteError, DecoderDiedError)
}


def open_video(
    path: Path,
    *,
    limits: DecodeLimits = DecodeLimits(),  # noqa: B008, frozen
    fast_path: FastPath = "auto",
    on_progress: Callable[[int], None] | None = None,
) -> VideoProcess:
    """Open a video in a decoding child; use the result as a context manager.

    Parameters
    ----------
    path : Path
    limits : DecodeLimits
    fast_path : {"auto", "keyframe", "decord", "none"}
        Which faster path may be tried; whichever it is, it is used on this file only after it
        was verified on this file. `auto` uses keyframe seeks where they save work.
    on_progress : callable, optional
        Called, in the thread that waits for frames, with the number of frames or packets that
        the work at hand has got through, several times a second while the child makes
        progress. What it raises ends the read.

    Raises
    ------
    SettingsError
        `decord` is asked for and not installed.
    """
    if fast_path == "decord" and importlib.util.find_spec("decord") is None:
        raise SettingsError(
            "the decoder path 'decord' was asked for; the package is not installed; install "
            "decord (Linux on x86-64 only), or choose 'auto'"
        )
    return VideoProcess(path, limits=limits, fast_path=fast_path, on_progress=on_progress)


class VideoProcess:
    """A `VideoReader` whose decoding happens in a child process, started on first use.

    A read that is given up half-way ends its child; the next request starts another. `close`
    may be called from any thread, also while a read waits, and takes effect at once.
    """

    def __init__(
        self,
        path: Path,
        *,
        limits: DecodeLimits,
        fast_path: FastPath,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self._path = path
        self._limits = limits
        self._fast_path: FastPath = fast_path
        self._on_progress = on_progress
        self._path_used: DecoderPath = "sequence"
        self._probed: tuple[VideoInfo, Timeline] | None = None
        self._child: Child | None = None
        self._closed = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child, if there is one, and refuse further requests."""
        with self._lock:
            self._closed = True
            child, self._child = self._child, None
        if child is not None:
            child.end()

    @property
    def path_used(self) -> DecoderPath:
        """The decoder path of the latest `read`."""
        return self._path_used

    @property
    def child_pid(self) -> int | None:
        """Process id of the child, if one is running."""
        child = self._child
        return None if child is None else child.pid

    def probe(self) -> tuple[VideoInfo, Timeline]:
        """Describe the video and list all its frames, decoding only where packets do not tell.

        Raises
        ------
        VideoIncompleteError
            The file looks unfinished.
        VideoError
            It cannot be used.
        DecoderDiedError
            The child crashed, hung or went over a limit.
        """
        if self._probed is None:
            self._probed = _parse_probe(*self._answers({"ask": "probe"}))
        return self._probed

    def read(self, indices: IntArray, *, size_px: tuple[int, int] | None = None) -> Iterator[Frame]:
        """Yield the frames at these increasing indices, shrunk to (height, width) if given.

        Indices that cannot be decoded are left out. Frames are decoded ahead of the consumer,
        up to some 64 MB of them.

        Raises
        ------
        ValueError
            The indices do not increase, or one is not that of a frame of this video.
        VideoError, VideoIncompleteError, DecoderDiedError
            As `probe`.
        """
        indices = np.asarray(indices, dtype=np.int64)
        validate_indices(indices, self.probe()[1].n_frames)
        request = {"ask": "read", "indices": indices.tolist(), "size_px": size_px}
        for answer in self._answers(request):
            self._path_used = answer.fields["path_used"]
            yield Frame(
                index=answer.fields["index"],
                pts=answer.fields["pts"],
                keyframe=answer.fields["keyframe"],
                image=answer.payload.reshape(answer.fields["shape"]),
            )

    # --- the child -------------------------------------------------------------------------

    def _answers(self, request: dict[str, Any]) -> Iterator[Answer]:
        """Send a request and yield what it brings; a child that is not done at the end is ended."""
        child = self._ready_child()
        stall_s, wall_s = self._limits.stall_s, self._limits.wall_s
        waited_s = 0.0
        try:
            child.busy = True
            child.send(request, stall_s)
            while True:
                since = time.monotonic()
                answer = child.receive(min(stall_s, wall_s - waited_s))
                waited_s += time.monotonic() - since
                if answer.kind in {"end", "error"}:
                    child.busy = False
                if answer.kind == "end":
                    return
                if answer.kind == "error":
                    raise _explained(answer, child.last_words(2))
                if self._on_progress is not None:
                    self._on_progress(answer.fields["position"])
                if answer.kind != "beat":
                    yield answer
        except SilenceError:
            limit = "wall_s" if waited_s + stall_s >= wall_s else "stall_s"
            cause = f"it went over the limit {limit} = {getattr(self._limits, limit):g}"
            raise self._death(cause) from None
        except ChildEndedError:
            cause = "it was closed while in use" if self._closed else child.cause_of_end()
            raise self._death(cause, child.last_words(2)) from None
        finally:
            if child.busy:
                self._drop(child)

    def _ready_child(self) -> Child:
        stale = None
        with self._lock:
            if self._closed:
                raise ValueError(f"{shown_path(self._path)} is closed")
            if self._child is not None and self._child.busy:
                stale, self._child = self._child, None
            if self._child is None:
                self._child = Child(
                    [sys.executable, "-P", "-m", "alwatch.video.worker"],
                    {
                        "path": os.fspath(self._path),
                        "fast_path": self._fast_path,
                        "max_pixels": self._limits.max_pixels,
                        "memory_bytes": self._limits.memory_bytes,
                    },
                    env=_environment(),
                )
            child = self._child
        if stale is not None:
            stale.end()
        return child

    def _drop(self, child: Child) -> None:
        with self._lock:
            if self._child is child:
                self._child = None
        child.end()

    def _death(self, cause: str, words: str = "") -> DecoderDiedError:
        last = f" Its last words: {words}." if words else ""
        return DecoderDiedError(
            f"the decoder of {shown_path(self._path)} did not finish: {cause}.{last}"
        )


def _environment() -> dict[str, str]:
    """Make the same alwatch importable in the child, with few threads, no GPU, no droppings."""
    package_root = str(Path(__file__).resolve().parents[2])
    paths = [package_root, os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(p for p in paths if p),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def _explained(answer: Answer, words: str) -> AlwatchError:
    message = answer.fields["message"] + (f" FFmpeg says: {words}." if words else "")
    return _ERRORS.get(answer.fields["error"], VideoError)(message)


def _parse_probe(answer: Answer) -> tuple[VideoInfo, Timeline]:
    fields = answer.fields
    n_frames = fields["n_frames"]
    recorded_at = fields["info"].pop("recorded_at")
    info = VideoInfo(
        **fields["info"],
        recorded_at=datetime.fromisoformat(recorded_at) if recorded_at else None,
    )
    timeline = Timeline(
        pts=answer.payload[: 8 * n_frames].view(np.int64),
        keyframe=answer.payload[8 * n_frames :].view(np.bool_),
        time_base=Fraction(fields["time_base"]),
        source=fields["source"],
        seekable=fields["seekable"],
    )
    return info, timeline
