"""A small DeepLabCut project with a label for every frame, drawn by the tests."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import yaml

SIZE_PX = (48, 64)
BODYPARTS = ("head", "tail")


def draw_project(
    folder: Path, videos: dict[str, tuple[int, int, int]], *, n_frames: int = 40
) -> Path:
    """Write config.yaml, videos and oracle tables; each animal is a stick of its own colour."""
    for name in ("videos", "oracle"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"bodyparts": list(BODYPARTS)}))
    for number, (name, colour) in enumerate(videos.items()):
        points = walk(n_frames, seed=number)
        write_video(folder / f"videos/{name}.mp4", points, colour)
        lines = ["scorer,s,s,s,s", "bodyparts,head,head,tail,tail", "coords,x,y,x,y"]
        lines += [
            f"{i},{','.join(f'{v:.2f}' for v in p.reshape(-1))}" for i, p in enumerate(points)
        ]
        (folder / f"oracle/{name}.csv").write_text("\n".join(lines) + "\n")
    return config


def walk(n_frames: int, seed: int) -> np.ndarray:
    """Head and tail (n, 2, 2) of an animal that wanders and turns."""
    rng = np.random.default_rng(seed)
    height, width = SIZE_PX
    middle = np.array([width / 2, height / 2])
    steps = rng.normal(0, 3, (n_frames, 2)).cumsum(axis=0) + middle
    head = np.stack(
        [
            np.abs((steps[:, 0] - 12) % (2 * (width - 24)) - (width - 24)) + 12,
            np.abs((steps[:, 1] - 12) % (2 * (height - 24)) - (height - 24)) + 12,
        ],
        axis=1,
    )
    angle = rng.normal(0, 0.3, n_frames).cumsum()
    tail = head + 9 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.stack([head, tail], axis=1)


def write_video(path: Path, points: np.ndarray, colour: tuple[int, int, int]) -> None:
    """A bright head and a dark tail on a stick of the animal's colour."""
    rows, columns = np.mgrid[: SIZE_PX[0], : SIZE_PX[1]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "10"})
        stream.width, stream.height, stream.pix_fmt = SIZE_PX[1], SIZE_PX[0], "yuv444p"
        for number, (head, tail) in enumerate(points):
            image = np.full((*SIZE_PX, 3), 128, np.uint8)
            for share in np.linspace(0, 1, 12):
                x, y = head + share * (tail - head)
                image[(columns - x) ** 2 + (rows - y) ** 2 < 9] = colour
            image[(columns - head[0]) ** 2 + (rows - head[1]) ** 2 < 6] = 255
            image[(columns - tail[0]) ** 2 + (rows - tail[1]) ** 2 < 6] = 0
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
