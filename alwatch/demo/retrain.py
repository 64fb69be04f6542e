"""The demo's training: what a lab's own does when a rule fires, with a network of a minute.

`python -m alwatch.demo.retrain FOLDER` reads the evidence on standard input, trains on from the
newest model of FOLDER with all labels but those held out, and adds the result as a new model.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from alwatch.demo.animal import BODYPARTS
from alwatch.demo.labelling import Example, examples_of
from alwatch.pose_models.unet import UNet, export_unet, train_unet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import ImageArray

CURRENT = "current.yaml"
"""A link to the newest model: those before stay as they are."""

INPUT_SIZE_PX = (96, 128)
STEPS = 120
_WIDTH, _BATCH = 8, 8


def add_model(examples: Iterable[Example], models: Path, *, steps: int = STEPS) -> Path:
    """Train on from the newest model of a folder, or anew; the YAML file of the new model."""
    images, points = zip(*map(_at_input_size, examples), strict=True)
    before = sorted(models.glob("mouse-*.weights"))
    start = None
    if before:
        start = UNet(len(BODYPARTS), width=_WIDTH)
        start.load_state_dict(torch.load(before[-1], weights_only=True))
    network = train_unet(
        np.stack(images),
        np.stack(points),
        input_size_px=INPUT_SIZE_PX,
        width=_WIDTH,
        steps=steps,
        batch_size=_BATCH,
        start=start,
    )
    made = export_unet(
        network,
        models / f"mouse-{len(before) + 1}.yaml",
        bodyparts=BODYPARTS,
        input_size_px=INPUT_SIZE_PX,
    )
    torch.save(network.state_dict(), made.with_suffix(".weights"))
    link = models / ".current.yaml"
    link.unlink(missing_ok=True)
    link.symlink_to(made.name)
    os.replace(link, models / CURRENT)
    return made


def _at_input_size(example: Example) -> tuple[ImageArray, NDArray[np.float64]]:
    """Seasons are filmed in different sizes; the network knows one."""
    height, width = INPUT_SIZE_PX
    scale = np.array([width, height]) / example.image.shape[1::-1]
    image = cv2.resize(example.image, (width, height), interpolation=cv2.INTER_AREA)
    return image.astype(np.uint8, copy=False), (example.points_px + 0.5) * scale - 0.5


def main(folder: Path) -> str:
    """Train as the evidence on standard input asks; what was done, in a line."""
    evidence = json.load(sys.stdin)
    without = {(each["folder"], each["frame"]) for each in evidence["held_out"]}
    examples = list(examples_of(folder / "queues", BODYPARTS, without=without))
    made = add_model(examples, folder / "models")
    return f"{made.stem} trained on {len(examples)} frames, {len(without)} held out"


if __name__ == "__main__":
    sys.stdout.write(main(Path(sys.argv[1])) + "\n")
