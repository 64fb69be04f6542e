"""Model folders of SLEAP, as sleap-nn trains them, found and hashed without sleap-nn itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from alwatch.errors import PoseModelError, SettingsError
from alwatch.pose_models.files import HashedFiles
from alwatch.records import LocatedSnapshot, Snapshot

_CONFIG = "training_config.yaml"
_WEIGHTS = "best.ckpt"  # sleap-nn itself loads no other
_ALONE = ("single_instance", "bottomup")
_TOP_DOWN = ("centroid", "centered_instance")


@dataclass(frozen=True, slots=True)
class _TrainedModel:
    folder: Path
    config: dict[str, Any]
    head: str


class SleapSource:
    """Where the models that SLEAP has trained lie.

    Parameters
    ----------
    folder : Path
        The model folder of a single-instance or bottom-up model, or a folder that holds the two
        model folders (or links to them) of a top-down model: centroid and centered instance.
    individuals : int, optional
        How many animals a frame may show, which a model for several does not say; the surest are
        kept.
    """

    def __init__(self, folder: Path, *, individuals: int | None = None) -> None:
        self._folder = folder
        self._individuals = individuals
        self._files = HashedFiles()

    def find(self) -> LocatedSnapshot:
        """Find the model as it is now, and what the worker needs to load it.

        Returns
        -------
        LocatedSnapshot
            Its sha256 is over training_config.yaml and best.ckpt of every model folder, and the
            number of individuals.

        Raises
        ------
        SettingsError
            There is no such model, or it is of a type that cannot be scored.
        PoseModelError
            The folder is not readable at this moment.
        """
        try:
            return self._find()
        except OSError as error:
            raise PoseModelError(_unreadable(error, self._folder)) from error

    def verify(self, located: LocatedSnapshot) -> LocatedSnapshot:
        """Give a model that was found before; PoseModelError where its files are not the same."""
        return self._files.verify(
            located, "sleap", also=lambda model: str(model["individuals"]).encode()
        )

    def _find(self) -> LocatedSnapshot:
        models = self._models()
        self._check_types(models)
        pose = models[-1]
        individuals = self._n_individuals(pose)
        files = [model.folder / name for model in models for name in (_CONFIG, _WEIGHTS)]
        snapshot = Snapshot(
            kind="sleap",
            name="+".join(model.folder.name for model in models),
            sha256=self._files.sha256(files, also=str(individuals).encode()),
            bodyparts=_bodyparts(pose),
            n_individuals=individuals,
        )
        folders = [str(model.folder) for model in models]
        return LocatedSnapshot(
            snapshot,
            {"folders": folders, "individuals": individuals},
            self._files.signatures(files),
        )

    def _models(self) -> list[_TrainedModel]:
        """The model folders; of a top-down model, the one that gives the poses comes last."""
        folder = self._folder
        if not folder.is_dir():
            raise SettingsError(
                f"pose_model.project is {folder}, which is "
                f"{'a file' if folder.exists() else 'not there'}; it must be the model folder that "
                f"sleap-nn has written, with {_CONFIG} and {_WEIGHTS} in it."
            )
        inside = sorted(folder.iterdir())
        folders = [folder] if (folder / _CONFIG).is_file() else inside
        folders = [path for path in folders if (path / _CONFIG).is_file()]
        if not folders:
            raise SettingsError(_nothing_found(folder, inside))
        # Where links lead: a model stays where it is when they are set to the next one.
        models = [_read(Path(os.path.realpath(path))) for path in folders]
        return sorted(models, key=lambda model: model.head == "centered_instance")

    def _check_types(self, models: list[_TrainedModel]) -> None:
        heads = tuple(model.head for model in models)
        if heads != _TOP_DOWN and not (len(heads) == 1 and heads[0] in _ALONE):
            needed = (
                "a top-down model needs both a centroid and a centered_instance model: put the "
                "two model folders, or links to them, into one folder, and set "
                "pose_model.project to that one."
                if len(heads) == 1 and heads[0] in _TOP_DOWN
                else "models that can be scored are single_instance, bottomup, and the pair "
                "centroid and centered_instance; set pose_model.project to one of these."
            )
            raise SettingsError(f"{self._folder} holds {_listed(models)}; {needed}")
        for model in models:
            _check_preprocessing(model)
            if not (model.folder / _WEIGHTS).is_file():
                raise SettingsError(
                    f"{model.folder} has no {_WEIGHTS}; train the model, and with save_ckpt on."
                )

    def _n_individuals(self, pose: _TrainedModel) -> int:
        if pose.head == "single_instance":
            return 1
        if self._individuals is None:
            raise SettingsError(
                f"{pose.folder} is a {pose.head} model, which does not say how many animals a "
                "frame may show; set pose_model.individuals."
            )
        return self._individuals


def _read(folder: Path) -> _TrainedModel:
    path = folder / _CONFIG
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PoseModelError(_unreadable(error, path)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: no UTF-8, or no day such as 2018-99-99; RecursionError: too deep
        line = (str(error).splitlines() or [""])[0]
        raise SettingsError(f"{path} is no valid YAML ({line}); train the model again.") from None
    heads = _within(config, "model_config", "head_configs")
    named = [name for name, head in heads.items() if head is not None]
    if not named:
        raise SettingsError(
            f"{path} names no head in model_config.head_configs; it must be written by sleap-nn."
        )
    return _TrainedModel(folder, config, str(named[0]))


def _check_preprocessing(model: _TrainedModel) -> None:
    preprocessing = _within(model.config, "data_config", "preprocessing")
    if _within(preprocessing, "tiling").get("enabled"):
        raise SettingsError(
            f"{model.folder} was trained on tiles (data_config.preprocessing.tiling), which "
            "cannot be scored; train it on whole frames."
        )
    if preprocessing.get("crop_mode") == "bbox":
        raise SettingsError(
            f"{model.folder} crops by boxes (data_config.preprocessing.crop_mode is bbox), which "
            "cannot be scored; train it with crop_mode fixed."
        )


def _bodyparts(model: _TrainedModel) -> tuple[str, ...]:
    try:
        skeleton = model.config["data_config"]["skeletons"][0]
        return tuple(str(node["name"]) for node in skeleton["nodes"])
    except (KeyError, TypeError, IndexError):
        raise SettingsError(
            f"{model.folder / _CONFIG} names no nodes in data_config.skeletons; sleap-nn writes "
            "them when training begins. Train the model, or name the folder of one that is trained."
        ) from None


def _unreadable(error: OSError, path: Path) -> str:
    found = error.filename or path
    return f"{found} cannot be read: {error.strerror}; let alwatch read it, or try again."


def _nothing_found(folder: Path, inside: list[Path]) -> str:
    if (folder / "training_config.json").is_file():
        return (
            f"{folder} holds a TensorFlow model (SLEAP 1.4 or older), whose score maps cannot be "
            "read; train it with sleap-nn (SLEAP 1.5 or newer)."
        )
    names = ", ".join(path.name for path in inside[:5]) or "nothing"
    more = f" and {len(inside) - 5} more" if len(inside) > 5 else ""
    return (
        f"{folder} was to be a model folder of sleap-nn, with {_CONFIG} and {_WEIGHTS} in it, but "
        f"holds {names}{more}; set pose_model.project to the folder of one model."
    )


def _listed(models: list[_TrainedModel]) -> str:
    return ", ".join(f"{model.folder.name} ({model.head})" for model in models[:5]) + (
        f" and {len(models) - 5} more" if len(models) > 5 else ""
    )


def _within(settings: object, *names: str) -> dict[str, Any]:
    """The mapping at this place of nested settings; empty where there is none."""
    for name in names:
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings if isinstance(settings, dict) else {}
