"""Which index a frame has that comes out of a decoder reading in sequence. Pure."""

from __future__ import annotations

import numpy as np

from alwatch.records import Timeline


class FrameNumbering:
    """Numbers the frames of one read in sequence, from the first frame on.

    While nothing has been lost the ordinal is the index: that is how OpenCV, and so the
    labelling tool, numbers frames. After a decode error the ordinals are too small; the rank of
    a frame's PTS in the timeline then tells its true index, provided that PTS and ordinals
    agreed until then.

    Parameters
    ----------
    timeline : Timeline, optional
        The frames the file promises. Without one, or with one that is not seekable, no
        frame can be numbered after a loss.
    pts_outlives_loss : bool
        Whether the file stores real PTS, so that they hold after a loss too.
    """

    def __init__(self, timeline: Timeline | None, *, pts_outlives_loss: bool) -> None:
        self._pts = timeline.pts if timeline is not None and timeline.seekable else None
        self._pts_outlives_loss = pts_outlives_loss
        self._next = 0
        self.lost = False
        """Whether a decode error has been noted."""
        self.contradicted = False
        """Whether an ordinal and a PTS have disagreed without any loss to explain it."""

    def note_loss(self) -> None:
        """Say that a decode error may have cost frames."""
        self.lost = True

    def index_of(self, pts: int | None) -> int | None:
        """Return the index of the next delivered frame, or None if it cannot be known."""
        index: int | None = self._next
        if self.lost:
            index = self._rank(pts)
        elif self._pts is not None and not self._is_expected(pts):
            self.contradicted = True
        if index is not None:
            self._next = index + 1
        return index

    def _is_expected(self, pts: int | None) -> bool:
        assert self._pts is not None
        return self._next < self._pts.size and pts == self._pts[self._next]

    def _rank(self, pts: int | None) -> int | None:
        if self._pts is None or pts is None or self.contradicted or not self._pts_outlives_loss:
            return None
        rank = int(np.searchsorted(self._pts, pts))
        if rank < self._next or rank >= self._pts.size or self._pts[rank] != pts:
            return None
        return rank
