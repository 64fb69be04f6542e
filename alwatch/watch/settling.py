"""When a file counts as complete: nobody has touched it for long enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from alwatch.records import FileSignature, RootScan, SeenFile


@dataclass(slots=True)
class _Resting:
    """A file, since when its signature is what it is, and whether it has been reported."""

    signature: FileSignature
    since_s: float
    reported: bool


class Settling:
    """Tells settled files from growing ones, scan by scan.

    A file is settled when two scans saw the same signature and the later one began at least the
    root's `settle_s` after the earlier one had ended. The scans carry their own monotonic times,
    so neither a jump of the wall clock nor a scan that waited in a queue makes a file look older.

    Parameters
    ----------
    known : mapping of Path to FileSignature, optional
        Files that need no report while their signature is this one: what an earlier run has
        dealt with. Looked up whenever a file is seen for the first time or has changed.
    """

    def __init__(self, known: Mapping[Path, FileSignature] | None = None) -> None:
        self._known: Mapping[Path, FileSignature] = {} if known is None else known
        self._files: dict[Path, dict[Path, _Resting]] = {}
        self._settle_s: dict[Path, float] = {}
        self._away: set[Path] = set()

    def observe(self, scan: RootScan) -> list[SeenFile]:
        """Take in the next scan of a root; return the files that have settled with it.

        Each file is returned once for each of its signatures. A file that is missing from the
        scan is forgotten. While a root is offline nothing is forgotten, and on its return the
        time of resting starts anew.

        Parameters
        ----------
        scan : RootScan
            Scans of one root come in the order in which they were made.
        """
        if not scan.online:
            self._away.add(scan.root)
            return []
        returned = scan.root in self._away
        self._away.discard(scan.root)
        before = self._files.get(scan.root, {})
        after: dict[Path, _Resting] = {}
        settled = []
        for file in scan.files:
            resting = before.get(file.path)
            if resting is None or resting.signature != file.signature:
                known = self._known.get(file.path) == file.signature
                resting = _Resting(file.signature, scan.finished_s, reported=known)
            elif returned:
                resting.since_s = scan.finished_s
            elif not resting.reported and scan.started_s >= resting.since_s + scan.settle_s:
                resting.reported = True
                settled.append(file)
            after[file.path] = resting
        self._files[scan.root] = after
        self._settle_s[scan.root] = scan.settle_s
        return settled

    def next_due_s(self, root: Path) -> float | None:
        """Monotonic time from which a scan of `root` can settle a file; None if nothing rests."""
        if root in self._away:
            return None
        files = self._files.get(root, {}).values()
        since_s = min((file.since_s for file in files if not file.reported), default=None)
        return None if since_s is None else since_s + self._settle_s[root]

    def forget(self, file: SeenFile) -> None:
        """Start anew with a file that was reported but could not be used yet."""
        self._files.get(file.root, {}).pop(file.path, None)
