"""Exports, withdrawals and kills between a person's work: what the person made survives."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alwatch.errors import ExportError
from alwatch.labelling.deeplabcut import DeepLabCutProject
from alwatch.labelling.label_h5 import read_h5
from alwatch.labelling.label_h5_writer import to_h5
from alwatch.labelling.label_table import LabelTable, to_csv
from alwatch.labelling.machine_labels import Layout, add_points
from tests.labelling.dying_exports import STEPS
from tests.labelling.helpers import (
    SKELETON,
    make_project,
    make_queue,
    make_video,
    read_frames,
    with_poses,
)

FRAMES = ((0, 5, 41), (5, 6, 300))
LAYOUT = Layout("Ana", 0, (), ("nose", "tail"))
MACHINE = "machinelabels-iter0.h5"


class KilledError(BaseException):
    """Nothing that the package does after this changes the disk."""


class Bench:
    """A project, the person's files in it, and two queues of one video."""

    def __init__(self, root: Path) -> None:
        self.config = make_project(root / "project")
        self.labeled = self.config.parent / "labeled-data"
        self.videos = [with_poses(make_video(root / "cam.mp4", frames)) for frames in FRAMES]
        self.mine = {path: path.read_bytes() for path in self.labeled.rglob("*.png")}
        self.predicted: dict[Path, set[str]] = {}
        self.labels: dict[Path, set[int]] = {}
        self.listed: set[Path] = set()

    def folder(self) -> Path | None:
        found = [path for path in sorted(self.labeled.iterdir()) if path.name[0] not in ".o"]
        return found[0] if found else None

    # --- what alwatch does ---

    def run(
        self, call: Callable[[], object], step: int | None, *expected: type[BaseException]
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            if step is not None:
                left = [step]
                for name in STEPS:
                    patch.setattr(os, name, dying(getattr(os, name), left))
            with suppress(KilledError, *expected):
                call()

    def export(self, n: int, step: int | None) -> None:
        queue = make_queue(self.videos[n], id=n)
        tool = DeepLabCutProject(self.config)
        self.run(lambda: tool.write_queue(queue, [self.videos[n]], read_frames, SKELETON), step)

    def withdraw(self, n: int, step: int | None) -> None:
        queue = make_queue(self.videos[n], id=n)
        tool = DeepLabCutProject(self.config)
        self.run(lambda: tool.withdraw_queue(queue, [self.videos[n]]), step, ExportError)

    # --- what people do ---

    def label(self, n: int, step: int | None) -> None:
        """Label some of the images as the GUI does: all of them get a row."""
        folder = self.folder()
        images = sorted(folder.glob("img*.png")) if folder else []
        if not folder or not images:
            return
        indices = [int(image.stem[3:]) for image in images]
        values = np.full((len(images), 4), np.nan)
        chosen = [i for i in range(len(images)) if (i + (step or 0)) % 3 == 0]
        values[chosen] = 3
        columns = [("?", part, c) for part in ("nose", "tail") for c in "xy"]
        table = LabelTable([image.name for image in images], columns, values)
        file = folder / f"CollectedData_{'AnaBob'[3 * n : 3 * n + 3]}.csv"
        file.write_text(to_csv(table, folder.name))
        self.mine[file] = file.read_bytes()
        self.labels[file] = {indices[i] for i in chosen}
        self.listed |= set(images)

    def add_image(self, n: int, step: int | None) -> None:
        folder = self.folder()
        if folder:
            file = folder / f"img{(0, 6, 7, 41)[(step or 0) % 4]:03}.png"  # new, or changed
            image = np.full((48, 64, 3), 200 + n, np.uint8)
            file.write_bytes(cv2.imencode(".png", image)[1].tobytes())
            self.mine[file] = file.read_bytes()

    def rename(self, n: int, step: int | None) -> None:
        folder = self.folder()
        target = self.labeled / ("cage 7", "cam")[n]
        if folder and not target.exists():
            folder.rename(target)
            moved = lambda path: target / path.name if path.parent == folder else path  # noqa: E731
            self.mine = {moved(path): content for path, content in self.mine.items()}
            self.labels = {moved(path): frames for path, frames in self.labels.items()}
            self.predicted = {moved(path): rows for path, rows in self.predicted.items()}
            self.listed = {moved(path) for path in self.listed}

    def predict(self, n: int, step: int | None) -> None:
        """A run of DeepLabCut's that adds a row to the pre-labels, if there is none yet."""
        folder = self.folder()
        if not folder:
            return
        file, image = folder / MACHINE, f"img{(5, 77)[n]:03}.png"
        there = read_h5(file) if file.exists() else None
        point = {("", "nose"): np.array([77.0, 77, 0.5])}
        table, filled = add_points(there, LAYOUT, [image], {image: point})
        if filled:
            file.write_bytes(to_h5(table, folder.name))
            self.predicted.setdefault(file, set()).add(image)

    # --- what must hold ---

    def check(self) -> None:
        for path, content in self.mine.items():
            assert path.read_bytes() == content
        for path in self.listed:
            assert path.is_file()
        for file, images in self.predicted.items():
            table = read_h5(file)
            for image in images:
                row = table.values[list(table.images).index(image)]
                assert (np.nan_to_num(row[:2]) == 77).all()
        for image in self.labeled.rglob("[!.]*/*.png"):
            assert image.parent.name[0] == "." or cv2.imread(str(image)) is not None
        text = self.config.read_text()
        assert text.startswith("# Project definitions")
        assert "- nose   # a person's comment" in text


def dying(change: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if left[0] <= 0:
            raise KilledError
        left[0] -= 1
        return change(*args, **kwargs)

    return call


ACTIONS = st.tuples(
    st.sampled_from(["export", "export", "withdraw", "label", "add_image", "rename", "predict"]),
    st.sampled_from([0, 1]),
    st.none() | st.integers(0, 40),
)


@settings(max_examples=25, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=9))
def test_what_a_person_made_survives_any_order_of_events(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int, int | None]]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("shared"))
    for action, n, step in actions:
        getattr(bench, action)(n, step)
        bench.check()
    for n in (0, 1):
        bench.export(n, None)
        bench.check()
    labels = DeepLabCutProject(bench.config).read_labels()
    wanted = {
        (file.parent.name, index, file.stem[-3:])
        for file, indices in bench.labels.items()
        for index in indices
    }
    assert {(x.folder, x.frame, x.labeller) for x in labels} == wanted
    for n in (0, 1):
        bench.withdraw(n, None)
        bench.check()
    assert not [path.name for path in bench.labeled.iterdir() if path.name[0] == "."]
