"""Exports, withdrawals and kills between a person's work, in the projects of every other tool.

For DeepLabCut see `test_deeplabcut_shared.py`. The tests hold what a person may rely on: all that
the person made stays as it is, and just the person's labels are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alwatch.errors import ExportError
from tests.labelling.dying_exports import STEPS
from tests.labelling.helpers import (
    SKELETON,
    contents,
    make_queue,
    make_video,
    no_frames,
    read_frames,
    snapshot,
    with_poses,
)
from tests.labelling.image_tools import IMAGE_TOOLS
from tests.labelling.shared_projects import Place, images_of, make_shared
from tests.labelling.test_deeplabcut_shared import KilledError, dying

KINDS = ["sleap", "lightning_pose", *IMAGE_TOOLS]
FRAMES = ((0, 5, 41), (6, 300))
STEP = st.none() | st.integers(0, 30)
ACTIONS = st.tuples(
    st.sampled_from(
        ["export", "export", "label", "label", "unlabel", "remove", "move", "withdraw"]
    ),
    st.integers(0, 1),
    STEP,
)


class Bench:
    """A project, what a person has labelled in it, and two queues of one video."""

    def __init__(self, kind: str, root: Path) -> None:
        self.root = root
        self.shared = make_shared(kind, root / "project")
        self.videos = [with_poses(make_video(root / "cam.mp4", frames)) for frames in FRAMES]
        self.queues = [make_queue(video, id=n + 1) for n, video in enumerate(self.videos)]
        self.labels: dict[int, Place | None] = {}
        self.own = self.shared.own()
        self.old = self.read()
        self.moves = 0

    # --- what alwatch does ---

    def run(self, call: Callable[[], object], step: int | None) -> bool:
        """Whether it came to its end; it is killed before its `step`-th change of the disk."""
        with pytest.MonkeyPatch.context() as patch, suppress(KilledError):
            left = [10**9 if step is None else step]
            for name in STEPS:
                patch.setattr(os, name, dying(getattr(os, name), left))
            call()
            return True
        return False

    def export(self, n: int, step: int | None) -> None:
        queue, videos, tool = self.queues[n], [self.videos[n]], self.shared.tool()
        if self.run(lambda: tool.write_queue(queue, videos, read_frames, SKELETON), step):
            before = snapshot(self.shared.folder)
            again = tool.write_queue(queue, videos, no_frames, SKELETON)
            assert snapshot(self.shared.folder) == before
            assert (again.written, again.kept) == (0, len(FRAMES[n]))

    def withdraw(self, n: int, step: int | None) -> None:
        before, shown = contents(self.shared.folder), self.shared.shown()
        queue, videos, tool = self.queues[n], [self.videos[n]], self.shared.tool()
        is_labelled = bool(self.labels.keys() & FRAMES[n])
        try:
            is_done = self.run(lambda: tool.withdraw_queue(queue, videos), step)
        except ExportError:
            assert is_labelled
            assert visible(contents(self.shared.folder)) == visible(before)
            return
        if is_done:
            assert not is_labelled
            assert self.shared.shown() == shown - set(FRAMES[n])

    # --- what a person does ---

    def label(self, n: int, step: int | None) -> None:
        """Label a frame, or change its label."""
        shown, value = sorted(self.shared.shown()), step or 0
        if shown:
            is_empty = self.shared.can_be_empty and value % 5 == 4
            place = None if is_empty else (value * 1.5 + 0.25, 40.0 - value)
            self.labels[shown[(value + n) % len(shown)]] = place
            self.save()

    def unlabel(self, n: int, step: int | None) -> None:
        if self.labels:
            labelled = sorted(self.labels)
            del self.labels[labelled[(step or 0) % len(labelled)]]
            self.save()

    def save(self) -> None:
        self.shared.save(self.labels)
        self.own = self.shared.own()

    def remove(self, n: int, step: int | None) -> None:
        bare = sorted(self.shared.shown() - self.labels.keys())
        if bare:
            self.shared.remove(bare[(step or 0) % len(bare)])
            self.own = self.shared.own()

    def move(self, n: int, step: int | None) -> None:
        self.moves += 1
        self.shared.move(self.root / f"moved {self.moves}")

    # --- what must hold ---

    def read(self) -> dict[tuple[str, int], object]:
        return {
            (label.folder, label.frame): [
                (p.bodypart, round(p.x_px, 2), round(p.y_px, 2)) for p in label.points
            ]
            for label in self.shared.tool().read_labels()
        }

    def check(self) -> None:
        assert self.shared.own() == self.own
        assert self.labels.keys() <= self.shared.shown()
        assert all(images_of(self.shared.folder).values())
        read = self.read()
        assert {key: read.pop(key) for key in self.old} == self.old
        assert {frame: points for (_, frame), points in read.items()} == {
            frame: [("nose", *place)] if place else [] for frame, place in self.labels.items()
        }
        assert len({folder for folder, _ in read}) <= 1


def visible(found: dict[str, object]) -> dict[str, object]:
    return {k: v for k, v in found.items() if not any(p[0] == "." for p in k.split("/"))}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_person_made_survives_any_order_of_events(
    tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    @settings(max_examples=15, deadline=None, derandomize=True, database=None)
    @given(actions=st.lists(ACTIONS, min_size=1, max_size=10))
    def survives(actions: list[tuple[str, int, int | None]]) -> None:
        bench = Bench(kind, tmp_path_factory.mktemp("shared"))
        for action, n, step in actions:
            getattr(bench, action)(n, step)
            bench.check()
        for n in (0, 1):
            bench.export(n, None)
            bench.check()
        for n in (0, 1):
            bench.withdraw(n, None)
            bench.check()
        assert not list(bench.shared.folder.rglob(".alwatch-staging-*"))

    survives()
