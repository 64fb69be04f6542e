"""Which files are there and settled.

The scan is the truth and the file event only an alarm clock: an event makes the next scan come
sooner and carries no other meaning, so everything is found with events switched off, too.
"""

from alwatch.watch.content import content_hash, has_zero_tail
from alwatch.watch.roots import IGNORED, VIDEO_EXTENSIONS, WatchedRoot, file_system_kind
from alwatch.watch.scan import scan_root
from alwatch.watch.settling import Settling
from alwatch.watch.watcher import ArchiveWatcher, RootStatus

__all__ = [
    "IGNORED",
    "VIDEO_EXTENSIONS",
    "ArchiveWatcher",
    "RootStatus",
    "Settling",
    "WatchedRoot",
    "content_hash",
    "file_system_kind",
    "has_zero_tail",
    "scan_root",
]
