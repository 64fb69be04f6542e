"""The current model's poses as points for a person to correct, and what the points are called.

A point that a person has seen and left where it was cannot be told from one that nobody has seen
by its place. So a frame whose points are all where the model had put them is untouched, unless
the tool says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alwatch.records import LabelledPoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alwatch.records import FloatArray, Skeleton

LIKELIHOOD_MIN = 0.05
"""What the model is less sure of than this is not drawn: to delete costs more than to place."""

_MOVED_PX = 0.1
"""Tools round; nobody moves a point by less than this on purpose."""


@dataclass(frozen=True, slots=True)
class Group:
    """Bodyparts that belong together: those of one animal, or the scene's.

    Parameters
    ----------
    name : str
        For people and files: `animal` where there is one, `individual1` and so on, `scene`.
    individual : str
        As in `LabelledPoint`.
    bodyparts : tuple of str
    row, first : int
        Where they are in a pose: its individual, and the first of the bodyparts.
    """

    name: str
    individual: str
    bodyparts: tuple[str, ...]
    row: int = 0
    first: int = 0


@dataclass(frozen=True, slots=True)
class PreLabel:
    """Where the model has found one bodypart; x and y in pixels of the whole frame."""

    bodypart: str
    x_px: float
    y_px: float
    likelihood: float


def groups_of(skeleton: Skeleton) -> tuple[Group, ...]:
    """One group for each animal that a frame may show, and one for the scene if it has any."""
    n_shared = len(skeleton.bodyparts) - skeleton.n_unique
    shared, unique = skeleton.bodyparts[:n_shared], skeleton.bodyparts[n_shared:]
    groups = [Group("animal", "", shared)]
    if skeleton.n_individuals > 1:
        names = [f"individual{row + 1}" for row in range(skeleton.n_individuals)]
        groups = [Group(name, name, shared, row) for row, name in enumerate(names)]
    return (*groups, Group("scene", "", unique, 0, n_shared)) if unique else tuple(groups)


def prelabels(pose: FloatArray | None, group: Group) -> list[PreLabel]:
    """What is to be drawn of a group; `pose` has shape (individuals, bodyparts, 3)."""
    if pose is None or group.row >= len(pose):
        return []
    found = pose[group.row, group.first : group.first + len(group.bodyparts)].astype(float)
    return [
        PreLabel(bodypart, *point)
        for bodypart, point in zip(group.bodyparts, found.tolist(), strict=True)
        if np.isfinite(point).all() and point[2] >= LIKELIHOOD_MIN
    ]


def drawn_points(pose: FloatArray | None, skeleton: Skeleton) -> tuple[LabelledPoint, ...]:
    """All that is to be drawn of a pose."""
    return tuple(
        LabelledPoint(group.individual, point.bodypart, point.x_px, point.y_px)
        for group in groups_of(skeleton)
        for point in prelabels(pose, group)
    )


def is_touched(points: Iterable[LabelledPoint], drawn: Iterable[LabelledPoint]) -> bool:
    """Whether the points are others than those drawn, whatever the animals are called."""
    one, other = list(points), list(drawn)

    def is_among(point: LabelledPoint, those: list[LabelledPoint]) -> bool:
        return any(
            point.bodypart == that.bodypart
            and abs(point.x_px - that.x_px) <= _MOVED_PX
            and abs(point.y_px - that.y_px) <= _MOVED_PX
            for that in those
        )

    return len(one) != len(other) or not (
        all(is_among(point, other) for point in one)
        and all(is_among(point, one) for point in other)
    )
