"""Small real videos and a ready-made app, for tests above the video room."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from alwatch.app import App
from alwatch.config import load_settings


def make_video(
    path: Path,
    *,
    n_frames: int = 50,
    seed: int = 0,
    fps: int = 25,
    colour: tuple[int, int, int] = (255, 255, 255),
    hand_at: int | None = None,
) -> Path:
    """Write an H.264 video of a square that wanders over a noisy ground; seeds differ visibly.

    In the frame `hand_at` something large lies over the left half of the picture.
    """
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 120, (48, 64, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        x, y = rng.integers(0, 40, 2)
        for number in range(n_frames):
            x, y = np.clip(np.array([x, y]) + rng.integers(-4, 5, 2), 0, 36)
            image = ground.copy()
            image[y : y + 12, x : x + 12] = colour
            if number == hand_at:
                image[:, :32] = (220, 170, 140)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


SETTINGS = """\
state_dir: state
archive:
  - path: archive
    settle_s: 0.2
    scan_s: 1
season: {from: path, pattern: '^(?P<season>[^/]+)/'}
sampling: {rate_hz: 5}
queue: {min_gap_s: 0, near_duplicate_quantile: 0}
"""


def write_settings(folder: Path, text: str = SETTINGS) -> Path:
    """Write a settings file for an archive beside it, and make the archive's folder."""
    (folder / "archive").mkdir(exist_ok=True)
    path = folder / "alwatch.yaml"
    path.write_text(text)
    return path


def make_app(folder: Path, text: str = SETTINGS) -> App:
    """An app over `folder`/archive."""
    return App(load_settings(write_settings(folder, text)))
