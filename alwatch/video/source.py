"""Opening what claims to be a video file, without ever blocking on it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alwatch.errors import VideoError


def shown_path(path: str | os.PathLike[str]) -> str:
    """Return a path as one printable line, whatever bytes its name is made of."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A regular, non-empty file held open for reading; `url` names it to FFmpeg."""

    path: Path
    fd: int
    size_bytes: int

    @property
    def url(self) -> str:
        """A name that reaches this very file, whatever its path looks like or becomes."""
        return f"/proc/self/fd/{self.fd}"


@contextmanager
def open_source(path: Path) -> Iterator[SourceFile]:
    """Hold a regular, non-empty file open; never block on anything else.

    Raises
    ------
    VideoError
        For a folder, FIFO, socket, device, empty or unreadable file.
    """
    shown = shown_path(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        kind = "a socket or device" if error.errno == errno.ENXIO else error.strerror
        raise VideoError(f"{shown} cannot be opened as a video: {kind}.") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise VideoError(
                f"{shown} is {_kind_of(status.st_mode)}, not a video file; move it out of the "
                "archive or exclude it."
            )
        if status.st_size == 0:
            raise VideoError(f"{shown} is empty (0 bytes); copy it anew or remove it.")
        yield SourceFile(path, fd, status.st_size)
    finally:
        os.close(fd)


def _kind_of(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
