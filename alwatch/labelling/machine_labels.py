"""The model's poses as DeepLabCut's pre-labels: `machinelabels-iter<n>.h5` and `machinelabels.csv`.

The labelling GUI draws the points of the `.h5` for a person to correct, and saves them as that
person's labels. DeepLabCut's own `extract_outlier_frames` adds rows to the same files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from alwatch.errors import ExportError
from alwatch.labelling.collected_data import UNREADABLE
from alwatch.labelling.label_h5 import read_h5
from alwatch.labelling.label_table import UNIQUE, LabelTable, point_names
from alwatch.labelling.prelabels import LIKELIHOOD_MIN

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from alwatch.records import FloatArray, Skeleton

    Points = dict[tuple[str, str], NDArray[np.float64]]

CSV_NAME = "machinelabels.csv"
_COORDINATES = ("x", "y", "likelihood")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a project labels, as its config.yaml says.

    Parameters
    ----------
    scorer : str
    iteration : int
        How often DeepLabCut has merged refined labels; it names the pre-labels' file.
    animals : tuple of str
        Names of the individuals; empty in single-animal projects.
    bodyparts, unique : tuple of str
        Of the animals, and of the scene.
    """

    scorer: str
    iteration: int
    animals: tuple[str, ...]
    bodyparts: tuple[str, ...]
    unique: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Layout:
        """Read it from a config.yaml; what is not there or of another kind is taken as empty."""
        iteration = config.get("iteration")
        is_multi = config.get("multianimalproject") is True
        return cls(
            str(config["scorer"]),
            iteration if isinstance(iteration, int) else 0,
            _texts(config.get("individuals")) if is_multi else (),
            _texts(config.get("multianimalbodyparts" if is_multi else "bodyparts")),
            _texts(config.get("uniquebodyparts")) if is_multi else (),
        )

    @property
    def file_name(self) -> str:
        """The name of the pre-labels' `.h5`."""
        return f"machinelabels-iter{self.iteration}.h5"

    def columns(self, scorer: str) -> list[tuple[str, ...]]:
        """The columns in DeepLabCut's order; only single-animal projects have a likelihood."""
        if not self.animals:
            return [(scorer, part, c) for part in self.bodyparts for c in _COORDINATES]
        parts = [(animal, part) for animal in self.animals for part in self.bodyparts]
        parts += [(UNIQUE, part) for part in self.unique]
        return [(scorer, *names, c) for names in parts for c in _COORDINATES[:2]]

    def points(self, pose: FloatArray, skeleton: Skeleton) -> Points:
        """The points of a pose that the project has a name for, by (individual, bodypart).

        Individuals are taken in order, those that the project has no name for left out; in a
        single-animal project it is the one that the model is surest of. Bodyparts that only the
        scene has stand in the first individual.

        Parameters
        ----------
        pose : float32 array of shape (individuals, bodyparts, 3)
        skeleton : Skeleton
            Whose bodyparts these are.
        """
        sure = pose[..., 2:] >= LIKELIHOOD_MIN
        pose = np.where(np.isfinite(pose).all(axis=-1, keepdims=True) & sure, pose, np.nan)
        n_shared = len(skeleton.bodyparts) - skeleton.n_unique
        best = int(np.nansum(pose[:, :n_shared, 2], axis=1).argmax())
        found: Points = {}
        for j, part in enumerate(skeleton.bodyparts):
            if part in self.unique or (part in self.bodyparts and not self.animals):
                found["", part] = pose[best if j < n_shared else 0, j]
            elif part in self.bodyparts:
                shown = pose if j < n_shared else pose[:1]
                found |= {(a, part): p[j] for a, p in zip(self.animals, shown, strict=False)}
        return {names: point for names, point in found.items() if np.isfinite(point).all()}


def read_machine_labels(file: Path) -> LabelTable | None:
    """Read an `.h5` of pre-labels; None where there is none.

    Raises
    ------
    ExportError
        It cannot be read, so that adding to it would lose what it holds.
    """
    try:
        return read_h5(file)
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(
            f"Poses were to be added to {file}, which cannot be read ({lines[-1].strip()}). "
            "Move it out of the folder and try again."
        ) from error


def add_points(
    table: LabelTable | None,
    layout: Layout,
    images: Sequence[str],
    points: Mapping[str, Points],
) -> tuple[LabelTable, list[str]]:
    """Add points to pre-labels, and a row for every image; what is there stays.

    Parameters
    ----------
    table : LabelTable or None
        The pre-labels as they are.
    layout : Layout
    images : sequence of str
        All images of the folder.
    points : mapping of str to dict
        By image; those whose row has points already stay as they are.

    Returns
    -------
    table : LabelTable
        Its rows and columns begin with those that were there.
    filled : list of str
        The images whose points are new.
    """
    if table is None:
        columns = layout.columns(layout.scorer)
        table = LabelTable([], columns, np.empty((0, len(columns))))
    scorer = table.columns[0][0]
    own = [column for column in layout.columns(scorer) if len(column) == len(table.columns[0])]
    columns = [*table.columns, *(column for column in own if column not in set(table.columns))]
    rows = [*table.images, *sorted(set(images) - set(table.images))]
    values = np.full((len(rows), len(columns)), np.nan)
    values[: len(table.images), : len(table.columns)] = table.values
    filled = []
    for image in sorted(points):
        row = rows.index(image)
        if np.isfinite(values[row]).any():
            continue
        for i, column in enumerate(columns):
            point = points[image].get(point_names(column))
            if point is not None and column[0] == scorer and column[-1] in _COORDINATES:
                values[row, i] = point[_COORDINATES.index(column[-1])]
        if np.isfinite(values[row]).any():
            filled.append(image)
    return LabelTable(rows, columns, values), filled


def take_away(table: LabelTable, *, points: Collection[str], rows: Collection[str]) -> LabelTable:
    """Clear the points of some images, and leave out the rows of others."""
    kept = [i for i, image in enumerate(table.images) if image not in rows]
    values = table.values[kept].copy()
    images = [table.images[i] for i in kept]
    values[[image in points for image in images]] = np.nan
    return LabelTable(images, table.columns, values)


def images_with_points(table: LabelTable) -> set[str]:
    """The images that pre-labels hold a number for."""
    rows = np.flatnonzero(np.isfinite(table.values).any(axis=1)).tolist()
    return {table.images[row] for row in rows}


def _texts(names: Any) -> tuple[str, ...]:
    return tuple(map(str, names)) if isinstance(names, list) else ()
