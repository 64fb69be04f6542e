"""The real daemon, as a process, on real files."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from alwatch.app import App
from alwatch.config import load_settings
from alwatch.embedders.hog import HogEmbedder
from alwatch.errors import ExportError, StoreError
from alwatch.records import FileSignature, LocatedSnapshot, RootScan, SeenFile, Snapshot
from alwatch.service import Backfill, Lock, Notifier, held_if_emptied
from alwatch.store import Store, database_in
from alwatch.store.backup_files import backups_in
from alwatch.store.snapshots import CurrentModel
from tests.store.helpers import NOW
from tests.store.killing import damage
from tests.store.test_backing_up import n_videos
from tests.videos import SETTINGS, make_app, make_video, write_settings

BOUND_S = 120.0


def until(condition: Callable[[], bool], what: str, bound_s: float = BOUND_S) -> None:
    """Wait for the daemon to bring something about, and fail if it does not."""
    end_s = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < end_s, f"{what} did not happen within {bound_s:g} s"
        time.sleep(0.05)


@contextmanager
def daemon(settings: Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    with open(settings.parent / "daemon.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "alwatch", "--config", str(settings), "run"],
            stderr=log,
            env={**os.environ, **environ},
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=20)


def watched_store(folder: Path) -> Store:
    return Store(folder / "state")


def is_finished(store: Store, n_videos: int) -> bool:
    counts = store.videos.counts()
    return counts.done + counts.partial + counts.quarantined == n_videos and counts.waiting == 0


def content(store: Store) -> dict[str, tuple[str, str | None, list[int], bytes]]:
    """Everything that ingesting has made, by content, for comparing two stores."""
    identity = HogEmbedder().identity
    frames = store.pools.season_frames(identity)
    found = {}
    for video in store.videos.listing("done", "partial", "quarantined"):
        rows = frames.video_ids == video.id
        found[video.content_hash] = (
            video.state,
            video.season,
            frames.frame_indices[rows].tolist(),
            np.ascontiguousarray(frames.vectors[rows]).tobytes(),
        )
    return found


@pytest.mark.parametrize("watch", ["auto", "poll"])
def test_a_video_dropped_while_the_daemon_runs_is_ingested(tmp_path: Path, watch: str) -> None:
    settings = write_settings(
        tmp_path, SETTINGS.replace("settle_s", f"watch: {watch}\n    settle_s")
    )
    store = watched_store(tmp_path)
    with daemon(settings):
        make_video(tmp_path / "archive" / "spring" / "a.mp4")
        until(lambda: is_finished(store, 1), "ingesting")
        shutil.copy(tmp_path / "archive/spring/a.mp4", tmp_path / "archive/copy.mp4")
        make_video(tmp_path / "archive" / "autumn" / "b.mp4", seed=1)
        until(lambda: is_finished(store, 2), "ingesting the second")
        until(lambda: store.videos.files_under(tmp_path / "archive") == 3, "finding the copy")
    seasons = {counts.season: counts.frames for counts in store.pools.season_counts()}
    assert seasons == {"autumn": 10, "spring": 10}


def test_a_pose_model_that_was_switched_off_holds_nothing_up(tmp_path: Path) -> None:
    settings = write_settings(tmp_path)
    store = watched_store(tmp_path)
    old, new = (Snapshot("exported", name, name * 64, ("nose",)) for name in "ab")
    for snapshot in (old, new):
        store.snapshots.register(LocatedSnapshot(snapshot, {}), NOW)
    store.snapshots.promote(old, judge="first", reason="the first", now=NOW, against=None)
    store.snapshots.set_candidate(new, NOW)
    with daemon(settings):
        until(lambda: store.snapshots.candidate() is None, "giving up the judgement")
    assert store.snapshots.current() == CurrentModel(old, "pose_model.kind is none")


def test_it_stops_on_sigterm_and_goes_on_where_it_was(tmp_path: Path) -> None:
    settings = write_settings(tmp_path)
    store = watched_store(tmp_path)
    for seed in range(3):
        make_video(tmp_path / "archive" / "s" / f"{seed}.mp4", seed=seed, n_frames=200)
    with daemon(settings) as process:
        until(lambda: store.videos.counts().done > 0, "ingesting the first")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    assert not store.videos.listing("working")
    with daemon(settings):
        until(lambda: is_finished(store, 3), "ingesting the rest")


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    settings = write_settings(tmp_path)
    store = watched_store(tmp_path)
    make_video(tmp_path / "archive" / "s" / "a.mp4")
    with daemon(settings):
        until(lambda: is_finished(store, 1), "ingesting")
    before = [video for video in store.pools.vectors_since(HogEmbedder().identity, 0)]
    report = Recorder()
    summary = Backfill(App(load_settings(settings)), report).run([])
    assert (summary.found, summary.known, summary.done) == (1, 1, 0)
    after = [video for video in store.pools.vectors_since(HogEmbedder().identity, 0)]
    assert [part.revision for part in before] == [part.revision for part in after]


def test_kill_9_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    clean, killed = tmp_path / "clean", tmp_path / "killed"
    for folder in (clean, killed):
        folder.mkdir()
        for seed in range(4):
            make_video(folder / "archive" / "s" / f"{seed}.mp4", seed=seed, n_frames=150)
    with daemon(write_settings(clean)):
        until(lambda: is_finished(watched_store(clean), 4), "the uninterrupted run")
    settings, moments = write_settings(killed), random.Random(0)
    for _ in range(6):
        with daemon(settings) as process:
            time.sleep(moments.uniform(0.3, 4.0))  # any moment will do
            process.kill()
            process.wait()
    with daemon(settings):
        until(lambda: is_finished(watched_store(killed), 4), "recovering")
    assert content(watched_store(killed)) == content(watched_store(clean))


def test_the_daemon_backs_its_database_up(tmp_path: Path) -> None:
    settings = write_settings(tmp_path, SETTINGS + "backup: {every_h: 0.0002, keep: 2}\n")
    make_video(tmp_path / "archive" / "s" / "a.mp4")
    store, folder = watched_store(tmp_path), tmp_path / "state" / "backups"

    def has_the_video() -> bool:
        return any(n_videos(backup.path) == 1 for backup in backups_in(folder))

    with daemon(settings) as process:
        until(lambda: is_finished(store, 1), "ingesting")
        until(has_the_video, "a backup of it")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert {path.suffix for path in folder.iterdir()} == {".sqlite"}
    assert len(backups_in(folder)) <= 3  # two, and the week's


def test_a_database_that_is_damaged_under_the_daemon_ends_it(tmp_path: Path) -> None:
    settings = write_settings(tmp_path, SETTINGS + "backup: {every_h: 0}\n")
    make_video(tmp_path / "archive" / "s" / "a.mp4")
    store = watched_store(tmp_path)
    with daemon(settings) as process:
        until(lambda: is_finished(store, 1), "ingesting")
        damage(database_in(tmp_path / "state"), "videos")
        with sqlite3.connect(database_in(tmp_path / "state")) as db:
            db.execute("UPDATE roots SET problem = NULL")  # so that pages are read anew
        make_video(tmp_path / "archive" / "s" / "b.mp4", seed=1)
        assert process.wait(timeout=BOUND_S) == 3
    last = (tmp_path / "daemon.log").read_text().splitlines()[-1]
    assert "is damaged" in last
    assert "there is no backup in" in last
    with daemon(settings) as process:
        assert process.wait(timeout=BOUND_S) == 3


def test_an_export_that_was_not_possible_is_made_up_for(tmp_path: Path) -> None:
    more = "exports: [{to: folder, project: later/out}]\nlabels: {scan_s: 0.1}\n"
    settings = write_settings(tmp_path, SETTINGS + more)
    make_video(tmp_path / "archive" / "s" / "a.mp4")
    app = App(load_settings(settings))
    Backfill(app, Recorder()).run([])
    done, out = app.make_queue("s", budget=2, seed=1), app.make_queue("s", budget=3)
    app.withdraw_queue(done)
    with pytest.raises(ExportError):
        list(app.export_as_set(out))
    with daemon(settings):
        log = tmp_path / "daemon.log"
        until(lambda: b"not exported to folder" in log.read_bytes(), "a first try")
        (tmp_path / "later").mkdir()
        until(lambda: app.store.queues.exports_of(out) != [], "the export")
    assert len(list((tmp_path / "later" / "out").rglob("*.png"))) == 3


def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    settings = write_settings(tmp_path)
    with daemon(settings):
        until(lambda: (tmp_path / "state" / "alwatch.lock").exists(), "locking")
        until(lambda: bool((tmp_path / "state" / "alwatch.lock").read_text()), "locking")
        second = subprocess.run(
            [sys.executable, "-m", "alwatch", "--config", str(settings), "run"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert second.returncode == 3
    assert "in use by another alwatch" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_backfill_beside_a_daemon_hands_the_videos_over(tmp_path: Path) -> None:
    settings = write_settings(tmp_path)
    elsewhere = make_video(tmp_path / "elsewhere" / "x.mp4")
    store = watched_store(tmp_path)
    with daemon(settings):
        until(lambda: (tmp_path / "state" / "alwatch.lock").exists(), "locking")
        until(lambda: bool((tmp_path / "state" / "alwatch.lock").read_text()), "locking")
        summary = Backfill(App(load_settings(settings)), Recorder()).run([elsewhere])
        assert (summary.found, summary.handed_over) == (1, 1)
        until(lambda: is_finished(store, 1), "the daemon's work on it")


def test_a_root_that_appears_later_is_picked_up(tmp_path: Path) -> None:
    settings = write_settings(tmp_path)
    (tmp_path / "archive").rmdir()
    store = watched_store(tmp_path)
    with daemon(settings):
        until(lambda: bool(store.videos.root_problems()), "noticing that it is missing")
        make_video(tmp_path / "archive" / "s" / "a.mp4")
        until(lambda: is_finished(store, 1), "ingesting")


def test_bad_files_are_quarantined_and_good_ones_beside_them_ingested(tmp_path: Path) -> None:
    archive = tmp_path / "archive" / "s"
    good = make_video(archive / "good.mp4")
    (archive / "empty.mp4").touch()
    (archive / "text.mp4").write_text("this is not a video\n" * 100)
    (archive / "half.mp4").write_bytes(good.read_bytes()[:3000])
    (archive / "folder.mp4").mkdir()
    os.mkfifo(archive / "pipe.mp4")
    (archive / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{good}'\n")
    store = watched_store(tmp_path)
    with daemon(write_settings(tmp_path)):
        until(lambda: is_finished(store, 5), "sorting them")
    states = {video.path.name: video.state for video in store.videos.listing()}
    bad = dict.fromkeys(["empty.mp4", "text.mp4", "half.mp4", "list.mp4"], "quarantined")
    assert states == {"good.mp4": "done", **bad}
    assert all(video.reason for video in store.videos.listing("quarantined"))


def test_every_video_of_the_collection_ends_ingested_or_quarantined(
    tmp_path: Path, data_dir: Path
) -> None:
    """Dropped while the daemon runs: what is readable is read, what is not says why."""
    sources = [
        *(data_dir / "odd-videos").iterdir(),
        *(data_dir / "dlc-openfield").rglob("*.mp4"),
        *(data_dir / "flies-dlc" / "videos").iterdir(),
        *(data_dir / "lp-mirror-mouse").rglob("*.mp4"),
        *(data_dir / "sleap").rglob("*.mp4"),
    ]
    assert len(sources) > 25
    store = watched_store(tmp_path)
    with daemon(write_settings(tmp_path, SETTINGS.replace("rate_hz: 5", "rate_hz: 2"))):
        target = tmp_path / "archive" / "s"
        target.mkdir()
        for number, source in enumerate(sources):
            shutil.copyfile(source, target / f"{number:02d}-{source.name}")
        distinct = {source.read_bytes() for source in sources}
        until(lambda: is_finished(store, len(distinct)), "ingesting all", bound_s=280)
    by_name = {video.path.name[3:]: video for video in store.videos.listing()}
    corrupted = by_name.pop("corrupted.mp4")
    assert corrupted.state == "partial"
    assert corrupted.reason is not None
    assert {name: video.state for name, video in by_name.items()} == dict.fromkeys(by_name, "done")


def test_a_full_disk_pauses_it_and_room_lets_it_go_on(tmp_path: Path) -> None:
    """The state lies on a small file system of its own, in the daemon's own mount namespace."""
    settings = write_settings(tmp_path)
    (tmp_path / "state").mkdir()
    make_video(tmp_path / "archive" / "s" / "a.mp4", n_frames=500)
    program = (
        f"mount -t tmpfs -o size=2m tmpfs {tmp_path}/state && touch {tmp_path}/mounted && "
        f"while [ -e {tmp_path}/mounted ]; do sleep 0.1; done; "
        f"exec {sys.executable} -m alwatch --config {settings} run 2> {tmp_path}/daemon.log"
    )
    with subprocess.Popen(["unshare", "-rm", "sh", "-c", program]) as process:
        try:
            mounted = tmp_path / "mounted"
            until(lambda: mounted.exists() or process.poll() is not None, "mounting")
            if process.poll() is not None:
                pytest.skip("user namespaces with mounts are not allowed here")
            inside = Path(f"/proc/{process.pid}/root{tmp_path}/state")
            ballast = inside / "ballast"
            ballast.write_bytes(bytes(1700000))
            mounted.unlink()
            log = tmp_path / "daemon.log"
            until(lambda: log.exists() and "Trying again" in log.read_text(), "pausing")
            assert "Traceback" not in log.read_text()
            assert process.poll() is None
            ballast.unlink()
            until(lambda: "a.mp4: 100 frames" in log.read_text(), "going on")
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0


def test_systemd_hears_of_readiness_and_progress(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(address))
        channel.settimeout(BOUND_S)
        with daemon(write_settings(tmp_path), NOTIFY_SOCKET=str(address)):
            heard = ""
            while not ("READY=1" in heard and "WATCHDOG=1" in heard):
                heard += channel.recv(4096).decode() + "\n"
        while "STOPPING=1" not in heard:
            heard += channel.recv(4096).decode() + "\n"


# --- pieces ------------------------------------------------------------------------------------


class Recorder:
    def __init__(self) -> None:
        self.ended: list[str] = []

    def begin(self, total: int) -> None:
        pass

    def video(self, path: Path) -> None:
        pass

    def frames(self, n: int) -> None:
        pass

    def end(self, outcome: object) -> None:
        self.ended.append(str(outcome))


def test_the_lock_is_free_again_when_its_holder_is_gone(tmp_path: Path) -> None:
    with Lock(tmp_path), pytest.raises(StoreError, match=str(os.getpid())):
        Lock(tmp_path)
    with Lock(tmp_path):
        pass


def test_a_root_that_lost_all_its_files_is_taken_for_an_unmounted_drive() -> None:
    root = Path("/archive")
    file = SeenFile(root / "a.mp4", root, FileSignature(1, 1, 1, 1, 1))
    empty = RootScan(root, online=True)
    assert held_if_emptied(empty, 0) == empty
    held = held_if_emptied(empty, 3)
    assert not held.online
    assert held.problem is not None
    full = RootScan(root, online=True, files=(file,))
    assert held_if_emptied(full, 3) == full


def test_without_systemd_nothing_is_sent() -> None:
    Notifier(None).send("READY=1")
    Notifier("/nowhere/at/all").send("READY=1")


def test_a_backfill_can_be_interrupted_and_repeated(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    for seed in range(3):
        make_video(tmp_path / "archive" / "s" / f"{seed}.mp4", seed=seed)

    class Interrupting(Recorder):
        def end(self, outcome: object) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Backfill(app, Interrupting()).run([])
    assert app.store.videos.counts().done == 1
    summary = Backfill(app, Recorder()).run([])
    assert (summary.found, summary.known, summary.done) == (3, 1, 2)


def test_a_backfill_counts_files_outside_the_archive_too(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    one = make_video(tmp_path / "elsewhere" / "one.mp4")
    make_video(tmp_path / "elsewhere" / "below" / "two.mp4", seed=1)
    (tmp_path / "elsewhere" / "notes.txt").write_text("no video")
    assert Backfill(app, Recorder()).run([one]).done == 1
    summary = Backfill(app, Recorder()).run([tmp_path / "elsewhere"])
    assert (summary.found, summary.known, summary.done) == (2, 1, 1)
