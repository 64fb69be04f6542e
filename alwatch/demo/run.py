"""The demo: a drawn archive, the real daemon, and the whole loop from drift to a better model."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from alwatch.app import App
from alwatch.config import load_settings
from alwatch.demo.draw import DrawnVideo, draw_archive
from alwatch.demo.labelling import examples_of, label_before, label_queue
from alwatch.demo.retrain import add_model
from alwatch.errors import AlwatchError, SettingsError
from alwatch.pages import queue_page
from alwatch.season_report import season_report, summary_of
from alwatch.seasons.assess import inputs_of
from alwatch.sheet import draw_score_sheet
from alwatch.web.queue_page import write_queue_page
from alwatch.web.season_page import write_season_page

PATIENCE_S = 300.0
VIDEOS, SECONDS = 6, 6.0
LABEL_STRIDE = 5
SHEET_FRAMES = 4
_POLL_S = 0.2
_QUIET_POLLS = 5  # the figures are there a moment before the state that they lead to
_MARKER = ".alwatch-demo"

SETTINGS = """\
# Written by `alwatch demo`. See the README, or `alwatch init --full`, for every setting. The
# demo's archive is small and its time short; a real one waits longer and asks for more labels.
state_dir: state
archive:
  - path: archive
    settle_s: 1
season:
  from: path
  pattern: '^(?P<season>[^/]+)/'
sampling:
  rate_hz: 5
pose_model:
  kind: exported
  project: models/current.yaml   # a link to the newest model
  scan_s: 2
  settle_s: 1
queue:
  budget: 24
  audit_share: 0.34
exports:
  - to: folder
    project: queues
labels:
  scan_s: 2
rounds:
  check_s: 2
  drift_alpha: 0.05
triggers:
  - name: retrain
    new_labels: 20
    held_out: true    # the training leaves out the audited frames
    actions:
      - do: command
        command: [{python}, -m, alwatch.demo.retrain, {folder}]
        timeout_s: 600
"""


def run_demo(folder: Path, *, seed: int, say: Callable[[str], None]) -> Path:
    """Play two seasons of a lab, in a minute or two, with the real daemon.

    The first season is labelled, and a small model trained on it, when the daemon starts. The
    second one looks different: drift is found, a queue goes out, its frames are labelled by an
    oracle that knows the drawing, a rule asks for retraining, a small network is really
    trained, and the new model is judged on frames that it was not trained on.

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
        The HTML page that tells the story.

    Raises
    ------
    SettingsError
        The folder holds something else.
    AlwatchError
        The daemon ended or did not finish in time.
    """
    _prepare(folder)
    say("Drawing an archive of two seasons …")
    drawn = draw_archive(
        folder / "drawn",
        rng=np.random.default_rng(seed),
        videos_per_season=VIDEOS,
        seconds=SECONDS,
    )
    first, second = dict.fromkeys(video.season for video in drawn)
    truth = {folder / "archive" / v.season / v.path.name: v for v in drawn}
    before = [video for video in drawn if video.season == first]
    n_labels = label_before(before, folder / "queues" / "queue-0000", stride=LABEL_STRIDE)
    say(f"{first} is labelled ({n_labels} frames); training a small pose model on it …")
    add_model(examples_of(folder / "queues", before[0].bodyparts), folder / "models")
    settings_file = folder / "alwatch.yaml"
    settings_file.write_text(
        SETTINGS.format(python=sys.executable, folder=folder), encoding="utf-8"
    )
    app = App(load_settings(settings_file))
    with _daemon(settings_file, folder / "daemon.log") as daemon:
        watch = _Watch(app, daemon, folder / "daemon.log", say)
        for season in (first, second):
            say(f"{season} arrives in {folder / 'archive'}; the daemon is watching.")
            for place, video in truth.items():
                if video.season == season:
                    place.parent.mkdir(exist_ok=True)
                    shutil.copy(video.path, place)
            watch.until(season, truth)
    page = _tell(app, folder, second, truth, seed, say)
    app.close()
    shutil.rmtree(folder / "drawn")
    say(f"Look further with: alwatch --config {settings_file} seasons show {second}")
    return page


class _Watch:
    """Follows the daemon through its store, and labels what it queues."""

    def __init__(
        self,
        app: App,
        daemon: subprocess.Popen[bytes],
        log_file: Path,
        say: Callable[[str], None],
    ) -> None:
        self._app = app
        self._daemon = daemon
        self._log_file = log_file
        self._say = say
        self._told = 0
        self._labelled: set[int] = set()

    def until(self, season: str, truth: Mapping[Path, DrawnVideo]) -> None:
        """Wait until all is ingested, scored, labelled and judged, and the season is quiet.

        Raises
        ------
        AlwatchError
            The daemon ended, or it takes too long.
        """
        until_s = time.monotonic() + PATIENCE_S
        n_videos = sum(video.season == season for video in truth.values())
        quiet = 0
        while quiet < _QUIET_POLLS:
            quiet = quiet + 1 if self._is_quiet(season, n_videos) else 0
            if self._daemon.poll() is not None or time.monotonic() > until_s:
                raise AlwatchError(self._why())
            time.sleep(_POLL_S)
            self._tell_changes()
            self._label(truth)

    def _is_quiet(self, season: str, n_videos: int) -> bool:
        store = self._app.store
        assessment = store.seasons.latest().get(season)
        state = store.seasons.states().get(season)
        snapshot = store.snapshots.current().snapshot
        if assessment is None or state is None or snapshot is None:
            return False
        return (
            state.state == "quiet"
            and assessment.figures["videos"] == n_videos
            and assessment.figures["snapshot"] == snapshot.sha256
            and store.scores.progress(snapshot).videos_left == 0
            and assessment.inputs == inputs_of(store, self._app.embedded_with())[season]
        )

    def _tell_changes(self) -> None:
        changes = self._app.store.seasons.changes()
        for change in changes[self._told :]:
            self._say(f"  {change.season}: {change.state} ({change.reason})")
        self._told = len(changes)

    def _label(self, truth: Mapping[Path, DrawnVideo]) -> None:
        for queue in self._app.store.queues.summaries():
            if queue.exported_to and queue.id not in self._labelled:
                folder = self._app.settings.exports[0].project / f"queue-{queue.id:04d}"
                self._labelled.add(queue.id)
                count = label_queue(folder, truth)
                self._say(f"  An oracle labels the {count} frames of queue {queue.id}.")

    def _why(self) -> str:
        what = "has ended" if self._daemon.poll() is not None else f"took over {PATIENCE_S:g} s"
        states = self._app.store.seasons.states().values()
        told = ", ".join(f"{change.season} {change.state}" for change in states) or "no season"
        tail = self._log_file.read_text(errors="replace").strip().splitlines()[-3:]
        return (
            f"The demo's daemon {what} with {told}; its log, {self._log_file}, ends: "
            f"{' / '.join(tail) or '(empty)'}"
        )


def _tell(
    app: App,
    folder: Path,
    season: str,
    truth: Mapping[Path, DrawnVideo],
    seed: int,
    say: Callable[[str], None],
) -> Path:
    """Write the pages, and say what the new model has brought."""
    for row in app.snapshots_on_seasons():
        error = true_error_px(app, row.snapshot.sha256, row.season, truth)
        say(
            f"{row.snapshot.name} on {row.season}: mean uncertainty {row.uncertainty:.3f}, "
            f"true error {error:.1f} px"
        )
    queue = app.get_queue(app.store.queues.summaries()[-1].id)
    sheet = folder / "scores.png"
    draw_score_sheet(app, sheet, app.ranked_frames("mpe", None), count=SHEET_FRAMES, by="mpe")
    command = f"alwatch --config {folder / 'alwatch.yaml'} queue {season} --seed {seed}"
    shown_page = queue_page(app, queue, command=command, score_sheet=sheet.read_bytes())
    write_queue_page(folder / "queue.html", shown_page)
    say(f"The queue, its reasons and the score maps: {folder / 'queue.html'}")
    report = season_report(app.store, season, app.seasons()[season])
    write_season_page(folder / "season.html", report, summary_of(report))
    return folder / "season.html"


def true_error_px(app: App, sha256: str, season: str, truth: Mapping[Path, DrawnVideo]) -> float:
    """Mean error of a snapshot over every scored frame of a season, by the drawing itself."""
    snapshot = next(s for s in app.store.snapshots.scored() if s.sha256 == sha256)
    errors = []
    for video_id, of_season in app.store.scores.scored_videos(snapshot):
        scores = app.store.scores.of_video(video_id, snapshot, ["pose"])
        video = truth.get(app.store.videos.by_id([video_id])[video_id].path)
        if of_season == season and scores is not None and video is not None:
            found = scores.signals["pose"][:, 0, :, :2]
            apart = found - video.keypoints[scores.frame_indices]
            errors.append(np.linalg.norm(apart, axis=-1).ravel())
    return float(np.nanmean(np.concatenate(errors)))


def _prepare(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARKER).exists():
            raise SettingsError(
                f"--into is {folder}, which holds files that are not a demo's; "
                "name an empty or a new folder."
            )
        shutil.rmtree(folder)
    for name in ("archive", "queues", "models"):
        (folder / name).mkdir(parents=True)
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
