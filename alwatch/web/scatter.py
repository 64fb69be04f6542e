"""Where the marks of a scatter plot go: arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MAX_PARTED = 300

Places = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PlotScale:
    """Puts coordinates on a plot of `width` by `height` pixels.

    Parameters
    ----------
    middle : float array of shape (2,)
        The coordinates in the plot's middle.
    px_per_unit : float array of shape (2,)
        Negative for y, which grows upward in the data and downward on the plot.
    """

    middle: Places
    px_per_unit: Places
    width: int
    height: int

    def to_px(self, coordinates: Places) -> Places:
        """Coordinates of shape (n, 2) to pixels from the plot's upper left, same shape."""
        place: Places = (coordinates - self.middle) * self.px_per_unit
        return place + np.array([self.width, self.height]) / 2


def fit_scale(
    coordinates: Places, *, width: int, heights: tuple[int, int], border: int
) -> PlotScale:
    """Fit a plot to points: all of its width, and as much height as they need within limits.

    Both axes have one scale unless the plot would be flatter or higher than the limits. Groups
    far apart along one axis, each spread along the other, are then still told apart.

    Parameters
    ----------
    coordinates : float array of shape (n, 2)
        Finite; without any, the plot is empty and as flat as it may be.
    width, border : int
        In pixels; the border stays free of points on all sides.
    heights : (least, most)
        In pixels.
    """
    if not len(coordinates):
        return PlotScale(np.zeros(2), np.array([1.0, -1.0]), width, heights[0])
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    rounding = np.maximum(1e-9 * np.abs(coordinates).max(axis=0), 1e-100)
    across, up = np.where(high - low > rounding, high - low, 1.0)
    inner = width - 2 * border
    height = int(np.clip(inner * up / across + 2 * border, *heights))
    px_per_unit = np.array([inner / across, -(height - 2 * border) / up])
    return PlotScale((low + high) / 2, px_per_unit, width, height)


def part(places: Places, *, gap_px: float, limits: tuple[int, int]) -> Places:
    """Push marks apart until they are a gap from each other, or nearly, and inside the plot.

    More than 300 marks are left where they are: there is no room to part them.

    Parameters
    ----------
    places : float array of shape (n, 2), in pixels
    gap_px : float
        From middle to middle.
    limits : (width, height)
    """
    n = len(places)
    if n > _MAX_PARTED:
        return places
    # Two marks at the very same place need a direction to part in; any fixed one will do.
    turn = 2.4 * np.arange(n)
    nudge = 0.01 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    edge = gap_px / 2
    shown = places
    for _ in range(80):
        loose = shown + nudge
        away = loose[:, None] - loose[None]  # (n, n, 2)
        distance = np.linalg.norm(away, axis=-1) + np.eye(n) * gap_px
        push = np.clip(gap_px - distance, 0, None) / distance
        moved = shown + 0.3 * (away * push[..., None]).sum(axis=1)
        shown = np.clip(moved, edge, np.array(limits) - edge)
        if not push.any():
            break
    return shown
