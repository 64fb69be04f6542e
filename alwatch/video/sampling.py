"""Which frames of a video are looked at. Pure: timelines and vectors in, frame indices out."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alwatch.records import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import FloatArray, IntArray

_PTS_ROUNDING_S = 0.0005  # half the unit of containers that store milliseconds
_ENDGAME_SHARE = 0.1  # of max_frames: what is left below it is spent at once


@dataclass(frozen=True, slots=True)
class UniformSampler:
    """Frames evenly spaced: the one shown at each tick of a clock, or every n-th.

    Parameters
    ----------
    rate_hz : float, optional
        Ticks per second; where frames come at a variable rate, time counts.
    stride : int, optional
        Every `stride`-th frame. Either this or `rate_hz` is given.
    max_frames : int
        Where there would be more, the spacing widens, evenly over the whole video.
    """

    rate_hz: float | None
    stride: int | None
    max_frames: int

    def __post_init__(self) -> None:
        if (self.rate_hz is None) == (self.stride is None):
            raise ValueError(
                f"give either rate_hz or stride, got rate_hz={self.rate_hz}, stride={self.stride}"
            )
        if self.rate_hz is not None:
            _validate_positive("rate_hz", self.rate_hz)
        if self.stride is not None and self.stride < 1:
            raise ValueError(f"stride must be at least 1, got {self.stride}")
        _validate_max_frames(self.max_frames)

    def first(self, timeline: Timeline) -> IntArray:
        """Frame indices to look at, increasing."""
        last = timeline.n_frames - 1
        if self.rate_hz is None:
            assert self.stride is not None
            every_nth = np.arange(0, last + 1, self.stride, dtype=np.int64)
            return (
                every_nth if every_nth.size <= self.max_frames else _evenly(last, self.max_frames)
            )
        n_ticks = math.floor(timeline.time_s(last) * self.rate_hz + 1e-9) + 1
        if n_ticks > self.max_frames:
            return _shown_at(timeline, np.linspace(0, timeline.time_s(last), self.max_frames))
        return _shown_at(timeline, np.arange(n_ticks) / self.rate_hz)

    def more(self, timeline: Timeline, indices: IntArray, vectors: FloatArray) -> IntArray:
        """Nothing: an even sample does not depend on what is seen."""
        return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class KeyframeSampler:
    """The video's keyframes, which need no other frame to be decoded.

    Parameters
    ----------
    max_frames : int
        Where there are more, they are thinned evenly over the whole video.
    min_gap_s : float
        Least time between two frames that are looked at.
    """

    max_frames: int
    min_gap_s: float

    def __post_init__(self) -> None:
        _validate_max_frames(self.max_frames)
        _validate_gap(self.min_gap_s)

    def first(self, timeline: Timeline) -> IntArray:
        """Frame indices to look at, increasing; the first frame if no keyframe is marked."""
        keys = np.flatnonzero(timeline.keyframe).astype(np.int64)
        if keys.size == 0:
            return np.zeros(1, dtype=np.int64)
        keys = _thin_by_gap(keys, _times_s(timeline)[keys], self.min_gap_s)
        if keys.size > self.max_frames:
            keys = keys[_evenly(keys.size - 1, self.max_frames)]
        return keys

    def more(self, timeline: Timeline, indices: IntArray, vectors: FloatArray) -> IntArray:
        """Nothing: the keyframes are what there is."""
        return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class AdaptiveSampler:
    """Coarse and even first, then finer where neighbouring frames' vectors differ most.

    Parameters
    ----------
    rate_hz : float
        Rate of the coarse frames, which use up at most half of `max_frames`.
    max_frames : int
    min_gap_s : float
        Least time between two frames that are looked at.
    """

    rate_hz: float
    max_frames: int
    min_gap_s: float

    def __post_init__(self) -> None:
        _validate_positive("rate_hz", self.rate_hz)
        _validate_max_frames(self.max_frames)
        _validate_gap(self.min_gap_s)

    def first(self, timeline: Timeline) -> IntArray:
        """Coarse frame indices, increasing, from the first frame to the last."""
        end_s = timeline.time_s(timeline.n_frames - 1)
        cap = max(min(2, self.max_frames), self.max_frames // 2)
        n_ticks = min(math.ceil(end_s * self.rate_hz) + 1, cap)
        coarse = _shown_at(timeline, np.linspace(0, end_s, n_ticks))
        return _thin_by_gap(coarse, _times_s(timeline)[coarse], self.min_gap_s)

    def more(self, timeline: Timeline, indices: IntArray, vectors: FloatArray) -> IntArray:
        """Further frame indices, increasing; empty when nothing is left to look at.

        The gap across which the cosine distance is largest is cut in the middle of its time,
        each half taking half of the distance, and so on: at most half of the frames that remain
        are spent, the rest waits for the vectors of these.

        Parameters
        ----------
        timeline : Timeline
        indices : int64 array of shape (n,)
            The frames that were looked at, increasing.
        vectors : float array of shape (n, dim)
            Their vectors.
        """
        if vectors.shape[0] != indices.shape[0]:
            raise ValueError(f"{indices.shape[0]} indices came with {vectors.shape[0]} vectors")
        remaining = self.max_frames - indices.size
        if remaining <= 0 or indices.size < 2:
            return np.empty(0, dtype=np.int64)
        endgame = remaining <= max(8, _ENDGAME_SHARE * self.max_frames)
        spend = remaining if endgame else math.ceil(remaining / 2)
        gaps = [
            (-distance, int(left), int(right))
            for distance, left, right in zip(
                _neighbour_distances(vectors), indices[:-1], indices[1:], strict=True
            )
        ]
        return self._bisect(_times_s(timeline), gaps, spend)

    def _bisect(
        self, times_s: NDArray[np.float64], gaps: list[tuple[float, int, int]], spend: int
    ) -> IntArray:
        heapq.heapify(gaps)
        picked: list[int] = []
        while gaps and len(picked) < spend:
            distance, left, right = heapq.heappop(gaps)
            middle = self._middle(times_s, left, right)
            if middle is not None:
                picked.append(middle)
                heapq.heappush(gaps, (distance / 2, left, middle))
                heapq.heappush(gaps, (distance / 2, middle, right))
        return np.array(sorted(picked), dtype=np.int64)

    def _middle(self, times_s: NDArray[np.float64], left: int, right: int) -> int | None:
        """Return the frame nearest to the middle of a gap, or None if it is too narrow."""
        first = (
            left
            + 1
            + int(np.searchsorted(times_s[left + 1 : right], times_s[left] + self.min_gap_s - 1e-9))
        )
        stop = (
            left
            + 1
            + int(
                np.searchsorted(
                    times_s[left + 1 : right], times_s[right] - self.min_gap_s + 1e-9, side="right"
                )
            )
        )
        if first >= stop:
            return None
        middle_s = (times_s[left] + times_s[right]) / 2
        return first + int(np.argmin(np.abs(times_s[first:stop] - middle_s)))


def _neighbour_distances(vectors: FloatArray) -> list[float]:
    """Cosine distance between each row and the next; two zero vectors do not differ."""
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1)
    dots = (wide[:-1] * wide[1:]).sum(axis=1)
    scale = norms[:-1] * norms[1:]
    cosine = np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0)
    both_zero = (norms[:-1] == 0) & (norms[1:] == 0)
    distances: list[float] = np.where(both_zero, 0.0, 1.0 - cosine).clip(0.0).tolist()
    return distances


def _times_s(timeline: Timeline) -> NDArray[np.float64]:
    times_s: NDArray[np.float64] = (timeline.pts - timeline.pts[0]) * float(timeline.time_base)
    return times_s


def _shown_at(timeline: Timeline, ticks_s: NDArray[np.float64]) -> IntArray:
    """Return the frames on show at these times from the first frame, each once."""
    times_s = _times_s(timeline)
    rounding_s = min(_PTS_ROUNDING_S, 0.5 * float(timeline.time_base))
    shown = np.searchsorted(times_s, ticks_s + rounding_s, side="right") - 1
    return np.unique(shown.astype(np.int64))


def _evenly(last: int, count: int) -> IntArray:
    """`count` whole numbers evenly from 0 to `last`, each once."""
    return np.unique(np.linspace(0, last, count).round().astype(np.int64))


def _thin_by_gap(indices: IntArray, times_s: NDArray[np.float64], min_gap_s: float) -> IntArray:
    """Keep the first, and each that comes at least `min_gap_s` after the one kept before it."""
    kept: list[int] = []
    position = 0
    while position < indices.size:
        kept.append(position)
        earliest = times_s[position] + min_gap_s - 1e-9
        position = max(position + 1, int(np.searchsorted(times_s, earliest)))
    return indices[kept]


def _validate_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive number, got {value}")


def _validate_max_frames(max_frames: int) -> None:
    if max_frames < 1:
        raise ValueError(f"max_frames must be at least 1, got {max_frames}")


def _validate_gap(min_gap_s: float) -> None:
    if not (math.isfinite(min_gap_s) and min_gap_s >= 0):
        raise ValueError(f"min_gap_s must be a number >= 0, got {min_gap_s}")
