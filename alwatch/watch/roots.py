"""An archive root: its settings, which names in it count, and what kind of drive it is on."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

FileSystemKind = Literal["local", "network"]
WatchMode = Literal["auto", "inotify", "poll"]
SymlinkPolicy = Literal["never", "files", "all"]

VIDEO_EXTENSIONS = frozenset({
    "3g2", "3gp", "asf", "avi", "divx", "dv", "f4v", "flv", "h264", "m2ts", "m2v", "m4v",
    "mjpeg", "mjpg", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv", "qt", "ts", "vob",
    "webm", "wmv",
})  # fmt: skip
"""Suffixes, in lower case and without a dot, that make a file a video unless a root says else."""

IGNORED = (
    ".*",  # hidden: .stfolder, .stversions, .Trash-1000, ._resource, rsync's .name.XXXXXX
    "@eaDir",
    "@Recycle",
    "@Recently-Snapshot",
    "#recycle",
    "#snapshot",
    "$RECYCLE.BIN",
    "System Volume Information",
    "__MACOSX",
    "lost+found",
    "~*",
    "*~",
    "*.tmp",
    "*.temp",
    "*.part",
    "*.partial",
    "*.crdownload",
    "*.download",
    "*.filepart",
)
"""Names of files and folders that are never looked at unless a root says else."""

_SETTLE_S: dict[FileSystemKind, float] = {"local": 60.0, "network": 300.0}
_SCAN_WITH_EVENTS_S = 300.0
_SCAN_POLLING_S = 60.0


@dataclass(frozen=True, slots=True)
class WatchedRoot:
    """One folder of the archive, and how it is watched.

    Parameters
    ----------
    path : Path
        Absolute. It need not exist yet.
    watch : {"auto", "inotify", "poll"}
        Whether file events bring the next scan forward; `auto` uses them on local drives.
    settle_s : float, optional
        How long a file must rest before it is taken as complete. By default 60 s on a local
        drive and 300 s on a network drive, where sizes and times arrive late.
    scan_s : float, optional
        Seconds from one scan to the next. By default 300 s with events and 60 s without.
    extensions : frozenset of str
        Suffixes of videos, lower case, without the dot; they match names in any case.
    ignore : tuple of str
        Glob patterns of files and folders to leave out. One that holds a slash is matched with
        the path relative to the root (`*` crosses slashes), any other with each name.
        Replaces `IGNORED`.
    follow_symlinks : {"never", "files", "all"}
        `files` lists links that lead to a regular file; `all` also walks linked folders, each
        folder once, and none that holds the root itself.

    Raises
    ------
    ValueError
        If a setting is outside its range; all such faults are named at once.
    """

    path: Path
    watch: WatchMode = "auto"
    settle_s: float | None = None
    scan_s: float | None = None
    extensions: frozenset[str] = VIDEO_EXTENSIONS
    ignore: tuple[str, ...] = IGNORED
    follow_symlinks: SymlinkPolicy = "files"

    def __post_init__(self) -> None:
        faults = []
        if not self.path.is_absolute():
            faults.append(f"path must be absolute, got {str(self.path)!r}")
        if self.watch not in get_args(WatchMode):
            faults.append(f"watch must be one of {get_args(WatchMode)}, got {self.watch!r}")
        if self.follow_symlinks not in get_args(SymlinkPolicy):
            choices = get_args(SymlinkPolicy)
            faults.append(f"follow_symlinks must be one of {choices}, got {self.follow_symlinks!r}")
        if self.settle_s is not None and not self.settle_s >= 0:
            faults.append(f"settle_s must be >= 0, got {self.settle_s}")
        if self.scan_s is not None and not self.scan_s > 0:
            faults.append(f"scan_s must be > 0, got {self.scan_s}")
        wrong = sorted(e for e in self.extensions if not e or e != e.lower() or e.startswith("."))
        if wrong:
            faults.append(f"extensions must be lower case and without a dot, got {wrong}")
        if faults:
            raise ValueError("; ".join(faults))

    def resting_time_s(self, kind: FileSystemKind) -> float:
        """Seconds a file must rest on such a drive before it is taken as complete."""
        return _SETTLE_S[kind] if self.settle_s is None else self.settle_s

    def scan_interval_s(self, *, events: bool) -> float:
        """Seconds from one scan to the next, with events or without."""
        if self.scan_s is not None:
            return self.scan_s
        return _SCAN_WITH_EVENTS_S if events else _SCAN_POLLING_S

    def wants_events(self, kind: FileSystemKind) -> bool:
        """Whether file events are to be used on such a drive."""
        return self.watch == "inotify" or (self.watch == "auto" and kind == "local")


class NameRules:
    """A root's `ignore` and `extensions`, compiled for a walk over many names."""

    def __init__(self, root: WatchedRoot) -> None:
        by_path = [pattern for pattern in root.ignore if "/" in pattern.rstrip("/")]
        by_name = [pattern for pattern in root.ignore if "/" not in pattern.rstrip("/")]
        self._path = _any_of(by_path)
        self._name = _any_of(by_name)
        self._extensions = root.extensions

    def ignored(self, folder: str, name: str) -> bool:
        """Whether to leave out `name` in `folder`, which is relative to the root, "" for it."""
        if self._name is not None and self._name.match(name):
            return True
        return self._path is not None and bool(self._path.match(os.path.join(folder, name)))

    def is_video(self, name: str) -> bool:
        """Whether a name has one of the suffixes; a bare `.mp4` is a name and not a suffix."""
        stem, _, extension = name.rpartition(".")
        return bool(stem) and extension.lower() in self._extensions


def _any_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    translated = [fnmatch.translate(pattern.strip("/")) for pattern in patterns]
    return re.compile("|".join(translated)) if translated else None


# --- the kind of drive -------------------------------------------------------------------------

# Types on which another machine may write without this kernel noticing: no event comes, and
# size and times may be seconds old. An autofs that nothing is mounted on yet is nearly always
# a network drive to come.
_NETWORK_TYPES = frozenset({
    "9p", "acfs", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "davfs", "fhgfs", "gfs",
    "gfs2", "glusterfs", "gpfs", "lustre", "mvfs", "ncp", "ncpfs", "nfs", "nfs4", "ocfs2",
    "orangefs", "panfs", "prl_fs", "pvfs2", "smb", "smb2", "smb3", "smbfs", "vboxsf",
    "virtiofs", "vmhgfs", "wekafs",
})  # fmt: skip
# A FUSE type that is not known is taken for a network drive: polling it is only slower.
_LOCAL_FUSE_TYPES = frozenset({
    "fuse.bindfs", "fuse.cryfs", "fuse.encfs", "fuse.exfat", "fuse.fuse-overlayfs",
    "fuse.gocryptfs", "fuse.mergerfs", "fuse.ntfs", "fuse.ntfs-3g", "fuse.veracrypt",
})  # fmt: skip


class _Mount(NamedTuple):
    id: str
    parent: str
    point: str
    type: str


def file_system_kind(path: Path, mountinfo: bytes | None = None) -> FileSystemKind:
    """Tell whether a path lies on a local or on a network drive.

    Parameters
    ----------
    path : Path
        Need not exist; the nearest folder that does decides.
    mountinfo : bytes, optional
        Content of `/proc/self/mountinfo`, which is read if it is not given. Where there is
        none, every path is local.
    """
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_bytes()
        except OSError:
            return "local"
    kind = _type_at(_parse_mounts(mountinfo), os.path.realpath(path))
    if kind in _NETWORK_TYPES:
        return "network"
    is_fuse = kind == "fuse" or kind.startswith("fuse.")
    return "network" if is_fuse and kind not in _LOCAL_FUSE_TYPES else "local"


def _parse_mounts(mountinfo: bytes) -> list[_Mount]:
    """Read the lines of mountinfo (see proc(5)): id, parent, mount point and type of each."""
    mounts = []
    for line in mountinfo.splitlines():
        fields = line.split(b" ")
        try:
            kind = fields[fields.index(b"-", 6) + 1]
        except (ValueError, IndexError):
            continue
        point = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), fields[4])
        mounts.append(_Mount(*map(os.fsdecode, (fields[0], fields[1], point, kind))))
    return mounts


def _type_at(mounts: list[_Mount], path: str) -> str:
    """Type of the file system that holds `path`, found as the kernel walks: mount by mount.

    Going from a mount to its children, and to the one met first on the way down, is right
    where the longest mount point is not: a mount hides whatever was mounted below it before.
    """
    ids = {mount.id for mount in mounts}
    above = [m for m in mounts if _holds(m.point, path)]
    level = [m for m in above if m.parent not in ids or m.parent == m.id]
    kind = ""
    while level:
        # Of several on one point the last one hides the others.
        here = min(reversed(level), key=lambda m: len(m.point))
        kind = here.type
        level = [m for m in above if m.parent == here.id != m.id]
    return kind


def _holds(point: str, path: str) -> bool:
    return point == "/" or path == point or path.startswith(point + "/")
