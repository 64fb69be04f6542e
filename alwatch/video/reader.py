"""One video file, read in this process: what it holds, and its frames by index.

Files come from strangers, so this runs in the decoding child (`worker`); `process` is what the
rest of alwatch talks to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from alwatch.records import DecoderPath, Frame, Timeline, VideoInfo
from alwatch.video.container import Beat, open_container
from alwatch.video.decode import (
    FastPathError,
    ImageConverter,
    decode_in_sequence,
    decode_run,
    prime_decoder,
)
from alwatch.video.decord_path import DecordVideo, decord_agrees, decord_sample
from alwatch.video.limits import FastPath
from alwatch.video.numbering import FrameNumbering
from alwatch.video.probe import Probed, probe_file
from alwatch.video.source import open_source
from alwatch.video.timeline import plan_seek_runs, seek_cost, sequence_cost, validate_indices
from alwatch.video.verify import keyframe_seeks_agree, seek_verification_cost

if TYPE_CHECKING:
    from alwatch.records import IntArray

_LONG_RUN = 16  # frames decoded per seek, from which on several decoder threads pay off
_CLEARLY_LESS = 0.7  # a fast path must cost less than this share of reading in sequence


class _UnorderlyLossError(Exception):
    """A decoder with several threads met damage: what it makes of it depends on timing."""


class FileReader:
    """A `VideoReader` over one file, in this process.

    Parameters
    ----------
    path : Path
    fast_path : FastPath
    max_pixels : int
        Largest frame, in pixels, that is decoded.
    beat : callable
        Called often with the number of frames or packets handled by the work at hand.
    """

    def __init__(
        self, path: Path, *, fast_path: FastPath = "auto", max_pixels: int, beat: Beat
    ) -> None:
        self._fast_path = fast_path
        self._max_pixels = max_pixels
        self._beat = beat
        self._path_used: DecoderPath = "sequence"
        self._probed: Probed | None = None
        self._seeks_agree: bool | None = None
        self._decord: DecordVideo | None = None
        self._decord_agrees: bool | None = None
        self._damaged = False
        self._stack = ExitStack()
        self._source = self._stack.enter_context(open_source(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def path_used(self) -> DecoderPath:
        """The decoder path of the latest `read`."""
        return self._path_used

    def probe(self) -> tuple[VideoInfo, Timeline]:
        """Describe the video and list all its frames, decoding only where packets do not tell.

        Raises
        ------
        VideoIncompleteError
            The file's writer has not finished it.
        VideoError
            It is no video, or not one frame of it can be decoded.
        """
        probed = self._probe()
        return probed.info, probed.timeline

    def read(self, indices: IntArray, *, size_px: tuple[int, int] | None = None) -> Iterator[Frame]:
        """Yield the frames at these increasing indices, shrunk to (height, width) if given.

        Indices that cannot be decoded are left out.

        Raises
        ------
        ValueError
            The indices do not increase, or one is not that of a frame of this video.
        """
        indices = np.asarray(indices, dtype=np.int64)
        timeline = self._probe().timeline
        validate_indices(indices, timeline.n_frames)
        if indices.size == 0:
            return
        converter = ImageConverter(size_px)
        done = 0
        self._path_used = self._choose_path(timeline, indices)
        if self._path_used != "sequence":
            by_path = self._read_by_seeks if self._path_used == "keyframe" else self._read_by_decord
            try:
                for frame in by_path(timeline, indices, converter):
                    yield frame
                    done += 1
                return
            except FastPathError:
                self._seeks_agree = self._decord_agrees = False
                self._path_used = "sequence"
        yield from self._read_in_sequence(indices[done:], converter)

    # --- in sequence, the reference --------------------------------------------------------

    def _read_in_sequence(self, indices: IntArray, converter: ImageConverter) -> Iterator[Frame]:
        done = 0
        if not self._damaged:
            try:
                for frame in self._sequence(indices, converter, "FRAME"):
                    yield frame
                    done = int(np.searchsorted(indices, frame.index)) + 1
                return
            except _UnorderlyLossError:
                self._damaged = True
        yield from self._sequence(indices[done:], converter, "NONE")

    def _sequence(
        self, indices: IntArray, converter: ImageConverter, thread_type: str
    ) -> Iterator[Frame]:
        probed = self._probe()
        numbering = FrameNumbering(probed.timeline, pts_outlives_loss=probed.pts_outlives_loss)

        def on_loss() -> None:
            if thread_type == "FRAME":
                raise _UnorderlyLossError
            numbering.note_loss()

        wanted = set(indices.tolist())
        last = int(indices[-1]) if indices.size else -1
        with open_container(
            self._source, max_pixels=self._max_pixels, thread_type=thread_type
        ) as opened:
            for decoded in decode_in_sequence(opened, on_loss, self._beat):
                if decoded.is_corrupt and thread_type == "FRAME":
                    raise _UnorderlyLossError
                index = numbering.index_of(decoded.pts)
                if numbering.contradicted:
                    self._seeks_agree = self._decord_agrees = False
                if index is None:
                    continue
                if index in wanted:
                    keyframe = bool(decoded.key_frame)
                    yield Frame(index, decoded.pts, keyframe, converter.image(decoded))
                if index >= last:
                    return

    # --- by a faster path, verified on this file -------------------------------------------

    def _choose_path(self, timeline: Timeline, indices: IntArray) -> DecoderPath:
        if self._fast_path == "none" or not timeline.seekable:
            return "sequence"
        if self._fast_path == "decord":
            return "decord" if self._decord_is_right(timeline) else "sequence"
        if self._seeks_agree is False:
            return "sequence"
        runs = plan_seek_runs(timeline, indices)
        if runs is None:
            return "sequence"
        if self._fast_path == "auto":
            cost = seek_cost(timeline, runs)
            if self._seeks_agree is None:
                cost += seek_verification_cost(timeline)
            if cost > _CLEARLY_LESS * sequence_cost(indices):
                return "sequence"
        if self._seeks_agree is None:
            self._seeks_agree = keyframe_seeks_agree(
                self._source,
                timeline,
                self._probe().lookup,
                max_pixels=self._max_pixels,
                beat=self._beat,
            )
        return "keyframe" if self._seeks_agree else "sequence"

    def _read_by_seeks(
        self, timeline: Timeline, indices: IntArray, converter: ImageConverter
    ) -> Iterator[Frame]:
        runs = plan_seek_runs(timeline, indices) or []
        lengths = [int(run.wanted[-1]) - run.key + 1 for run in runs]
        threads = "FRAME" if sum(lengths) > _LONG_RUN * len(runs) else "NONE"
        with open_container(
            self._source, max_pixels=self._max_pixels, thread_type=threads
        ) as opened:
            prime_decoder(opened)
            for run in runs:
                frames = decode_run(opened, self._probe().lookup, timeline, run, self._beat)
                for index, decoded in zip(run.wanted.tolist(), frames, strict=True):
                    keyframe = bool(timeline.keyframe[index])
                    yield Frame(index, decoded.pts, keyframe, converter.image(decoded))

    def _decord_is_right(self, timeline: Timeline) -> bool:
        if self._decord_agrees is None:
            sample = decord_sample(timeline)
            reference = self._read_in_sequence(sample, ImageConverter(None))
            try:
                self._decord = DecordVideo(self._source)
                self._decord_agrees = decord_agrees(self._decord, timeline, reference, self._beat)
            except FastPathError:
                self._decord_agrees = False
        return self._decord_agrees

    def _read_by_decord(
        self, timeline: Timeline, indices: IntArray, converter: ImageConverter
    ) -> Iterator[Frame]:
        assert self._decord is not None
        for index in indices.tolist():
            image = converter.shrunk(self._decord.image(index))
            self._beat(index)
            yield Frame(index, int(timeline.pts[index]), bool(timeline.keyframe[index]), image)

    def _probe(self) -> Probed:
        if self._probed is None:
            self._probed = probe_file(self._source, max_pixels=self._max_pixels, beat=self._beat)
        return self._probed
