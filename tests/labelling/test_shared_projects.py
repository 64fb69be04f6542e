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
EVENTS = ["export", "export", "withdraw", "withdraw", "remove", "add", "label", "unlabel", "move"]
ACTIONS = st.tuples(
    st.sampled_from(EVENTS),
    st.sampled_from([0, 1]),
    st.integers(0, 7),
    st.sampled_from([None, None, None, 0, 2, 4, 7, 11, 16, 22]),
)
"""What happens, to which queue, to which of its frames, and when alwatch is killed."""


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
        self.touched: set[int] = set()
        self.was_killed = False
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
        self.was_killed = True
        return False

    def export(self, n: int, value: int, step: int | None) -> None:
        queue, videos, tool = self.queues[n], [self.videos[n]], self.shared.tool()
        if self.run(lambda: tool.write_queue(queue, videos, read_frames, SKELETON), step):
            before = snapshot(self.shared.folder)
            again = tool.write_queue(queue, videos, no_frames, SKELETON)
            assert snapshot(self.shared.folder) == before
            assert (again.written, again.kept) == (0, len(FRAMES[n]))

    def withdraw(self, n: int, value: int, step: int | None) -> None:
        before, shown = contents(self.shared.folder), self.shared.shown()
        queue, videos, tool = self.queues[n], [self.videos[n]], self.shared.tool()
        removed: list[int] = []
        going = set(FRAMES[n]) - self.shared.added
        try:
            self.run(lambda: removed.append(tool.withdraw_queue(queue, videos)), step)
        except ExportError:
            assert self.labels.keys() & set(FRAMES[n]) or n in self.touched
            assert visible(contents(self.shared.folder)) == visible(before)
            return
        if removed:
            assert not self.labels.keys() & going
            assert self.shared.shown() == shown - going
            assert self.was_killed or len(shown & going) <= removed[0] <= len(going)
            assert not self.shared.traces() & going
            self.touched.discard(n)

    # --- what a person does ---

    def label(self, n: int, value: int, step: int | None) -> None:
        """Label a frame, or change its label."""
        shown = sorted(self.shared.shown())
        if shown:
            frame = shown[(value + n) % len(shown)]
            can_be_empty = self.shared.can_be_empty and frame not in self.shared.added
            place = (value * 1.5 + 0.25, 40.0 - value)
            self.labels[frame] = None if can_be_empty and value % 5 == 4 else place
            self.save()

    def unlabel(self, n: int, value: int, step: int | None) -> None:
        if self.labels:
            labelled = sorted(self.labels)
            del self.labels[labelled[value % len(labelled)]]
            self.save()

    def save(self) -> None:
        self.shared.save(self.labels)
        self.own = self.shared.own()

    def remove(self, n: int, value: int, step: int | None) -> None:
        bare = sorted(self.shared.shown() - self.labels.keys())
        if bare:
            self.shared.remove(bare[value % len(bare)])
            self.own = self.shared.own()

    def add(self, n: int, value: int, step: int | None) -> None:
        frame = FRAMES[n][value % len(FRAMES[n])]
        self.shared.add(frame, self.videos[n])
        self.touched.add(n)
        self.own = self.shared.own()

    def move(self, n: int, value: int, step: int | None) -> None:
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
    examples = 8 if kind == "sleap" else 20

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(actions=st.lists(ACTIONS, min_size=5, max_size=14))
    def survives(actions: list[tuple[str, int, int, int | None]]) -> None:
        bench = Bench(kind, tmp_path_factory.mktemp("shared"))
        for action, n, value, step in actions:
            getattr(bench, action)(n, value, step)
            bench.check()
        for n in (0, 1):
            bench.export(n, 0, None)
            bench.check()
        for n in (0, 1):
            bench.withdraw(n, 0, None)
            bench.check()
        assert not list(bench.shared.folder.rglob(".alwatch-staging-*"))

    survives()
