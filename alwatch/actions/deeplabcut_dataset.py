"""A copy of a DeepLabCut project to train in: its labels as they are now, its images by links.

DeepLabCut writes in the project that it trains. So it is given one of its own, in the delivery's
folder, and the lab's is not touched before there is a model to put into it. Of the labels, it takes
those that DeepLabCut itself would (the project's scorer, the videos that config.yaml lists), but
for rows without any coordinate, which the labelling GUI writes for every frame that it shows, and
rows whose image is gone, which keep DeepLabCut from training.

Imported under the Python of the lab's DeepLabCut.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from alwatch.actions.deeplabcut_split import Split, frame_of, padded, split_frames
from alwatch.errors import ActionError

SHUFFLE = 1
"""The number of the only shuffle of the copy."""


def read_yaml(path: Path) -> dict[str, Any]:
    """A file that DeepLabCut has written.

    Raises
    ------
    ActionError
        It cannot be read, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ActionError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ActionError(f"{path} is no valid YAML ({reason}); correct it", again=False) from None
    if not isinstance(content, dict):
        raise ActionError(f"{path} holds no settings; DeepLabCut writes some", again=False)
    return content


def train_share(project: dict[str, Any]) -> float:
    """The share of the frames that is trained on, as config.yaml says it."""
    try:
        return float(project["TrainingFraction"][0])
    except (KeyError, IndexError, TypeError, ValueError):
        raise ActionError(
            f"config.yaml has TrainingFraction {project.get('TrainingFraction')!r}; it must be a "
            "list of numbers such as [0.95]",
            again=False,
        ) from None


def copy_project(config: Path, held_out: list[tuple[str, int]], seed: str, into: Path) -> Split:
    """Make the copy, its labels divided, as DeepLabCut's `create_training_dataset` does.

    Parameters
    ----------
    config : Path
        The lab's config.yaml.
    held_out : list of (folder of labeled-data, frame index)
    seed : str
    into : Path
        Must not exist.

    Returns
    -------
    Split
        Of the rows of the merged table.

    Raises
    ------
    ActionError
        Labels cannot be read, or there are none to train on.
    """
    project = read_yaml(config)
    (into / "labeled-data").mkdir(parents=True)
    tables = list(_labels(config.parent, project))
    if not tables:
        raise ActionError(
            f"{config.parent / 'labeled-data'} holds no labels of {project.get('scorer')} for a "
            "video that config.yaml lists; label some frames",
            again=False,
        )
    for folder, table in tables:
        _copy_labels(config.parent, folder, table, into)
    project["project_path"] = str(into)
    project["video_sets"] = {
        str(into / "videos" / f"{folder}.avi"): {"crop": "0, 1, 0, 1"} for folder, _ in tables
    }
    (into / "config.yaml").write_text(yaml.safe_dump(project, sort_keys=False), encoding="utf-8")
    return _divide(into / "config.yaml", held_out, train_share(project), seed)


def _labels(root: Path, project: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Of each listed video that has any: its folder and the table of what is labelled there."""
    listed = [re.split(r"[/\\]", str(video))[-1] for video in project.get("video_sets") or {}]
    stems = dict.fromkeys(name.rpartition(".")[0] or name for name in listed if name != "..")
    own_name = f"CollectedData_{project.get('scorer')}.h5"
    files = [root / "labeled-data" / stem / own_name for stem in stems]
    if not any(file.is_file() for file in files):  # then DeepLabCut takes all there are
        files = sorted((root / "labeled-data").glob(f"[!.]*/{own_name}"))
    for file in files:
        table = _read_table(file) if file.is_file() else None
        if table is None or not len(table):
            continue
        table = _labelled(table, file.parent)
        if len(table) and str(table.columns[0][0]) == str(project.get("scorer")):
            yield file.parent.name, table


def _labelled(table: Any, folder: Path) -> Any:
    """The rows that have a coordinate and an image, each named by (labeled-data, folder, image)."""
    import pandas as pd

    images = [_image(row) for row in table.index]
    is_coordinate = table.columns.get_level_values("coords").isin(["x", "y"])
    kept = table.loc[:, is_coordinate].notna().any(axis=1).to_numpy()
    kept &= [(folder / image).is_file() for image in images]
    rows = pd.MultiIndex.from_tuples([("labeled-data", folder.name, image) for image in images])
    table = table.set_axis(rows, axis=0)[kept]
    return table[~table.index.duplicated()]


def _read_table(file: Path) -> Any:
    import pandas as pd

    try:
        table = pd.read_hdf(file)
        if not isinstance(table, pd.DataFrame) or "coords" not in table.columns.names:
            raise ValueError("it is no table of labels")
    except Exception as error:  # PyTables and HDF5 have errors of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ActionError(
            f"the labels in {file} cannot be read ({reason[:160]}); open the folder in the "
            "labelling tool and save it again"
        ) from None
    return table


def _image(row: Any) -> str:
    """The file name in a row's label: a path of any system, or its parts."""
    return re.split(r"[/\\]", str(row[-1] if isinstance(row, tuple) else row))[-1]


def _copy_labels(root: Path, folder: str, table: Any, into: Path) -> None:
    target = into / "labeled-data" / folder
    target.mkdir()
    for _, _, image in table.index:
        os.symlink(root / "labeled-data" / folder / image, target / image)
    scorer = table.columns[0][0]
    table.to_hdf(target / f"CollectedData_{scorer}.h5", key="df_with_missing", mode="w")


def _divide(config: Path, held_out: list[tuple[str, int]], share: float, seed: str) -> Split:
    from deeplabcut import create_training_dataset
    from deeplabcut.core.engine import Engine
    from deeplabcut.generate_training_dataset.trainingsetmanipulation import (
        merge_annotateddatasets,
    )
    from deeplabcut.utils.auxiliaryfunctions import read_config

    scratch = config.parent / ".merged"
    scratch.mkdir()
    merged = merge_annotateddatasets(read_config(str(config)), scratch)
    shutil.rmtree(scratch)
    images = [(folder, image) for _, folder, image in merged.index]
    try:
        split = split_frames(images, held_out=set(held_out), train_share=share, seed=seed)
        train, test = padded(split, share)
    except ValueError as error:
        raise ActionError(f"{error}; label more frames, or correct it", again=False) from None
    create_training_dataset(
        str(config), Shuffles=[SHUFFLE], trainIndices=[train], testIndices=[test],
        userfeedback=False, net_type="resnet_50", engine=Engine.PYTORCH,
    )  # fmt: skip
    return split


def dataset_folder(config: Path) -> Path:
    """Where a project keeps its training datasets of the current iteration."""
    (folder,) = config.parent.glob("training-datasets/iteration-*/UnaugmentedDataSet_*")
    return folder


def held_out_frames(config: Path, split: Split) -> list[list[str | int]]:
    """The frames that are left out, as [folder, frame index] (or the image's name)."""
    import pandas as pd

    (file,) = dataset_folder(config).glob("CollectedData_*.h5")
    rows = pd.read_hdf(file).index
    found: list[list[str | int]] = []
    for row in split.test:
        _, folder, image = rows[row]
        number = frame_of(image)
        found.append([folder, image if number is None else number])
    return found
