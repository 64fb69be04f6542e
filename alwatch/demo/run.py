"""The demo: a drawn archive, the real daemon, and the queue and page that come of it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np

from alwatch.app import App
from alwatch.config import load_settings
from alwatch.demo.draw import DrawnVideo, draw_archive
from alwatch.errors import AlwatchError, SettingsError
from alwatch.pages import queue_page
from alwatch.pose_models.unet import export_unet, train_unet
from alwatch.sheet import draw_score_sheet
from alwatch.web.queue_page import write_queue_page

PATIENCE_S = 120.0
FIRST_BUDGET, BUDGET = 8, 12
SHEET_FRAMES = 4
TRAINING_STRIDE = 5
TRAINING_STEPS = 120
MODEL_SIZE_PX = (96, 128)
_MARKER = ".alwatch-demo"

SETTINGS = """\
# Written by `alwatch demo`. See the README, or `alwatch init --full`, for every setting.
state_dir: state
archive:
  - path: archive
    settle_s: 1   # a real archive is given a minute
season:
  from: path
  pattern: '^(?P<season>[^/]+)/'
sampling:
  rate_hz: 5
pose_model:
  kind: exported
  project: model/mouse.yaml
exports:
  - to: folder
    project: queues
"""


def run_demo(folder: Path, *, seed: int, say: Callable[[str], None]) -> Path:
    """Draw two seasons, drop them into a folder that the daemon watches, and queue frames.

    A small pose model is trained on the first season, whose bodyparts the drawing knows, as a
    lab's model is on last season's labels; the daemon scores both seasons by it. The frames of
    the first season's queue stand for those that are labelled already; the second season's queue
    then holds what is farthest from them.

    Parameters
    ----------
    folder : Path
        Where everything is made; an earlier demo in it is replaced.
    seed : int
        Draws the archive and makes the queues.
    say : callable
        Is told, line by line, what goes on.

    Returns
    -------
    Path
        The HTML page.

    Raises
    ------
    SettingsError
        The folder holds something else.
    AlwatchError
        The daemon ended or did not finish in time.
    """
    _prepare(folder)
    say("Drawing an archive of two seasons …")
    drawn = draw_archive(folder / "drawn", rng=np.random.default_rng(seed))
    first, second = dict.fromkeys(video.season for video in drawn)
    say(f"Training a small pose model on {first} …")
    train_model([video for video in drawn if video.season == first], folder / "model")
    settings_file = folder / "alwatch.yaml"
    settings_file.write_text(SETTINGS, encoding="utf-8")
    app = App(load_settings(settings_file))
    with _daemon(settings_file, folder / "daemon.log") as daemon:
        say(f"The daemon runs; dropping {len(drawn)} videos into {folder / 'archive'} …")
        for video in drawn:
            target = folder / "archive" / video.season / video.path.name
            target.parent.mkdir(exist_ok=True)
            shutil.copy(video.path, target)
        _wait_for_videos(app, len(drawn), daemon, folder / "daemon.log", say)
        queues = [
            app.make_queue(first, budget=FIRST_BUDGET, seed=seed),
            app.make_queue(second, budget=BUDGET, seed=seed),
        ]
        for queue in queues:
            for to, exported in app.export_as_set(queue):
                say(f"Queue {queue.id} ({queue.season}): {exported.written} frames as {to}.")
    page = folder / "queue.html"
    command = f"alwatch --config {settings_file} queue {second} --budget {BUDGET} --seed {seed}"
    sheet = folder / "scores.png"
    ranked = app.ranked_frames("mpe", None)
    draw_score_sheet(app, sheet, ranked, count=SHEET_FRAMES, by="mpe")
    for row in app.snapshots_on_seasons():
        say(f"{row.season}: mean uncertainty of the model {row.uncertainty:.3f}")
    shown_page = queue_page(app, queues[-1], command=command, score_sheet=sheet.read_bytes())
    write_queue_page(page, shown_page)
    app.close()
    shutil.rmtree(folder / "drawn")
    say(f"Look further with: alwatch --config {settings_file} status")
    return page


def train_model(videos: Sequence[DrawnVideo], folder: Path) -> Path:
    """Train a small pose model on drawn videos and export it; the YAML file of the model."""
    frames, points = [], []
    for video in videos:
        with av.open(str(video.path)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index % TRAINING_STRIDE == 0:
                    frames.append(frame.to_ndarray(format="rgb24"))
                    points.append(video.keypoints[index])
    network = train_unet(
        np.stack(frames), np.stack(points), input_size_px=MODEL_SIZE_PX, width=8,
        steps=TRAINING_STEPS, batch_size=8,
    )  # fmt: skip
    folder.mkdir()
    return export_unet(
        network, folder / "mouse.yaml", bodyparts=videos[0].bodyparts, input_size_px=MODEL_SIZE_PX
    )


def _prepare(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARKER).exists():
            raise SettingsError(
                f"--into is {folder}, which holds files that are not a demo's; "
                "name an empty or a new folder."
            )
        shutil.rmtree(folder)
    (folder / "archive").mkdir(parents=True)
    (folder / "queues").mkdir()
    (folder / _MARKER).touch()


@contextmanager
def _daemon(settings_file: Path, log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    with open(log_file, "wb") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "alwatch", "--config", str(settings_file), "run"], stderr=log
        )
        try:
            yield daemon
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait()


def _wait_for_videos(
    app: App,
    n_videos: int,
    daemon: subprocess.Popen[bytes],
    log_file: Path,
    say: Callable[[str], None],
) -> None:
    until_s = time.monotonic() + PATIENCE_S
    told = scored = 0
    while told < n_videos or scored < n_videos:
        if daemon.poll() is not None or time.monotonic() > until_s:
            what = "has ended" if daemon.poll() is not None else f"took over {PATIENCE_S:g} s"
            tail = log_file.read_text(errors="replace").strip().splitlines()[-3:]
            raise AlwatchError(
                f"The demo's daemon {what} with {told} of {n_videos} videos ingested and {scored} "
                f"scored; its log, {log_file}, ends: {' / '.join(tail) or '(empty)'}"
            )
        time.sleep(0.2)
        counts = app.store.videos.counts()
        done = counts.done + counts.partial + counts.quarantined
        if done != told:
            say(f"  {done} of {n_videos} videos ingested, {app.store.pools.n_frames()} frames")
        told = done
        snapshot = app.store.snapshots.current().snapshot
        if snapshot is not None:
            progress = app.store.scores.progress(snapshot)
            if progress.videos_done + progress.videos_failed != scored:
                scored = progress.videos_done + progress.videos_failed
                say(f"  {scored} of {n_videos} videos scored by the pose model")
