"""The snapshots of a DeepLabCut project, found and hashed without DeepLabCut itself.

Only projects of the PyTorch engine (DeepLabCut 3) have score maps that can be read.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from alwatch.errors import PoseModelError, SettingsError
from alwatch.pose_models.files import HashedFiles
from alwatch.records import LocatedSnapshot, Snapshot

_SNAPSHOT = re.compile(r"snapshot(-detector)?(?P<best>-best)?-(?P<epochs>\d+)\.pt")
RECORD = "alwatch.json"
"""What alwatch keeps of its own training of a model, in the model's folder."""
# What the scores depend on; the rest names paths and how the training went.
_WHAT_COUNTS = ("method", "model", "detector", "net_type", "with_center_keypoints")


@dataclass(frozen=True, slots=True)
class _SnapshotFile:
    path: Path
    epochs: int
    is_best: bool


class DeepLabCutSource:
    """Where a DeepLabCut project keeps the snapshot that is to be used.

    Parameters
    ----------
    project : Path
        The project's config.yaml.
    shuffle : int
        What alwatch has trained from it lies in shuffles of its own, and is taken for its later
        versions, unless `snapshot` names a file.
    snapshot : str
        "best" (the best of the training where DeepLabCut has kept one, else the latest, as
        DeepLabCut itself chooses), "latest" (most epochs), or the name of a file.
    ensemble : sequence of str
        Names of further snapshots of this shuffle, to be compared with it.
    """

    def __init__(
        self, project: Path, *, shuffle: int, snapshot: str, ensemble: tuple[str, ...] = ()
    ) -> None:
        self._project = project
        self._shuffle = shuffle
        self._snapshot = snapshot
        self._ensemble = ensemble
        self._files = HashedFiles()

    def find(self) -> LocatedSnapshot:
        """Find the snapshot as it is now, and what the worker needs to load it.

        Raises
        ------
        SettingsError
            There is no such project, or no such snapshot in it, or its files say no such thing
            as DeepLabCut writes.
        PoseModelError
            The project is not readable at this moment.
        """
        try:
            return self._find()
        except OSError as error:
            raise PoseModelError(_unreadable(error, self._project)) from error

    def verify(self, located: LocatedSnapshot) -> LocatedSnapshot:
        """Give a snapshot that was found before, wherever the project's newest is by now.

        Raises
        ------
        SettingsError, PoseModelError
            Its files are not the same, or what counts in its configuration is not.
        """

        def recipe(model: dict[str, Any]) -> bytes:
            path = Path(model["config"])
            return _recipe(_read_yaml(path), path)

        return self._files.verify(located, "deeplabcut", also=recipe)

    def _find(self) -> LocatedSnapshot:
        base = self._training_folder()
        of_base = _snapshots(base, detector=False)
        others = [self._choose(of_base, name, base) for name in self._ensemble]
        chosen, version = self._choose(of_base, self._snapshot, base), 0
        if self._snapshot in ("best", "latest"):
            chosen, version = self._latest_version(chosen)
        train = chosen.path.parent
        config_path = train / "pytorch_config.yaml"
        config = _read_yaml(config_path)
        detector = None
        if str(config.get("method")).lower() == "td" and config.get("detector"):
            detector = self._choose(_snapshots(train, detector=True), "best", train, " detector")
        weights = [chosen, *others, *([detector] if detector else [])]
        unique = _listed(config, "unique_bodyparts", config_path)
        bodyparts = [*_listed(config, "bodyparts", config_path), *unique]
        individuals = _listed(config, "individuals", config_path)
        if not bodyparts or not individuals:
            raise SettingsError(
                f"{config_path} names no bodyparts and individuals in `metadata`; it must be a "
                "pytorch_config.yaml that DeepLabCut 3 has written."
            )
        files = [file.path for file in weights]
        snapshot = Snapshot(
            kind="deeplabcut",
            name=(f"shuffle{version}/" if version else "")
            + "+".join(file.path.stem for file in (chosen, *others)),
            sha256=self._files.sha256(files, also=_recipe(config, config_path)),
            bodyparts=tuple(str(name) for name in bodyparts),
            n_individuals=len(individuals),
            n_unique=len(unique),
        )
        return LocatedSnapshot(
            snapshot,
            {
                "config": str(config_path),
                "snapshots": [str(file.path) for file in (chosen, *others)],
                "detector": str(detector.path) if detector else None,
            },
            self._files.signatures(files),
        )

    def _training_folder(self) -> Path:
        project = self._project
        if not project.is_file():
            raise SettingsError(
                f"pose_model.project is {project}, which is "
                f"{'a folder' if project.is_dir() else 'not there'}; it must be the config.yaml of "
                "a DeepLabCut project."
            )
        config = _read_yaml(project)
        iteration = config.get("iteration", 0)
        if not re.fullmatch(r"\d{1,9}", str(iteration)):
            raise SettingsError(
                f"{project} has iteration {iteration!r}; it must be a whole number. Correct it."
            )
        models = project.parent / "dlc-models-pytorch" / f"iteration-{iteration}"
        shuffles = sorted(models.iterdir()) if models.is_dir() else []
        named = [path for path in shuffles if path.name.endswith(f"shuffle{self._shuffle}")]
        folders = [path / "train" for path in named if (path / "train").is_dir()]
        if len(folders) == 1:
            return folders[0]
        if len(folders) > 1:
            percent = f"trainset{_percent(config, project)}shuffle"
            first = [folder for folder in folders if percent in folder.parent.name]
            if len(first) == 1:
                return first[0]
        engine = (project.parent / "dlc-models").is_dir() and not models.is_dir()
        found = (
            "it has TensorFlow models only"
            if engine
            else f"{models} has {', '.join(_shuffles(shuffles)) or 'no model'}"
        )
        remedy = (
            "train it with DeepLabCut 3's PyTorch engine"
            if engine
            else "set pose_model.shuffle to one that is there, or train it"
        )
        raise SettingsError(
            f"Shuffle {self._shuffle} of {project} was to be used, but {found}; {remedy}."
        )

    def _latest_version(self, own: _SnapshotFile) -> tuple[_SnapshotFile, int]:
        """The latest of the shuffle's own snapshot and those that alwatch trained from it.

        With the shuffle that it lies in, or 0. What the lab trained in the shuffle itself after
        alwatch's last training is later than that.
        """
        versions: dict[int, tuple[Path, dict[str, Any]]] = {}
        for file in own.path.parents[2].glob(f"*shuffle*/{RECORD}"):
            number = re.search(r"shuffle(\d{1,9})$", file.parent.name)
            record, train = _read_record(file), file.parent / "train"
            if number and record.get("base_shuffle") == self._shuffle and train.is_dir():
                versions[int(number[1])] = train, record
        for version, (train, record) in sorted(versions.items(), reverse=True):
            snapshots = _snapshots(train, detector=False)
            if snapshots and own.path.name in record.get("known", ()):
                return self._choose(snapshots, self._snapshot, train), version
        return own, 0

    def _choose(
        self, files: list[_SnapshotFile], name: str, train: Path, kind: str = ""
    ) -> _SnapshotFile:
        by_epochs = sorted(files, key=lambda file: (file.epochs, file.is_best))
        named = [file for file in files if name in (file.path.name, file.path.stem)]
        best = [file for file in by_epochs if file.is_best]
        if name == "best":
            named = best[-1:] or by_epochs[-1:]
        elif name == "latest":
            named = by_epochs[-1:]
        if named:
            return named[0]
        known = ", ".join(file.path.stem for file in by_epochs) or "none"
        raise SettingsError(
            f"The{kind} snapshot {name!r} was asked for, but {train} has: {known}; train the "
            "model, or set pose_model.snapshot to best, latest or one of these."
        )


def _read_record(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _snapshots(train: Path, *, detector: bool) -> list[_SnapshotFile]:
    names = [path for path in train.iterdir() if path.is_file()]
    matches = [(path, _SNAPSHOT.fullmatch(path.name)) for path in names]
    return [
        _SnapshotFile(path, int(match["epochs"]), match["best"] is not None)
        for path, match in matches
        if match is not None and (match[1] is not None) == detector
    ]


def _shuffles(models: list[Path]) -> list[str]:
    found = [re.search(r"shuffle(\d+)$", path.name) for path in models]
    return sorted({f"shuffle {match[1]}" for match in found if match is not None})


def _percent(config: dict[str, Any], path: Path) -> int:
    """Of how many percent the training set is, in the first of the ways to divide the labels."""
    fractions = config.get("TrainingFraction") or [0]
    try:
        return int(100 * float(fractions[0]))
    except (TypeError, ValueError, LookupError, OverflowError):
        raise SettingsError(
            f"{path} has TrainingFraction {fractions!r}; it must be a list of numbers such as "
            "[0.95]. Correct it."
        ) from None


def _section(config: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    section = config.get(name) or {}
    if not isinstance(section, dict):
        raise SettingsError(
            f"{path} has {name} {section!r}; it must be a section, as DeepLabCut 3 writes it. "
            "Correct it, or train the model again."
        )
    return section


def _listed(config: dict[str, Any], name: str, path: Path) -> list[Any]:
    values = _section(config, "metadata", path).get(name) or []
    if not isinstance(values, list):
        raise SettingsError(
            f"{path} has metadata.{name} {values!r}; it must be a list of names, as DeepLabCut 3 "
            "writes it. Correct it, or train the model again."
        )
    return values


def _recipe(config: dict[str, Any], path: Path) -> bytes:
    """The part of the configuration that a score depends on, the same wherever it is kept."""
    data = _section(config, "data", path)
    metadata = _section(config, "metadata", path)
    recipe = {key: config.get(key) for key in _WHAT_COUNTS}
    recipe["data"] = {key: data.get(key) for key in ("colormode", "inference", "bbox_margin")}
    recipe["metadata"] = {
        key: metadata.get(key)
        for key in ("bodyparts", "unique_bodyparts", "individuals", "with_identity")
    }
    try:
        text = json.dumps(recipe, sort_keys=True, default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"{path} holds settings that DeepLabCut does not write ({error}); correct it, or "
            "train the model again."
        ) from None
    return hashlib.sha256(text.encode()).digest()


def _unreadable(error: OSError, path: Path) -> str:
    found = error.filename or path
    return f"{found} cannot be read: {error.strerror}; let alwatch read it, or try again."


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"{path} is not there; a trained DeepLabCut 3 model has one. Train the model, or "
            "correct pose_model.project."
        ) from None
    except OSError as error:
        raise PoseModelError(_unreadable(error, path)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: no UTF-8, or no day such as 2018-99-99; RecursionError: too deep
        line = (str(error).splitlines() or [""])[0]
        raise SettingsError(f"{path} is no valid YAML ({line}); correct the file.") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds no settings; it must be written by DeepLabCut.")
    return content
