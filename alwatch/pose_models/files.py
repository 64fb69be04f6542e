"""The sha256 of a model's files, computed again only where a file has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from alwatch.errors import PoseModelError
from alwatch.records import FileSignature


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
