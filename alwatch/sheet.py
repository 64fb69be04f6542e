"""The frames that the pose model is least and most sure of, drawn with their score maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from alwatch.app import App
from alwatch.errors import VideoError, shown
from alwatch.scored import ScoredFrame
from alwatch.scores.peaks import find_peaks
from alwatch.web.score_sheet import SheetFrame, write_score_sheet

if TYPE_CHECKING:
    from alwatch.pose_models.process import FrameMaps, PoseProcess
    from alwatch.records import FloatArray


def draw_score_sheet(
    app: App, path: Path, ranked: Sequence[ScoredFrame], *, count: int, by: str
) -> None:
    """Draw the first and the last frames of a ranking with the current model's score maps.

    Parameters
    ----------
    app : App
    path : Path
        The PNG to write.
    ranked : sequence of ScoredFrame
        The most uncertain first.
    count : int
        How many of each end.
    by : str
        What was ranked by, for the heading.

    Raises
    ------
    NothingToDoError
        The settings name no pose model.
    PoseModelError, VideoError
        The current snapshot or a video cannot be used any more.
    """
    located = app.current_snapshot()
    last = list(ranked[-min(count, len(ranked)) :])[::-1]
    with app.pose_process(located) as scorer:
        rows = [
            (f"{heading} by {by}", [_sheet_frame(app, scorer, frame) for frame in frames])
            for heading, frames in (("Highest", ranked[:count]), ("Lowest", last))
        ]
    write_score_sheet(path, rows, located.snapshot.bodyparts)


def _sheet_frame(app: App, scorer: PoseProcess, frame: ScoredFrame) -> SheetFrame:
    video = app.store.videos.by_id([frame.video_id])[frame.video_id]
    file = app.store.videos.file_of(frame.video_id)
    if file is None or not file.is_unchanged():
        raise VideoError(
            f"Frame {frame.frame} of {shown(video.path)} was to be drawn, but the file is not "
            "there or has changed since it was ingested; let the next scan find it, and try again."
        )
    with app.open_video()(file.path) as reader:
        image = next(iter(reader.read(np.array([frame.frame])))).image
    bodyparts = scorer.snapshot.bodyparts
    parts = scorer.score_maps(image[None])
    maps = _merged_maps(parts, len(bodyparts))
    number = bodyparts.index(frame.bodypart) if frame.bodypart else int(maps.max((1, 2)).argmin())
    scores = scorer.score(image[None])
    return SheetFrame(
        image=image,
        maps=maps,
        maps_fit_image=not any(part.of_crops for part in parts),
        pose=scores["pose"][0],
        bodypart=number,
        peaks=_peaks(maps[number]),
        title=f"{video.season} {video.path.stem} {frame.frame}: {frame.score:.3f}",
    )


def _merged_maps(parts: Sequence[FrameMaps], bodyparts: int) -> FloatArray:
    """Maps (bodyparts, rows, columns) of one frame, the highest value where there are several."""
    rows = max((part.values.shape[2] for part in parts), default=1)
    columns = max((part.values.shape[3] for part in parts), default=1)
    maps = np.zeros((bodyparts, rows, columns), np.float32)
    for part in parts:
        h, w = part.values.shape[2:]
        for channel, number in enumerate(part.bodyparts.tolist()):
            merged = part.values[:, channel].max(axis=0, initial=0)
            maps[number, :h, :w] = np.maximum(maps[number, :h, :w], merged)
    return maps


def _peaks(values: FloatArray) -> FloatArray:
    """Row, column and share of each peak, as `mpe` finds them."""
    found = find_peaks(
        torch.from_numpy(values), min_distance_px=2, threshold_abs=0.05, threshold_rel=0.1,
        max_peaks=5,
    )  # fmt: skip
    heights = found.values.numpy()
    there = heights > 0
    share = heights[there] / heights[there].sum() if there.any() else heights[there]
    return np.stack([found.rows.numpy()[there], found.columns.numpy()[there], share], axis=1)
