"""One video to 20 frames, decoding included: alwatch, DeepLabCut's k-means, SLEAP's suggestions.

    python -m tests.bench.bench_extraction [--quick] [--sleap-python /path/to/python]

alwatch ingests the video into a new archive (settling left out) and makes a queue, with `hog` and
every other setting as it is by default, but for the candidate frames where a line names their
number. DeepLabCut runs `KmeansbasedFrameselectioncv2` as `extract_frames` does by default, and
SLEAP (if an interpreter that has it is given) its image-feature suggestions with the defaults of
its dialogue, but for 4 samples per cluster instead of 5, to make 20. Each run is a process of its
own, timed after its imports
(of alwatch only those before it is set up: the rest counts, and so does its decoding process);
contenders take turns, each time with another seed.

Quality is judged by what none of them has seen, the pose: of every fifth frame, the distance to
the nearest pick, mean over the bodyparts, in pixels, both in place and with the animal's centre
moved to the same point (posture and heading). The pose of the openfield video is the median of
three well-trained models, that of the fly the label that every frame has; gaps in it are filled
from before and after. "evenly" and "random" look at no frame; their time is not measured.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.bench.bench_uncertainty import DATA, fly

BUDGET = 20
NOT_MEASURED = (float("nan"), float("nan"))
OPENFIELD = "dlc-openfield/openfield-Pranav-2018-10-30/videos/m3v1mp4.mp4"
SETTINGS = """\
state_dir: {folder}/state
archive: [{folder}/archive]
season: {{otherwise: all, from: mapping, mapping: {{"*": all}}}}
sampling: {{{sampling}}}
queue: {{budget: {budget}, seed: {seed}}}
"""
SLEAP = """\
import json, os, random, sys, time
import numpy, sleap_io
from sleap.info.feature_suggestions import FeatureSuggestionPipeline
path, candidates, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(seed), numpy.random.seed(seed)
start_s, start_cpu_s = time.perf_counter(), sum(os.times()[:4])
pipeline = FeatureSuggestionPipeline(
    per_video=candidates, sample_method="stride", scale=1.0, feature_type="raw images",
    n_components=5, n_clusters=5, per_cluster=4,
)
chosen = pipeline.get_suggestion_tuples([sleap_io.load_video(path)])
duration_s, cpu_s = time.perf_counter() - start_s, sum(os.times()[:4]) - start_cpu_s
print(json.dumps([duration_s, cpu_s, [int(frame) for _, frame, _ in chosen]]))
"""

Outcome = tuple[float, float, list[int]]
"""Seconds on the clock, seconds of all cores and processes, and the picked frames."""


class Watch:
    """Measures from when it is made."""

    def __init__(self) -> None:
        self._start_s, self._start_cpu_s = time.perf_counter(), sum(os.times()[:4])

    def seconds(self) -> tuple[float, float]:
        """On the clock, and of all cores, ended child processes included."""
        return time.perf_counter() - self._start_s, sum(os.times()[:4]) - self._start_cpu_s


@dataclass(frozen=True)
class Video:
    """A video and the pose in each of its frames, (frames, bodyparts, 2), without gaps."""

    name: str
    path: Path
    poses: NDArray[np.float64]
    rate_hz: float


def alwatch(path: Path, seed: int, *, step: int | None) -> Outcome:
    """Ingest and queue; 1 candidate a second, or every `step`-th frame."""
    from alwatch.app import App
    from alwatch.config import load_settings
    from alwatch.service import Backfill
    from tests.bench.bench_ingest import Silent

    sampling = "" if step is None else f"stride: {step}, max_frames: 100000"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "archive").mkdir()
        shutil.copy(path, folder / "archive")
        settings = folder / "alwatch.yaml"
        settings.write_text(
            SETTINGS.format(folder=folder, sampling=sampling, budget=BUDGET, seed=seed)
        )
        watch = Watch()
        app = App(load_settings(settings))
        Backfill(app, Silent()).run([])
        queue = app.make_queue("all")
        return *watch.seconds(), [frame.frame for frame in queue.frames]


def deeplabcut(path: Path, seed: int, *, step: int) -> Outcome:
    """k-means of every `step`-th frame; by default of all."""
    from deeplabcut.utils.auxfun_videos import VideoWriter
    from deeplabcut.utils.frameselectiontools import KmeansbasedFrameselectioncv2

    np.random.seed(seed)
    watch = Watch()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        picks = KmeansbasedFrameselectioncv2(VideoWriter(str(path)), BUDGET, 0, 1, step=step)
    return *watch.seconds(), [int(frame) for frame in picks]


def sleap(path: Path, seed: int, *, python: str, candidates: int) -> Outcome:
    """SLEAP's image-feature suggestions, by an interpreter that has SLEAP."""
    command = [python, "-c", SLEAP, str(path), str(candidates), str(seed)]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"SLEAP failed: {done.stderr.strip()[-300:]}")
    duration_s, cpu_s, picks = json.loads(done.stdout.strip().splitlines()[-1])
    return duration_s, cpu_s, picks


def evenly(path: Path, seed: int, *, n: int) -> Outcome:
    """The middles of equal stretches of the video."""
    return *NOT_MEASURED, ((np.arange(BUDGET) + 0.5) * n / BUDGET).astype(int).tolist()


def at_random(path: Path, seed: int, *, n: int) -> Outcome:
    """Any frames."""
    rng = np.random.default_rng(seed)
    return *NOT_MEASURED, rng.choice(n, BUDGET, replace=False).tolist()


def contenders(video: Video, python: str | None) -> dict[str, Callable[[Path, int], Outcome]]:
    """By name; DeepLabCut reads all frames by default, SLEAP 200."""
    n = len(video.poses)
    step = n // 200
    runs: dict[str, Callable[[Path, int], Outcome]] = {
        f"alwatch, default ({n / video.rate_hz:.0f})": partial(alwatch, step=None),
        "alwatch, 200": partial(alwatch, step=step),
        f"alwatch, all ({n})": partial(alwatch, step=1),
        f"DeepLabCut, default ({n})": partial(deeplabcut, step=1),
        "DeepLabCut, 200": partial(deeplabcut, step=step),
    }
    if python is not None:
        runs["SLEAP, default (200)"] = partial(sleap, python=python, candidates=200)
    return {**runs, "evenly": partial(evenly, n=n), "random": partial(at_random, n=n)}


def _work(pipe: Connection, run: Callable[[Path, int], Outcome], path: Path, seed: int) -> None:
    pipe.send(run(path, seed))


def measure(run: Callable[[Path, int], Outcome], path: Path, seed: int) -> Outcome:
    """The outcome in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, run, path, seed))
    process.start()
    sender.close()
    outcome: Outcome = receiver.recv()
    process.join()
    return outcome


def videos() -> list[Video]:
    """The openfield video of another mouse, and a fly."""
    tables = sorted((DATA / "dlc-primer").glob("m3v1mp4DLC_resnet50*.h5"))
    seen = np.stack([pd.read_hdf(table).to_numpy().reshape(-1, 4, 3) for table in tables])
    fly_path, fly_poses, _ = fly("fly20190128_a")
    found = []
    for name, path, poses in (
        ("mouse", DATA / OPENFIELD, np.median(seen[..., :2], axis=0)),
        ("fly", fly_path, fly_poses),
    ):
        with av.open(str(path)) as container:
            rate_hz = float(container.streams.video[0].average_rate or 0)
        found.append(Video(name, path, filled(poses), rate_hz))
    return found


def filled(poses: np.ndarray) -> NDArray[np.float64]:
    """Fill every coordinate's gaps from before and after."""
    flat = pd.DataFrame(poses.reshape(len(poses), -1))
    return flat.interpolate(limit_direction="both").to_numpy().reshape(poses.shape)


def quality(video: Video, picks: list[int]) -> Mapping[str, float]:
    """Distances of every fifth frame to the nearest pick, and the least gap between picks."""
    figures = {}
    centred = video.poses - video.poses.mean(axis=1, keepdims=True)
    for kind, poses in (("place", video.poses), ("posture", centred)):
        apart_px = np.linalg.norm(poses[::5, None] - poses[picks], axis=3).mean(axis=2)
        nearest_px = apart_px.min(axis=1)
        figures[f"{kind} mean"], figures[f"{kind} max"] = nearest_px.mean(), nearest_px.max()
    figures["gap_s"] = np.diff(np.sort(picks)).min() / video.rate_hz
    figures["picks"] = len(set(picks))
    return figures


def report(video: Video, python: str | None, repeats: int) -> None:
    """Print one video's table."""
    runs = contenders(video, python)
    rounds = [
        {name: measure(run, video.path, seed) for name, run in runs.items()}
        for seed in range(repeats)
    ]
    print(f"\n{video.name}: {BUDGET} of {len(video.poses)} frames at {video.rate_hz:.0f} Hz")
    columns = ("place mean", "place max", "posture mean", "posture max", "gap_s", "picks")
    print(
        f"{'candidates':26}{'seconds':>9}{'slowest':>9}{'CPU s':>9}"
        + "".join(f"{c:>14}" for c in columns)
    )
    for name in runs:
        times_s = [outcomes[name][0] for outcomes in rounds]
        cpu_s = min(outcomes[name][1] for outcomes in rounds)
        judged = [quality(video, outcomes[name][2]) for outcomes in rounds]
        means = (np.mean([figures[column] for figures in judged]) for column in columns)
        print(
            f"{name:26}"
            + "".join(
                f"{s:9.2f}" if s == s else f"{'-':>9}" for s in (min(times_s), max(times_s), cpu_s)
            )
            + "".join(f"{mean:14.2f}" for mean in means),
            flush=True,
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one run each, the fly only")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--videos", nargs="+", choices=["mouse", "fly"], default=["mouse", "fly"])
    parser.add_argument("--sleap-python", help="an interpreter that has SLEAP 1.6 or newer")
    settings = parser.parse_args()
    if settings.sleap_python is None:
        print("SLEAP is skipped: --sleap-python is not given")
    if settings.quick:
        settings.repeats, settings.videos = 1, ["fly"]
    for video in videos():
        if video.name in settings.videos:
            report(video, settings.sleap_python, settings.repeats)


if __name__ == "__main__":
    main()
