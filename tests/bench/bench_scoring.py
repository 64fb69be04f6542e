"""Scoring against DeepLabCut's bare model loop, on the same frames, model and threads.

Run `python -m tests.bench.bench_scoring` from the repository's root; `--quick` takes a minute.
The bare loop is DeepLabCut's own runner over frames that lie in memory already: preprocessing,
network, poses, and nothing kept of the score maps. `worker` is alwatch's worker process over the
same frames (shared memory, score maps, all signals of the pass). `video` is all of it: decoding
these frames out of their video in a child process, the worker, and one transaction. The videos
are every tenth frame of the openfield video, some 80 at a time. Each is run in turn, several
times, and the middle figure counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import av
import numpy as np

from alwatch.app import App
from alwatch.config import load_settings
from alwatch.pose_models.deeplabcut import DeepLabCutModel
from alwatch.pose_models.deeplabcut_project import DeepLabCutSource
from alwatch.pose_models.process import PoseProcess, WorkerRules
from alwatch.pose_models.signals import signals_of
from alwatch.service import Backfill
from tests.pose_models.projects import copy_openfield
from tests.test_service import Recorder

DATA = Path(os.environ.get("ALWATCH_DATA", Path(__file__).resolve().parents[3] / "shared/data"))
BATCH = 8
STRIDE = 10


def timed(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def read(path: Path, n: int) -> np.ndarray:
    with av.open(str(path)) as video:
        frames = []
        for index, frame in enumerate(video.decode(video=0)):
            if index % STRIDE == 0:
                frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == n:
                break
    return np.stack(frames)


def whole_path(folder: Path, config: Path, n: int) -> tuple[ExitStack, Callable[[], None]]:
    """An archive of the openfield video, ingested; scores it anew at every call."""
    archive = folder / "archive"
    archive.mkdir()
    (archive / "m3.mp4").symlink_to(config.parent / "videos/m3v1mp4.mp4")
    settings = folder / "alwatch.yaml"
    settings.write_text(
        f"state_dir: state\narchive: [archive]\nsampling: {{stride: {STRIDE}, max_frames: {n}}}\n"
        f"pose_model: {{kind: deeplabcut, project: {config}, batch_size: {BATCH}, device: cpu}}\n"
    )
    app = App(load_settings(settings))
    Backfill(app, Recorder()).run([])
    model = app.current_pose_model()
    assert model is not None
    snapshot = model.look()
    assert snapshot is not None
    located = DeepLabCutSource(config, shuffle=1, snapshot="best").find()
    stack = ExitStack()
    scoring = stack.enter_context(model._load(located))

    def score_again() -> None:
        with app.store.scores._connection.write() as db:
            db.execute("DELETE FROM scorings")
        outcome = scoring.work_once()
        assert outcome is not None
        assert outcome.state == "done", outcome.reason

    return stack, score_again


def main(quick: bool) -> None:
    n, runs = (48, 2) if quick else (160, 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = copy_openfield(DATA, folder / "openfield")
        frames = read(config.parent / "videos/m3v1mp4.mp4", n)
        located = DeepLabCutSource(config, shuffle=1, snapshot="best").find()
        model = DeepLabCutModel(
            located.model["config"], located.model["snapshots"][0], device="cpu"
        )
        prediction = model.predict(frames[:BATCH], BATCH)
        scorer = PoseProcess(located, WorkerRules(device="cpu", batch_size=BATCH))
        scorer.score(frames[:BATCH])
        loaded, score_again = whole_path(folder, config, n)
        contenders: dict[str, Callable[[], object]] = {
            "bare loop": lambda: model._runner.inference(list(frames)),
            "worker": lambda: scorer.score(frames),
            "video": score_again,
        }
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(runs):
            for name_, work in contenders.items():
                taken[name_].append(timed(work))
        bare_s = statistics.median(taken["bare loop"])
        print(f"{n} frames of 640x480, batches of {BATCH}, median of {runs}")
        print(f"{'':<12} {'ms a frame':>11} {'bare / this':>12}")
        for name_, times in taken.items():
            middle_s = statistics.median(times)
            print(f"{name_:<12} {1000 * middle_s / n:>11.1f} {bare_s / middle_s:>12.2f}")
        signals_s = statistics.median(timed(lambda: signals_of(prediction)) for _ in range(20))
        share = signals_s / BATCH / (bare_s / n)
        print(f"signals of a pass, MPE among them: {100 * share:.2f} % of the bare loop's time")
        scorer.close()
        loaded.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
