"""Pools for the tests of strategies, and a second opinion on the limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from alwatch.strategies.pool import LEVELS, Level, Limits, Picks, Pool

TOLERANCE = 1e-4


def make_pool(
    vectors: object,
    video: object = None,
    frame: object = None,
    time_s: object = None,
    *,
    dtype: type = np.float32,
) -> Pool:
    """One video at one frame a second with nothing taken, unless told otherwise."""
    rows = np.asarray(vectors, dtype=dtype)
    n = len(rows)
    frames = np.arange(n) if frame is None else np.asarray(frame, dtype=np.int64)
    return Pool(
        vectors=rows,
        video=np.zeros(n, np.int64) if video is None else np.asarray(video, dtype=np.int64),
        frame=frames,
        time_s=np.asarray(frames if time_s is None else time_s, dtype=np.float64),
        taken_vectors=np.empty((0, rows.shape[1]), dtype),
        taken_video=np.empty(0, np.int64),
        taken_frame=np.empty(0, np.int64),
        taken_time_s=np.empty(0, np.float64),
    )


def with_scores(pool: Pool, names: Iterable[str]) -> Pool:
    """The same pool, scored: a value for each frame that does not depend on its place, some NaN."""
    scores = {}
    for number, name in enumerate(sorted(names), start=1):
        mixed = np.sin(pool.video * 12.9898 + pool.frame * 78.233 + number) * 43758.5453
        values = mixed - np.floor(mixed)
        scores[name] = np.where(values < 0.1, np.nan, values)
    return replace(pool, scores=scores)


def with_taken(pool: Pool, rows: object) -> Pool:
    """The same pool, with some of its rows labelled."""
    taken = np.asarray(rows, dtype=np.int64)
    return replace(
        pool,
        taken_vectors=pool.vectors[taken],
        taken_video=pool.video[taken],
        taken_frame=pool.frame[taken],
        taken_time_s=pool.time_s[taken],
    )


def grouped(pool: Pool, individual: Iterable[int], session: Iterable[int]) -> Pool:
    """The same pool, with the individual and the session of each video, in order of its number."""
    numbers = np.unique(np.concatenate([pool.video, pool.taken_video]))
    arrays = {}
    for name, of_video in (("individual", individual), ("session", session)):
        of_number = dict(zip(numbers.tolist(), of_video, strict=False))
        for prefix in ("", "taken_"):
            videos = getattr(pool, prefix + "video").tolist()
            arrays[prefix + name] = np.array([of_number[video] for video in videos], np.int64)
    return replace(pool, **arrays)


def counts(pool: Pool, picks: Picks, by: Level = "video") -> list[int]:
    """How many picks each video, individual or session has, in order of its number."""
    groups, _ = pool.groups(by)
    return [int((groups[picks.rows] == group).sum()) for group in np.unique(groups)]


def reordered(pool: Pool, order: np.ndarray) -> Pool:
    """The same pool, read in another order."""
    return replace(
        pool,
        vectors=pool.vectors[order],
        video=pool.video[order],
        frame=pool.frame[order],
        time_s=pool.time_s[order],
        scores={name: values[order] for name, values in pool.scores.items()},
        individual=None if pool.individual is None else pool.individual[order],
        session=None if pool.session is None else pool.session[order],
    )


def on_circle(degrees: object) -> np.ndarray:
    """Unit vectors at these angles."""
    angles = np.radians(np.asarray(degrees, dtype=np.float64))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def walks(n_videos: int, n_frames: int, seed: int, width: int = 8) -> Pool:
    """Videos whose frames drift, each from its own start, ten frames a second."""
    rng = np.random.default_rng(seed)
    steps = 0.1 * rng.standard_normal((n_videos, n_frames, width))
    steps[:, 0] = rng.standard_normal((n_videos, width))
    vectors = steps.cumsum(axis=1).reshape(-1, width)
    frame = np.tile(np.arange(n_frames), n_videos)
    return make_pool(vectors, np.repeat(np.arange(n_videos), n_frames), frame, frame / 10)


def names(pool: Pool, picks: Picks) -> list[tuple[int, int]]:
    """(video, frame) of every pick in rank order."""
    return [(int(pool.video[row]), int(pool.frame[row])) for row in picks.rows]


class Referee:
    """Says which frames exclude which, pair by pair in float64."""

    def __init__(self, pool: Pool, limits: Limits) -> None:
        self.pool, self.limits = pool, limits
        self.video = np.concatenate([pool.video, pool.taken_video])
        self.frame = np.concatenate([pool.frame, pool.taken_frame])
        self.time_s = np.concatenate([pool.time_s, pool.taken_time_s])
        self.raw = np.concatenate([pool.vectors, pool.taken_vectors]).astype(np.float64)
        lengths = np.linalg.norm(self.raw, axis=1, keepdims=True)
        self.unit = self.raw / np.where(lengths == 0, 1, lengths)
        self.radius = {int(video): self._radius(video) for video in np.unique(pool.video)}

    @property
    def taken(self) -> range:
        """Numbers of the taken frames, which follow those of the pool."""
        return range(len(self.pool.video), len(self.video))

    def excludes(self, one: int, other: int, slack: float) -> bool:
        """Whether one frame forbids the other; borderline distances only with slack > 0."""
        if np.array_equal(self.raw[one], self.raw[other]):
            return True
        if self.video[one] != self.video[other]:
            return False
        if self.frame[one] == self.frame[other]:
            return True
        if abs(self.time_s[one] - self.time_s[other]) < self.limits.min_gap_s - 1e-6:
            return True
        radius = self.radius.get(int(self.video[one]))
        distance = np.linalg.norm(self.unit[one] - self.unit[other])
        return radius is not None and bool(distance <= radius + slack)

    def is_capped(self, row: int, rows: list[int]) -> bool:
        """Whether a cap keeps this row from joining those that are picked."""
        return any(
            (self.pool.groups(by)[0][rows] == self.pool.groups(by)[0][row]).sum()
            == self.limits.most(by)
            for by in LEVELS
        )

    def check(self, picks: Picks, budget: int) -> None:
        """Fail unless the picks keep the limits and leave nothing open that was wanted."""
        rows = [int(row) for row in picks.rows]
        assert len(rows) <= budget
        assert len(set(rows)) == len(rows)
        assert all(reason.strip() for reason in picks.reasons)
        assert np.isfinite(picks.scores).all()
        for i, row in enumerate(rows):
            for other in [*self.taken, *rows[:i]]:
                assert not self.excludes(row, other, slack=-TOLERANCE), (row, other)
        for by in LEVELS:
            cap = self.limits.most(by)
            assert cap is None or max(counts(self.pool, picks, by), default=0) <= cap
        if len(rows) == budget:
            return
        for row in set(range(len(self.pool.video))) - set(rows):
            assert self.is_capped(row, rows) or any(
                self.excludes(row, other, slack=TOLERANCE) for other in [*self.taken, *rows]
            ), f"row {row} was still open"

    def _radius(self, video: int) -> float | None:
        rows = np.flatnonzero(self.pool.video == video)
        if self.limits.near_duplicate_quantile == 0:
            return None
        if len(rows) < 2:
            return 0.0
        rows = rows[np.lexsort((self.pool.frame[rows], self.pool.time_s[rows]))]
        steps = np.linalg.norm(np.diff(self.unit[rows], axis=0), axis=1)
        return float(np.quantile(steps, self.limits.near_duplicate_quantile))
