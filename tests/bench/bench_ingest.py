"""Ingest throughput against its two halves alone: decoding, and embedding.

The ingest decodes in a child process while it embeds in its own, so it should take little
longer than the slower half. Networks run with random weights, which cost the same.

    python -m tests.bench.bench_ingest [--quick]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from alwatch.app import App
from alwatch.config import load_settings
from alwatch.ingest import CHUNK_FRAMES
from alwatch.service import Backfill

SETTINGS = """\
state_dir: {state}
archive: [{archive}]
sampling: {{rate_hz: {rate_hz}}}
embedding: {{model: {model}{weights}, device: {device}}}
decoding: {{fast_path: {fast_path}}}
"""


class Silent:
    """A reporter that reports nothing."""

    def begin(self, total: int) -> None: ...
    def video(self, path: Path) -> None: ...
    def frames(self, n: int) -> None: ...
    def end(self, outcome: object) -> None: ...


def make_video(path: Path, *, seconds: int, seed: int) -> None:
    """Write 720p H.264 at 25 Hz: noise that drifts, so that there is work in every block."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 255, (90, 160, 3), np.uint8).repeat(12, 0).repeat(12, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(seconds * 25):
            shift = number * 3 % 640
            image = np.ascontiguousarray(ground[number % 360 :, shift:][:720, :1280])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def random_weights(model: str, folder: Path) -> str:
    """Write a weight file of the right shape, and return the setting that names it."""
    if model == "hog":
        return ""
    import timm
    import torch
    import torchvision

    path = folder / f"{model}.pth"
    if not path.exists():
        networks = {
            "alexnet": lambda: torchvision.models.alexnet(weights=None),
            "dino_vits16": lambda: timm.create_model("vit_small_patch16_224.dino", num_classes=0),
        }
        torch.save(networks[model]().state_dict(), path)
    return f", weights: {path}"


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(folder: Path, model: str, rate_hz: float, fast_path: str, device: str) -> list[str]:
    """One row of the table."""
    shutil.rmtree(folder / "state", ignore_errors=True)
    settings = folder / "alwatch.yaml"
    settings.write_text(
        SETTINGS.format(
            state=folder / "state",
            archive=folder / "archive",
            rate_hz=rate_hz,
            model=model,
            weights=random_weights(model, folder),
            device=device,
            fast_path=fast_path,
        )
    )
    app = App(load_settings(settings))
    videos = sorted((folder / "archive").iterdir())
    images: list[np.ndarray] = []

    def decode() -> None:
        images.clear()
        for path in videos:
            with app.open_video()(path) as video:
                info, timeline = video.probe()
                size_px = app.embedder.frame_size_px(info.height_px, info.width_px)
                wanted = app.sampler.first(timeline)
                images.extend(f.image for f in video.read(wanted, size_px=size_px))

    def embed() -> None:
        for start in range(0, len(images), CHUNK_FRAMES):
            app.embedder.embed(np.stack(images[start : start + CHUNK_FRAMES]))

    decode()  # warms the file cache
    embed()  # lets the batch size settle
    decode_s, embed_s = timed(decode), timed(embed)
    ingest_s = timed(lambda: Backfill(app, Silent()).run([]))
    ratio = max(decode_s, embed_s) / ingest_s
    return [
        model,
        f"{rate_hz:g}",
        fast_path,
        str(len(images)),
        f"{decode_s:.2f}",
        f"{embed_s:.2f}",
        f"{ingest_s:.2f}",
        f"{ratio:.2f}",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter videos, hog only")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    head = ["model", "rate_hz", "path", "frames", "decode_s", "embed_s", "ingest_s"]
    head.append("slower_half/ingest")
    print("  ".join(head))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "archive").mkdir()
        for seed in range(2):
            seconds = 10 if options.quick else 40
            make_video(folder / "archive" / f"{seed}.mp4", seconds=seconds, seed=seed)
        for model in ["hog"] if options.quick else ["hog", "alexnet", "dino_vits16"]:
            for rate_hz in (1.0, 5.0):
                row = measure(folder, model, rate_hz, "none", options.device)
                cells = (cell.rjust(len(title)) for cell, title in zip(row, head, strict=True))
                print("  ".join(cells), flush=True)


if __name__ == "__main__":
    main()
