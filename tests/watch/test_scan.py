import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from alwatch.records import FileSignature, RootScan
from alwatch.watch import WatchedRoot, scan_root

NOBODY = 65534


def names(scan: RootScan) -> list[str]:
    return [str(file.path.relative_to(scan.root)) for file in scan.files]


def write(path: Path, content: bytes = b"video") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def scan_in_child(root: Path, before: str = "") -> dict[str, Any]:
    """Scan in another process, after running `before` in it; what it found, as JSON."""
    code = f"""
        import json, os, shutil, sys
        from pathlib import Path
        from alwatch.watch import WatchedRoot, scan_root
        root = WatchedRoot(Path({str(root)!r}))
        opened = []
    """
    code = (
        textwrap.dedent(code)
        + textwrap.dedent(before)
        + textwrap.dedent("""
        scan = scan_root(root)
        files = [os.path.relpath(file.path, scan.root) for file in scan.files]
        found = {"online": scan.online, "problem": scan.problem, "files": files, "opened": opened}
        print(json.dumps(found))
    """)
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


BECOME_NOBODY = f"""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid({NOBODY})
        os.setuid({NOBODY})
"""


@pytest.fixture
def public_dir() -> Iterator[Path]:
    """A folder that other users can reach, which pytest's own are not."""
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


# --- what counts as a video --------------------------------------------------------------------


def test_videos_are_found_by_suffix_in_any_case_at_any_depth_in_a_fixed_order(
    tmp_path: Path,
) -> None:
    for name in ("b.mp4", "B.MP4", "a/x.Avi", "a/b/c/d.mkv", "z.mjpeg", "c.tar.mov"):
        write(tmp_path / name)
    for name in ("notes.txt", "mp4", ".mp4", "a.mp4.txt", "video.mp4.part"):
        write(tmp_path / name)
    scan = scan_root(WatchedRoot(tmp_path))
    assert scan.online and scan.problem is None
    expected = ["B.MP4", "b.mp4", "c.tar.mov", "z.mjpeg", "a/x.Avi", "a/b/c/d.mkv"]
    assert names(scan) == expected
    assert {file.root for file in scan.files} == {tmp_path}


def test_the_signature_is_what_stat_says(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", b"12345")
    (file,) = scan_root(WatchedRoot(tmp_path)).files
    assert file.signature == FileSignature.from_stat(path.stat())
    assert file.signature.size_bytes == 5


def test_a_scan_carries_its_times_and_the_roots_resting_time(tmp_path: Path) -> None:
    ticks = iter([10.0, 12.5])
    scan = scan_root(WatchedRoot(tmp_path, settle_s=7), clock=lambda: next(ticks))
    assert (scan.started_s, scan.finished_s, scan.settle_s) == (10.0, 12.5, 7)


def test_a_root_may_have_its_own_suffixes(tmp_path: Path) -> None:
    write(tmp_path / "a.seq")
    write(tmp_path / "a.mp4")
    assert names(scan_root(WatchedRoot(tmp_path, extensions=frozenset({"seq"})))) == ["a.seq"]


def test_only_regular_files_are_videos(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "folder.mp4").mkdir()
    write(tmp_path / "folder.mp4" / "inside.mp4")
    (tmp_path / "device.mp4").symlink_to("/dev/zero")
    (tmp_path / "linkedfifo.mp4").symlink_to("fifo.mp4")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s.mp4"))
        assert names(scan_root(WatchedRoot(tmp_path))) == ["folder.mp4/inside.mp4"]


def test_odd_names_are_found_as_they_are(tmp_path: Path) -> None:
    odd = [b"new\nline.mp4", b"-rf.mp4", b"raw\xff\xfe.mp4", b"n" * 251 + b".mp4", b"a b\t.mp4"]
    for name in odd:
        os.close(os.open(os.path.join(os.fsencode(tmp_path), name), os.O_CREAT | os.O_WRONLY))
    scan = scan_root(WatchedRoot(tmp_path))
    assert {os.fsencode(file.path.name) for file in scan.files} == set(odd)
    assert all(file.path.stat().st_ino == file.signature.inode for file in scan.files)


def test_no_file_is_opened_by_a_scan(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    hook = f"""
        def note(event, args):
            if event == "open" and str(args[0]).startswith({str(tmp_path)!r}):
                opened.append(str(args[0]))
        sys.addaudithook(note)
    """
    found = scan_in_child(tmp_path, hook)
    assert (found["files"], found["opened"]) == (["a.mp4"], [])


# --- what is left out --------------------------------------------------------------------------


def test_what_other_programs_leave_behind_is_ignored(tmp_path: Path) -> None:
    for name in (
        ".hidden.mp4",
        "._resource.mp4",
        ".stfolder/a.mp4",
        ".stversions/a.mp4",
        "@eaDir/a.mp4/thumb.mp4",
        "deep/__MACOSX/a.mp4",
        "#recycle/a.mp4",
        "~a.mp4",
        "upload.part/a.mp4",
    ):
        write(tmp_path / name)
    write(tmp_path / "deep" / "real.mp4")
    assert names(scan_root(WatchedRoot(tmp_path))) == ["deep/real.mp4"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("calib*", ["a/x.mp4", "b/a/x.mp4"]),
        ("a/calib.mp4", ["calib.mp4", "a/x.mp4", "b/a/x.mp4"]),
        ("/a/", ["calib.mp4", "b/a/x.mp4"]),
        ("a/", ["calib.mp4"]),
        ("b/*/x.mp4", ["calib.mp4", "a/calib.mp4", "a/x.mp4"]),
        ("CALIB*", ["calib.mp4", "a/calib.mp4", "a/x.mp4", "b/a/x.mp4"]),
    ],
)
def test_patterns_match_names_or_with_a_slash_paths(
    tmp_path: Path, pattern: str, left: list[str]
) -> None:
    for name in ("calib.mp4", "a/calib.mp4", "a/x.mp4", "b/a/x.mp4"):
        write(tmp_path / name)
    assert names(scan_root(WatchedRoot(tmp_path, ignore=(pattern,)))) == left


def test_a_name_that_is_all_suffix_has_none(tmp_path: Path) -> None:
    write(tmp_path / ".mp4")
    write(tmp_path / ".a.mp4")
    assert names(scan_root(WatchedRoot(tmp_path, ignore=()))) == [".a.mp4"]


# --- links -------------------------------------------------------------------------------------


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A root with linked files and folders, loops, and links that lead nowhere."""
    root = tmp_path / "root"
    write(tmp_path / "outside" / "far.mp4")
    write(tmp_path / "outside" / "sub" / "far2.mp4")
    write(root / "z" / "own.mp4")
    (root / "file.mp4").symlink_to(tmp_path / "outside" / "far.mp4")
    (root / "notes.txt").symlink_to(tmp_path / "outside" / "far.mp4")
    (root / "gone.mp4").symlink_to(tmp_path / "nowhere")
    (root / "self.mp4").symlink_to("self.mp4")
    (root / "a_link").symlink_to("z")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "out_again").symlink_to(tmp_path / "outside")
    (root / "dot").symlink_to(".")
    (root / "z" / "up").symlink_to("..")
    (root / "top").symlink_to("/")
    return root


def test_links_are_left_alone_where_the_setting_says_so(linked: Path) -> None:
    scan = scan_root(WatchedRoot(linked, follow_symlinks="never"))
    assert (names(scan), scan.problem) == (["z/own.mp4"], None)


def test_linked_files_are_followed_by_default_and_linked_folders_are_not(linked: Path) -> None:
    scan = scan_root(WatchedRoot(linked))
    assert (names(scan), scan.problem) == (["file.mp4", "z/own.mp4"], None)
    target = (linked.parent / "outside" / "far.mp4").stat()
    assert scan.files[0].signature == FileSignature.from_stat(target)


def test_linked_folders_are_walked_once_where_allowed_and_loops_end(linked: Path) -> None:
    scan = scan_root(WatchedRoot(linked, follow_symlinks="all"))
    assert names(scan) == ["file.mp4", "z/own.mp4", "out/far.mp4", "out/sub/far2.mp4"]
    assert scan.problem is None


def test_a_root_may_itself_be_a_link(linked: Path) -> None:
    link = linked.parent / "link"
    link.symlink_to(linked)
    for policy in ("never", "files", "all"):
        assert scan_root(WatchedRoot(link, follow_symlinks=policy)).files[-1:]


# --- faults ------------------------------------------------------------------------------------


def test_a_missing_root_is_offline_with_one_clear_line(tmp_path: Path) -> None:
    scan = scan_root(WatchedRoot(tmp_path / "new\nline"))
    assert (scan.online, scan.files) == (False, ())
    assert scan.problem is not None and "\n" not in scan.problem
    assert "No such file" in scan.problem and "Mount" in scan.problem


def test_a_root_that_is_a_file_is_offline(tmp_path: Path) -> None:
    scan = scan_root(WatchedRoot(write(tmp_path / "a.mp4")))
    assert not scan.online and scan.problem is not None and "Not a directory" in scan.problem


def test_an_unreadable_root_is_offline(public_dir: Path) -> None:
    write(public_dir / "root" / "a.mp4")
    (public_dir / "root").chmod(0)
    found = scan_in_child(public_dir / "root", BECOME_NOBODY)
    assert (found["online"], found["files"]) == (False, [])
    assert "Permission denied" in found["problem"] and "uid" in found["problem"]


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_an_unreadable_folder_is_named_and_the_rest_is_scanned(public_dir: Path, mode: int) -> None:
    for name in ("a/1.mp4", "closed/2.mp4", "closed/3.mp4", "z/4.mp4"):
        write(public_dir / name)
    (public_dir / "closed").chmod(mode)
    found = scan_in_child(public_dir, BECOME_NOBODY)
    assert (found["online"], found["files"]) == (True, ["a/1.mp4", "z/4.mp4"])
    assert f"first is {public_dir}/closed (Permission denied)" in found["problem"]
    assert found["problem"].startswith("1 folder(s)")


def test_an_empty_root_is_online_with_a_word_on_mounting(tmp_path: Path) -> None:
    scan = scan_root(WatchedRoot(tmp_path))
    assert scan.online and scan.problem is not None and "empty" in scan.problem
    write(tmp_path / "lost+found" / "a.mp4")
    assert scan_root(WatchedRoot(tmp_path)).problem is None


def test_a_folder_that_vanishes_during_the_scan_is_left_out(tmp_path: Path) -> None:
    for name in ("a/1.mp4", "b/2.mp4", "c/3.mp4"):
        write(tmp_path / name)
    hook = f"""
        def vanish(event, args):
            if event == "os.scandir" and str(args[0]).endswith("/a"):
                os.rename({str(tmp_path / "b")!r}, {str(tmp_path / "c" / "moved")!r})
        sys.addaudithook(vanish)
    """
    found = scan_in_child(tmp_path, hook)
    assert (found["online"], found["problem"]) == (True, None)
    assert found["files"] == ["a/1.mp4", "c/3.mp4", "c/moved/2.mp4"]


def test_a_root_that_is_renamed_during_the_scan_is_offline(tmp_path: Path) -> None:
    for name in ("root/a/1.mp4", "root/b/2.mp4"):
        write(tmp_path / name)
    hook = f"""
        def rename(event, args):
            if event == "os.scandir" and str(args[0]).endswith("/b"):
                os.rename({str(tmp_path / "root")!r}, {str(tmp_path / "away")!r})
                {{}}
        sys.addaudithook(rename)
    """
    found = scan_in_child(tmp_path / "root", hook.format("pass"))
    assert (found["online"], found["files"]) == (False, [])
    (tmp_path / "away").rename(tmp_path / "root")
    found = scan_in_child(tmp_path / "root", hook.format(f"os.mkdir({str(tmp_path / 'root')!r})"))
    assert (found["online"], found["files"]) == (False, [])
    assert "replaced while" in found["problem"]


def test_files_that_come_and_go_during_scans_do_no_harm(tmp_path: Path) -> None:
    write(tmp_path / "a" / "stays.mp4")
    enough = threading.Event()

    def come_and_go() -> None:
        while not enough.is_set():
            for i in range(50):
                write(tmp_path / "a" / f"{i}.mp4")
            for i in range(50):
                (tmp_path / "a" / f"{i}.mp4").unlink()

    busy = threading.Thread(target=come_and_go)
    busy.start()
    try:
        for _ in range(200):
            scan = scan_root(WatchedRoot(tmp_path))
            assert scan.online and scan.problem is None
            assert "a/stays.mp4" in names(scan)
    finally:
        enough.set()
        busy.join()
