"""Multiple peak entropy against scikit-image and scipy, and against a model's forward pass.

Run `python -m tests.bench.bench_mpe` from the repository's root; `--quick` takes seconds. The
published recipe is `skimage.feature.peak_local_max`, map by map, then scipy's softmax and entropy;
it always runs on one core. All contenders take the same maps in turn, round by round, and the
fastest round counts. "off by" is the largest difference to the published recipe on these maps;
`mpe` measures something else and has none.

model maps: one blob of two cells' sigma per map, a lower second one in a fifth of them, and noise
below 0.05. noise: every cell independent between 0 and 1, as from no model, the most peaks there
can be.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import softmax
from scipy.stats import entropy
from skimage.feature import peak_local_max
from torch import Tensor, nn
from torchvision.models import resnet50

from alwatch.scores.mpe import mpe, mpe_softmax

N_BODYPARTS = 22
INPUT_PX = 256


def model_maps(n: int, size: int, rng: np.random.Generator) -> Tensor:
    """Blobs above faint noise, shape (n, 22, size, size)."""
    maps = 0.049 * rng.random((n, N_BODYPARTS, size, size), np.float32)
    has_second = rng.random((n, N_BODYPARTS, 1, 1)) < 0.2
    maps = np.maximum(maps, blobs(n, size, rng) * rng.uniform(0.4, 1, has_second.shape))
    maps = np.maximum(
        maps, blobs(n, size, rng) * rng.uniform(0.1, 0.6, has_second.shape) * has_second
    )
    return torch.from_numpy(maps.astype(np.float32))


def blobs(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian of height 1 at a random place in each map."""
    cell = np.arange(size)
    row, column = rng.uniform(0, size - 1, (2, n, N_BODYPARTS, 1))
    down, right = (np.exp(-((cell - middle) ** 2) / (2 * 2.0**2)) for middle in (row, column))
    return np.asarray(down[..., :, None] * right[..., None, :])


def noise(n: int, size: int, rng: np.random.Generator) -> Tensor:
    """Maps in which every cell is independent."""
    return torch.from_numpy(rng.random((n, N_BODYPARTS, size, size), np.float32))


MAPS: dict[str, Callable[..., Tensor]] = {"model maps": model_maps, "noise": noise}


def published(maps: Tensor) -> Tensor:
    """The study's recipe with the libraries that it was written with."""
    return torch.tensor([[published_one(one) for one in frame] for frame in maps.numpy()])


def published_one(values: np.ndarray) -> float:
    """One map's entropy."""
    cells = peak_local_max(values, min_distance=2, threshold_abs=0, num_peaks=5)
    heights = values[tuple(cells.T)]
    return float(entropy(softmax(heights))) if len(heights) else 0.0


def mpe_entropy(maps: Tensor) -> Tensor:
    """The corrected recipe."""
    return mpe(maps).entropy


def cheapest_model() -> nn.Module:
    """A ResNet-50 and a single deconvolution to 64 x 64 maps; costlier heads lower the share."""
    backbone = nn.Sequential(*list(resnet50(weights=None).children())[:-2])
    head = nn.ConvTranspose2d(2048, N_BODYPARTS, kernel_size=16, stride=8, padding=4)
    return nn.Sequential(backbone, head, nn.Sigmoid()).eval()


def fastest_s(runs: list[Callable[[], object]], rounds: int) -> list[float]:
    """Seconds that each run takes, each once per round and once before that does not count."""
    best_s = [float("inf")] * len(runs)
    for turn in range(rounds + 1):
        for number, run in enumerate(runs):
            start_s = time.perf_counter()
            run()
            if turn:
                best_s[number] = min(best_s[number], time.perf_counter() - start_s)
    return best_s


def on(cores: int, run: Callable[[Tensor], Tensor], maps: Tensor) -> Callable[[], object]:
    """The run on so many cores."""

    def start() -> Tensor:
        torch.set_num_threads(cores)
        return run(maps)

    return start


def print_table(kind: str, size: int, maps: Tensor, rounds: int, cores: int) -> None:
    """How long each takes per frame."""
    print(f"\n{kind}: {len(maps)} frames of {N_BODYPARTS} x {size} x {size}")
    print(f"{'':20} {'cores':>5} {'ms/frame':>9} {'times as fast':>14} {'off by':>9}")
    contenders = [("scikit-image, scipy", published, 1)]
    for name, run in (("mpe", mpe_entropy), ("mpe_softmax", mpe_softmax)):
        contenders += [(name, run, threads) for threads in sorted({1, cores})]
    times_s = fastest_s([on(threads, run, maps) for _, run, threads in contenders], rounds)
    off_by = float((mpe_softmax(maps) - published(maps)).abs().max())
    for (name, run, threads), duration_s in zip(contenders, times_s, strict=True):
        print(
            f"{name:20} {threads:5} {duration_s / len(maps) * 1e3:9.3f} "
            f"{times_s[0] / duration_s:14.0f} " + (f"{off_by:9.1e}" if run is mpe_softmax else ""),
            flush=True,
        )


def print_share(n: int, rounds: int, cores: int) -> None:
    """What the entropy of a batch costs next to the batch's forward pass."""
    rng = np.random.default_rng(0)
    model = cheapest_model()
    images = torch.from_numpy(rng.standard_normal((n, 3, INPUT_PX, INPUT_PX), np.float32))
    maps = [make(n, INPUT_PX // 4, rng) for make in MAPS.values()]
    runs = [on(cores, model, images), *(on(cores, mpe_entropy, some) for some in maps)]
    forward_s, *ours_s = fastest_s(runs, rounds)
    print(
        f"\nforward pass of ResNet-50 and one deconvolution: {n} frames of {INPUT_PX} px, "
        f"cores: {cores}"
    )
    print(f"{'forward':22} {forward_s / n * 1e3:9.1f} ms/frame")
    for name, duration_s in zip(MAPS, ours_s, strict=True):
        print(
            f"{'mpe, ' + name:22} {duration_s / n * 1e3:9.3f} ms/frame, "
            f"{duration_s / forward_s:.2%} of it"
        )


def main() -> None:
    """Print a table per kind and size of maps, then the share of a forward pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="8 frames, small maps, 3 rounds")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--cores", type=int, default=torch.get_num_threads())
    settings = parser.parse_args()
    if settings.quick:
        settings.frames, settings.rounds, settings.sizes = 8, 3, [64]
    with torch.inference_mode():
        for kind, make in MAPS.items():
            for size in settings.sizes:
                maps = make(settings.frames, size, np.random.default_rng(0))
                print_table(kind, size, maps, settings.rounds, settings.cores)
        print_share(settings.frames, max(settings.rounds // 4, 1), settings.cores)


if __name__ == "__main__":
    main()
