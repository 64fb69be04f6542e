import ctypes
import errno
import os
import queue
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyFD

from alwatch.records import RootScan
from alwatch.watch import ArchiveWatcher, RootStatus, Settling, WatchedRoot
from alwatch.watch.alarm import Alarm

PATIENCE_S = 30.0
"""A bound on what should happen at once; nothing waits for it to pass."""

NEVER_S = 1e6


def by_events(path: Path) -> WatchedRoot:
    """A root that is scanned once, and then only when something asks for it."""
    return WatchedRoot(path, watch="inotify", settle_s=0.2, scan_s=NEVER_S)


def by_clock(path: Path) -> WatchedRoot:
    return WatchedRoot(path, watch="poll", settle_s=0.2, scan_s=0.02)


@contextmanager
def watching(
    *roots: WatchedRoot,
    min_gap_s: float = 0.02,
    clock: Callable[[], float] = time.monotonic,
    maxsize: int = 0,
) -> Iterator[tuple[ArchiveWatcher, "queue.Queue[RootScan]"]]:
    scans: queue.Queue[RootScan] = queue.Queue(maxsize)
    watcher = ArchiveWatcher(roots, scans, clock=clock, min_gap_s=min_gap_s)
    watcher.start()
    try:
        yield watcher, scans
    finally:
        watcher.stop()


def until(
    scans: "queue.Queue[RootScan]", wanted: Callable[[RootScan], bool], *, root: Path | None = None
) -> RootScan:
    """Take scans from the queue up to the first one that is wanted."""
    while True:
        scan = scans.get(timeout=PATIENCE_S)
        if (root is None or scan.root == root) and wanted(scan):
            return scan


def holds(*names: str) -> Callable[[RootScan], bool]:
    return lambda scan: set(names) <= {file.path.name for file in scan.files}


def status_of(watcher: ArchiveWatcher, path: Path) -> RootStatus:
    (status,) = [status for status in watcher.status() if status.root == path]
    return status


# --- the scan is the truth ---------------------------------------------------------------------


def test_everything_is_found_with_events_switched_off(tmp_path: Path) -> None:
    with watching(by_clock(tmp_path)) as (watcher, scans):
        assert until(scans, lambda scan: scan.online).files == ()
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "a" / "b" / "new.mp4").write_bytes(b"video")
        until(scans, holds("new.mp4"))
        (tmp_path / "a" / "b" / "new.mp4").unlink()
        until(scans, lambda scan: not scan.files)
        assert (watcher.status()[0].mode, watcher.status()[0].degraded) == ("poll", None)


def test_two_thousand_new_folders_with_a_video_each_are_all_in_the_next_scan(
    tmp_path: Path,
) -> None:
    with watching(by_events(tmp_path)) as (_, scans):
        until(scans, lambda scan: scan.online)
        for i in range(2000):
            (tmp_path / f"{i:04d}").mkdir()
            (tmp_path / f"{i:04d}" / "video.mp4").write_bytes(b"video")
        done_s = time.monotonic()
        assert len(until(scans, lambda scan: scan.started_s >= done_s).files) == 2000


def test_a_video_is_settled_by_watching_and_asking_for_the_scan_that_is_due(
    tmp_path: Path,
) -> None:
    settling = Settling()
    with watching(by_events(tmp_path)) as (watcher, scans):
        until(scans, lambda scan: scan.online)
        (tmp_path / "a.mp4").write_bytes(b"video")

        def settles(scan: RootScan) -> bool:
            settled = settling.observe(scan)
            due_s = settling.next_due_s(scan.root)
            if due_s is not None:
                watcher.rescan_at(scan.root, due_s)
            return [file.path.name for file in settled] == ["a.mp4"]

        scan = until(scans, settles)
    assert scan.settle_s == 0.2
    assert settling.next_due_s(tmp_path) is None


# --- the event is an alarm clock ---------------------------------------------------------------


@pytest.mark.parametrize("make", ["write", "rename into", "move folder into"])
def test_a_file_event_brings_the_next_scan(tmp_path: Path, make: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    with watching(by_events(root)) as (watcher, scans):
        until(scans, lambda scan: scan.online)
        assert watcher.status()[0].mode == "inotify"
        if make == "write":
            (root / "new.mp4").write_bytes(b"video")
        elif make == "rename into":
            (outside / "new.mp4").write_bytes(b"video")
            (outside / "new.mp4").rename(root / "new.mp4")
        else:
            (outside / "new.mp4").write_bytes(b"video")
            outside.rename(root / "inside")
        until(scans, holds("new.mp4"))


def test_a_linked_root_has_events_too(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "link").symlink_to("root")
    with watching(by_events(tmp_path / "link")) as (_, scans):
        until(scans, lambda scan: scan.online)
        (tmp_path / "root" / "new.mp4").write_bytes(b"video")
        assert until(scans, holds("new.mp4")).files[0].path == tmp_path / "link" / "new.mp4"


def test_reading_writing_on_and_other_files_ring_no_alarm(tmp_path: Path) -> None:
    rings: list[int] = []
    rung = threading.Event()

    def ring() -> None:
        rings.append(1)
        rung.set()

    with (tmp_path / "a.mp4").open("wb", buffering=0) as growing:
        alarm = Alarm(WatchedRoot(tmp_path), ring)
        try:
            for _ in range(100):
                growing.write(b"more")
                (tmp_path / "a.mp4").read_bytes()
                (tmp_path / "notes.txt").write_text("a")
            (tmp_path / "folder").mkdir()  # events come in order, so this one is the first to ring
            assert rung.wait(PATIENCE_S)
            assert len(rings) == 1
        finally:
            alarm.stop()


def test_scans_keep_their_distance_in_a_burst_of_events(tmp_path: Path) -> None:
    found: list[RootScan] = []
    with watching(by_events(tmp_path), min_gap_s=0.1) as (_, scans):
        for i in range(500):
            (tmp_path / f"{i}.mp4").write_bytes(b"video")
        while not found or len(found[-1].files) < 500:
            found.append(scans.get(timeout=PATIENCE_S))
    for before, after in pairwise(found):
        took_s = before.finished_s - before.started_s
        assert after.started_s >= before.finished_s + max(0.1, took_s)


def test_a_later_request_does_not_put_off_an_earlier_one(tmp_path: Path) -> None:
    now_s = 0.0
    root = WatchedRoot(tmp_path, watch="poll", scan_s=NEVER_S)
    with watching(root, clock=lambda: now_s) as (watcher, scans):
        until(scans, lambda scan: scan.online)
        watcher.rescan_at(tmp_path, 0.5)
        watcher.rescan_at(tmp_path, 1000.0)
        now_s = 0.75
        assert scans.get(timeout=PATIENCE_S).started_s == 0.75


# --- roots that go and come --------------------------------------------------------------------


def test_a_root_that_is_missing_at_the_start_is_picked_up_when_it_appears(tmp_path: Path) -> None:
    root = tmp_path / "later"
    with watching(by_events(root)) as (watcher, scans):
        assert not until(scans, lambda scan: True).online
        status = status_of(watcher, root)
        assert (status.online, status.mode, status.degraded) == (False, "poll", None)
        assert status.problem is not None and "Mount" in status.problem
        root.mkdir()
        watcher.rescan_at(root, 0)
        until(scans, lambda scan: scan.online)
        assert status_of(watcher, root).mode == "inotify"
        (root / "new.mp4").write_bytes(b"video")
        until(scans, holds("new.mp4"))


def test_an_offline_root_is_looked_for_every_minute_however_rare_its_scans(tmp_path: Path) -> None:
    now_s = 0.0
    root = WatchedRoot(tmp_path / "later", scan_s=NEVER_S)
    with watching(root, clock=lambda: now_s) as (watcher, scans):
        assert not scans.get(timeout=PATIENCE_S).online
        root.path.mkdir()
        now_s = 60.0
        watcher.rescan_at(root.path, NEVER_S)  # asks for nothing, but makes it look at the clock
        assert scans.get(timeout=PATIENCE_S).online


def test_a_root_that_is_removed_and_returns_is_offline_between(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.mp4").write_bytes(b"video")
    with watching(by_events(root)) as (watcher, scans):
        until(scans, holds("a.mp4"))
        (root / "a.mp4").unlink()
        root.rmdir()
        until(scans, lambda scan: not scan.online)
        status = status_of(watcher, root)
        assert (status.mode, status.degraded) == ("poll", None)
        root.mkdir()
        (root / "b.mp4").write_bytes(b"video")
        watcher.rescan_at(root, 0)
        until(scans, holds("b.mp4"))
        (root / "c.mp4").write_bytes(b"video")
        until(scans, holds("b.mp4", "c.mp4"))


def test_events_come_from_the_folder_that_has_taken_the_place_of_another(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with watching(by_events(root)) as (watcher, scans):
        until(scans, lambda scan: scan.online)
        root.rename(tmp_path / "away")
        root.mkdir()
        (root / "first.mp4").write_bytes(b"video")
        watcher.rescan_at(root, 0)
        until(scans, holds("first.mp4"))
        (root / "new.mp4").write_bytes(b"video")
        until(scans, holds("new.mp4"))


# --- events that cannot be had -----------------------------------------------------------------


def in_a_namespace(limit: str, value: int, code: str) -> None:
    """Run code, with `limit(n)` to change a limit on inotify, where that limit is its own."""
    script = f"""
        import os, queue, sys
        from pathlib import Path
        from alwatch.records import RootScan
        from alwatch.watch import ArchiveWatcher, WatchedRoot

        def limit(value):
            Path("/proc/sys/user/{limit}").write_text(str(value))

        try:
            limit({value})
        except OSError:
            sys.exit(77)
        now_s = 0.0
        root = WatchedRoot(Path(sys.argv[1]), watch="inotify")
        scans = queue.Queue()
        watcher = ArchiveWatcher([root], scans, clock=lambda: now_s)
        watcher.start()

        def look(after_s=0.0):
            global now_s
            now_s += after_s
            watcher.rescan_at(root.path, now_s)
            return scans.get(timeout={PATIENCE_S}), watcher.status()[0]

        scan, status = look()
    """
    script = textwrap.dedent(script) + textwrap.dedent(code)
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", script, os.getcwd()],
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def forty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for i in range(40):
        (tmp_path / f"{i}").mkdir()
        (tmp_path / f"{i}" / "a.mp4").write_bytes(b"video")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("forty_folders")
@pytest.mark.parametrize("watches", [0, 1, 20])
def test_a_root_with_more_folders_than_inotify_watches_is_polled_and_says_so(watches: int) -> None:
    code = """
        assert scan.online and len(scan.files) == 40
        assert status.mode == "poll" and status.running
        assert "max_user_watches" in status.degraded, status
        assert "sysctl fs.inotify.max_user_watches=" in status.degraded
        assert "every 60 s" in status.degraded
        scan, status = look(61)
        assert status.mode == "poll" and status.degraded
    """
    in_a_namespace("max_inotify_watches", watches, code)


@pytest.mark.usefixtures("forty_folders")
def test_a_root_without_an_inotify_instance_is_polled_and_says_so() -> None:
    code = """
        assert len(scan.files) == 40 and status.mode == "poll"
        assert "sysctl fs.inotify.max_user_instances=" in status.degraded
    """
    in_a_namespace("max_inotify_instances", 0, code)


@pytest.mark.usefixtures("forty_folders")
def test_events_return_within_an_hour_of_the_limit_being_raised() -> None:
    code = """
        assert status.mode == "poll"
        limit(1000)
        assert look(60)[1].mode == "poll"
        scan, status = look(3600)
        assert (status.mode, status.degraded) == ("inotify", None)
    """
    in_a_namespace("max_inotify_watches", 20, code)


@pytest.mark.usefixtures("forty_folders")
def test_folders_that_outgrow_the_limit_while_watching_are_noticed() -> None:
    code = """
        assert status.mode == "inotify"
        for i in range(40):
            os.mkdir(root.path / f"new{i}")
        while status.mode == "inotify":
            scan, status = look(10)
        assert "max_user_watches" in status.degraded
    """
    in_a_namespace("max_inotify_watches", 60, code)


def test_an_observer_whose_reading_thread_died_is_noticed(tmp_path: Path) -> None:
    with watching(by_events(tmp_path)) as (watcher, scans):
        until(scans, lambda scan: scan.online)
        (reader,) = [t for t in threading.enumerate() if isinstance(t, InotifyFD)]
        reader.stop()
        reader.join()
        assert status_of(watcher, tmp_path).mode == "inotify"
        (tmp_path / "new.mp4").write_bytes(b"video")
        watcher.rescan_at(tmp_path, 0)
        until(scans, holds("new.mp4"))
        status = status_of(watcher, tmp_path)
        assert status.mode == "poll"
        assert status.degraded is not None and "has stopped" in status.degraded


# --- roots that hang, readers that are slow ----------------------------------------------------


@contextmanager
def hanging_drive(point: Path) -> Iterator[None]:
    """Mount a file system on `point` whose every answer keeps you waiting."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    where = os.fsencode(point)
    if libc.mount(b"hang", where, b"fuse", 0, options):
        os.close(device)
        pytest.skip(f"cannot mount here: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        os.close(device)  # ends the waiting with an error
        libc.umount2(where, 2)


def test_a_drive_that_hangs_holds_up_nothing_but_itself(tmp_path: Path) -> None:
    hung, well = tmp_path / "hung", tmp_path / "well"
    hung.mkdir()
    well.mkdir()
    with hanging_drive(hung), watching(by_events(hung), by_clock(well)) as (watcher, scans):
        (well / "new.mp4").write_bytes(b"video")
        until(scans, holds("new.mp4"), root=well)
        while (status := status_of(watcher, hung)).scanning_s is None:
            until(scans, lambda scan: True, root=well)
        assert (status.online, status.last_scan_age_s, status.running) == (None, None, True)
        until(scans, lambda scan: True, root=well)
        assert (status_of(watcher, hung).scanning_s or 0) > status.scanning_s
        watcher.stop()
        (thread,) = [t for t in threading.enumerate() if t.name == f"scan {hung}"]
        while not scans.empty():
            scans.get_nowait()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert scans.empty(), "a watcher that was stopped still reports"


def test_a_drive_that_answers_again_is_scanned_again(tmp_path: Path) -> None:
    with watching(by_clock(tmp_path)) as (watcher, scans):
        until(scans, lambda scan: scan.online)
        with hanging_drive(tmp_path):
            while status_of(watcher, tmp_path).scanning_s is None:
                watcher.rescan_at(tmp_path, 0)
        (tmp_path / "new.mp4").write_bytes(b"video")
        until(scans, holds("new.mp4"))


def test_a_slow_reader_slows_the_scanning(tmp_path: Path) -> None:
    with watching(by_clock(tmp_path), maxsize=1) as (watcher, scans):
        while not scans.full():
            watcher.rescan_at(tmp_path, 0)
        resumed_s = time.monotonic()
        in_queue, in_hand, after = (scans.get(timeout=PATIENCE_S) for _ in range(3))
        assert in_queue.finished_s < in_hand.started_s < after.started_s
        assert in_queue.finished_s <= resumed_s <= after.started_s


def test_a_watcher_stops_though_nobody_takes_its_scans(tmp_path: Path) -> None:
    with watching(by_clock(tmp_path), maxsize=1) as (watcher, scans):
        while not scans.full():
            watcher.rescan_at(tmp_path, 0)
        watcher.stop()
        assert not status_of(watcher, tmp_path).running


# --- the rest ----------------------------------------------------------------------------------


def test_stopping_gives_everything_back(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    files = len(os.listdir("/proc/self/fd"))
    with watching(by_events(tmp_path), by_clock(tmp_path / "missing")) as (watcher, scans):
        until(scans, lambda scan: scan.online)
        assert set(threading.enumerate()) > before
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
    assert [status.running for status in watcher.status()] == [False, False]
    assert set(threading.enumerate()) <= before
    assert len(os.listdir("/proc/self/fd")) <= files


def test_a_failed_alarm_gives_everything_back(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as caught:
        Alarm(WatchedRoot(tmp_path / "missing"), lambda: None)
    assert caught.value.errno == errno.ENOENT
    assert set(threading.enumerate()) <= before
    assert len(os.listdir("/proc/self/fd")) <= files


def test_the_status_before_the_first_scan_promises_nothing(tmp_path: Path) -> None:
    (status,) = ArchiveWatcher([by_clock(tmp_path)], queue.Queue()).status()
    assert status == RootStatus(tmp_path, "poll", None, None, None, None, None, running=False)


def test_the_age_of_the_last_scan_is_told(tmp_path: Path) -> None:
    now_s = 10.0
    with watching(by_clock(tmp_path), clock=lambda: now_s) as (watcher, scans):
        until(scans, lambda scan: scan.online)
        watcher.stop()
        now_s = 17.5
        assert watcher.status()[0].last_scan_age_s == 7.5


def test_a_root_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="twice"):
        ArchiveWatcher([by_clock(tmp_path), by_events(tmp_path)], queue.Queue())


def test_a_rescan_of_a_root_that_is_not_watched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        ArchiveWatcher([], queue.Queue()).rescan_at(tmp_path, 0)


def test_watchdog_is_loaded_on_use_only() -> None:
    code = "import sys, alwatch.watch; sys.exit(bool({'watchdog', 'ctypes'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
