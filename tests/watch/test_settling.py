import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.records import FileSignature, RootScan, SeenFile
from alwatch.watch import Settling, WatchedRoot, scan_root

ROOT = Path("/archive")
SIGNATURE = FileSignature(device=1, inode=2, size_bytes=3, mtime_ns=4, ctime_ns=5)


def scan_of(
    files: dict[str, FileSignature],
    started_s: float,
    *,
    took_s: float = 0.0,
    settle_s: float = 60.0,
    root: Path = ROOT,
) -> RootScan:
    seen = tuple(SeenFile(root / name, root, signature) for name, signature in files.items())
    return RootScan(root, True, seen, None, settle_s, started_s, started_s + took_s)


def offline(root: Path = ROOT) -> RootScan:
    return RootScan(root, False, problem="not mounted")


def reported(settling: Settling, scan: RootScan) -> list[str]:
    return [file.path.name for file in settling.observe(scan)]


# --- the rule ----------------------------------------------------------------------------------


def test_a_file_settles_once_when_it_has_rested_long_enough() -> None:
    settling = Settling()
    found = [
        reported(settling, scan_of({"a.mp4": SIGNATURE}, t)) for t in (0, 30, 59.9, 60, 61, 999)
    ]
    assert found == [[], [], [], ["a.mp4"], [], []]


def test_two_scans_are_needed_even_where_no_rest_is_asked_for() -> None:
    settling = Settling()
    assert reported(settling, scan_of({"a.mp4": SIGNATURE}, 5, settle_s=0)) == []
    assert settling.next_due_s(ROOT) == 5
    assert reported(settling, scan_of({"a.mp4": SIGNATURE}, 5, settle_s=0)) == ["a.mp4"]


def test_the_rest_is_counted_from_the_end_of_a_scan_to_the_beginning_of_another() -> None:
    settling = Settling()
    assert reported(settling, scan_of({"a.mp4": SIGNATURE}, 0, took_s=50)) == []
    assert reported(settling, scan_of({"a.mp4": SIGNATURE}, 100, took_s=50)) == []
    assert settling.next_due_s(ROOT) == 110
    assert reported(settling, scan_of({"a.mp4": SIGNATURE}, 110, took_s=50)) == ["a.mp4"]


@pytest.mark.parametrize("field", ["device", "inode", "size_bytes", "mtime_ns", "ctime_ns"])
@pytest.mark.parametrize("step", [1, -1])
def test_a_change_of_any_figure_starts_the_rest_anew(field: str, step: int) -> None:
    changed = replace(SIGNATURE, **{field: getattr(SIGNATURE, field) + step})
    settling = Settling()
    scans = [(0, SIGNATURE), (59, changed), (61, changed), (119, changed), (130, SIGNATURE)]
    assert [reported(settling, scan_of({"a.mp4": s}, t)) for t, s in scans] == [
        [],
        [],
        [],
        ["a.mp4"],
        [],
    ]
    assert reported(settling, scan_of({"a.mp4": SIGNATURE}, 190)) == ["a.mp4"]


def test_an_empty_file_settles_like_any_other() -> None:
    settling = Settling()
    empty = replace(SIGNATURE, size_bytes=0)
    assert [reported(settling, scan_of({"a.mp4": empty}, t)) for t in (0, 60)] == [[], ["a.mp4"]]


def test_a_file_that_vanished_is_forgotten() -> None:
    settling = Settling()
    settling.observe(scan_of({"a.mp4": SIGNATURE}, 0))
    settling.observe(scan_of({}, 30))
    assert settling.next_due_s(ROOT) is None
    assert reported(settling, scan_of({"a.mp4": SIGNATURE}, 60)) == []
    assert reported(settling, scan_of({"a.mp4": SIGNATURE}, 120)) == ["a.mp4"]


def test_a_root_that_returns_repeats_no_report_and_lets_the_others_rest_anew() -> None:
    settling = Settling()
    settling.observe(scan_of({"old.mp4": SIGNATURE}, 0))
    both = {"old.mp4": SIGNATURE, "new.mp4": SIGNATURE}
    assert reported(settling, scan_of(both, 60)) == ["old.mp4"]
    assert settling.observe(offline()) == []
    assert settling.next_due_s(ROOT) is None
    assert reported(settling, scan_of(both, 500)) == []
    assert settling.next_due_s(ROOT) == 560
    assert reported(settling, scan_of(both, 560)) == ["new.mp4"]


def test_roots_do_not_touch_each_other() -> None:
    settling, other = Settling(), Path("/other")
    settling.observe(scan_of({"a.mp4": SIGNATURE}, 0))
    settling.observe(scan_of({"b.mp4": SIGNATURE}, 10, root=other, settle_s=300))
    settling.observe(offline(other))
    assert (settling.next_due_s(ROOT), settling.next_due_s(other)) == (60, None)
    assert reported(settling, scan_of({"a.mp4": SIGNATURE}, 60)) == ["a.mp4"]
    assert reported(settling, scan_of({"b.mp4": SIGNATURE}, 70, root=other, settle_s=300)) == []
    assert (settling.next_due_s(ROOT), settling.next_due_s(other)) == (None, 370)


def test_what_an_earlier_run_dealt_with_is_not_reported_until_it_changes() -> None:
    settling = Settling(known={ROOT / "a.mp4": SIGNATURE})
    found = scan_of({"a.mp4": SIGNATURE, "b.mp4": SIGNATURE}, 0)
    settling.observe(found)
    later = scan_of({"a.mp4": SIGNATURE, "b.mp4": SIGNATURE}, 60)
    assert reported(settling, later) == ["b.mp4"]
    changed = replace(SIGNATURE, ctime_ns=6)
    assert reported(settling, scan_of({"a.mp4": changed}, 70)) == []
    assert reported(settling, scan_of({"a.mp4": changed}, 130)) == ["a.mp4"]


def test_what_is_known_may_be_filled_in_while_running() -> None:
    known: dict[Path, FileSignature] = {}
    settling = Settling(known)
    known[ROOT / "a.mp4"] = SIGNATURE
    settling.observe(scan_of({"a.mp4": SIGNATURE}, 0))
    assert settling.next_due_s(ROOT) is None


def test_a_forgotten_file_is_reported_again_after_another_rest() -> None:
    settling = Settling()
    settling.observe(scan_of({"a.mp4": SIGNATURE}, 0))
    (file,) = settling.observe(scan_of({"a.mp4": SIGNATURE}, 60))
    settling.forget(file)
    settling.forget(replace(file, root=Path("/nowhere")))
    assert reported(settling, scan_of({"a.mp4": SIGNATURE}, 100)) == []
    assert reported(settling, scan_of({"a.mp4": SIGNATURE}, 160)) == ["a.mp4"]


# --- the rule, against its definition worked out from the whole history ------------------------


@dataclass(frozen=True)
class Step:
    pause_s: float
    took_s: float
    files: dict[str, FileSignature] | None  # None: offline


SECONDS = st.integers(0, 40).map(float)
SIGNATURES = st.sampled_from([SIGNATURE, replace(SIGNATURE, ctime_ns=6)])
STEPS = st.lists(
    st.builds(
        Step,
        SECONDS,
        SECONDS,
        st.one_of(
            st.none(), *[st.dictionaries(st.sampled_from(["a.mp4", "b.mp4"]), SIGNATURES)] * 5
        ),
    ),
    max_size=25,
)


def played(steps: list[Step]) -> Iterator[RootScan]:
    now_s = 0.0
    for step in steps:
        now_s += step.pause_s
        if step.files is None:
            yield replace(offline(), started_s=now_s, finished_s=now_s + step.took_s)
        else:
            yield scan_of(step.files, now_s, took_s=step.took_s)
        now_s += step.took_s


def look(scan: RootScan, name: str) -> FileSignature | None:
    return next((file.signature for file in scan.files if file.path.name == name), None)


def rested(history: list[RootScan], name: str) -> bool:
    """Whether the last scan and an earlier one, with the root online and the file unchanged in
    all scans between, are far enough apart."""
    last = history[-1]
    signature = look(last, name)
    earliest_s = None
    for scan in reversed(history[:-1]):
        if not scan.online or look(scan, name) != signature:
            break
        earliest_s = scan.finished_s
    return (
        signature is not None
        and earliest_s is not None
        and last.started_s - earliest_s >= last.settle_s
    )


@given(STEPS)
def test_every_file_is_reported_at_the_first_scan_at_which_it_has_rested(steps: list[Step]) -> None:
    settling = Settling()
    history: list[RootScan] = []
    told: dict[str, FileSignature] = {}
    for scan in played(steps):
        history.append(scan)
        if scan.online:
            told = {name: s for name, s in told.items() if look(scan, name) == s}
        expected = [
            file.path.name
            for file in scan.files
            if rested(history, file.path.name) and file.path.name not in told
        ]
        told |= {name: s for name in expected if (s := look(scan, name)) is not None}
        assert reported(settling, scan) == expected


@given(STEPS, SECONDS)
def test_a_scan_settles_something_if_and_only_if_it_is_due(
    steps: list[Step], later_s: float
) -> None:
    settling = Settling()
    scan = None
    for scan in played(steps):
        settling.observe(scan)
    if scan is None or not scan.online:
        assert settling.next_due_s(ROOT) is None
        return
    due_s = settling.next_due_s(ROOT)
    next_s = scan.finished_s + later_s
    settled = settling.observe(replace(scan, started_s=next_s, finished_s=next_s))
    assert bool(settled) == (due_s is not None and next_s >= due_s)


# --- real files --------------------------------------------------------------------------------


class Archive:
    """A real folder on a made-up clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_s = 1000.0
        self.settling = Settling()

    def after(self, seconds: float) -> list[str]:
        """Let time pass, scan, and tell what has settled."""
        self.now_s += seconds
        scan = scan_root(WatchedRoot(self.path, settle_s=60), clock=lambda: self.now_s)
        return [file.path.name for file in self.settling.observe(scan)]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def test_a_slow_writer_settles_once_after_it_is_done(archive: Archive) -> None:
    with (archive.path / "a.mp4").open("wb", buffering=0) as file:
        for chunk in range(10):
            file.write(bytes([chunk]) * 1000)
            assert archive.after(50) == []
    assert [archive.after(20) for _ in range(5)] == [[], [], ["a.mp4"], [], []]


def test_a_writer_that_pauses_and_goes_on_is_reported_again(archive: Archive) -> None:
    path = archive.path / "a.mp4"
    path.write_bytes(b"first")
    assert [archive.after(60) for _ in range(3)] == [[], ["a.mp4"], []]
    with path.open("ab") as file:
        file.write(b"second")
    assert [archive.after(60) for _ in range(3)] == [[], ["a.mp4"], []]


def test_new_bytes_of_the_same_size_under_an_older_time_are_a_change(archive: Archive) -> None:
    path = archive.path / "a.mp4"
    path.write_bytes(b"winter")
    assert [archive.after(60) for _ in range(2)] == [[], ["a.mp4"]]
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"summer")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns - 10**9))
    assert path.stat().st_size == before.st_size
    assert [archive.after(60) for _ in range(2)] == [[], ["a.mp4"]]


def test_a_file_dated_in_the_future_settles_like_any_other(archive: Archive) -> None:
    path = archive.path / "a.mp4"
    path.write_bytes(b"video")
    os.utime(path, (4_000_000_000, 4_000_000_000))
    assert [archive.after(60) for _ in range(2)] == [[], ["a.mp4"]]


def test_of_a_temporary_name_renamed_to_the_final_one_only_the_final_one_is_seen(
    archive: Archive,
) -> None:
    path = archive.path / "a.mp4.part"
    path.write_bytes(b"video")
    assert [archive.after(60) for _ in range(3)] == [[], [], []]
    path.rename(archive.path / "a.mp4")
    assert [archive.after(60) for _ in range(3)] == [[], ["a.mp4"], []]


def test_a_renamed_file_rests_under_its_new_name(archive: Archive) -> None:
    path = archive.path / "a.mp4"
    path.write_bytes(b"video")
    assert [archive.after(60) for _ in range(2)] == [[], ["a.mp4"]]
    path.rename(archive.path / "b.mp4")
    assert [archive.after(60) for _ in range(3)] == [[], ["b.mp4"], []]


def test_a_root_that_is_renamed_away_and_back_loses_nothing(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "root")
    archive.path.mkdir()
    (archive.path / "a.mp4").write_bytes(b"video")
    assert [archive.after(60) for _ in range(2)] == [[], ["a.mp4"]]
    archive.path.rename(tmp_path / "away")
    assert [archive.after(60) for _ in range(3)] == [[], [], []]
    (tmp_path / "away").rename(archive.path)
    (archive.path / "b.mp4").write_bytes(b"video")
    assert [archive.after(60) for _ in range(3)] == [[], ["b.mp4"], []]
