"""DeepLabCut models of every kind of head, built by DeepLabCut itself and trained a few steps."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

BODYPARTS = ["nose", "leftear", "rightear", "tail"]


def project_config(
    folder: Path, *, multi: bool, unique: bool = False, identity: bool = False
) -> dict[str, Any]:
    """The config.yaml of a project without videos."""
    config: dict[str, Any] = {
        "Task": "test", "scorer": "someone", "date": "Jan1", "multianimalproject": multi,
        "identity": identity, "project_path": str(folder), "engine": "pytorch", "video_sets": {},
        "bodyparts": "MULTI!" if multi else BODYPARTS, "start": 0, "stop": 1,
        "numframes2pick": 20, "skeleton": [], "pcutoff": 0.6, "TrainingFraction": [0.95],
        "iteration": 0, "default_net_type": "resnet_50", "snapshotindex": -1, "batch_size": 4,
        "cropping": False, "x1": 0, "x2": 64, "y1": 0, "y2": 64,
    }  # fmt: skip
    if multi:
        config |= {
            "individuals": ["one", "two"],
            "multianimalbodyparts": BODYPARTS,
            "uniquebodyparts": ["corner", "lamp"] if unique else [],
        }
    return config


def build_model(
    folder: Path,
    net_type: str,
    *,
    multi: bool = False,
    unique: bool = False,
    identity: bool = False,
    top_down: bool = False,
    detector: str | None = None,
) -> Path:
    """A project with one model of this type, trained for some steps; returns its config.yaml."""
    from deeplabcut.pose_estimation_pytorch.config import PoseConfig
    from deeplabcut.pose_estimation_pytorch.models import DETECTORS, PoseModel

    folder.mkdir(parents=True)
    config = project_config(folder, multi=multi, unique=unique, identity=identity)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    train = folder / "dlc-models-pytorch/iteration-0/testJan1-trainset95shuffle1/train"
    train.mkdir(parents=True)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pose = PoseConfig.build(
            config, train / "pytorch_config.yaml", net_type=net_type, top_down=top_down,
            detector_type=detector, save=True,
        )  # fmt: skip
        model = PoseModel.build(pose["model"], pretrained_backbone=False)
    _train(model, n_steps=3, is_top_down=str(pose["method"]).lower().endswith("down"))
    snapshot = {"model": model.state_dict(), "metadata": {"epoch": 1}}
    torch.save(snapshot, train / "snapshot-001.pt")
    if pose.get("detector"):
        settings = dict(pose["detector"]["model"])
        settings["pretrained"] = False
        boxes = DETECTORS.build(settings)
        torch.save(
            {"model": boxes.state_dict(), "metadata": {"epoch": 1}},
            train / "snapshot-detector-001.pt",
        )
    return folder / "config.yaml"


def _train(model: Any, *, n_steps: int, is_top_down: bool) -> None:
    """Some steps of a real optimiser on noise, towards the sum of squares of what heads give."""
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)
    model.train()
    for _ in range(n_steps):
        images = torch.rand(2, 3, 256, 256)
        outputs = model(images)
        loss = sum(
            ((value - 0.1) ** 2).mean() for head in outputs.values() for value in head.values()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()


def images(n: int, *, height_px: int = 128, width_px: int = 160) -> np.ndarray:
    """Reproducible RGB noise with a bright blob that moves."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 60, (n, height_px, width_px, 3), dtype=np.uint8)
    for i in range(n):
        frames[i, 30 + 3 * i : 60 + 3 * i, 40:80] += 150
    return frames
