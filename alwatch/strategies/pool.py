"""What a strategy chooses from, what it must respect, and what it returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

_CHUNK = 4096

Level: TypeAlias = Literal["video", "individual", "session"]
"""By what frames are told apart where they are counted."""

LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The frames of a season, and those that are already labelled or queued.

    Parameters
    ----------
    vectors : float array of shape (n, d)
        One row per frame; float16 as stored is fine.
    video : int array of shape (n,)
        Which video each frame is from; any numbers.
    frame : int array of shape (n,)
        Frame index in its video. A (video, frame) pair occurs once.
    time_s : float array of shape (n,)
        Seconds from the video's first frame.
    taken_vectors : float array of shape (m, d)
        Frames that are labelled or queued. They may be of other videos, and may be in the pool
        as well: they are never chosen.
    taken_video, taken_frame : int arrays of shape (m,)
    taken_time_s : float array of shape (m,)
    scores : mapping of str to float array of shape (n,)
        What is known of each frame, by name: signals of the pose model such as `mpe`, turned so
        that more is more worth a look, and `presence`, 1 where an animal is surely there. NaN
        where a frame has not been scored.
    individual, session : int array of shape (n,), optional
        Whom a frame shows, and when it was recorded; any numbers. Without them each video is an
        individual, and a session, of its own. All frames of a video have the same.
    taken_individual, taken_session : int arrays of shape (m,)
        The same of the taken frames, by the same numbers; given if and only if those are.
    trust : float
        How far the uncertainty has proved to know the model's true error, from 0 (not at all, or
        nobody knows yet) to 1: its rank correlation with the error on frames that were labelled
        after they had been scored.

    Raises
    ------
    ValueError
        Shapes, kinds or values are wrong; all faults are named at once.
    """

    vectors: NDArray[Any]
    video: NDArray[np.integer[Any]]
    frame: NDArray[np.integer[Any]]
    time_s: NDArray[np.floating[Any]]
    taken_vectors: NDArray[Any]
    taken_video: NDArray[np.integer[Any]]
    taken_frame: NDArray[np.integer[Any]]
    taken_time_s: NDArray[np.floating[Any]]
    scores: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict)
    trust: float = 0.0
    individual: NDArray[np.integer[Any]] | None = None
    session: NDArray[np.integer[Any]] | None = None
    taken_individual: NDArray[np.integer[Any]] | None = None
    taken_session: NDArray[np.integer[Any]] | None = None

    def __post_init__(self) -> None:
        faults = self._shape_faults() or self._value_faults()
        if faults:
            raise ValueError("; ".join(faults))

    def groups(self, by: Level) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]:
        """Number the video, individual or session of each frame and of each taken one."""
        own, taken = getattr(self, by), getattr(self, f"taken_{by}")
        return (self.video, self.taken_video) if own is None else (own, taken)

    def _shape_faults(self) -> list[str]:
        faults = []
        for prefix in ("", "taken_"):
            vectors = getattr(self, f"{prefix}vectors")
            if vectors.ndim != 2 or vectors.dtype.kind != "f":
                faults.append(
                    f"{prefix}vectors must be a 2-D float array, one row per frame, got "
                    f"{vectors.dtype} of shape {vectors.shape}"
                )
            of_each = [("video", "iu"), ("frame", "iu"), ("time_s", "f")]
            of_each += [(by, "iu") for by in LEVELS[1:] if getattr(self, prefix + by) is not None]
            for name, kinds in of_each:
                array = getattr(self, prefix + name)
                if array.shape != vectors.shape[:1] or array.dtype.kind not in kinds:
                    faults.append(
                        f"{prefix}{name} must be {'int' if kinds == 'iu' else 'float'} of shape "
                        f"{vectors.shape[:1]}, got {array.dtype} of shape {array.shape}"
                    )
        for name, array in self.scores.items():
            if array.shape != self.vectors.shape[:1] or array.dtype.kind != "f":
                faults.append(
                    f"the scores {name} must be float of shape {self.vectors.shape[:1]}, got "
                    f"{array.dtype} of shape {array.shape}"
                )
        for by in LEVELS[1:]:
            if (getattr(self, by) is None) != (getattr(self, f"taken_{by}") is None):
                faults.append(f"{by} and taken_{by} must be given together")
        if not 0 <= self.trust <= 1:
            faults.append(f"trust must lie between 0 and 1, got {self.trust}")
        if not faults and len(self.vectors) and len(self.taken_vectors):
            width, taken_width = self.vectors.shape[1], self.taken_vectors.shape[1]
            if width != taken_width:
                faults.append(f"vectors are {width} wide but taken_vectors {taken_width}")
        return faults

    def _value_faults(self) -> list[str]:
        faults = []
        for name in ("vectors", "time_s", "taken_vectors", "taken_time_s"):
            n_bad = _count_not_finite(getattr(self, name))
            if n_bad:
                faults.append(f"{name} has NaN or infinity in {n_bad} of its rows")
        order = np.lexsort((self.frame, self.video))
        video, frame = self.video[order], self.frame[order]
        twice = np.flatnonzero((video[1:] == video[:-1]) & (frame[1:] == frame[:-1]))
        if len(twice):
            first = twice[0]
            faults.append(f"frame {frame[first]} of video {video[first]} is listed twice")
        videos = np.concatenate([self.video, self.taken_video])
        for by in LEVELS[1:]:
            if getattr(self, by) is None:
                continue
            groups = np.concatenate(self.groups(by))
            _, first, number = np.unique(videos, return_index=True, return_inverse=True)
            torn = np.flatnonzero(groups != groups[first][number])
            if len(torn):
                faults.append(f"video {videos[torn[0]]} has more than one {by}")
        return faults


@dataclass(frozen=True, slots=True, eq=False)
class Picks:
    """Chosen frames in rank order.

    Parameters
    ----------
    rows : int array of shape (k,)
        Row numbers of the pool.
    scores : float array of shape (k,)
        What the strategy measured for each at the moment of choice; 0 where it measures nothing.
    reasons : tuple of k strings
        Why each was chosen, for the person who labels it.
    review : tuple of (row, distance, reason)
        Frames that were left out as unlike all others of their video, for a person to look at:
        the most outlying first, with its distance to the nearest other frame of its video.
    n_audit : int
        The first so many were drawn at random, as the audit share.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    reasons: tuple[str, ...]
    review: tuple[tuple[int, float, str], ...] = ()
    n_audit: int = 0

    def __post_init__(self) -> None:
        k = len(self.reasons)
        if self.rows.shape != (k,) or self.scores.shape != (k,):
            raise ValueError(
                f"rows, scores and reasons must be equally long, got shapes {self.rows.shape}, "
                f"{self.scores.shape} and {k} reasons"
            )


@dataclass(frozen=True, slots=True)
class Limits:
    """What no queue may hold, whatever its strategy.

    Parameters
    ----------
    per_video_max, per_individual_max, per_session_max : int or None
        At most this many frames of one video, individual or session in one queue; frames of
        earlier queues don't count.
    min_gap_s : float
        Frames of one video that are less than this apart in time exclude each other, those
        labelled or queued before included.
    near_duplicate_quantile : float
        Frames of one video exclude each other where their vectors are no farther apart than this
        quantile of the distances between the video's neighbouring frames. With 0, as always,
        only frames with identical vectors do, whatever their videos.
    equal_share_max : float or None
        At most this many times an equal share of the budget, rounded up, as long as others have
        frames left.
    share_by : {"video", "individual", "session"}
        Who has equal shares of the budget.
    presence_min : float
        Frames whose score `presence` is below are left out; with 0, as always, none is.
    outlier_share : float
        Of each video, this share of the frames that are least like any other of it is left out:
        what is unlike everything is as a rule a hand in the picture or a broken frame. The
        farthest of them come back as `Picks.review`.
    audit_share : float
        Share of the budget that is drawn at random, video by video, before the strategy
        chooses: a fair sample to measure the true error on.

    Raises
    ------
    ValueError
        A value is out of range; all faults are named at once.
    """

    per_video_max: int | None = None
    min_gap_s: float = 0.0
    near_duplicate_quantile: float = 0.0
    equal_share_max: float | None = None
    presence_min: float = 0.0
    outlier_share: float = 0.0
    audit_share: float = 0.0
    per_individual_max: int | None = None
    per_session_max: int | None = None
    share_by: Level = "individual"

    def __post_init__(self) -> None:
        faults = []
        for by in LEVELS:
            most = self.most(by)
            if most is not None and not (isinstance(most, int) and most >= 1):
                faults.append(f"per_{by}_max must be a whole number >= 1 or None, got {most}")
        if not 0 <= self.min_gap_s < math.inf:
            faults.append(f"min_gap_s must be at least 0 and finite, got {self.min_gap_s}")
        if self.equal_share_max is not None and not 1 <= self.equal_share_max < math.inf:
            faults.append(f"equal_share_max must be at least 1 or None, got {self.equal_share_max}")
        if self.share_by not in LEVELS:
            faults.append(f"share_by must be one of {', '.join(LEVELS)}, got {self.share_by!r}")
        for name in ("near_duplicate_quantile", "presence_min", "outlier_share", "audit_share"):
            if not 0 <= getattr(self, name) <= 1:
                faults.append(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if faults:
            raise ValueError("; ".join(faults))

    def most(self, by: Level) -> int | None:
        """The cap on the frames of one video, individual or session."""
        most: int | None = getattr(self, f"per_{by}_max")
        return most

    def audit_frames(self, budget: int) -> int:
        """How many frames of a budget the audit share is."""
        return round(self.audit_share * budget)


def _count_not_finite(array: NDArray[Any]) -> int:
    """Count the rows that hold NaN or infinity, without a mask as large as the array."""
    return sum(
        int((~np.isfinite(part)).reshape(len(part), -1).any(axis=1).sum())
        for part in (array[low : low + _CHUNK] for low in range(0, len(array), _CHUNK))
    )
