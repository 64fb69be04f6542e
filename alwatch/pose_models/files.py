"""The sha256 of a model's files, computed again only where a file has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from alwatch.errors import PoseModelError, shown
from alwatch.records import FileSignature, LocatedSnapshot


class HashedFiles:
    """Remembers the sums of files whose `stat` has not changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[FileSignature, bytes]] = {}

    def sha256(self, paths: Sequence[Path], *, also: bytes = b"") -> str:
        """Compute one sum over the contents of files, in order, and some more bytes.

        Raises
        ------
        PoseModelError
            A file cannot be read at this moment.
        """
        digest = hashlib.sha256(also)
        for path in paths:
            digest.update(self._of(path))
        return digest.hexdigest()

    def signatures(self, paths: Sequence[Path]) -> tuple[tuple[Path, FileSignature], ...]:
        """The files and what they were when their sums were taken; `sha256` comes first."""
        return tuple((path, self._known[path][0]) for path in paths)

    def verify(
        self,
        located: LocatedSnapshot,
        kind: str,
        also: Callable[[dict[str, Any]], bytes] = lambda model: b"",
    ) -> LocatedSnapshot:
        """A snapshot with its files as they are now, which still are what its sum was taken of.

        Parameters
        ----------
        located : LocatedSnapshot
        kind : str
            What it must be of.
        also : callable
            The bytes that its sum is over beside the files, by what its worker is told.

        Raises
        ------
        PoseModelError
            They are not, or one of them cannot be read at this moment.
        """
        snapshot = located.snapshot
        if snapshot.kind != kind:
            raise PoseModelError(f"{snapshot.name} is of {snapshot.kind}, pose_model of {kind}")
        paths = [path for path, _ in located.files]
        for path in paths:
            if not os.path.isfile(path):
                raise PoseModelError(f"its file {shown(path)} is gone or cannot be read")
        if self.sha256(paths, also=also(located.model)) != snapshot.sha256:
            where = ", ".join(shown(path) for path in paths)
            raise PoseModelError(f"its files were overwritten ({where})")
        return replace(located, files=self.signatures(paths))

    def _of(self, path: Path) -> bytes:
        try:
            signature = FileSignature.from_stat(path.stat())
            known = self._known.get(path)
            if known is None or known[0] != signature:
                with path.open("rb") as file:
                    known = (signature, hashlib.file_digest(file, "sha256").digest())
                self._known[path] = known
        except OSError as error:
            raise PoseModelError(f"{path} cannot be read: {error.strerror}; try again.") from error
        return known[1]
