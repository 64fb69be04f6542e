"""Labelled frames of a SLEAP project: where it shows several animals, a crop of each.

A crop is a square around the middle of an animal's bodyparts, in the frame's own pixels, black
beyond the frame's edge. All crops of a project have one side: 1.5 times the animals' own, of which
95 % are smaller.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alwatch.errors import SettingsError, shown
from alwatch.simulate.labelled_video import FittedFrame, LabelledVideo, stacked, told_apart
from alwatch.simulate.sleap_frames import read_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import ImageArray

_MARGIN = 1.5
_QUANTILE = 0.95
_UNREADABLE = (
    OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Animal:
    """One animal in one frame; `points_px` of all bodyparts of the project, (k, 2) float64."""

    frame: int
    track: str
    points_px: NDArray[np.float64]


class SleapProject:
    """A `LabellingProject` that SLEAP made.

    Parameters
    ----------
    path : Path
        The `.slp`, of any version that sleap-io reads, with or without embedded pictures.
    predicted : bool
        Take predictions as truth too, but for those of which a person made a label.

    Raises
    ------
    SettingsError
        There is no such project, sleap-io is not installed, or nothing in it is labelled.
    """

    def __init__(self, path: Path, *, predicted: bool) -> None:
        labels = _load(path)
        if len(labels.skeletons) != 1:
            raise SettingsError(
                f"{shown(path)} has {len(labels.skeletons)} skeletons; there must be one."
            )
        self._path = path
        self.parts = path.absolute().parts
        self.bodyparts: tuple[str, ...] = tuple(map(str, labels.skeletons[0].node_names))
        self._animals: dict[Any, list[_Animal]] = defaultdict(list)
        for frame in labels:
            for instance in _taken(frame, predicted=predicted):
                points = np.asarray(instance.numpy(), np.float64)
                points[~np.isfinite(points).all(axis=1)] = np.nan
                track = str(instance.track.name) if instance.track is not None else ""
                if np.isfinite(points).any():
                    animal = _Animal(int(frame.frame_idx), track, points)
                    self._animals[frame.video].append(animal)
        if not self._animals:
            n = sum(len(frame.predicted_instances) for frame in labels)
            raise SettingsError(
                f"{shown(path)} has no animal that a person labelled, and {n} predicted ones; "
                "label some in SLEAP, or take predictions as truth with --predicted."
            )

    def videos(
        self, bodyparts: tuple[str, ...], *, size_px: tuple[int, int]
    ) -> list[LabelledVideo]:
        """Read its labelled frames, or a crop of each animal where a frame has several.

        An animal with a track is in the video `<video>/<track>`, one without in `<video>`. What
        else has that name in a frame is in `…/#2`, `…/#3`.

        Raises
        ------
        SettingsError
            A video is not there.
        VideoError
            A frame or a video cannot be read.
        """
        side_px = self._side_px(size_px)
        chosen = [self.bodyparts.index(name) for name in bodyparts]
        names = told_apart([_parts(video) for video in self._animals])
        frames: dict[str, list[FittedFrame]] = {}
        for name, (video, animals) in zip(names, self._animals.items(), strict=True):
            in_frame = defaultdict(list)
            for animal in animals:
                in_frame[animal.frame].append(animal)
            for index, image in read_frames(video, self._path, sorted(in_frame)):
                for of_animal, animal in _named(name, in_frame[index]):
                    crop, points = _crop(image, animal.points_px, side_px)
                    fitted = FittedFrame.of(index, crop, points[chosen].astype(np.float32), size_px)
                    frames.setdefault(of_animal, []).append(fitted)
        return [stacked(name, frames[name]) for name in sorted(frames)]

    def _side_px(self, size_px: tuple[int, int]) -> int | None:
        """Side of a crop; None where every frame has one animal, and is taken whole."""
        animals = [(video, animal) for video, of in self._animals.items() for animal in of]
        in_frame = Counter((id(video), animal.frame) for video, animal in animals)
        if max(in_frame.values()) == 1:
            return None
        boxes = [np.ptp(_visible(animal.points_px), axis=0).max() for _, animal in animals]
        # Animals of one bodypart have no size; the network's own input is as good as any.
        return math.ceil(_MARGIN * float(np.quantile(boxes, _QUANTILE))) or max(size_px)


def _load(path: Path) -> Any:
    try:
        import sleap_io
    except ModuleNotFoundError:
        raise SettingsError(
            f"{shown(path)} is a SLEAP project, and sleap-io is not installed; "
            "`pip install 'alwatch[sleap]'`."
        ) from None
    if not path.is_file():
        raise SettingsError(f"{shown(path)} is not there; name the .slp of a SLEAP project.")
    try:
        return sleap_io.load_slp(str(path.absolute()), open_videos=False)
    except _UNREADABLE as error:
        raise SettingsError(
            f"{shown(path)} cannot be read as a SLEAP project: {shown(error)}."
        ) from None


def _taken(frame: Any, *, predicted: bool) -> list[Any]:
    """What counts as truth in a frame, the people's first."""
    people: list[Any] = frame.user_instances
    return people + frame.unused_predictions if predicted else people


def _parts(video: Any) -> tuple[str, ...]:
    """Path of a video, without its suffix; of embedded pictures, that of the video they are of."""
    while video.source_video is not None:
        video = video.source_video
    if isinstance(video.filename, list):
        return tuple(re.split(r"[/\\]+", video.filename[0]))[:-1] or ("pictures",)
    *folders, file = re.split(r"[/\\]+", video.filename)
    dataset = video.backend_metadata.get("dataset") or ""
    return (*folders, Path(file).stem, *filter(None, dataset.split("/")[:1]))


def _named(video: str, animals: Sequence[_Animal]) -> Iterator[tuple[str, _Animal]]:
    """Name the video of each animal of a frame, no two alike."""
    names: Counter[str] = Counter()
    for animal in animals:
        name = f"{video}/{animal.track.replace('/', '_')}" if animal.track else video
        names[name] += 1
        yield name if names[name] == 1 else f"{name}/#{names[name]}", animal


def _crop(
    image: ImageArray, points_px: NDArray[np.float64], side_px: int | None
) -> tuple[ImageArray, NDArray[np.float64]]:
    """Cut an animal from its frame; the crop, and the points in it."""
    if side_px is None:
        return image, points_px
    seen = _visible(points_px)
    middle = (seen.min(axis=0) + seen.max(axis=0)) / 2
    left, top = np.rint(middle - (side_px - 1) / 2).astype(np.int64).tolist()
    columns = np.arange(left, left + side_px)
    rows = np.arange(top, top + side_px)
    has_column = (columns >= 0) & (columns < image.shape[1])
    has_row = (rows >= 0) & (rows < image.shape[0])
    crop = np.zeros((side_px, side_px, 3), np.uint8)
    crop[np.ix_(has_row, has_column)] = image[np.ix_(rows[has_row], columns[has_column])]
    return crop, points_px - (left, top)


def _visible(points_px: NDArray[np.float64]) -> NDArray[np.float64]:
    visible: NDArray[np.float64] = points_px[np.isfinite(points_px).all(axis=1)]
    return visible
