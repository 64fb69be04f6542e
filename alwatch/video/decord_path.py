"""decord as a faster way to frames, for files on which it was shown to be right.

decord numbers frames wrongly, and says nothing, on transport streams, AVI with B-frames,
WMV and edit lists, and nobody maintains it; so it is asked for by name, never chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from alwatch.records import Timeline
from alwatch.video.container import Beat
from alwatch.video.decode import FastPathError
from alwatch.video.source import SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from alwatch.records import Frame, ImageArray, IntArray

_SAMPLES = 12
_TOLERANCE_LEVELS = 2.0  # mean difference of grey levels: other rounding, not another frame
_CLEARLY_FARTHER = 2.0  # a neighbour must differ by this factor more to tell frames apart


class DecordVideo:
    """A file opened by decord.

    Raises
    ------
    FastPathError
        decord cannot open the file.
    """

    def __init__(self, source: SourceFile) -> None:
        import decord  # only when asked for: it brings 100 MB of libraries along

        self._errors = (decord.DECORDError, RuntimeError, IndexError)
        try:
            self._reader: Any = decord.VideoReader(source.url, ctx=decord.cpu(0))
        except self._errors as error:
            raise FastPathError(f"decord cannot open it: {error}") from None

    def __len__(self) -> int:
        return len(self._reader)

    def image(self, index: int) -> ImageArray:
        """Return frame `index` as decord counts, RGB uint8 of shape (height, width, 3)."""
        try:
            image: ImageArray = self._reader[index].asnumpy()
        except self._errors as error:
            raise FastPathError(f"decord cannot read frame {index}: {error}") from None
        return image

    def times_s(self) -> NDArray[np.float64]:
        """Return when each frame is shown, in seconds from the first, of shape (n_frames,)."""
        stamps = np.asarray(self._reader.get_frame_timestamp(range(len(self))), dtype=np.float64)
        times: NDArray[np.float64] = stamps[:, 0] - stamps[0, 0]
        return times


def decord_sample(timeline: Timeline) -> IntArray:
    """Frames on which decord is compared: both ends, and around keyframes over the file.

    Each comes with its neighbours, so that an index that is off by one shows.
    """
    keys = np.flatnonzero(timeline.keyframe)
    last = timeline.n_frames - 1
    spread = np.linspace(0, last, _SAMPLES - 4).round().astype(np.int64)
    at_keys = keys[np.linspace(0, keys.size - 1, 4).round().astype(int)] if keys.size else spread
    centres = np.unique(np.concatenate([spread, at_keys]))
    around = np.concatenate([centres - 1, centres, centres + 1])
    return np.unique(around[(around >= 0) & (around <= last)])


def decord_agrees(
    video: DecordVideo, timeline: Timeline, reference: Iterable[Frame], beat: Beat
) -> bool:
    """Whether decord has the same frames at the same indices as reading in sequence.

    Parameters
    ----------
    reference : iterable of Frame
        The frames at `decord_sample(timeline)`, full size, read in sequence.
    """
    if not timeline.seekable or len(video) != timeline.n_frames:
        return False
    expected_s = (timeline.pts - timeline.pts[0]) * float(timeline.time_base)
    closest_s = float(np.diff(expected_s).min(initial=1.0))
    if np.abs(video.times_s() - expected_s).max() > 0.25 * closest_s:
        return False
    images = {frame.index: frame.image for frame in reference}
    told_apart = 0
    for index, image in images.items():
        seen = video.image(index)
        beat(index)
        if seen.shape != image.shape:
            return False
        difference = _difference(seen, image)
        neighbours = [images[i] for i in (index - 1, index + 1) if i in images]
        nearest = min((_difference(image, other) for other in neighbours), default=0.0)
        if difference > _TOLERANCE_LEVELS:
            return False
        told_apart += nearest > _CLEARLY_FARTHER * difference
        if any(_difference(seen, other) < difference for other in neighbours):
            return False
    return told_apart >= min(3, len(images))


def _difference(a: ImageArray, b: ImageArray) -> float:
    return float(np.abs(a.astype(np.int16) - b.astype(np.int16)).mean())
