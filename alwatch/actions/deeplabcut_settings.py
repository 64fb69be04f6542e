"""The pytorch_config.yaml of a model that is trained further: that of the model it goes on from.

Imported under the Python of the lab's DeepLabCut.
"""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

from alwatch.errors import ActionError

_KEPT_SNAPSHOTS = 2
"""Of the training that runs; the later one may be torn by a kill."""


def check_kind(settings: dict[str, Any]) -> None:
    """Refuse models that need more than their own weights.

    Raises
    ------
    ActionError
        This is one.
    """
    method = str(settings.get("method")).lower()
    if method != "bu":
        raise ActionError(
            f"its model is of the method {method}, which needs a detector or another model trained "
            "beside it; bottom-up models (bu) can be trained. Use the action command for this one",
            again=False,
        )
    if (settings["train_settings"].get("weight_init") or {}).get("memory_replay"):
        raise ActionError(
            "its model was trained with memory replay, which needs the SuperAnimal model too; use "
            "the action command for it",
            again=False,
        )


def check_bodyparts(new: dict[str, Any], own: dict[str, Any], name: str) -> None:
    """Refuse to go on from a model of other bodyparts than the project has by now.

    Raises
    ------
    ActionError
        It is one.
    """
    for key in ("bodyparts", "unique_bodyparts", "individuals"):
        now, was = new["metadata"].get(key), own["metadata"].get(key)
        if key == "individuals":  # whose names do not matter
            now, was = len(now or ()), len(was or ())
        if now != was:
            raise ActionError(
                f"config.yaml has the {key} {now}, and the model {name} has {was}; train a "
                "model of the new ones by hand once",
                again=False,
            )


def model_settings(own: dict[str, Any], *, epochs: int, halved: bool, seed: str) -> dict[str, Any]:
    """The settings of the new model, its schedule stretched to these epochs.

    Parameters
    ----------
    own : dict
        The settings of the model that it goes on from.
    epochs : int
    halved : bool
        Whether its batches are too large for the memory.
    seed : str
    """
    settings = copy.deepcopy(own)
    train = settings["train_settings"]
    _stretch(settings["runner"].get("scheduler"), epochs / train["epochs"])
    train["epochs"] = epochs
    if halved:
        train["batch_size"] = max(1, train["batch_size"] // 2)
    train["seed"] = int(hashlib.sha256(seed.encode()).hexdigest()[:6], 16)
    train["weight_init"] = None  # the snapshot is
    settings["logger"] = None  # some send to a server
    settings["resume_training_from"] = None
    return settings


def for_running(
    settings: dict[str, Any], file: Path, project: Path, *, done: int
) -> dict[str, Any]:
    """The same, for the program that trains: it saves every epoch, to go on from after a kill.

    Parameters
    ----------
    settings : dict
    file, project : Path
        Where they are written, and the project of that.
    done : int
        Epochs that are done.
    """
    settings = copy.deepcopy(settings)
    settings["metadata"] |= {"project_path": str(project), "pose_config_path": str(file)}
    settings["train_settings"]["seed"] += done  # or each part would draw the same again
    settings["runner"] |= {
        "load_weights_only": True,
        "key_metric": "none",  # no snapshot is chosen by the frames that are held out
        "snapshots": {
            "max_snapshots": _KEPT_SNAPSHOTS,
            "save_epochs": 1,
            "save_optimizer_state": True,
        },
    }
    return settings


def _stretch(scheduler: Any, by: float) -> None:
    """Move what a schedule counts in epochs to another number of epochs."""
    if isinstance(scheduler, dict):
        for key, value in scheduler.items():
            if key == "milestones":
                scheduler[key] = [max(1, round(at * by)) for at in value]
            elif key in ("T_max", "total_iters", "step_size"):
                scheduler[key] = max(1, round(value * by))
            else:
                _stretch(value, by)
    elif isinstance(scheduler, list):
        for each in scheduler:
            _stretch(each, by)
