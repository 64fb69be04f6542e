"""The current model's poses as points for a person to correct, and what the points are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from alwatch.records import FloatArray, Skeleton

LIKELIHOOD_MIN = 0.05
"""What the model is less sure of than this is not drawn: to delete costs more than to place."""


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
