"""Which folder of a DeepLabCut project belongs to which video.

DeepLabCut names a folder of `labeled-data` after the stem of a video's path. Two seasons' videos
of one name would share a folder, and frames of one would pass for frames of the other. So a
folder is only used where it is known to be this video's, or nobody's.
"""

from __future__ import annotations

from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from alwatch.errors import ExportError
from alwatch.labelling.folder_record import RECORD_NAME, FolderRecord
from alwatch.labelling.images import png_size_px
from alwatch.labelling.naming import is_safe, own_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alwatch.records import QueuedVideo

_BLOCK_BYTES = 1 << 20
_MOST_BLOCKS = 64


class ProjectFolders:
    """The folders of a project, as they are now, and those given out since.

    Parameters
    ----------
    root : Path
        The project's folder.
    video_sets : iterable of str
        The video paths of its config.yaml.
    """

    def __init__(self, root: Path, video_sets: Iterable[str]) -> None:
        self._root = root
        self._labeled = root / "labeled-data"
        self._listed = [(key, stem_anywhere(key)) for key in video_sets]
        self._owners = _read_records(self._labeled)

    def folder_of(self, video: QueuedVideo) -> str:
        """Name the folder of a video; the same name whenever it is asked for again.

        In this order: the folder that an earlier export made for the same content; the folder
        of an entry in `video_sets` that is this file, a link to it or a copy of it; the stem,
        if no other video has a claim on it; the stem and a part of the content's hash. An entry
        whose file is not on this machine claims its stem for another video: nothing tells
        whether it was the same one, and a wrong guess would mix two videos' frames. A folder
        that holds images of another size is never used.

        Raises
        ------
        ExportError
            If all these names are taken.
        """
        known = self.known(video)
        listed = [stem for key, stem in self._listed if self._is_this_video(key, video)]
        plain = [video.path.stem] if self._stem_is_free(video) else []
        own = own_names(video.path, video.content_hash)
        for name in dict.fromkeys([*known, *listed, *plain, *own]):
            is_own = self._owners.get(name, video.content_hash) == video.content_hash
            if is_own and self._has_only_its_size(name, video):
                self._owners[name] = video.content_hash
                return name
        raise ExportError(
            f"{video.path} needs a folder in {self._labeled}; {' and '.join(own)} hold images "
            f"that are not {video.width_px}x{video.height_px}. Move them elsewhere."
        )

    def known(self, video: QueuedVideo) -> list[str]:
        """The folders that an earlier export made for this video's content."""
        return [name for name, owner in self._owners.items() if owner == video.content_hash]

    def _stem_is_free(self, video: QueuedVideo) -> bool:
        stem = video.path.stem
        others = [other for _, other in self._listed]
        others += [name for name, owner in self._owners.items() if owner != video.content_hash]
        return (
            is_safe(stem)
            and str(video.path).isprintable()
            and stem.casefold() not in {other.casefold() for other in others}
        )

    def _is_this_video(self, key: str, video: QueuedVideo) -> bool:
        in_project = self._root / "videos" / PureWindowsPath(key).name
        return not stem_anywhere(key).startswith(".") and any(
            is_same_file(candidate, video.path) for candidate in (self._root / key, in_project)
        )

    def _has_only_its_size(self, name: str, video: QueuedVideo) -> bool:
        return image_sizes_px(self._labeled / name) <= {(video.width_px, video.height_px)}


def stem_anywhere(key: str) -> str:
    """The stem of a path written on any system; to `Path`, a Windows path is a single name."""
    return PureWindowsPath(key).stem if "\\" in key else Path(key).stem


def image_sizes_px(folder: Path) -> set[tuple[int, int]]:
    """(width, height) of the PNG files of a folder; empty if there is no such folder."""
    sizes = set()
    for image in folder.glob("*.png"):
        try:
            sizes.add(png_size_px(image))
        except ValueError:
            continue
    return sizes


def _read_records(labeled: Path) -> dict[str, str]:
    owners = {}
    for file in sorted(labeled.glob(f"*/{RECORD_NAME}")):
        record = FolderRecord.read(file.parent)
        if record is not None:
            owners[file.parent.name] = record.content_hash
    return owners


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file or to equal ones, large files judged by samples."""
    try:
        if one.samefile(other):
            return True
        size = one.stat().st_size
        if size == 0 or not one.is_file() or size != other.stat().st_size:
            return False
        step = max(_BLOCK_BYTES, size // _MOST_BLOCKS)
        with one.open("rb") as a, other.open("rb") as b:
            for start in (*range(0, size, step), max(size - _BLOCK_BYTES, 0)):
                a.seek(start)
                b.seek(start)
                if a.read(_BLOCK_BYTES) != b.read(_BLOCK_BYTES):
                    return False
    except (OSError, ValueError):
        return False
    return True
