"""A video decoded in a child process, so that no file can take the daemon along."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np

from alwatch.errors import (
    AlwatchError,
    DecoderDiedError,
    SettingsError,
    VideoError,
    VideoIncompleteError,
)
from alwatch.records import DecoderPath, Frame, IntArray, Timeline, VideoInfo
from alwatch.video.child import Answer, ChildEndedError, DecodingChild, SilenceError
from alwatch.video.limits import DecodeLimits, FastPath
from alwatch.video.source import shown_path

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
        self._child: DecodingChild | None = None
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
            request = _Request(self._ask({"ask": "probe"}), self)
            with request:
                self._probed = next(_parse_probe(a) for a in request if a.kind == "probe")
        return self._probed

    def read(
        self, indices: IntArray, *, size_px: tuple[int, int] | None = None
    ) -> Iterator[Frame]:
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
