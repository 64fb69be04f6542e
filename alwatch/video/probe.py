"""What a video file holds: its frames in order, counted by decoding only where packets lie."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np

from alwatch.errors import VideoError
from alwatch.records import Timeline, VideoInfo
from alwatch.video.container import (
    Beat,
    OpenContainer,
    early_end,
    open_container,
    recording_date,
    scan_packets,
)
from alwatch.video.decode import decode_in_sequence, quarter_turns
from alwatch.video.numbering import FrameNumbering
from alwatch.video.source import SourceFile, shown_path
from alwatch.video.timeline import NO_PTS, PacketLookup, build_timeline, timeline_from_census

_PREFIX_FRAMES = 64


@dataclass(frozen=True, slots=True)
class Probed:
    """What is known of a file after probing.

    `pts_outlives_loss` says whether a PTS names its frame even after frames were lost.
    """

    info: VideoInfo
    timeline: Timeline
    lookup: PacketLookup
    pts_outlives_loss: bool


def probe_file(source: SourceFile, *, max_pixels: int, beat: Beat) -> Probed:
    """Describe a file and list its frames.

    The packets' PTS are believed if the frames of the file's beginning come with just
    those PTS. Otherwise the whole file is decoded once and its frames counted.

    Raises
    ------
    VideoIncompleteError
        The file's writer has not finished it.
    VideoError
        It is no video, or not one frame of it can be decoded.
    """
    with open_container(source, max_pixels=max_pixels) as opened:
        packets = scan_packets(opened, beat)
        timeline = build_timeline(packets, opened.time_base)
        problem = early_end(opened, packets)
        # Where every packet is a keyframe nothing is reordered, and the order of decoding
        # serves as PTS.
        outlives = opened.stores_pts or bool(packets.keyframe.all())
    numbering = FrameNumbering(timeline, pts_outlives_loss=outlives)
    with open_container(source, max_pixels=max_pixels) as opened:
        first = _check_prefix(opened, numbering, beat)
    if first is None:
        raise VideoError(
            f"{shown_path(source.path)} holds {packets.pts.size} packets of video, but not one "
            "frame of it can be decoded."
        )
    if timeline is None or numbering.contradicted:
        with open_container(source, max_pixels=max_pixels, thread_type="FRAME") as opened:
            timeline, stopped = _take_census(opened, beat)
        problem = problem or stopped
    with open_container(source, max_pixels=max_pixels) as opened:
        return Probed(
            _describe(opened, timeline, first, problem), timeline, PacketLookup(packets), outlives
        )


def _check_prefix(
    opened: OpenContainer, numbering: FrameNumbering, beat: Beat
) -> av.VideoFrame | None:
    """Number the file's first frames; return the first one."""
    first = None
    for count, frame in enumerate(decode_in_sequence(opened, numbering.note_loss, beat), 1):
        first = first or frame
        numbering.index_of(frame.pts)
        if count == _PREFIX_FRAMES or numbering.contradicted:
            break
    return first


def _take_census(opened: OpenContainer, beat: Beat) -> tuple[Timeline, str | None]:
    """Decode the whole file and list its frames, up to the first loss; say where that was.

    What follows a loss cannot be numbered in a file whose PTS are not to be believed.
    """
    losses: list[bool] = []
    pts: list[int] = []
    keyframe: list[bool] = []
    stopped: str | None = None
    for frame in decode_in_sequence(opened, lambda: losses.append(True), beat):
        if losses and pts:
            stopped = f"frames after {len(pts)} cannot be numbered: a part of the file is damaged"
            break
        losses.clear()
        pts.append(NO_PTS if frame.pts is None else frame.pts)
        keyframe.append(bool(frame.key_frame))
    timeline = timeline_from_census(
        np.array(pts, dtype=np.int64),
        np.array(keyframe, dtype=np.bool_),
        opened.time_base,
        opened.frame_s,
    )
    return timeline, stopped


def _describe(
    opened: OpenContainer, timeline: Timeline, first: av.VideoFrame, problem: str | None
) -> VideoInfo:
    quarters = quarter_turns(first)
    width, height = first.width, first.height
    if quarters % 2:
        width, height = height, width
    return VideoInfo(
        container=opened.container.format.name,
        codec=opened.stream.codec_context.name,
        width_px=width,
        height_px=height,
        rotation_deg=90 * quarters,
        fps=float(1 / opened.frame_s),
        duration_s=timeline.time_s(timeline.n_frames - 1) + float(opened.frame_s),
        recorded_at=recording_date(opened),
        problem=problem,
    )
