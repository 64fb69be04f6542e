"""From packets to frames: in sequence, which is the reference, and after a seek to a keyframe."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from alwatch.records import Timeline
from alwatch.video.container import Beat, OpenContainer, demux
from alwatch.video.timeline import PacketLookup, SeekRun

if TYPE_CHECKING:
    from alwatch.records import ImageArray


class FastPathError(Exception):
    """A faster path did not give what the timeline says; the reference must be used."""


class ImageConverter:
    """Turns decoded frames into upright RGB arrays, shrunk to (height, width) if asked.

    Shrinking goes straight from the decoder's planes by area averaging.
    """

    def __init__(self, size_px: tuple[int, int] | None) -> None:
        self._size_px = size_px
        self._reformatter = VideoReformatter()

    def image(self, frame: av.VideoFrame) -> ImageArray:
        """Return RGB uint8 of shape (height, width, 3), turned as its metadata say."""
        quarters = quarter_turns(frame)
        if self._size_px is None:
            rgb = self._reformatter.reformat(frame, format="rgb24")
        else:
            height, width = self._size_px if quarters % 2 == 0 else self._size_px[::-1]
            rgb = self._reformatter.reformat(
                frame, width=width, height=height, format="rgb24", interpolation="AREA"
            )
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), quarters))

    def shrunk(self, image: ImageArray) -> ImageArray:
        """Return an upright RGB array at the size that was asked for."""
        if self._size_px is None:
            return image
        return self.image(av.VideoFrame.from_ndarray(image, format="rgb24"))


def quarter_turns(frame: av.VideoFrame) -> int:
    """Counter-clockwise quarter turns that make this frame upright; odd angles are ignored."""
    return frame.rotation // 90 % 4 if frame.rotation % 90 == 0 else 0


def decode_in_sequence(
    opened: OpenContainer, on_loss: Callable[[], None], beat: Beat
) -> Iterator[av.VideoFrame]:
    """Yield every frame from the first on; one bad packet does not end the read.

    Parameters
    ----------
    on_loss : callable
        Called for each packet the decoder refuses, before any frame that follows it.
    """
    delivered = 0
    for packet in demux(opened):
        for frame in _decode(opened, packet, on_loss):
            yield frame
            delivered += 1
        beat(delivered)
    yield from _decode(opened, None, on_loss)


def prime_decoder(opened: OpenContainer) -> None:
    """Let the decoder see the file's first packet, before any seek.

    Some encoders say only there what the decoder must know all along: which x264 made
    a 4:4:4 stream, and so which of its faults to make good.
    """
    for packet in demux(opened):
        _decode(opened, packet, refuse_loss)
        return


def decode_from_key(
    opened: OpenContainer, lookup: PacketLookup, wanted_pts: Sequence[int], beat: Beat
) -> Iterator[av.VideoFrame]:
    """Seek to the keyframe at the first PTS and yield what the packets up to all the others give.

    Raises
    ------
    FastPathError
        The keyframe was not found, a packet was refused, or a packet is not the one that the
        scan of the file met at that PTS.
    """
    key_pts, missing = wanted_pts[0], set(wanted_pts)
    opened.container.seek(key_pts, stream=opened.stream, backward=True)
    decoded = 0
    for packet in demux(opened):
        if not decoded and packet.pts != key_pts:
            if packet.is_keyframe and packet.pts is not None and packet.pts > key_pts:
                raise FastPathError(f"seek to pts {key_pts} led to {packet.pts}")
            continue
        if not lookup.holds(packet.pts, packet.size, packet.pos):
            raise FastPathError(f"another packet than before at pts {packet.pts}")
        yield from _decode(opened, packet, refuse_loss)
        decoded += 1
        beat(decoded)
        missing.discard(packet.pts)
        if not missing:
            break
    yield from _decode(opened, None, refuse_loss)


def decode_run(
    opened: OpenContainer, lookup: PacketLookup, timeline: Timeline, run: SeekRun, beat: Beat
) -> Iterator[av.VideoFrame]:
    """Seek to the run's keyframe and yield its wanted frames, matched by PTS, in order.

    Raises
    ------
    FastPathError
        The keyframe was not found, a packet was refused, or a wanted frame did not come.
    """
    wanted = timeline.pts[run.wanted].tolist()
    position = 0
    fed = [int(timeline.pts[run.key]), *wanted]
    for frame in decode_from_key(opened, lookup, fed, beat):
        if frame.is_corrupt:
            raise FastPathError(f"the frame with pts {frame.pts} is damaged")
        if position < len(wanted) and frame.pts == wanted[position]:
            yield frame
            position += 1
    if position < len(wanted):
        raise FastPathError(f"no frame with pts {wanted[position]} came")


def refuse_loss() -> None:
    """Stand in for `on_loss` where a refused packet ends the attempt."""
    raise FastPathError("the decoder refused a packet")


def _decode(
    opened: OpenContainer, packet: av.Packet[VideoStream] | None, on_loss: Callable[[], None]
) -> list[av.VideoFrame]:
    try:
        return opened.stream.codec_context.decode(packet)
    except av.error.EOFError:
        return []
    except av.error.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from None
        on_loss()
        return []
