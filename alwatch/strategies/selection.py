"""The limits that every strategy obeys, kept in one place while a queue fills up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.distances import (
    nearest_distance,
    relative_squares,
    squared_lengths,
    unit_rows,
)
from alwatch.strategies.pool import Limits, Picks, Pool

_CHUNK = 2048

_TIME_TOLERANCE_S = 1e-6
"""Time stamps are rounded: frames exactly one gap apart must not exclude each other."""

_ROUNDING = 1e-5
"""Of distances in float32: where all steps of a video are equal, all of them are duplicates."""


class Selection:
    """A queue that fills up, and which frames may still enter it.

    Frames are seen here in the order (video, time, frame), whatever the pool's order is, so
    that a choice does not depend on how the pool was read; `rows` means positions in this order,
    and the frames of one video are a slice. Distances are those between unit rows.

    Parameters
    ----------
    pool : Pool
    limits : Limits
    budget : int
        Most frames to pick, >= 1.

    Attributes
    ----------
    video : int array of shape (n,)
        Number of each row's video, counted from 0 in the order of the slices `videos`.
    time_s : float array of shape (n,)
    videos : list of slice
        The rows of each video.
    n_marked : int array of shape (len(videos),)
        Frames of each video that are labelled, queued or picked.
    open_mask : bool array of shape (n,)
        False for rows known to be closed. A row that is True may still turn out to be a
        near-duplicate: only `is_open` is the last word.
    """

    def __init__(self, pool: Pool, limits: Limits, budget: int) -> None:
        self._pool = pool
        self._limits = limits
        self._budget = budget
        self._picks: list[tuple[int, float, str]] = []
        self._n_audit = 0
        self._order = np.lexsort((pool.frame, pool.time_s, pool.video))
        numbers, sizes = np.unique(pool.video, return_counts=True)
        ends = np.cumsum(sizes).tolist()
        self.videos = [
            slice(end - size, end) for end, size in zip(ends, sizes.tolist(), strict=True)
        ]
        self.video = np.repeat(np.arange(len(sizes)), sizes)
        self.time_s = pool.time_s[self._order].astype(np.float64)
        self.n_marked = np.zeros(len(sizes), dtype=np.int64)
        self._n_picked = np.zeros(len(sizes), dtype=np.int64)
        self._radius: dict[int, float] = {}
        width = pool.vectors.shape[1] if len(pool.vectors) else pool.taken_vectors.shape[1]
        self._taken = unit_rows(pool.taken_vectors.reshape(len(pool.taken_vectors), width))
        self._known_of = [self._taken[:0]] * len(sizes)  # per video: labelled, queued, picked
        self._n_compared = [0] * len(sizes)  # the first so many of them were held to all rows
        self._key = _keys(pool.vectors)[self._order]
        self.open_mask = ~np.isin(self._key, _keys(pool.taken_vectors))
        self._cap = budget if limits.per_video_max is None else limits.per_video_max
        self._equal_share = _equal_share(limits, budget, len(sizes))
        self._over_share: list[NDArray[np.int64]] = []
        self._close_taken(numbers)
        self._close_absent()
        self._close_outliers()

    @property
    def trust(self) -> float:
        """How far the uncertainty has proved to know the true error, 0 to 1."""
        return self._pool.trust

    def has_score(self, name: str) -> bool:
        """Whether the pool has scores of that name."""
        return name in self._pool.scores

    def score(self, name: str) -> NDArray[np.float64]:
        """One of the pool's scores, of shape (n,); NaN where a frame has none.

        Raises
        ------
        ValueError
            The pool has no score of that name.
        """
        if name not in self._pool.scores:
            known = ", ".join(sorted(self._pool.scores)) or "none"
            raise ValueError(f"the pool has no scores {name!r}; there are: {known}")
        return self._pool.scores[name][self._order].astype(np.float64)

    @property
    def remaining(self) -> int:
        """How many more frames the budget allows."""
        return self._budget - len(self._picks)

    @property
    def wants_more(self) -> bool:
        """Whether the budget is not used up and some row may still be open."""
        return self.remaining > 0 and bool(self.open_mask.any())

    def vectors(self, rows: Any) -> NDArray[np.float32]:
        """Unit vectors of some rows (a slice or an int array), float32 of shape (k, d)."""
        return unit_rows(self._pool.vectors[self._order[rows]])

    def known_vectors(self) -> NDArray[np.float32]:
        """Unit vectors of all frames that are labelled, queued or picked."""
        picked = np.array([row for row, _, _ in self._picks], dtype=np.int64)
        return np.concatenate([self._taken, self.vectors(picked)])

    def open_rows(self, within: slice = slice(None)) -> NDArray[np.int64]:
        """Rows that are not known to be closed, in increasing order."""
        first = within.start or 0
        return np.flatnonzero(self.open_mask[within]) + first

    def room(self, video: int) -> int:
        """How many more frames of this video may enter, as far as is known."""
        n_open = int(self.open_mask[self.videos[video]].sum())
        return min(n_open, min(self._cap, self._equal_share) - int(self._n_picked[video]))

    def is_open(self, row: int) -> bool:
        """Whether this row may be picked now. Once False it stays False."""
        if self.open_mask[row] and self._near_duplicate(row):
            self.open_mask[row] = False
        return bool(self.open_mask[row])

    def nearest_open(
        self, target: float, scale: NDArray[Any], within: slice = slice(None)
    ) -> int | None:
        """Find the open row whose value on `scale`, of shape (n,), is nearest to `target`."""
        while len(rows := self.open_rows(within)):
            row = int(rows[np.abs(scale[rows] - target).argmin()])
            if self.is_open(row):
                return row
        return None

    def take(self, row: int, score: float, reason: str) -> None:
        """Pick an open row and close what it excludes.

        Raises
        ------
        ValueError
            The row is closed or the budget is used up; a strategy must ask first.
        """
        if self.remaining < 1 or not self.is_open(row):
            raise ValueError(f"row {row} cannot be picked: closed, or the budget is used up")
        self._picks.append((row, score, reason))
        video = int(self.video[row])
        self.open_mask[self._key == self._key[row]] = False
        self._mark(video, self.vectors(np.array([row])), self.time_s[row : row + 1])
        self._n_picked[video] += 1
        if self.room(video) == 0:
            if self._n_picked[video] < self._cap:
                self._over_share.append(self.open_rows(self.videos[video]))
            self.open_mask[self.videos[video]] = False

    def lift_equal_shares(self) -> bool:
        """Give what some videos could not use to the others; whether that opens any row.

        For `select`, when a strategy has found all that there is within equal shares.
        """
        self._equal_share = self._budget
        held = np.concatenate([np.empty(0, np.int64), *self._over_share])
        self._over_share.clear()
        picked = np.array([row for row, _, _ in self._picks], np.int64)
        self.open_mask[held[~np.isin(self._key[held], self._key[picked])]] = True
        return self.wants_more

    def take_audit(self, rng: np.random.Generator) -> None:
        """Pick the audit share: a random open frame of each video in turn, in random order.

        It comes before all other picks.
        """
        due = self._limits.audit_frames(self._budget)
        while due > 0 and self.wants_more:
            for video in rng.permutation(len(self.videos)):
                row = self._random_open(self.videos[video], rng) if due > 0 else None
                if row is not None:
                    self.take(row, 0.0, "random audit sample")
                    due -= 1
        self._n_audit = len(self._picks)

    def picks(self) -> Picks:
        """What was picked, with the pool's own row numbers."""
        return Picks(
            rows=np.array([self._order[row] for row, _, _ in self._picks], dtype=np.int64),
            scores=np.array([score for _, score, _ in self._picks], dtype=np.float64),
            reasons=tuple(reason for _, _, reason in self._picks),
            n_audit=self._n_audit,
        )

    def _random_open(self, within: slice, rng: np.random.Generator) -> int | None:
        while len(rows := self.open_rows(within)):
            row = int(rng.choice(rows))
            if self.is_open(row):
                return row
        return None

    def _close_taken(self, numbers: NDArray[Any]) -> None:
        pool = self._pool
        for video, number in enumerate(numbers):
            taken = np.flatnonzero(pool.taken_video == number)
            if len(taken) == 0:
                continue
            frames = pool.frame[self._order[self.videos[video]]]
            self.open_mask[self.videos[video]] &= ~np.isin(frames, pool.taken_frame[taken])
            self._mark(video, self._taken[taken], pool.taken_time_s[taken])

    def _close_absent(self) -> None:
        """Close frames on which no animal is; one that has not been scored stays."""
        if self._limits.presence_min > 0 and "presence" in self._pool.scores:
            self.open_mask &= ~(self.score("presence") < self._limits.presence_min)

    def _close_outliers(self) -> None:
        """Close each video's frames that are farthest from their nearest neighbour in it."""
        share = self._limits.outlier_share
        for within in self.videos if share > 0 else []:
            n_out = int(share * (within.stop - within.start))
            if n_out:
                alone = _distance_to_other(self.vectors(within))
                out = np.argsort(-alone, kind="stable")[:n_out]
                self.open_mask[within.start + out] = False

    def _mark(self, video: int, vectors: NDArray[np.float32], at_s: NDArray[Any]) -> None:
        """Make frames of this video known, and close the frames too near to them in time."""
        self._known_of[video] = np.concatenate([self._known_of[video], vectors])
        self.n_marked[video] += len(vectors)
        within = self.videos[video]
        times_s = self.time_s[within]
        reach_s = self._limits.min_gap_s - _TIME_TOLERANCE_S
        first = np.searchsorted(times_s, at_s - reach_s, side="right")
        end = np.searchsorted(times_s, at_s + reach_s, side="left")
        for low, high in zip(first, end, strict=True):
            self.open_mask[within][low:high] = False

    def _near_duplicate(self, row: int) -> bool:
        video = int(self.video[row])
        known = self._known_of[video]
        if len(known) == 0 or self._limits.near_duplicate_quantile == 0:
            return False
        radius = self._near_duplicate_radius(video)
        if nearest_distance(self.vectors(np.array([row])), known)[0] > radius:
            return False
        # One is found, so there may be thousands: close them all now instead of one by one.
        rows = self.open_rows(self.videos[video])
        unseen = known[self._n_compared[video] :]
        for low in range(0, len(rows), _CHUNK):
            part = rows[low : low + _CHUNK]
            self.open_mask[part] = nearest_distance(self.vectors(part), unseen) > radius
        self._n_compared[video] = len(known)
        return True

    def _near_duplicate_radius(self, video: int) -> float:
        """The set quantile of the distances between this video's neighbouring frames."""
        if video not in self._radius:
            start, stop = self.videos[video].start, self.videos[video].stop
            steps = [np.zeros(0, dtype=np.float32)]
            for low in range(start, stop - 1, _CHUNK):
                rows = self.vectors(slice(low, min(low + _CHUNK + 1, stop)))
                steps.append(np.linalg.norm(rows[1:] - rows[:-1], axis=1))
            quantile = self._limits.near_duplicate_quantile
            lengths = np.concatenate(steps)
            radius = float(np.quantile(lengths, quantile)) if len(lengths) else 0.0
            self._radius[video] = radius * (1 + _ROUNDING)
        return self._radius[video]


def _equal_share(limits: Limits, budget: int, n_videos: int) -> int:
    """How many frames of one video may be picked while others have any left."""
    if limits.equal_share_max is None:
        return budget
    return math.ceil(limits.equal_share_max * budget / max(n_videos, 1))


def _distance_to_other(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance of each row to the nearest other one."""
    distance = np.full(len(rows), np.inf, np.float32)
    for low in range(0, len(rows), _CHUNK):
        part = slice(low, min(low + _CHUNK, len(rows)))
        squares = relative_squares(rows[part], rows) + squared_lengths(rows[part])[:, None]
        squares[np.arange(part.stop - low), np.arange(low, part.stop)] = np.inf
        distance[part] = np.sqrt(squares.min(axis=1).clip(min=0))
    return distance


def _keys(vectors: NDArray[Any]) -> NDArray[np.int64]:
    """A number for each row that is equal for equal rows; adding 0 turns -0 into 0."""
    keys = np.empty(len(vectors), dtype=np.int64)
    for low in range(0, len(vectors), _CHUNK):
        part = vectors[low : low + _CHUNK].astype(np.float32) + np.float32(0)
        keys[low : low + _CHUNK] = [hash(row.tobytes()) for row in part]
    return keys
