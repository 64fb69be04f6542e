"""Exports that die, in processes of their own: `python -m tests.labelling.dying_exports`.

Prints one JSON object with what was seen; the tests judge it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import sleap_io
import yaml

from alwatch.errors import ExportError
from alwatch.labelling.deeplabcut import DeepLabCutProject
from alwatch.labelling.lightning_pose import LightningPoseProject
from alwatch.labelling.lightning_pose_list import LIST
from alwatch.labelling.sleap import SleapProject
from alwatch.protocols import LabellingTool
from alwatch.records import QueuedVideo
from tests.labelling.helpers import (
    SKELETON,
    contents,
    make_lightning_project,
    make_project,
    make_queue,
    make_sleap_project,
    make_video,
    read_frames,
    shown_frames,
    with_poses,
)
from tests.labelling.image_tools import IMAGE_TOOLS

STEPS = ("mkdir", "link", "rename", "replace", "symlink", "unlink", "rmdir", "fsync", "chmod")
KILLED = 9


def kill_at(step: int) -> None:
    """Make this process end, without any clean-up, before its `step`-th change of the disk."""
    left = step

    def dying(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if left == 0:
                os._exit(KILLED)
            left -= 1
            return change(*args, **kwargs)

        return call

    for name in STEPS:
        setattr(os, name, dying(getattr(os, name)))


def export_and_die(step: int, tool: LabellingTool, videos: list[QueuedVideo]) -> None:
    kill_at(step)
    tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)


def withdraw_and_die(step: int, tool: LabellingTool, videos: list[QueuedVideo]) -> None:
    kill_at(step)
    tool.withdraw_queue(make_queue(*videos), videos)


def in_child(body: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        body()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fresh(root: Path, kind: str) -> tuple[LabellingTool, list[QueuedVideo]]:
    shutil.rmtree(root, ignore_errors=True)
    videos = [
        with_poses(make_video(root / "2025" / "cam.mp4", (0, 5))),
        with_poses(make_video(root / "2026" / "cam.mp4", (7,), size=(32, 16))),
    ]
    if kind == "deeplabcut":
        config = make_project(root / "out")
        old = with_poses(make_video(root / "out" / "videos" / "old.avi", (3, 9)))
        return DeepLabCutProject(config), [*videos, old]
    if kind == "lightning_pose":
        return LightningPoseProject(make_lightning_project(root / "out")), videos
    (root / "out").mkdir()
    if kind == "sleap":
        project = make_sleap_project(root / "out" / "labels.slp")
        return SleapProject(project, shown_frames=shown_frames), videos
    return IMAGE_TOOLS[kind](root / "out"), videos


def faults_of(root: Path, configs: set[bytes]) -> list[str]:
    """Everything that is visible to a labelling tool and not whole."""
    faults = []
    for path in (root / "out").rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(root / "out").parts)
        if not hidden and path.suffix == ".png" and cv2.imread(str(path)) is None:
            faults.append(f"{path.name} is no image")
        if path.name == LIST and not faultless_list(path):
            faults.append(f"{LIST} is {path.read_text()!r}")
        if path.name == "config.yaml" and path.read_bytes() not in configs:
            faults.append(f"config.yaml is {yaml.safe_load(path.read_bytes())}")
        if not hidden and path.suffix == ".slp":
            sleap_io.load_slp(str(path), open_videos=False)
        if not hidden and path.name.startswith("queue-") and not (path / "queue.json").exists():
            faults.append(f"{path.name} is not whole")
    return faults


def faultless_list(file: Path) -> bool:
    """Whether every line of a list of frames names an image that is there."""
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    return bool(entries) and all((file.parent / e["frame_path"]).exists() for e in entries)


def killed_at_every_step(root: Path, kind: str) -> dict[str, Any]:
    tool, videos = fresh(root, kind)
    configs = {path.read_bytes() for path in root.rglob("config.yaml")}
    tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)
    configs |= {path.read_bytes() for path in root.rglob("config.yaml")}
    wanted = contents(root)
    faults: list[str] = []
    for step in range(1000):
        tool, videos = fresh(root, kind)

        code = in_child(partial(export_and_die, step, tool, videos))
        faults += [f"step {step}: {fault}" for fault in faults_of(root, configs)]
        tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)
        if contents(root) != wanted:
            faults.append(f"step {step}: not completed by the next run")
        if code == 0:
            return {"steps": step, "faults": faults}
        if code != KILLED:
            faults.append(f"step {step}: exit code {code}")
    return {"steps": -1, "faults": faults}


def withdrawals_killed_at_every_step(root: Path, kind: str) -> dict[str, Any]:
    tool, videos = fresh(root, kind)
    before = contents(root)
    queue = make_queue(*videos)
    tool.write_queue(queue, videos, read_frames, SKELETON)
    configs = {path.read_bytes() for path in root.rglob("config.yaml")}
    tool.withdraw_queue(queue, videos)
    configs |= {path.read_bytes() for path in root.rglob("config.yaml")}
    faults = [] if contents(root) == before else ["a withdrawal does not undo the export"]
    for step in range(1000):
        tool, videos = fresh(root, kind)
        tool.write_queue(queue, videos, read_frames, SKELETON)
        code = in_child(partial(withdraw_and_die, step, tool, videos))
        faults += [f"step {step}: {fault}" for fault in faults_of(root, configs)]
        tool.withdraw_queue(queue, videos)
        if contents(root) != before:
            faults.append(f"step {step}: not completed by the next run")
        if code == 0:
            return {"steps": step, "faults": faults}
        if code != KILLED:
            faults.append(f"step {step}: exit code {code}")
    return {"steps": -1, "faults": faults}


def refused(root: Path, kind: str, prepare: Callable[[], None]) -> dict[str, Any]:
    """Export after `prepare`; what was said, and whether anything is not as before."""
    tool, videos = fresh(root, kind)
    root.chmod(0o755)
    before = contents(root)
    prepare()
    message = ""
    try:
        tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)
    except ExportError as error:
        message = str(error)
    return {"message": message, "unchanged": contents(root) == before}


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))


def drop_rights(root: Path) -> None:
    if os.getuid() == 0:
        os.setuid(65534)
    else:
        for path in (root / "out", *(root / "out").rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)


def main(kind: str) -> None:
    cv2.setNumThreads(0)
    root = Path(tempfile.mkdtemp()) / "root"
    root.parent.chmod(0o755)
    seen = {"killed": killed_at_every_step(root, kind)}
    if kind != "sleap":
        seen["withdrawn"] = withdrawals_killed_at_every_step(root, kind)
    seen["cut off"] = refused_in_child(root, kind, limit_files)
    seen["read-only"] = refused_in_child(root, kind, lambda: drop_rights(root))
    print(json.dumps(seen))
    shutil.rmtree(root.parent)


def refused_in_child(root: Path, kind: str, prepare: Callable[[], None]) -> dict[str, Any]:
    """As `refused`, in a child, because limits and rights cannot be taken back."""
    reader, writer = os.pipe()

    def body() -> None:
        seen = refused(root, kind, prepare)
        os.write(writer, json.dumps(seen).encode())

    in_child(body)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        seen: dict[str, Any] = json.loads(pipe.read())
    return seen


if __name__ == "__main__":
    main(sys.argv[1])
