"""Queued videos on their way into a project of SLEAP, what is put there, and what is recorded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sleap_io

from alwatch.errors import ExportError
from alwatch.labelling.images import read_exactly
from alwatch.labelling.sleap_file import find_video, new_video, save_project
from alwatch.labelling.sleap_package import add_images, embedded_video, encode_png
from alwatch.labelling.sleap_queue import add_frames, skeleton_of
from alwatch.labelling.sleap_record import RecordedFrame, RecordedQueue, RecordedVideo
from alwatch.labelling.sleap_shown import is_same_picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from alwatch.labelling.sleap_record import Record
    from alwatch.labelling.sleap_shown import ShownFrames
    from alwatch.records import ImageArray, Queue, QueuedVideo, ReadFrames, Skeleton


@dataclass(slots=True)
class PlacedVideo:
    """A queued video in a project, and which of its frames are to be put there.

    `target` is the project's video, None as long as it has none; `filename` is what the project
    calls it, or will; `is_added` whether it was put there just now.
    """

    video: QueuedVideo
    target: sleap_io.Video | None
    filename: str
    missing: set[int]
    is_grey: bool | None
    is_added: bool = False


def place_video(
    labels: sleap_io.Labels, project: Path, record: Record, video: QueuedVideo
) -> PlacedVideo:
    """Find a queued video in a project, and which of its frames are neither suggested nor done."""
    known = record.videos.get(video.content_hash)
    target = find_video(labels, project, video, known.filename if known else None)
    there = {
        frame.frame_idx
        for frame in labels.labeled_frames
        if frame.video is target and (frame.user_instances or frame.is_negative)
    }
    there |= {each.frame_idx for each in labels.suggestions if each.video is target}
    missing = {frame.frame for frame in video.frames} - there
    if target is not None:
        return PlacedVideo(video, target, str(target.filename), missing, target.grayscale)
    is_there = known is not None and os.path.exists(known.filename)
    filename = known.filename if known and is_there else os.path.abspath(video.path)
    return PlacedVideo(video, None, filename, missing, None)


def check_frames(
    placed: Sequence[PlacedVideo], read_frames: ReadFrames, shown_frames: ShownFrames
) -> None:
    """Read the frames that are to be added, and see that SLEAP shows the same.

    As in SLEAP, a video is grey if its first frame is.

    Raises
    ------
    ExportError
        A frame cannot be decoded, is not as large as its video, or is another one in SLEAP.
    """
    wanted = [(place.video, sorted(place.missing)) for place in placed]
    for place, shown in zip(placed, shown_frames(wanted), strict=True):
        for index, image in read_exactly(place.video, place.missing, read_frames):
            if place.is_grey is None:
                place.is_grey = _is_grey(image)
            if index not in shown or not is_same_picture(image, shown[index]):
                found = "shows another picture" if index in shown else "cannot show the picture"
                raise ExportError(
                    f"Frame {index} of {place.video.path} is to be labelled; SLEAP {found} for "
                    "that number, as with a variable frame rate or an unusual format. Set "
                    "package: true for this export, or convert the video."
                )


def read_images(
    placed: Sequence[PlacedVideo], read_frames: ReadFrames
) -> dict[str, dict[int, bytes]]:
    """Read all queued frames as PNG files, by content hash and frame index.

    Raises
    ------
    ExportError
        A frame cannot be decoded, or is not as large as its video.
    """
    images: dict[str, dict[int, bytes]] = {}
    for place in placed:
        kept = images.setdefault(place.video.content_hash, {})
        indices = {frame.frame for frame in place.video.frames}
        for index, image in read_exactly(place.video, indices, read_frames):
            if place.is_grey is None:
                place.is_grey = _is_grey(image)
            kept[index] = encode_png(image, is_grey=place.is_grey)
    return images


def _is_grey(image: ImageArray) -> bool:
    return bool((image[..., :1] == image).all())


def add_queue(
    labels: sleap_io.Labels, placed: Sequence[PlacedVideo], queue: Queue, skeleton: Skeleton
) -> dict[tuple[str, int], str]:
    """Put what is missing into a project, videos included; see `add_frames`."""
    for place in placed:
        if place.target is None:
            place.target = new_video(place.video, place.filename, is_grey=bool(place.is_grey))
            place.is_added = True
            labels.videos.append(place.target)
    frames = [(place.video, place.target, place.missing) for place in placed]
    return add_frames(labels, frames, queue.id, skeleton_of(labels, skeleton), skeleton.bodyparts)


def write_package(
    path: Path,
    final: Path,
    project: sleap_io.Labels,
    placed: Sequence[PlacedVideo],
    images: dict[str, dict[int, bytes]],
    queue: Queue,
    skeleton: Skeleton,
) -> None:
    """Write a queue as a package: what is to go to `final`, to `path`.

    Raises
    ------
    OSError
        It cannot be written.
    """
    labels = sleap_io.Labels()
    labels.skeletons = list(project.skeletons)
    frames = []
    embedded = {}
    for number, place in enumerate(placed):
        source = new_video(place.video, place.filename, is_grey=bool(place.is_grey))
        video = embedded_video(source, number, final)
        labels.videos.append(video)
        own = images[place.video.content_hash]
        embedded[number] = (source, own)
        frames.append((place.video, video, set(own)))
    add_frames(labels, frames, queue.id, skeleton_of(labels, skeleton), skeleton.bodyparts)
    save_project(labels, path, None)
    add_images(path, embedded)


def remember(
    record: Record,
    placed: Sequence[PlacedVideo],
    queue: Queue,
    snapshot: str,
    poses: dict[tuple[str, int], str],
    package: str | None,
) -> None:
    """Note in a record what was put into the project, beside what is noted of it already."""
    before = record.frames_of(queue)
    frames = []
    for place in placed:
        video, content_hash = place.video, place.video.content_hash
        known = record.videos.get(content_hash)
        record.videos[content_hash] = RecordedVideo(
            filename=place.filename,
            video=known.video if known else str(video.path),
            content_hash=content_hash,
            is_added=place.is_added or (known is not None and known.is_added),
        )
        for frame in video.frames:
            key = (content_hash, frame.frame)
            old = before.get(key)
            frames.append(
                RecordedFrame(
                    content_hash=content_hash,
                    frame=frame.frame,
                    rank=frame.rank,
                    score=frame.score,
                    reason=frame.reason,
                    is_suggested=frame.frame in place.missing or bool(old and old.is_suggested),
                    pose=poses.get(key) or (old.pose if old else None),
                )
            )
    record.queues[queue.id] = RecordedQueue(
        season=queue.season,
        strategy=queue.strategy,
        seed=queue.seed,
        created_at=queue.created_at.isoformat(),
        snapshot=snapshot,
        package=package,
        frames=tuple(sorted(frames, key=lambda frame: frame.rank)),
    )


def forget(labels: sleap_io.Labels, record: Record) -> None:
    """Take away videos that alwatch has added and nothing refers to any more.

    What a person still uses stays in the record too, so that its labels find their video.
    """
    queued = {frame.content_hash for queue in record.queues.values() for frame in queue.frames}
    used = {id(frame.video) for frame in (*labels.labeled_frames, *labels.suggestions)}
    used |= {id(other.video) for other in (*labels.events, *labels.static_rois)}
    used |= {id(video) for session in labels.sessions for video in session.videos}
    idle = [known for known in record.videos.values() if known.content_hash not in queued]
    own = {known.filename for known in idle if known.is_added}
    labels.videos = [v for v in labels.videos if str(v.filename) not in own or id(v) in used]
    there = {str(video.filename) for video in labels.videos}
    for known in idle:
        if not known.is_added or known.filename not in there:
            del record.videos[known.content_hash]
