"""Frames per second of every embedder, beside a peer or the best it could be.

A network's embedder is compared with the bare network, in its fastest batch size, on tensors that
lie ready on the device: what is lost goes to copying, normalising, checking and batches that were
chosen badly. HOG is compared with skimage's, which computes the gradient part only. Weights and
frames are random.

    python -m tests.bench.bench_embed [--quick]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm
import torch
from numpy.typing import NDArray
from skimage.feature import hog as skimage_hog

from alwatch.embedders.hog import HogEmbedder
from alwatch.embedders.networks import AlexNetEmbedder, DinoEmbedder
from tests.embedders.weight_files import TIMM_NAMES, bare_network, save_small_weights

VIDEO_SIZE_PX = (480, 640)
BATCH_SIZES = {"cpu": (8, 16, 32), "cuda": (32, 128, 512)}
N_FRAMES = {"cpu": 96, "cuda": 6144}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one run of fewer frames each")
    quick = parser.parse_args().quick
    repeats = 1 if quick else 3
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    models = ["alexnet", "dino_vits16"] if quick else ["alexnet", *TIMM_NAMES]

    print(
        f"{'embedder':<15}{'device':<8}{'frames/s':>10}  {'peer':<14}{'frames/s':>10}{'ratio':>8}"
    )
    show("hog", "cpu", "skimage", measure_hog(64 if quick else 512, repeats))
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            weights = save_small_weights(model, Path(folder))
            for device in devices:
                n = N_FRAMES[device] // (3 if quick else 1)
                rates_hz = measure_network(model, device, weights, n, repeats)
                show(model, device, "bare network", rates_hz)


def show(embedder: str, device: str, peer: str, rates_hz: tuple[float, float]) -> None:
    """Print one line of the table."""
    ours_hz, peer_hz = rates_hz
    print(
        f"{embedder:<15}{device:<8}{ours_hz:>10.1f}  {peer:<14}{peer_hz:>10.1f}"
        f"{ours_hz / peer_hz:>8.2f}",
        flush=True,
    )


def measure_hog(n: int, repeats: int) -> tuple[float, float]:
    """Frames per second of HogEmbedder and of skimage."""
    embedder = HogEmbedder()
    frames = draw_frames(n, embedder.frame_size_px(*VIDEO_SIZE_PX))
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]

    def by_skimage() -> None:
        for grey in greys:
            skimage_hog(grey, 9, (16, 16), (2, 2), block_norm="L2-Hys")

    ours_s, skimage_s = race([lambda: embedder.embed(frames), by_skimage], repeats)
    return n / ours_s, n / skimage_s


def measure_network(
    model: str, device: str, weights: Path, n: int, repeats: int
) -> tuple[float, float]:
    """Frames per second of the embedder and of the bare network."""
    embedder = (
        AlexNetEmbedder(weights=weights, device=device)
        if model == "alexnet"
        else DinoEmbedder(model=model, weights=weights, device=device)
    )
    size_px = embedder.frame_size_px(*VIDEO_SIZE_PX)
    frames = draw_frames(n, size_px)
    network = bare(model).to(device).to(memory_format=torch.channels_last)
    peers = [bare_run(network, device, size, size_px, n) for size in BATCH_SIZES[device]]
    ours_s, *peers_s = race([lambda: embedder.embed(frames), *peers], repeats)
    return n / ours_s, n / min(peers_s)


def bare_run(
    network: Any, device: str, size: int, size_px: tuple[int, int], n: int
) -> Callable[[], None]:
    """The bare network on `n` frames in batches of `size`, which must divide it."""
    pixels = torch.randn(size, *size_px, 3, device=device).permute(0, 3, 1, 2)

    def run() -> None:
        half = torch.autocast(device, dtype=torch.float16, enabled=device == "cuda")
        with torch.inference_mode(), half:
            for _ in range(n // size):
                network(pixels)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def bare(model: str) -> Any:
    """The network alone, cut to what the embedder computes."""
    if model != "alexnet":
        name = TIMM_NAMES[model]
        return timm.create_model(
            name, num_classes=0, global_pool="token", dynamic_img_size=True
        ).eval()
    network = bare_network(model)
    network.classifier = network.classifier[:3]
    return network


def draw_frames(n: int, size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Frames of noise, of shape (n, h, w, 3)."""
    return np.random.default_rng(0).integers(0, 256, (n, *size_px, 3), dtype=np.uint8)


def race(runs: list[Callable[[], object]], repeats: int) -> list[float]:
    """Shortest seconds of each, taking turns, after a round that is not counted.

    Turns make the ratios hold on a machine that others use as well.
    """
    seconds = [[_seconds(run) for run in runs] for _ in range(repeats + 1)]
    return [min(times) for times in zip(*seconds[1:], strict=True)]


def _seconds(run: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    run()
    return time.perf_counter() - started_s


if __name__ == "__main__":
    main()
