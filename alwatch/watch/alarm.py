"""File events of one root, as an alarm that rings. Imported on use, since watchdog is."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyObserver

from alwatch.watch.roots import NameRules, WatchedRoot

# Writing and reading are left out: a camera writes without end, and alwatch itself reads.
_EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
_IN_DELETE_SELF = 0x400  # <sys/inotify.h>
_LIMITS = {
    errno.ENOSPC: ("the inotify watches", "max_user_watches", 524288),
    errno.EMFILE: ("the inotify instances or the open files", "max_user_instances", 1024),
}


class Alarm:
    """Rings whenever something in a root may have changed; starts on construction.

    Parameters
    ----------
    root : WatchedRoot
    ring : callable
        Called from another thread, often many times in a row.

    Raises
    ------
    OSError
        If there is no alarm to be had: ENOSPC where the user's inotify watches are used up,
        EMFILE where the inotify instances or the process's open files are.
    """

    def __init__(self, root: WatchedRoot, ring: Callable[[], None]) -> None:
        # watchdog would watch a link itself instead of the folder it leads to.
        self._path = os.path.realpath(root.path)
        self._observer = InotifyObserver()
        try:
            handler = _Ringer(NameRules(root), ring)
            self._observer.schedule(handler, self._path, recursive=True, event_filter=_EVENTS)
            self._observer.start()
            self._threads = self._helpers()
            self.check()
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Raise OSError if the alarm can no longer be relied upon.

        An observer says that it is alive when the threads that feed it have died, and it passes
        over folders for which no inotify watch was left; so both are looked at here.
        """
        if not all(thread.is_alive() for thread in self._threads):
            raise OSError(errno.EIO, "The observer of file events has stopped", self._path)
        _try_one_watch(self._path)

    def stop(self) -> None:
        """Give back the watches and end the observer's threads."""
        self._observer.stop()
        if self._observer.is_alive():
            self._observer.join()

    def _helpers(self) -> list[threading.Thread]:
        """Every thread that the observer's work depends on, itself included."""
        owners: list[threading.Thread] = [self._observer, *self._observer.emitters]
        parts = [part for owner in owners for part in vars(owner).values()]
        return owners + [part for part in parts if isinstance(part, threading.Thread)]


class _Ringer(FileSystemEventHandler):
    def __init__(self, names: NameRules, ring: Callable[[], None]) -> None:
        self._names = names
        self._ring = ring

    def dispatch(self, event: FileSystemEvent) -> None:
        paths = (os.fsdecode(event.src_path), os.fsdecode(event.dest_path))
        if event.is_directory or any(self._names.is_video(os.path.basename(p)) for p in paths):
            self._ring()


def _try_one_watch(path: str) -> None:
    """Raise OSError(ENOSPC) if not one more inotify watch can be had."""
    libc = ctypes.CDLL(None, use_errno=True)
    inotify = libc.inotify_init1(os.O_CLOEXEC)
    if inotify < 0:
        return  # no instance left to try with, which says nothing about watches
    try:
        if libc.inotify_add_watch(inotify, os.fsencode(path), _IN_DELETE_SELF) < 0:
            code = ctypes.get_errno()
            if code == errno.ENOSPC:
                raise OSError(code, os.strerror(code), path)
    finally:
        os.close(inotify)


def alarm_remedy(error: OSError | RuntimeError) -> str:
    """Say why there is no alarm, and what a person can do about it."""
    later = "the alarm is tried again every hour"
    code = error.errno if isinstance(error, OSError) else None
    if code not in _LIMITS:
        return f"{error}; {later}."
    what, name, enough = _LIMITS[code]
    return (
        f"{what} are used up (fs.inotify.{name} is {_sysctl(name)}). Raise the limit with "
        f"`sysctl fs.inotify.{name}={enough}`; {later}."
    )


def _sysctl(name: str) -> str:
    try:
        return Path("/proc/sys/fs/inotify", name).read_text().strip()
    except OSError:
        return "unknown"
