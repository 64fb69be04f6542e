"""Queues with known pixels, and DeepLabCut projects to put them into."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import sleap_io

from alwatch.records import Queue, QueuedVideo, QueueFrame, Skeleton

if TYPE_CHECKING:
    from alwatch.records import ImageArray

SKELETON = Skeleton(("nose", "tail"), source="snapshot-best-10")

CONFIG = """# Project definitions (do not edit)
Task: reach
scorer: Ana
date: May1
multianimalproject: false
identity:

# Project path (change when moving around)
project_path: {root}
engine: pytorch

# Annotation data set configuration (and individual video cropping parameters)
video_sets:
  {root}/videos/old.avi:
    crop: 0, 64, 0, 48
bodyparts:
- nose   # a person's comment
- tail
TrainingFraction:
- 0.8
iteration: 0
"""


def make_project(root: Path, config: str = CONFIG) -> Path:
    """A project with one labelled-data folder of two images; returns its config.yaml."""
    (root / "labeled-data" / "old").mkdir(parents=True)
    (root / "videos").mkdir()
    (root / "config.yaml").write_text(config.replace("{root}", str(root)))
    for index in (3, 7):
        image = np.full((48, 64, 3), index, np.uint8)
        cv2.imwrite(str(root / "labeled-data" / "old" / f"img{index:03}.png"), image)
    return root / "config.yaml"


def make_lightning_project(root: Path) -> Path:
    """A Lightning Pose project with a labelled frame, another to be labelled, and a bare one."""
    (root / "labeled-data" / "old").mkdir(parents=True)
    (root / "project.yaml").write_text("view_names: []\nkeypoint_names: [nose, tail]\n")
    for index in (3, 7, 9):
        image = np.full((48, 64, 3), index, np.uint8)
        cv2.imwrite(str(root / "labeled-data" / "old" / f"img{index:08}.png"), image)
    (root / "CollectedData.csv").write_text(
        "scorer,Ana,Ana,Ana,Ana\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
        "labeled-data/old/img00000003.png,1.5,2.25,,\n"
    )
    line = '{"frame_path":"labeled-data/old/img00000007.png","predictions":null}\n'
    (root / "CollectedData.unlabeled.jsonl").write_text(line)
    return root


def make_video(
    path: Path,
    frames: tuple[int, ...] = (0, 5, 41),
    *,
    size: tuple[int, int] = (64, 48),
    content_hash: str | None = None,
    n_frames: int = 500,
) -> QueuedVideo:
    """A queued video whose file exists; its content is its hash."""
    content_hash = content_hash or hash_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(content_hash.encode() * 9)
    queued = tuple(
        QueueFrame(1, path, index, rank, 1 / rank, "far from all others")
        for rank, index in enumerate(frames, start=1)
    )
    return QueuedVideo(path, content_hash, *size, n_frames, queued)


def with_poses(video: QueuedVideo, likelihood: float = 0.9) -> QueuedVideo:
    """A pose of the skeleton's two bodyparts for every frame; the frame's index is in it."""
    poses = {
        frame.frame: np.array(
            [[[frame.frame % 60 + 0.5, 7, likelihood], [20, frame.frame % 40, likelihood]]],
            np.float32,
        )
        for frame in video.frames
    }
    return replace(video, poses=poses)


def hash_of(path: Path) -> str:
    return sha256(str(path).encode(errors="surrogateescape")).hexdigest()


def make_queue(*videos: QueuedVideo, id: int = 3) -> Queue:
    frames = tuple(frame for video in videos for frame in video.frames)
    now = datetime(2026, 5, 1, tzinfo=UTC)
    return Queue(id, "2026", "minmax", 7, len(frames), now, frames, {"software": "alwatch 0"})


def pixels(video: QueuedVideo, index: int) -> ImageArray:
    """A frame that carries its index and its video in its pixels, R, G and B apart."""
    image = np.zeros((video.height_px, video.width_px, 3), np.uint8)
    image[..., 0] = index % 251
    image[..., 1] = int(video.content_hash[:2], 16)
    image[::2, ::3, 2] = 200
    return image


def read_frames(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
    indices = [frame.frame for frame in video.frames]
    assert indices == sorted(set(indices))
    for index in indices:
        yield index, pixels(video, index)


def shown_frames(
    videos: Sequence[tuple[QueuedVideo, Sequence[int]]],
) -> Iterator[dict[int, ImageArray]]:
    """What SLEAP shows of these videos: the right pictures."""
    yield from ({index: pixels(video, index) for index in indices} for video, indices in videos)


def make_sleap_project(path: Path) -> Path:
    """A person's project: two animals labelled, predictions, a negative frame, a suggestion."""
    skeleton = sleap_io.Skeleton(["nose", "tail"], edges=[("nose", "tail")])
    video = sleap_io.Video("/recordings/old.avi", open_backend=False)
    ada = sleap_io.Track("Ada")
    pose = sleap_io.PredictedInstance.from_numpy(
        np.array([[9.0, 19.0], [11.0, 21.0]]), skeleton, point_scores=np.ones(2), score=0.5
    )
    placed = sleap_io.Instance.from_numpy(
        np.array([[10.0, 20.0], [11.5, 21.5]]), skeleton, track=ada, from_predicted=pose
    )
    other = sleap_io.Instance.from_numpy(np.array([[30.0, 40.0], [np.nan, np.nan]]), skeleton)
    frames = [
        sleap_io.LabeledFrame(video, 3, [pose, placed, other]),
        sleap_io.LabeledFrame(video, 8, [pose_of(skeleton)]),
        sleap_io.LabeledFrame(video, 9, [], is_negative=True),
    ]
    labels = sleap_io.Labels(frames, provenance={"who": "a person"})
    labels.suggestions.append(sleap_io.SuggestionFrame(video, 7, {"group": 2}))
    labels.save(str(path))
    return path


def pose_of(skeleton: sleap_io.Skeleton) -> sleap_io.PredictedInstance:
    return sleap_io.PredictedInstance.from_numpy(np.ones((2, 2)), skeleton, score=0.4)


def read_png(path: Path) -> ImageArray:
    """An image as RGB."""
    image = cv2.imread(str(path))
    assert image is not None, f"{path} is no image"
    return image[..., ::-1].astype(np.uint8)


def no_frames(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
    raise AssertionError(f"{video.path} was decoded although nothing of it is missing")


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Every name below a folder, with type, mode, mtime, and content or target."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, content)
    status = root.lstat()
    found["."] = (status.st_mode, status.st_mtime_ns, None)
    return found


def contents(root: Path) -> dict[str, object]:
    return {name: (entry[0], entry[2]) for name, entry in snapshot(root).items()}


def copy_project(source: Path, target: Path) -> Path:
    """Copy a read-only project and make the copy writable; returns its config.yaml."""
    shutil.copytree(source, target)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target / "config.yaml"
