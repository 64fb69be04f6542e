"""Opening a file that nobody vouches for, and reading what its container says."""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction

import av
import av.container
import av.error
import numpy as np
from av.video.stream import VideoStream

from alwatch.errors import VideoError, VideoIncompleteError
from alwatch.video.source import SourceFile, shown_path
from alwatch.video.timeline import NO_PTS, PacketTable

Beat = Callable[[int], None]
"""Called often while work goes on, with the number of frames or packets done so far."""

# Containers that hold their own frames. Playlists and image sequences, which name other files,
# are not among them.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,asf,mpegts,mpeg,mpegvideo,mjpeg,h264,hevc,m4v,"
    "flv,ogg,mxf,dv,nut,ivf"
)

# Containers that store no PTS, only an order of decoding.
_WITHOUT_PTS = frozenset({"avi", "h264", "hevc", "m4v", "mpegvideo", "mjpeg"})

_EARLIEST_CREDIBLE = datetime(1990, 1, 1, tzinfo=UTC)
_BEAT_PACKETS = 512
_SHORTFALL_S = 1.0  # headers are not exact


@dataclass(frozen=True, slots=True)
class OpenContainer:
    """An open container and its video stream."""

    container: av.container.InputContainer
    stream: VideoStream

    @property
    def stores_pts(self) -> bool:
        """Whether this kind of container stores a PTS with each packet."""
        return not _WITHOUT_PTS & set(self.container.format.name.split(","))

    @property
    def time_base(self) -> Fraction:
        """Seconds per PTS unit."""
        assert self.stream.time_base is not None
        return self.stream.time_base

    @property
    def frame_s(self) -> Fraction:
        """Seconds per frame as the header says it; 1/25 if it says nothing."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return 1 / Fraction(rate) if rate else Fraction(1, 25)


@contextmanager
def open_container(
    source: SourceFile, *, max_pixels: int, thread_type: str = "NONE"
) -> Iterator[OpenContainer]:
    """Open a file's first video stream; no frame larger than `max_pixels` is ever allocated.

    Parameters
    ----------
    thread_type : {"NONE", "FRAME"}
        FFmpeg's decoder threads.

    Raises
    ------
    VideoIncompleteError
        The file looks like one whose writer is not done.
    VideoError
        No supported container, no video in it, or its frames are too large.
    """
    shown = shown_path(source.path)
    try:
        container = av.open(
            f"file:{source.url}",
            metadata_errors="replace",
            container_options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
        )
    except (av.error.FFmpegError, UnicodeError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ENOMEM:
            raise MemoryError from None
        if _is_unfinished_mp4(source):
            raise VideoIncompleteError(
                f"{shown} has no index (moov) yet; its writer has not finished or has died. Wait "
                "for it, or repair the file."
            ) from None
        raise VideoError(f"{shown} is not a video that can be read: {_reason(error)}.") from None
    with container:
        if not container.streams.video:
            raise VideoError(f"{shown} ({container.format.name}) holds no video stream.")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise VideoError(f"{shown} holds video in a codec that FFmpeg does not know.")
        if context.width * context.height > max_pixels:
            raise VideoError(
                f"{shown} has frames of {context.width}x{context.height} pixels, more than the "
                f"limit of {max_pixels}; make a smaller copy of it."
            )
        context.options = {"max_pixels": str(max_pixels)}
        context.thread_type = thread_type
        if thread_type == "NONE":
            context.thread_count = 1
        yield OpenContainer(container, stream)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _is_unfinished_mp4(source: SourceFile) -> bool:
    """Whether the top-level boxes are those of an MP4 file without its `moov`."""
    position = 0
    seen: list[bytes] = []
    while position + 8 <= source.size_bytes and len(seen) < 1000:
        head = os.pread(source.fd, 16, position)
        if len(head) < 8:
            break
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:], "big")
        seen.append(kind)
        if size < 8:
            break
        position += size
    return bool(seen) and seen[0] in {b"ftyp", b"wide", b"mdat"} and b"moov" not in seen


def scan_packets(opened: OpenContainer, beat: Beat) -> PacketTable:
    """Read every packet of the video stream without decoding, as far as there are any."""
    rows = array("q")
    for count, packet in enumerate(demux(opened), 1):
        pts = NO_PTS if packet.pts is None else packet.pts
        position = -1 if packet.pos is None else packet.pos
        rows.extend((pts, packet.is_keyframe, packet.is_discard, packet.size, position))
        if count % _BEAT_PACKETS == 0:
            beat(count)
    table = np.array(rows, dtype=np.int64).reshape(-1, 5)
    return PacketTable(
        pts=table[:, 0],
        keyframe=table[:, 1].astype(np.bool_),
        discard=table[:, 2].astype(np.bool_),
        size_bytes=table[:, 3],
        position=table[:, 4],
    )


def demux(opened: OpenContainer) -> Iterator[av.Packet[VideoStream]]:
    """Yield the video packets that hold something; a fault of the container ends the file."""
    try:
        for packet in opened.container.demux(opened.stream):
            if packet.size > 0:
                yield packet
    except av.error.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from None


def early_end(opened: OpenContainer, packets: PacketTable) -> str | None:
    """Say how far a file's packets fall short of what its header promises, if they do."""
    stated_s = _stated_s(opened)
    pts = packets.pts[packets.pts != NO_PTS]
    if stated_s is None or pts.size == 0:
        return None
    held_s = float((int(pts.max()) - int(pts.min())) * opened.time_base + opened.frame_s)
    if stated_s - held_s <= _SHORTFALL_S:
        return None
    return f"the file ends early: {held_s:.1f} s of the {stated_s:.1f} s that its header states"


def _stated_s(opened: OpenContainer) -> float | None:
    if opened.stream.duration is not None:
        by_count_s = float(opened.stream.frames * opened.frame_s)  # AVI: 0 where it is not stated
        return max(by_count_s, float(opened.stream.duration * opened.time_base))
    if opened.container.duration is not None and len(opened.container.streams) == 1:
        return opened.container.duration / av.time_base
    return None


def recording_date(opened: OpenContainer) -> datetime | None:
    """Return the container's own creation time, where it has a credible one."""
    metadata = {**opened.stream.metadata, **opened.container.metadata}
    for key in ("com.apple.quicktime.creationdate", "creation_time", "date"):
        try:
            date = datetime.fromisoformat(metadata.get(key, ""))
        except ValueError:
            continue
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        if date >= _EARLIEST_CREDIBLE:
            return date
    return None
