"""Frames that are unlike all others of their video: left out, and the farthest to be looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.distances import relative_squares, squared_lengths

REVIEW_MAX = 20
"""More than this nobody looks through beside a queue."""

_CHUNK = 2048


@dataclass(frozen=True, slots=True)
class Outlier:
    """A frame far from all others of its video.

    `distance` is that to the nearest of them, `median` what it is for half of the video's frames.
    """

    row: int
    distance: float
    median: float

    @property
    def reason(self) -> str:
        """Why a person should look at it."""
        return (
            f"unlike any other frame of its video (distance {self.distance:.2f}; median "
            f"{self.median:.2f}): a hand in the picture, a broken frame, or something new; look "
            "before it is labelled"
        )


def outliers_of(vectors: NDArray[np.float32], share: float) -> list[Outlier]:
    """Find the frames of one video that are least like any other of it.

    Parameters
    ----------
    vectors : float32 array of shape (n, d)
        Unit rows, the frames of one video.
    share : float
        Which share of them, 0 to 1, rounded down.

    Returns
    -------
    list of Outlier
        The farthest from its nearest neighbour first; rows are those of `vectors`.
    """
    n_out = int(share * len(vectors))
    if n_out == 0:
        return []
    alone = _distance_to_other(vectors)
    median = float(np.median(alone))
    farthest = np.argsort(-alone, kind="stable")[:n_out]
    return [Outlier(int(row), float(alone[row]), median) for row in farthest]


def to_review(videos: Iterable[Sequence[Outlier]]) -> list[Outlier]:
    """Choose at most `REVIEW_MAX` outliers, as equally many of each video as there are.

    Parameters
    ----------
    videos : iterable of sequences of Outlier
        Those of each video, the farthest first.

    Returns
    -------
    list of Outlier
        The farthest first.
    """
    turns = [(turn, each) for found in videos for turn, each in enumerate(found)]
    turns.sort(key=lambda pair: (pair[0], -pair[1].distance, pair[1].row))
    chosen = [each for _, each in turns[:REVIEW_MAX]]
    return sorted(chosen, key=lambda each: (-each.distance, each.row))


def _distance_to_other(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance of each row to the nearest other one."""
    distance = np.full(len(rows), np.inf, np.float32)
    for low in range(0, len(rows), _CHUNK):
        part = slice(low, min(low + _CHUNK, len(rows)))
        squares = relative_squares(rows[part], rows) + squared_lengths(rows[part])[:, None]
        squares[np.arange(part.stop - low), np.arange(low, part.stop)] = np.inf
        distance[part] = np.sqrt(squares.min(axis=1).clip(min=0))
    return distance
