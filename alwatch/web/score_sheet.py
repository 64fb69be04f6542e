"""Frames with their score maps as one picture, for a person to judge what a score means."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from alwatch.records import FloatArray, ImageArray

_TILE_PX = 320
_TEXT_PX = 22
_GAP_PX = 8
_PAPER = (250, 250, 250)
_INK = (30, 30, 30)
_COLOURS = (
    (230, 80, 60), (40, 140, 220), (60, 170, 90), (200, 120, 220), (235, 170, 50), (60, 190, 190),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SheetFrame:
    """One frame and what the model sees in it.

    Parameters
    ----------
    image : RGB uint8 array of shape (h, w, 3)
    maps : float array of shape (bodyparts, rows, columns)
        Score maps; bodyparts without one are all zeros.
    maps_fit_image : bool
        Whether the maps are of the whole frame, so that they can be laid over it.
    pose : float array of shape (individuals, bodyparts, 3)
    bodypart : int
        The one whose map is drawn beside the frame.
    peaks : float array of shape (p, 3)
        Row, column and share of each peak of that map.
    title : str
    """

    image: ImageArray
    maps: FloatArray
    maps_fit_image: bool
    pose: FloatArray
    bodypart: int
    peaks: FloatArray
    title: str


def write_score_sheet(
    path: Path, rows: Sequence[tuple[str, Sequence[SheetFrame]]], bodyparts: Sequence[str]
) -> None:
    """Draw rows of frames, each row under its heading, and write them as one PNG.

    Left of each pair the frame with all score maps over it and the poses as circles; right the
    map of its most uncertain bodypart, with each peak's share of the sum.

    Parameters
    ----------
    path : Path
        The file appears complete or not at all.
    rows : sequence of (heading, frames)
    bodyparts : sequence of str

    Raises
    ------
    OSError
        The file cannot be written.
    """
    strips = [_legend(bodyparts)]
    for heading, frames in rows:
        strips.append(_text_line(heading, bold=True))
        for start in range(0, len(frames), 2):
            pairs = [_pair(frame, bodyparts) for frame in frames[start : start + 2]]
            strips.append(_beside(pairs))
    sheet = _below(strips)
    _, png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    staged = path.with_name(f".{path.name}.part")
    try:
        staged.write_bytes(png.tobytes())
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


def _pair(frame: SheetFrame, bodyparts: Sequence[str]) -> ImageArray:
    height = max(1, round(_TILE_PX * frame.image.shape[0] / frame.image.shape[1]))
    size = (_TILE_PX, height)
    picture = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    for number, values in enumerate(frame.maps if frame.maps_fit_image else ()):
        heat = cv2.resize(values, size, interpolation=cv2.INTER_LINEAR).clip(0, 1)[..., None]
        colour = np.array(_COLOURS[number % len(_COLOURS)], np.float32)
        picture = picture * (1 - 0.6 * heat) + colour * 0.6 * heat
    shown = picture.clip(0, 255).astype(np.uint8)
    scale = _TILE_PX / frame.image.shape[1]
    for animal in frame.pose:
        for number, (x, y, likelihood) in enumerate(animal):
            if np.isfinite(likelihood):
                at = (round(float(x) * scale), round(float(y) * scale))
                colour_of = _COLOURS[number % len(_COLOURS)]
                thickness = 2 if likelihood >= 0.6 else 1
                cv2.circle(shown, at, 5, colour_of, thickness, cv2.LINE_AA)
    caption = f"{bodyparts[frame.bodypart]}: " + " ".join(f"{p:.2f}" for p in frame.peaks[:, 2])
    right = _below([_map(frame, size), _text_line(caption, width=_TILE_PX)])
    return _beside([_below([shown, _text_line(frame.title, width=_TILE_PX)]), right])


def _map(frame: SheetFrame, size: tuple[int, int]) -> ImageArray:
    values = frame.maps[frame.bodypart].clip(0, 1)
    grey = cv2.resize((255 * values).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    picture = cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
    rows, columns = values.shape
    for row, column, _ in frame.peaks:
        at = (round((column + 0.5) * size[0] / columns), round((row + 0.5) * size[1] / rows))
        cv2.drawMarker(picture, at, (255, 60, 60), cv2.MARKER_TILTED_CROSS, 12, 2, cv2.LINE_AA)
    return np.asarray(picture, np.uint8)


def _legend(bodyparts: Sequence[str]) -> ImageArray:
    width = 4 * _TILE_PX + 3 * _GAP_PX
    parts, line, x = [], _blank(_TEXT_PX + 6, width), 6
    for number, name in enumerate(bodyparts):
        (length, _), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
        if x + length + 30 > width:
            parts.append(line)
            line, x = _blank(_TEXT_PX + 6, width), 6
        colour = _COLOURS[number % len(_COLOURS)]
        cv2.circle(line, (x + 6, _TEXT_PX // 2 + 3), 6, colour, -1, cv2.LINE_AA)
        _write(line, name, (x + 16, _TEXT_PX - 2))
        x += length + 36
    return _below([*parts, line])


def _text_line(
    text: str, *, width: int = 4 * _TILE_PX + 3 * _GAP_PX, bold: bool = False
) -> ImageArray:
    line = _blank(_TEXT_PX + (8 if bold else 0), width)
    _write(line, text.encode("ascii", "replace").decode(), (4, line.shape[0] - 7), bold=bold)
    return line


def _write(on: ImageArray, text: str, at: tuple[int, int], *, bold: bool = False) -> None:
    size, weight = (0.6, 2) if bold else (0.45, 1)
    cv2.putText(on, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, _INK, weight, cv2.LINE_AA)


def _blank(height: int, width: int) -> ImageArray:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _beside(pictures: Sequence[ImageArray]) -> ImageArray:
    height = max(picture.shape[0] for picture in pictures)
    gap = _blank(height, _GAP_PX)
    parts: list[ImageArray] = []
    for picture in pictures:
        filler = _blank(height - picture.shape[0], picture.shape[1])
        parts += [gap] * bool(parts) + [np.concatenate([picture, filler])]
    return np.concatenate(parts, axis=1)


def _below(pictures: Sequence[ImageArray]) -> ImageArray:
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate(
        [np.concatenate([p, _blank(p.shape[0], width - p.shape[1])], axis=1) for p in pictures]
    )
