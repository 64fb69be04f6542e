"""The limits that every strategy obeys, kept in one place while a queue fills up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.distances import nearest_distance, unit_rows
from alwatch.strategies.near_duplicates import keys_of, step_radius
from alwatch.strategies.outliers import Outlier, outliers_of, to_review
from alwatch.strategies.pool import LEVELS, Limits, Picks, Pool
from alwatch.strategies.quotas import Quotas

_CHUNK = 2048

_TIME_TOLERANCE_S = 1e-6
"""Time stamps are rounded: frames exactly one gap apart must not exclude each other."""


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
    sharers : list of int arrays
        Who has equal shares: the videos of each individual, or of what `Limits.share_by` says.
    n_marked_of_sharer : int array of shape (len(sharers),)
        Frames of each of these that are labelled, queued or picked, other seasons' included.
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
        self._radius: dict[int, float] = {}
        width = pool.vectors.shape[1] if len(pool.vectors) else pool.taken_vectors.shape[1]
        self._taken = unit_rows(pool.taken_vectors.reshape(len(pool.taken_vectors), width))
        self._known_of = [self._taken[:0]] * len(sizes)  # per video: labelled, queued, picked
        self._n_compared = [0] * len(sizes)  # the first so many of them were held to all rows
        self._key = keys_of(pool.vectors)[self._order]
        self.open_mask = ~np.isin(self._key, keys_of(pool.taken_vectors))
        self._over_share: list[NDArray[np.int64]] = []
        self._outliers: list[list[Outlier]] = []
        self._count_groups()
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

    @property
    def n_known(self) -> int:
        """How many frames are labelled, queued or picked."""
        return len(self._taken) + len(self._picks)

    def known_vectors(self, since: int = 0) -> NDArray[np.float32]:
        """Unit vectors of all frames that are labelled, queued or picked, but the first `since`.

        They keep their places: what was picked last is last.
        """
        picks = self._picks[max(since - len(self._taken), 0) :]
        picked = np.array([row for row, _, _ in picks], dtype=np.int64)
        return np.concatenate([self._taken[since:], self.vectors(picked)])

    def open_rows(self, within: slice = slice(None)) -> NDArray[np.int64]:
        """Rows that are not known to be closed, in increasing order."""
        first = within.start or 0
        return np.flatnonzero(self.open_mask[within]) + first

    def room(self, video: int) -> int:
        """How many more frames of this video may enter, as far as is known."""
        n_open = int(self.open_mask[self.videos[video]].sum())
        return min(n_open, self._quotas.room(video))

    def room_of_sharer(self, number: int) -> int:
        """How many more frames of the videos `sharers[number]` may enter, as far as is known."""
        rooms = sum(self.room(video) for video in self.sharers[number].tolist())
        return min(rooms, self._quotas.room_of_sharer(number))

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
        self.n_marked_of_sharer[self._sharer[video]] += 1
        capped, shared_out = self._quotas.count(video)
        for other in capped:
            self.open_mask[self.videos[other]] = False
        for other in shared_out:
            self._over_share.append(self.open_rows(self.videos[other]))
            self.open_mask[self.videos[other]] = False

    def lift_equal_shares(self) -> bool:
        """Give what some could not use to the others; whether that opens any row.

        For `select`, when a strategy has found all that there is within equal shares.
        """
        self._quotas.lift_shares()
        may_enter = [rows for rows in self._over_share if self._has_room_under_caps(rows)]
        held = np.concatenate([np.empty(0, np.int64), *may_enter])
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
        """What was picked, and what to look at, with the pool's own row numbers."""
        review = to_review(self._outliers)
        return Picks(
            rows=np.array([self._order[row] for row, _, _ in self._picks], dtype=np.int64),
            scores=np.array([score for _, score, _ in self._picks], dtype=np.float64),
            reasons=tuple(reason for _, _, reason in self._picks),
            review=tuple((int(self._order[o.row]), o.distance, o.reason) for o in review),
            n_audit=self._n_audit,
        )

    def _random_open(self, within: slice, rng: np.random.Generator) -> int | None:
        while len(rows := self.open_rows(within)):
            row = int(rng.choice(rows))
            if self.is_open(row):
                return row
        return None

    def _count_groups(self) -> None:
        """Number the groups of videos that caps and shares are for."""
        share_by = self._limits.share_by
        first = self._order[np.array([within.start for within in self.videos], np.int64)]
        group = {}
        for by in LEVELS:
            of_rows, taken = self._pool.groups(by)
            names, number = np.unique(of_rows[first], return_inverse=True)
            group[by] = number.astype(np.int64)
            if by == share_by:
                n_taken = [np.count_nonzero(taken == name) for name in names]
                self.n_marked_of_sharer = np.array(n_taken, np.int64)
        self._quotas = Quotas(group, self._limits, self._budget)
        self._sharer = group[share_by]
        self.sharers = self._quotas.sharers

    def _has_room_under_caps(self, rows: NDArray[np.int64]) -> bool:
        """Whether rows of one video may be picked but for equal shares."""
        return len(rows) > 0 and self._quotas.room_under_caps(int(self.video[rows[0]])) > 0

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
        for within in self.videos if self._limits.outlier_share > 0 else []:
            found = [
                replace(each, row=within.start + each.row)
                for each in outliers_of(self.vectors(within), self._limits.outlier_share)
            ]
            self._outliers.append(
                [each for each in found if self.open_mask[each.row] and np.isfinite(each.distance)]
            )
            self.open_mask[[each.row for each in found]] = False

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
        if video not in self._radius:
            quantile = self._limits.near_duplicate_quantile
            self._radius[video] = step_radius(self.vectors, self.videos[video], quantile)
        radius = self._radius[video]
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
