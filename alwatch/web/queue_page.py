"""One queue as one HTML file: the chosen frames, why each was chosen, and a map of all frames.

The file needs nothing but itself: no network, no other file. Names of videos and seasons are
other people's text, and are escaped wherever they appear.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alwatch.web.page import write_page
from alwatch.web.scatter import PlotScale, fit_scale, part

if TYPE_CHECKING:
    from alwatch.records import ImageArray

MAX_DOTS = 4000
"""More dots than this make a browser slow; the map then shows an even selection of them."""

_MAP_WIDTH = 640
_MAP_HEIGHTS = (360, 560)
_MAP_BORDER = 28
_MARK_GAP = 25.0
_THUMBNAIL_PX = 360
_JPEG_QUALITY = 82
_N_COLOURS = 6
_SHAPES = (
    "M-1 0A1 1 0 1 0 1 0A1 1 0 1 0-1 0Z",  # circle
    "M0-1.28L1.28 0L0 1.28L-1.28 0Z",  # diamond
    "M-.9-.9H.9V.9H-.9Z",  # square
    "M0-1.3L1.22.85H-1.22Z",  # triangle
    "M0 1.3L1.22-.85H-1.22Z",  # triangle, point down
    "M-.38-1.15H.38V-.38H1.15V.38H.38V1.15H-.38V.38H-1.15V-.38H-.38Z",  # plus
)


@dataclass(frozen=True, slots=True)
class PagePoint:
    """One frame on the map; `x` and `y` are in any unit, the same for both."""

    season: str
    video: str
    frame: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class PageFrame:
    """One chosen frame.

    Parameters
    ----------
    point : PagePoint
        Which frame it is, and its place on the map.
    rank : int
        Its rank in the queue, from 1.
    time_s : float
        Seconds from the first frame of its video.
    score : float
    reason : str
        Why it was chosen, in a few words.
    thumbnail : RGB uint8 array of shape (height, width, 3)
    """

    point: PagePoint
    rank: int
    time_s: float
    score: float
    reason: str
    thumbnail: ImageArray


@dataclass(frozen=True, slots=True)
class QueuePage:
    """All that the page of a queue shows.

    Parameters
    ----------
    season : str
        The season that the queue is for.
    frames : sequence of PageFrame
        The chosen frames, in any order.
    points : sequence of PagePoint
        All frames that were looked at; the chosen ones may be among them.
    n_videos, n_frames : int
        How many videos, and how many of their frames, were looked at.
    strategy, seed, embedder, software, command
        What it takes to make the same queue again; `command` is what to type.
    score_sheet : bytes, optional
        A PNG of the frames of which the pose model is least and most sure, with its score maps.
    review : sequence of PageFrame
        Frames that were left out and that a person should look at, in any order; their ranks
        are those among themselves.
    """

    season: str
    frames: Sequence[PageFrame]
    points: Sequence[PagePoint]
    n_videos: int
    n_frames: int
    strategy: str
    seed: int
    embedder: str
    software: str
    command: str
    score_sheet: bytes | None = None
    review: Sequence[PageFrame] = ()


def write_queue_page(path: Path, page: QueuePage) -> None:
    """Write the page of a queue as one self-contained HTML file.

    The file appears complete or not at all; an older one at the same path is replaced.

    Parameters
    ----------
    path : Path
        The file to write, in a folder that exists.
    page : QueuePage

    Raises
    ------
    ValueError
        If two frames share a rank, a thumbnail is not an RGB picture, or a place on the map
        is not a number.
    OSError
        If the file cannot be written.
    """
    _check(page)
    write_page(path, "queue_page.html.j2", _view(page))


def _check(page: QueuePage) -> None:
    ranks = Counter(frame.rank for frame in page.frames)
    faults = [f"rank {rank} is given to {n} frames" for rank, n in ranks.items() if n > 1]
    for frame in [*page.frames, *page.review]:
        image = frame.thumbnail
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            faults.append(
                f"the thumbnail of rank {frame.rank} must be uint8 of shape (height, width, 3), "
                f"got {image.dtype} of shape {image.shape}"
            )
    shown = [frame.point for frame in [*page.frames, *page.review]]
    for point in [*page.points, *shown]:
        if not (math.isfinite(point.x) and math.isfinite(point.y)):
            faults.append(f"frame {point.frame} of {point.video!r} is at ({point.x}, {point.y})")
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ValueError("; ".join(faults[:5]) + more)


def _view(page: QueuePage) -> dict[str, Any]:
    """Everything the template shows, as it shows it."""
    frames = sorted(page.frames, key=lambda frame: frame.rank)
    chosen = {_identity(frame.point) for frame in frames}
    left_out = [frame.point for frame in page.review]
    seen = {_identity(point): point for point in [*page.points, *left_out]}
    others = [point for key, point in seen.items() if key not in chosen]
    everything = [*others, *(frame.point for frame in frames)]
    counts = Counter(point.season for point in everything)
    seasons = {name: _Season(name, i, counts[name]) for i, name in enumerate(sorted(counts))}
    dots = _thinned(others)
    scale = fit_scale(_xy(everything), width=_MAP_WIDTH, heights=_MAP_HEIGHTS, border=_MAP_BORDER)
    return {
        "page": page,
        "share": _percent(len(frames), page.n_frames),
        "seasons": list(seasons.values()),
        "cards": [_card(frame, seasons[frame.point.season]) for frame in frames],
        "review": [
            _card(frame, seasons[frame.point.season])
            for frame in sorted(page.review, key=lambda frame: frame.rank)
        ],
        "marks": _marks(frames, seasons, scale),
        "dots": _dots(dots, seasons, scale),
        "n_dots": len(dots),
        "n_others": len(others),
        "scale": scale,
        "score_sheet": page.score_sheet and _uri("png", page.score_sheet),
    }


@dataclass(frozen=True, slots=True)
class _Season:
    """A season as the page tells it from others: by colour and shape, 36 pairs in turn."""

    name: str
    number: int
    n_frames: int

    @property
    def colour(self) -> int:
        return self.number % _N_COLOURS

    @property
    def shape(self) -> str:
        return _SHAPES[(self.number + self.number // _N_COLOURS) % len(_SHAPES)]


def _identity(point: PagePoint) -> tuple[str, str, int]:
    return point.season, point.video, point.frame


def _card(frame: PageFrame, season: _Season) -> dict[str, Any]:
    return {
        "rank": frame.rank,
        "season": season,
        "video": frame.point.video,
        "frame": frame.point.frame,
        "time": _clock(frame.time_s),
        "score": f"{frame.score:.3g}",
        "reason": frame.reason,
        "image": _data_uri(frame.thumbnail),
    }


def _data_uri(image: ImageArray) -> str:
    height, width = image.shape[:2]
    if width > _THUMBNAIL_PX:
        size = (_THUMBNAIL_PX, max(1, round(height * _THUMBNAIL_PX / width)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return _uri("jpeg", jpeg.tobytes())


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")


def _clock(time_s: float) -> str:
    """Seconds as `m:ss.cc`, with hours in front where there are any."""
    centiseconds = round(time_s * 100)
    minutes, rest = divmod(centiseconds, 6000)
    seconds = f"{rest // 100:02d}.{rest % 100:02d}"
    return (
        f"{minutes // 60}:{minutes % 60:02d}:{seconds}" if minutes >= 60 else f"{minutes}:{seconds}"
    )


def _percent(part: int, whole: int) -> str:
    if not whole:
        return "–"
    return f"{100 * part / whole:.2g} %" if part < whole else "100 %"


def _thinned(points: Sequence[PagePoint]) -> list[PagePoint]:
    """At most `MAX_DOTS` of the points, at even steps through videos and frames."""
    if len(points) <= MAX_DOTS:
        return list(points)
    ordered = sorted(points, key=_identity)
    steps = np.linspace(0, len(ordered) - 1, MAX_DOTS).round().astype(int)
    return [ordered[i] for i in steps]


def _xy(points: Sequence[PagePoint]) -> NDArray[np.float64]:
    return np.array([(point.x, point.y) for point in points], np.float64).reshape(-1, 2)


def _dots(
    points: Sequence[PagePoint], seasons: dict[str, _Season], scale: PlotScale
) -> list[dict[str, Any]]:
    """The dots by season, each with its place and its label."""
    drawn: dict[str, list[dict[str, str]]] = {name: [] for name in seasons}
    for point, (x, y) in zip(points, scale.to_px(_xy(points)), strict=True):
        label = f"{point.video}, frame {point.frame}"
        drawn[point.season].append({"x": f"{x:.1f}", "y": f"{y:.1f}", "label": label})
    return [{"season": seasons[name], "points": found} for name, found in drawn.items()]


def _marks(
    frames: Sequence[PageFrame], seasons: dict[str, _Season], scale: PlotScale
) -> list[dict[str, Any]]:
    """The chosen frames' markers, the first rank last so that it lies on top."""
    true = scale.to_px(_xy([frame.point for frame in frames]))
    shown = part(true, gap_px=_MARK_GAP, limits=(scale.width, scale.height))
    marks = []
    for frame, (x, y), (at_x, at_y) in zip(frames, true, shown, strict=True):
        moved = math.hypot(at_x - x, at_y - y) > 3
        marks.append(
            {
                "rank": frame.rank,
                "season": seasons[frame.point.season],
                "label": f"{frame.point.video}, frame {frame.point.frame}",
                "x": f"{at_x:.1f}",
                "y": f"{at_y:.1f}",
                "origin": (f"{x:.1f}", f"{y:.1f}") if moved else None,
            }
        )
    return marks[::-1]
