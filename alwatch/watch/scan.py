"""One walk over an archive root: every video file that is there, without opening any."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import deque
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from alwatch.errors import shown
from alwatch.records import FileSignature, RootScan, SeenFile
from alwatch.watch.roots import NameRules, WatchedRoot, file_system_kind

_GONE = (FileNotFoundError, NotADirectoryError)


def scan_root(root: WatchedRoot, *, clock: Callable[[], float] = time.monotonic) -> RootScan:
    """List the videos of an archive root in an order that is the same every time.

    Only regular files count, and linked ones as the root's `follow_symlinks` says. What vanishes
    during the walk is left out. A folder that cannot be read is left out and named in `problem`.

    Parameters
    ----------
    root : WatchedRoot
    clock : callable
        Monotonic seconds.

    Returns
    -------
    RootScan
        With `online` False and no files where the root is missing, unreadable, or was moved or
        replaced during the walk.
    """
    started_s = clock()
    settle_s = root.resting_time_s(file_system_kind(root.path))
    walk = _Walk(root)
    try:
        before = folder_identity(root.path)
        walk.run()
        moved = folder_identity(root.path) != before
    except OSError as error:
        problem = _offline(root.path, error)
        return RootScan(root.path, False, (), problem, settle_s, started_s, clock())
    if moved:
        problem = f"archive root {shown(root.path)} was replaced while it was being scanned; the "
        problem += "next scan looks again."
        return RootScan(root.path, False, (), problem, settle_s, started_s, clock())
    files = tuple(walk.files)
    return RootScan(root.path, True, files, walk.problem(), settle_s, started_s, clock())


def folder_identity(path: Path | str) -> tuple[int, int]:
    """Device and inode of the folder that `path` now leads to."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


class _Folder(NamedTuple):
    path: Path
    relative: str


class _Walk:
    """The state of one scan."""

    def __init__(self, root: WatchedRoot) -> None:
        self._root = root
        self._names = NameRules(root)
        self._linked: deque[_Folder] = deque()
        self._walked: set[tuple[int, int]] = set()
        self._unreadable: dict[Path, OSError] = {}
        self._entries = 0
        self.files: list[SeenFile] = []

    def run(self) -> None:
        """Walk the root; linked folders come last, so that a folder's own path wins."""
        top = _Folder(self._root.path, "")
        if self._root.follow_symlinks == "all":
            above = Path(os.path.realpath(top.path)).parents
            self._walked = {folder_identity(folder) for folder in above}
        folders = self._enter(top)[::-1]
        while folders or self._linked:
            folder = folders.pop() if folders else self._linked.popleft()
            try:
                folders += self._enter(folder)[::-1]
            except _GONE:
                continue
            except OSError as error:
                self._unreadable[folder.path] = error

    def problem(self) -> str | None:
        """One line on what an online root held back; None if nothing."""
        root = shown(self._root.path)
        if self._unreadable:
            path, error = next(iter(self._unreadable.items()))
            return (
                f"{len(self._unreadable)} folder(s) of archive root {root} could not be read, the "
                f"first is {shown(path)} ({error.strerror}); the rest was scanned. "
                f"{_remedy(error)}"
            )
        if not self._entries:
            return (
                f"archive root {root} is an empty folder. If its videos are on a drive of their "
                "own, mount it."
            )
        return None

    def _enter(self, folder: _Folder) -> list[_Folder]:
        """List one folder's videos; return the folders in it."""
        if self._root.follow_symlinks == "all":
            identity = folder_identity(folder.path)
            if identity in self._walked:
                return []
            self._walked.add(identity)
        with os.scandir(folder.path) as listing:
            entries = sorted(listing, key=attrgetter("name"))
        self._entries += len(entries)
        below = []
        for entry in entries:
            if self._names.ignored(folder.relative, entry.name):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    below.append(_below(folder, entry.name))
                elif entry.is_symlink():
                    self._follow(folder, entry)
                elif self._names.is_video(entry.name) and entry.is_file(follow_symlinks=False):
                    self._found(folder, entry.name, entry.stat(follow_symlinks=False))
            except _GONE:
                continue
            except OSError as error:
                self._unreadable.setdefault(folder.path, error)
        return below

    def _follow(self, folder: _Folder, link: os.DirEntry[str]) -> None:
        if self._root.follow_symlinks == "never":
            return
        try:
            target = link.stat()
        except OSError as error:
            if error.errno == errno.ELOOP:
                return
            raise
        if stat.S_ISREG(target.st_mode) and self._names.is_video(link.name):
            self._found(folder, link.name, target)
        elif stat.S_ISDIR(target.st_mode) and self._root.follow_symlinks == "all":
            self._linked.append(_below(folder, link.name))

    def _found(self, folder: _Folder, name: str, found: os.stat_result) -> None:
        signature = FileSignature.from_stat(found)
        self.files.append(SeenFile(folder.path / name, self._root.path, signature))


def _below(folder: _Folder, name: str) -> _Folder:
    return _Folder(folder.path / name, os.path.join(folder.relative, name))


def _offline(root: Path, error: OSError) -> str:
    return (
        f"archive root {shown(root)} cannot be scanned: {error.strerror}; what is known of its "
        f"files is kept. {_remedy(error)}"
    )


def _remedy(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "Mount its drive, or correct the path in the settings."
    if isinstance(error, NotADirectoryError):
        return "Name the folder in the settings, not a file in it."
    if isinstance(error, PermissionError):
        return f"Let the user that alwatch runs as (uid {os.geteuid()}) read and enter it."
    return "Check the drive and its connection."
