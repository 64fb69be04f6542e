"""`do: file`: the evidence as one JSON file, for whatever watches that folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from alwatch.actions.disk import as_json, write_whole
from alwatch.errors import ActionError, shown


class WriteFile:
    """Writes `<key>.json`, whole or not at all; one that is there is left as it is.

    Parameters
    ----------
    folder : str or Path
        Where; it must be there, since a folder that is not may be a drive that is not mounted.
    """

    def __init__(self, *, folder: str | Path) -> None:
        self._folder = Path(folder)

    def deliver(self, key: str, evidence: dict[str, Any], workdir: Path) -> str:
        """Write the file.

        Raises
        ------
        ActionError
            The folder is not there or cannot be written.
        """
        if Path(key).name != key:
            raise ActionError(f"{shown(key)} cannot be the name of a file.", again=False)
        target = self._folder / f"{key}.json"
        if not self._folder.is_dir():
            raise ActionError(
                f"{shown(target)} cannot be written: {shown(self._folder)} is no folder. Make it, "
                "or mount its drive."
            )
        if os.path.lexists(target):
            return f"{shown(target)} was there already"
        write_whole(target, as_json(evidence))
        return f"wrote {shown(target)}"
