"""Which picture SLEAP shows for a frame index: it seeks, and in some files lands elsewhere.

In a video of variable frame rate OpenCV's seek, which SLEAP uses, may be many frames off; labels
would then belong to another frame than the one that was chosen. So what is put into a project is
read as SLEAP reads it first: by sleap-io, in a process of its own, as for any reading of videos.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from alwatch.records import ImageArray, QueuedVideo

ShownFrames = Callable[
    ["Sequence[tuple[QueuedVideo, Sequence[int]]]"], "Iterator[dict[int, ImageArray]]"
]
"""Videos with frame indices to RGB images by index, video by video; what cannot be shown lacks."""

TOLERANCE = 8
"""Of 255: pictures of one frame, read by two programs, differ by less in every pixel."""

_START_S = 60.0
_FRAME_S = 10.0


def shown_by_sleap(
    videos: Sequence[tuple[QueuedVideo, Sequence[int]]],
) -> Iterator[dict[int, ImageArray]]:
    """Read frames as SLEAP does; a process that crashes or hangs shows no more of them."""
    n_frames = sum(len(indices) for _, indices in videos)
    if not n_frames:
        yield from ({} for _ in videos)
        return
    with tempfile.TemporaryDirectory() as folder:
        job = {"folder": folder, "videos": [(str(v.path), list(each)) for v, each in videos]}
        command = [sys.executable, "-m", "alwatch.labelling.sleap_shown"]
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(
                command,
                input=json.dumps(job).encode(),
                capture_output=True,
                check=False,
                timeout=_START_S + _FRAME_S * n_frames,
            )
        for number, (_, indices) in enumerate(videos):
            files = {index: _file(Path(folder), number, index) for index in indices}
            yield {
                index: np.load(file, allow_pickle=False)
                for index, file in files.items()
                if file.exists()
            }


def is_same_picture(one: ImageArray, other: ImageArray) -> bool:
    """Whether two RGB images are of one frame."""
    if one.shape != other.shape:
        return False
    apart = np.maximum(one, other) - np.minimum(one, other)
    return int(apart.max(initial=0)) <= TOLERANCE


def _file(folder: Path, video: int, index: int) -> Path:
    return folder / f"{video}-{index}.npy"


def _main() -> None:
    import sleap_io

    job = json.load(sys.stdin)
    for number, (path, indices) in enumerate(job["videos"]):
        try:
            video = sleap_io.Video.from_filename(path, grayscale=False)
            for index in indices:
                target = _file(Path(job["folder"]), number, index)
                np.save(target.with_suffix(".part.npy"), video[index])
                target.with_suffix(".part.npy").rename(target)
        except Exception:  # whatever it is, SLEAP does not show this video
            continue


if __name__ == "__main__":
    _main()
