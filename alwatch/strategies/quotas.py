"""How many frames of each video, individual and session may still enter a queue."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from alwatch.strategies.pool import LEVELS, Level, Limits


class Quotas:
    """Caps, which always hold, and equal shares, which hold until they are lifted.

    Parameters
    ----------
    groups : mapping of level to int array of shape (n_videos,)
        Number of each video's group at that level, counted from 0.
    limits : Limits
    budget : int
        Most frames of the queue.

    Attributes
    ----------
    sharers : list of int arrays
        The videos of each group that has an equal share.
    """

    def __init__(
        self, groups: Mapping[Level, NDArray[np.int64]], limits: Limits, budget: int
    ) -> None:
        self._caps = [
            _Quota(groups[by], most) for by in LEVELS if (most := limits.most(by)) is not None
        ]
        shared = groups[limits.share_by]
        self._share = _Quota(shared, _equal_share(limits, budget, len(np.unique(shared))))
        self._budget = budget
        self.sharers = [np.flatnonzero(shared == group) for group in np.unique(shared)]

    def count(self, video: int) -> tuple[list[int], list[int]]:
        """Count a pick; which videos are closed by a cap now, and which by an equal share."""
        capped = [other for cap in self._caps for other in cap.count(video)]
        return capped, self._share.count(video)

    def room(self, video: int) -> int:
        """How many more frames of a video may enter."""
        return min(self.room_under_caps(video), self._share.room(video))

    def room_under_caps(self, video: int) -> int:
        """The same if there were no equal shares."""
        return min((cap.room(video) for cap in self._caps), default=self._budget)

    def room_of_sharer(self, number: int) -> int:
        """How many more frames of the videos `sharers[number]` together may enter."""
        videos = self.sharers[number]
        quotas = [self._share, *self._caps]
        return min(quota.room(videos[0]) for quota in quotas if quota.covers(videos))

    def lift_shares(self) -> None:
        """Let the equal shares go."""
        self._share.left[:] = self._budget


class _Quota:
    """So many frames of each group: `left` of them may still enter."""

    def __init__(self, group: NDArray[np.int64], most: int) -> None:
        self._group = group
        self.left = np.full(group.max(initial=-1) + 1, most)

    def room(self, video: int) -> int:
        return int(self.left[self._group[video]])

    def covers(self, videos: NDArray[np.int64]) -> bool:
        return bool((self._group[videos] == self._group[videos[0]]).all())

    def count(self, video: int) -> list[int]:
        group = self._group[video]
        self.left[group] -= 1
        return np.flatnonzero(self._group == group).tolist() if self.left[group] == 0 else []


def _equal_share(limits: Limits, budget: int, n_groups: int) -> int:
    """How many frames of one group may be picked while others have any left."""
    if limits.equal_share_max is None:
        return budget
    return math.ceil(limits.equal_share_max * budget / max(n_groups, 1))
