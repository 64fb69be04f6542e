"""A DeepLabCut project's config.yaml: what it says, and its list of videos."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alwatch.errors import ExportError
from alwatch.labelling.images import png_size_px, write_durably
from alwatch.labelling.project_folders import stem_anywhere
from alwatch.labelling.staging import put_over, sync_folder
from alwatch.labelling.video_sets import add_video_sets, parse_config, remove_video_sets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NEW_NAME = ".config.yaml.alwatch"


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of a video's frames that DeepLabCut cuts out where it is asked to."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int

    @classmethod
    def of(cls, entry: Any) -> Crop | None:
        """Read an entry of `video_sets`; None where it names no part."""
        text = entry.get("crop") if isinstance(entry, dict) else None
        try:
            x1, x2, y1, y2 = (int(part) for part in str(text).split(","))
        except ValueError:
            return None
        return cls(x1, y1, x2 - x1, y2 - y1)

    def offset_px(self, image: Path) -> tuple[int, int]:
        """Where an image lies in the whole frame: cut out if it has just the size of this."""
        if self.x_px == self.y_px == 0:
            return 0, 0
        try:
            is_cut = png_size_px(image) == (self.width_px, self.height_px)
        except (ValueError, OSError):
            is_cut = False
        return (self.x_px, self.y_px) if is_cut else (0, 0)


def crop_text(width_px: int, height_px: int) -> str:
    """The `crop` of whole frames, as DeepLabCut writes it."""
    return f"0, {width_px}, 0, {height_px}"


class ProjectConfig:
    """The config.yaml at `path`; nothing is read before it is needed."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))

    def read(self) -> dict[str, Any]:
        """Read the settings.

        Raises
        ------
        ExportError
            It is not there, or not a project's.
        """
        return self._read()[1]

    def listed(self) -> dict[str, Any]:
        """Read the videos that are listed, with their entries; raises as `read` does."""
        return video_sets(self.read())

    def offsets(self) -> dict[str, Callable[[Path], tuple[int, int]]]:
        """By folder, what says where an image lies in the frame, of videos that are cropped."""
        found = {stem_anywhere(key): Crop.of(entry) for key, entry in self.listed().items()}
        return {name: crop.offset_px for name, crop in found.items() if crop}

    def clear_stale(self) -> None:
        """Remove what a dead run has left."""
        self.path.resolve().with_name(_NEW_NAME).unlink(missing_ok=True)

    def add(self, crops: Mapping[str, str]) -> None:
        """List further videos, with their crop.

        Raises
        ------
        ExportError
            They cannot be added as text, or the file was edited meanwhile.
        """
        content = self._read()[0]
        if crops:
            self._replace(content, add_video_sets(content, crops))

    def remove(self, crops: Mapping[str, str]) -> None:
        """Take videos off the list whose entry is still just this crop, where text can be cut.

        Raises
        ------
        ExportError
            The file was edited meanwhile.
        """
        content, config = self._read()
        same = [k for k, crop in crops.items() if video_sets(config).get(k) == {"crop": crop}]
        less = remove_video_sets(content, same)
        if less != content:
            self._replace(content, less)

    def _read(self) -> tuple[bytes, dict[str, Any]]:
        if not self.path.is_file():
            raise ExportError(
                f"A DeepLabCut project is named by its config.yaml; {self.path} is "
                f"{'a folder' if self.path.is_dir() else 'not there'}. Correct the path."
            )
        content = self.path.read_bytes()
        try:
            return content, parse_config(content)
        except ValueError as error:
            raise ExportError(
                f"{self.path} is not the config.yaml of a DeepLabCut project: {error}. "
                "Correct the path or the file."
            ) from None

    def _replace(self, content: bytes, new_content: bytes) -> None:
        config = self.path.resolve()
        new = config.with_name(_NEW_NAME)
        try:
            write_durably(new, new_content)
            if config.read_bytes() != content:
                raise ExportError(
                    f"{config} was edited meanwhile; the images are as they are to be, the list "
                    "of videos is as it was edited. Do it again to complete it."
                )
            put_over(new, config)
            sync_folder(config.parent)
        finally:
            new.unlink(missing_ok=True)


def video_sets(config: Mapping[str, Any]) -> dict[str, Any]:
    """The videos that a config lists, with their entries."""
    return {str(key): entry for key, entry in (config["video_sets"] or {}).items()}
