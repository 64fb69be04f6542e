"""What the page of a queue shows, gathered from the store and the videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from alwatch.app import SOFTWARE, App
from alwatch.records import Queue, QueuedVideo
from alwatch.scores.projection import neighbour_map
from alwatch.web.queue_page import PageFrame, PagePoint, QueuePage

MAP_FRAMES = 1000
"""Of those that the page does not show otherwise; more would hide each other."""


def queue_page(
    app: App, queue: Queue, *, command: str, score_sheet: bytes | None = None
) -> QueuePage:
    """Gather what the page of a queue shows: its frames, and a map of the archive.

    The map holds all frames that the page shows and at most `MAP_FRAMES` of the others. Frames
    of videos that are not there any more are left out.

    Parameters
    ----------
    app : App
    queue : Queue
    command : str
        What to type to make the queue again.
    score_sheet : bytes, optional
        See `QueuePage`.

    Raises
    ------
    VideoError
        A video cannot be read any more.
    """
    identity = app.embedded_with()
    with app.store.pools.one_view():
        frames = app.store.pools.season_frames(identity)
        videos = app.store.videos.by_id(np.unique(frames.video_ids).tolist())
    keys = list(zip(frames.video_ids.tolist(), frames.frame_indices.tolist(), strict=True))
    shown = {(frame.video_id, frame.frame) for frame in (*queue.frames, *queue.review)}
    step = max(1, len(keys) // MAP_FRAMES)
    rows = [row for row, key in enumerate(keys) if row % step == 0 or key in shown]
    plane = neighbour_map(frames.vectors[rows], np.random.default_rng(0))
    points = {
        keys[row]: PagePoint(
            season=videos[keys[row][0]].season or "",
            video=videos[keys[row][0]].path.name,
            frame=keys[row][1],
            x=float(x),
            y=float(y),
        )
        for row, (x, y) in zip(rows, plane, strict=True)
    }
    times_s = dict(zip(keys, frames.times_s.tolist(), strict=True))

    def page_frames(of: Queue) -> list[PageFrame]:
        return [
            PageFrame(
                point=points[frame.video_id, frame.frame],
                rank=frame.rank,
                time_s=times_s[frame.video_id, frame.frame],
                score=frame.score,
                reason=frame.reason,
                thumbnail=image,
            )
            for video in app.store.queues.by_video(_that_are_there(of, points))
            for frame, image in zip(video.frames, _images(app, video), strict=True)
        ]

    return QueuePage(
        season=queue.season,
        frames=page_frames(queue),
        review=page_frames(replace(queue, frames=queue.review)),
        points=list(points.values()),
        n_videos=len(videos),
        n_frames=len(keys),
        strategy=queue.strategy,
        seed=queue.seed,
        embedder=f"{identity.name} ({identity.weights[:12]})",
        software=SOFTWARE,
        command=command,
        score_sheet=score_sheet,
    )


def _that_are_there(queue: Queue, points: Mapping[tuple[int, int], PagePoint]) -> Queue:
    there = tuple(f for f in queue.frames if (f.video_id, f.frame) in points)
    return replace(queue, frames=there)


def _images(app: App, video: QueuedVideo) -> Iterator[np.ndarray]:
    with app.open_video()(video.path) as reader:
        for frame in reader.read(np.array([frame.frame for frame in video.frames])):
            yield frame.image
