"""The exchangeable parts: looked up by name in one table and imported on first use.

The table holds dotted names; entry points of installed plug-ins add to it. So a command pays only
for what it uses.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from alwatch import __version__
from alwatch.errors import (
    SettingsError,
)

if TYPE_CHECKING:
    pass


SOFTWARE = f"alwatch {__version__}"

ACTION_TIMEOUT_S = 60.0
TRAINING_TIMEOUT_S = 7 * 86400.0
"""Where the settings of an action do not say."""

PARTS: dict[str, dict[str, str]] = {
    "embedder": {
        "hog": "alwatch.embedders.hog:HogEmbedder",
        "pose": "alwatch.pose_models.embedder:PoseEmbedder",
        "alexnet": "alwatch.embedders.networks:AlexNetEmbedder",
        "dino_vits16": "alwatch.embedders.networks:DinoEmbedder",
        "dino_vits8": "alwatch.embedders.networks:DinoEmbedder",
        "dino_vitb16": "alwatch.embedders.networks:DinoEmbedder",
        "dino_vitb8": "alwatch.embedders.networks:DinoEmbedder",
        "dinov2_vits14": "alwatch.embedders.networks:DinoEmbedder",
        "dinov2_vitb14": "alwatch.embedders.networks:DinoEmbedder",
        "dinov3_vits16": "alwatch.embedders.networks:DinoEmbedder",
        "dinov3_vitb16": "alwatch.embedders.networks:DinoEmbedder",
    },
    "pose_model": {
        "deeplabcut": "alwatch.pose_models.deeplabcut_project:DeepLabCutSource",
        "exported": "alwatch.pose_models.sidecar:ExportedSource",
        "sleap": "alwatch.pose_models.sleap_folder:SleapSource",
    },
    "labelling": {
        "deeplabcut": "alwatch.labelling.deeplabcut:DeepLabCutProject",
        "folder": "alwatch.labelling.folder:FrameFolder",
        "sleap": "alwatch.labelling.sleap:SleapProject",
        "coco": "alwatch.labelling.coco:CocoFolder",
        "label_studio": "alwatch.labelling.label_studio:LabelStudioFolder",
        "cvat": "alwatch.labelling.cvat:CvatFolder",
        "lightning_pose": "alwatch.labelling.lightning_pose:LightningPoseProject",
    },
    "action": {
        "file": "alwatch.actions.file:WriteFile",
        "command": "alwatch.actions.command:RunCommand",
        "webhook": "alwatch.actions.webhook:Webhook",
        "mail": "alwatch.actions.mail:Mail",
        "slurm": "alwatch.actions.slurm:SubmitJob",
        "deeplabcut": "alwatch.actions.deeplabcut:DeepLabCutTraining",
    },
}
"""Kind -> name -> where it is. A plug-in adds to a kind by an entry point `alwatch.<kind>`."""


def find_part(kind: str, name: str, *, setting: str) -> Any:
    """Import an exchangeable part by its name.

    Parameters
    ----------
    kind : str
        A key of `PARTS`.
    name : str
    setting : str
        The setting that named it, for the message.

    Raises
    ------
    SettingsError
        No such part (the nearest name and all names are given), or its package is not installed.
    """
    part = locate_part(kind, name, setting=setting)
    try:
        return EntryPoint(name, part, f"alwatch.{kind}").load()
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{setting} is {name}, which needs the package {error.name}; install it with "
            f"`pip install 'alwatch[{name}]'`."
        ) from error


def locate_part(kind: str, name: str, *, setting: str) -> str:
    """Where an exchangeable part is, as `module:attribute`; parameters as of `find_part`.

    Raises
    ------
    SettingsError
        No such part; the nearest name and all names are given.
    """
    if name in PARTS[kind]:
        return PARTS[kind][name]
    plugins = {point.name: point.value for point in entry_points(group=f"alwatch.{kind}")}
    if name in plugins:
        return plugins[name]
    known = sorted([*PARTS[kind], *plugins])
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise SettingsError(f"{setting} is {name!r}; {hint}It must be one of {', '.join(known)}.")


def utc_now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)
