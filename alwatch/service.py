"""The daemon: one loop that registers what the scans find and ingests what is ready.

systemd is told when the daemon is up, what it is doing, and, by the loop that makes progress and
by nothing else, that it is alive.
"""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import IO, Any, Protocol, Self

from alwatch.app import App
from alwatch.errors import (
    AlwatchError,
    DamagedStoreError,
    NothingToDoError,
    SettingsError,
    StopRequestedError,
    StoreError,
    shown,
)
from alwatch.ingest import register
from alwatch.records import FileSignature, Outcome, RootScan, SeenFile
from alwatch.watch import (
    ArchiveWatcher,
    Settling,
    WatchedRoot,
    content_hash,
    file_system_kind,
    scan_root,
)

log = logging.getLogger(__name__)

IDLE_WAIT_S = 1.0
STORE_RETRY_S = 10.0


class Lock:
    """The right to work on a state folder. One process at a time holds it, the daemon for life.

    The kernel releases it when its holder dies, however it dies.

    Raises
    ------
    StoreError
        Another process holds it.
    """

    def __init__(self, state_dir: Path) -> None:
        path = state_dir / "alwatch.lock"
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written: {error.strerror}; make state_dir writable, or name "
                "another one."
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise StoreError(
                f"{state_dir} is in use by another alwatch (process {holder}); "
                "stop that one, or name another state_dir."
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class Notifier:
    """The systemd notification protocol; does nothing where there is no systemd.

    Parameters
    ----------
    address : str or None
        The value of `NOTIFY_SOCKET`.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address and address.replace("@", "\0", 1)

    def send(self, *states: str) -> None:
        """Send states such as READY=1, WATCHDOG=1 or STATUS=…; failing to is not a failure."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.sendto("\n".join(states).encode("utf-8", "replace"), self._address)
        except OSError as error:
            log.debug("systemd did not take %s: %s", states, error)


class Daemon:
    """Watches the archive and ingests it until it is told to stop.

    Parameters
    ----------
    app : App
        Made with `is_daemon=True`.
    notifier : Notifier
    """

    def __init__(self, app: App, notifier: Notifier) -> None:
        self._app = app
        self._notifier = notifier
        self._stopping = False

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then stop within seconds, giving back what was begun.

        Raises
        ------
        StoreError
            The state folder is in use, or cannot be opened.
        WeightsError
            The embedder's weights are not there.
        """
        app = self._app
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        with Lock(app.settings.state_dir), closing(app):
            videos = app.store.videos
            videos.recover(app.clock())
            self._ingest = app.ingest(patience_s=self._patience_s(), on_progress=self._alive)
            videos.requeue_without_vectors(app.embedder.identity, app.clock())
            videos.assign_seasons(app.season_of, app.clock())
            app.store.scores.recover(app.clock())
            self._model = app.current_pose_model(on_progress=self._alive)
            if self._model is None:
                app.store.snapshots.switch_off(app.clock())
            self._seasons = app.season_loop()
            self._deliverer = app.deliverer()
            self._labels_due_s = time.monotonic()
            self._scans: queue.Queue[RootScan] = queue.Queue(maxsize=64)
            self._settling = Settling(videos.known_signatures())
            self._watcher = ArchiveWatcher(app.watched_roots(), self._scans)
            self._watcher.start()
            try:
                self._notifier.send("READY=1", "STATUS=watching")
                log.info("watching %s", ", ".join(str(r.path) for r in app.watched_roots()))
                self._loop()
            finally:
                self._notifier.send("STOPPING=1")
                self._deliverer.close()
                if self._model is not None:
                    self._model.close()
                self._watcher.stop()
                log.info("stopped")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _alive(self, n_frames: int = 0) -> None:
        """Tell systemd that work goes on; end it here if the daemon is to stop."""
        self._notifier.send("WATCHDOG=1")
        if self._stopping:
            raise StopRequestedError("stopping")

    def _patience_s(self) -> float:
        """An unfinished file gets ten times as long as a file gets to settle."""
        return 10 * max(
            root.resting_time_s(file_system_kind(root.path)) for root in self._app.watched_roots()
        )

    def _loop(self) -> None:
        broken = False
        try:
            while True:
                self._alive()
                try:
                    if broken:
                        self._app.store.videos.recover(self._app.clock(), tried=False)
                        self._app.store.scores.recover(self._app.clock())
                        broken = False
                    self._sync_labels()
                    self._deliverer.work()
                    busy = self._register_scans(wait=False) or self._work() or self._score()
                    self._look_after_seasons(idle=not busy)
                    self._app.backups.tick()
                    if not busy:
                        self._register_scans(wait=True)
                except DamagedStoreError:
                    raise  # waiting mends nothing
                except StoreError as error:
                    broken = True
                    self._pause(str(error))
        except StopRequestedError:
            return

    def _pause(self, reason: str) -> None:
        """Give whoever can make room or mend the disk some time; nothing is retried hot."""
        log.error("%s Trying again in %g s.", reason, STORE_RETRY_S)
        self._notifier.send(f"STATUS=paused: {reason}")
        until_s = time.monotonic() + STORE_RETRY_S
        while time.monotonic() < until_s:
            self._alive()
            time.sleep(IDLE_WAIT_S)

    def _register_scans(self, *, wait: bool) -> bool:
        """Take in the next scan, if there is one; whether there was."""
        try:
            scan = self._scans.get(timeout=IDLE_WAIT_S) if wait else self._scans.get_nowait()
        except queue.Empty:
            return False
        scan = held_if_emptied(scan, self._app.store.videos.files_under(scan.root))
        if scan.problem:
            log.warning("%s", scan.problem)
        try:
            settled = self._settling.observe(scan)
            self._app.store.videos.record_scan(scan, self._app.clock())
            for file in settled:
                self._alive()
                register(self._app.store, file, content_hash, self._app.clock())
        except StoreError:
            self._settling = Settling(self._app.store.videos.known_signatures())
            raise
        due_s = self._settling.next_due_s(scan.root)
        if due_s is not None:
            self._watcher.rescan_at(scan.root, due_s)
        return True

    def _work(self) -> bool:
        """Ingest one video, if one is ready; whether one was."""
        outcome = self._ingest.work_once(
            on_start=lambda path: self._notifier.send(f"STATUS=ingesting {shown(path.name)}"),
            on_frames=self._alive,
        )
        if outcome is None:
            return False
        log_outcome(outcome)
        self._notifier.send("STATUS=watching")
        return True

    def _score(self) -> bool:
        """Score one video by the current pose model, if one waits; whether one did."""
        if self._model is None:
            return False
        outcome = self._model.work_once(
            on_start=lambda path: self._notifier.send(f"STATUS=scoring {shown(path.name)}"),
            on_frames=self._alive,
        )
        if outcome is None:
            return False
        log_scoring(outcome)
        self._notifier.send("STATUS=watching")
        return True

    def _look_after_seasons(self, *, idle: bool) -> None:
        """See now and then what the seasons need, and export the queues that it made.

        Labels are read first, as what is labelled needs no queue.
        """
        roots = [root.path for root in self._app.watched_roots()]
        is_at_rest = idle and all(self._settling.next_due_s(root) is None for root in roots)
        if not self._seasons.is_due(at_rest=is_at_rest):
            return
        all_read = self._read_labels()
        for line in self._seasons.tick(self._alive, may_queue=all_read):
            log.info("%s", shown(line))
        self._export_pending()

    def _sync_labels(self) -> None:
        """Read now and then which frames are labelled by now, and export what could not be."""
        if time.monotonic() >= self._labels_due_s:
            self._read_labels()
            self._export_pending()

    def _read_labels(self) -> bool:
        """Read every project's labels; whether all of them could be."""
        self._labels_due_s = time.monotonic() + self._app.settings.labels.scan_s
        all_read = True
        for sync in self._app.sync_labels():
            self._alive()
            if sync.problem:
                all_read = False
                log.warning("%s", sync.problem)
            elif sync.new or sync.changed or sync.gone:
                log.info(
                    "%s: %d labels new, %d changed, %d gone",
                    shown(sync.project),
                    sync.new,
                    sync.changed,
                    sync.gone,
                )
        return all_read

    def _export_pending(self) -> None:
        for queue_, to, exported in self._app.export_pending():
            self._alive()
            if isinstance(exported, AlwatchError):
                log.warning("queue %d not exported to %s: %s", queue_.id, to, exported)
            else:
                log.info("queue %d exported to %s: %s", queue_.id, to, shown(exported.project))


def log_scoring(outcome: Outcome) -> None:
    """One line for how scoring one video went."""
    if outcome.state == "done":
        log.info("%s: %d frames scored", shown(outcome.path), outcome.n_frames)
    else:
        log.warning("%s: not scored (%s): %s", shown(outcome.path), outcome.state, outcome.reason)


def held_if_emptied(scan: RootScan, n_known: int) -> RootScan:
    """Take a root that has lost all its files for one whose drive is not mounted."""
    if not scan.online or scan.files or n_known == 0:
        return scan
    problem = (
        f"archive root {shown(scan.root)} is empty but held {n_known} videos at the last scan; it "
        "is treated as offline. Mount its drive, or remove the root from the settings."
    )
    return replace(scan, online=False, problem=problem)


def log_outcome(outcome: Outcome) -> None:
    """One line for what became of a video."""
    if outcome.state == "done":
        log.info("%s: %d frames", shown(outcome.path), outcome.n_frames)
    elif outcome.state == "partial":
        log.warning("%s: %d frames; %s", shown(outcome.path), outcome.n_frames, outcome.reason)
    else:
        log.warning("%s: %s: %s", shown(outcome.path), outcome.state, outcome.reason)


# --- once, by hand -----------------------------------------------------------------------------


@dataclass(slots=True)
class Summary:
    """What a backfill found and did; `known` were ingested before, by this or another name."""

    found: int = 0
    known: int = 0
    done: int = 0
    partial: int = 0
    quarantined: int = 0
    frames: int = 0
    handed_over: int = 0

    def count(self, outcome: Outcome) -> None:
        """Add one outcome."""
        self.frames += outcome.n_frames
        if outcome.state in ("done", "partial", "quarantined"):
            setattr(self, outcome.state, getattr(self, outcome.state) + 1)

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """For a person."""
        if not self.found:
            return "No video was found there."
        parts = [f"{self.found} videos found", f"{self.known} known already"]
        parts.append(f"{self.done} ingested ({self.frames} frames)")
        parts += [f"{self.partial} readable in part"] * bool(self.partial)
        parts += [f"{self.quarantined} quarantined: see `alwatch status`"] * bool(self.quarantined)
        parts += [f"{self.handed_over} handed to the daemon"] * bool(self.handed_over)
        return ", ".join(parts) + "."


class Reporter(Protocol):
    """Is told how a backfill goes."""

    def begin(self, total: int) -> None:
        """So many videos will be worked on."""
        ...

    def video(self, path: Path) -> None:
        """Work on this one begins."""
        ...

    def frames(self, n: int) -> None:
        """So many more frames of it are done."""
        ...

    def end(self, outcome: Outcome) -> None:
        """Work on it has ended so."""
        ...


class Backfill:
    """Ingests what lies at some paths now: the daemon's path, once.

    Where a daemon works on the same state folder, the videos are handed to it.
    """

    def __init__(self, app: App, report: Reporter) -> None:
        self._app = app
        self._report = report

    def run(self, paths: Sequence[Path]) -> Summary:
        """Ingest the videos at these paths, or in the whole archive if none is given.

        Raises
        ------
        SettingsError
            A path does not exist.
        StoreError
            The state folder cannot be used.
        """
        app, summary = self._app, Summary()
        files = self._find(paths)
        summary.found = len(files)
        if not files:
            return summary
        try:
            lock = Lock(app.settings.state_dir)
        except StoreError:
            new = self._register(files)
            summary.known, summary.handed_over = len(files) - len(new), len(new)
            return summary
        with lock:
            app.store.videos.recover(app.clock())
            ingest = app.ingest(patience_s=0)
            app.store.videos.requeue_without_vectors(app.embedder.identity, app.clock())
            app.store.videos.assign_seasons(app.season_of, app.clock())
            self._register(files, retry=bool(paths))
            here = [file.path for file in files]
            todo = app.store.videos.unfinished(here)
            summary.known = len(files) - todo
            self._report.begin(todo)
            while outcome := ingest.work_once(
                under=here, on_start=self._report.video, on_frames=self._report.frames
            ):
                summary.count(outcome)
                self._report.end(outcome)
        return summary

    def _register(self, files: Sequence[SeenFile], *, retry: bool = False) -> list[SeenFile]:
        """Register new and changed files; with `retry` also those that are quarantined."""
        known = self._app.store.videos.known_signatures()
        if retry:
            for video in self._app.store.videos.listing("quarantined"):
                known.pop(video.path, None)
        changed = [file for file in files if known.get(file.path) != file.signature]
        return [
            file
            for file in changed
            if register(self._app.store, file, content_hash, self._app.clock())
        ]

    def _find(self, paths: Sequence[Path]) -> list[SeenFile]:
        """Every video at or below the paths, each under the archive root it lies in, if any."""
        roots = self._app.watched_roots()
        found: dict[Path, SeenFile] = {}
        for path in paths or [root.path for root in roots]:
            root = next((root for root in roots if path.is_relative_to(root.path)), None)
            for file in _files_at(path, root):
                found[file.path] = file
        return [found[path] for path in sorted(found)]


@dataclass(slots=True)
class ScoringSummary:
    """What scoring by hand did; `known` videos were scored before, `gone` are not as ingested."""

    snapshot: str = ""
    scored: int = 0
    frames: int = 0
    failed: int = 0
    known: int = 0
    gone: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """For a person."""
        parts = [f"{self.scored} videos scored by {self.snapshot} ({self.frames} frames)"]
        parts += [f"{self.known} scored already"] * bool(self.known)
        parts += [f"{self.failed} could not be scored: see `alwatch status`"] * bool(self.failed)
        parts += [f"{self.gone} gone or changed: run `alwatch ingest`"] * bool(self.gone)
        return ", ".join(parts) + "."


def score_now(app: App, report: Reporter) -> ScoringSummary | None:
    """Score what the current snapshot has not scored; None where another process works now.

    Videos that could not be scored before are tried again. A new snapshot is judged first.

    Raises
    ------
    NothingToDoError
        The settings name no pose model.
    SettingsError, PoseModelError
        The model cannot score.
    StoreError
        The state folder cannot be used.
    """
    model = app.current_pose_model(at_once=True)
    if model is None:
        raise NothingToDoError(
            f"pose_model.kind is none in {app.settings.source}, so there is nothing to score by; "
            "set it, and pose_model.project, to the lab's pose model."
        )
    try:
        lock = Lock(app.settings.state_dir)
    except StoreError:
        return None
    with lock, closing(model):
        scores = app.store.scores
        scores.recover(app.clock())
        while model.judge_once() is not None:
            pass
        snapshot = model.look()
        if snapshot is None:
            assert model.fault is not None
            raise model.fault
        scores.retry_failed(snapshot, app.clock())
        before = scores.progress(snapshot)
        summary = ScoringSummary(snapshot=snapshot.name, known=before.videos_done)
        report.begin(scores.n_waiting(snapshot))
        while outcome := model.work_once(on_start=report.video, on_frames=report.frames):
            if outcome.state == "ready":
                continue
            summary.scored += outcome.state == "done"
            summary.failed += outcome.state == "failed"
            summary.gone += outcome.state == "waiting"
            summary.frames += outcome.n_frames
            report.end(outcome)
        if model.fault is not None:
            raise model.fault
    return summary


def _files_at(path: Path, root: WatchedRoot | None) -> list[SeenFile]:
    if path.is_dir():
        scanned = replace(root, path=path) if root else WatchedRoot(path)
        scan = scan_root(scanned)
        if scan.problem:
            log.warning("%s", scan.problem)
        home = root.path if root else path
        return [replace(file, root=home) for file in scan.files]
    try:
        signature = FileSignature.from_stat(path.stat())
    except OSError as error:
        raise SettingsError(
            f"PATH is {shown(path)}; {error.strerror}. Name a video or a folder that exists."
        ) from error
    return [SeenFile(path, root.path if root else path.parent, signature)]


def set_up_logging(*, verbose: bool, under_journald: bool) -> None:
    """Log to standard error, one line an event; journald adds the time, so it is left out there."""
    # journald reads a leading <n> as the priority, syslog's numbers.
    priorities = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}

    class Lines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            text = "\n".join(map(shown, super().format(record).split("\n")))
            if under_journald:
                return f"<{priorities[record.levelname]}>{text}"
            return f"{self.formatTime(record)} {record.levelname.lower()} {text}"

    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])  # of other packages
    logging.getLogger("alwatch").setLevel(logging.DEBUG if verbose else logging.INFO)
