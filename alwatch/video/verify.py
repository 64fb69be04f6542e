"""Whether a faster way to a file's frames gives what reading in sequence gives, on that file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import av
import numpy as np

from alwatch.records import Timeline
from alwatch.video.container import Beat, open_container
from alwatch.video.decode import (
    FastPathError,
    ImageConverter,
    decode_from_key,
    decode_in_sequence,
    prime_decoder,
    refuse_loss,
)
from alwatch.video.source import SourceFile
from alwatch.video.timeline import PacketLookup

if TYPE_CHECKING:
    from alwatch.records import ImageArray

_FRAMES_BEFORE_BOUNDARIES = 750  # in all, where groups are long; never fewer than 3 boundaries
_FRAMES_AFTER_BOUNDARY = 8


def seek_verification_cost(timeline: Timeline) -> int:
    """Frames that `keyframe_seeks_agree` decodes on such a file."""
    return sum(stop - start + stop - key for start, key, stop in _stretches(timeline))


def keyframe_seeks_agree(
    source: SourceFile, timeline: Timeline, lookup: PacketLookup, *, max_pixels: int, beat: Beat
) -> bool:
    """Whether seeks to this file's keyframes give the same frames as decoding continuously.

    Across the first, the last and some keyframes between, the file is decoded continuously
    (from its very start, or from the keyframe before) and once more after a fresh seek: both
    must deliver exactly the timeline's PTS, with equal pixels. That refuses intra refresh,
    where a seek lands amid a half-refreshed picture, and open groups whose frames need
    the group before.
    """
    if not timeline.seekable or not timeline.keyframe[0]:
        return False
    with open_container(source, max_pixels=max_pixels, thread_type="FRAME") as opened:
        prime_decoder(opened)
        for start, key, stop in _stretches(timeline):
            pts = timeline.pts[start:stop].tolist()
            if start == 0:
                frames = _from_the_start(source, stop, max_pixels, beat)
            else:
                frames = decode_from_key(opened, lookup, pts, beat)
            continuous = _delivered(frames, timeline, range(start, stop), key)
            frames = decode_from_key(opened, lookup, pts[key - start :], beat)
            after_seek = _delivered(frames, timeline, range(key, stop), key)
            if continuous is None or after_seek is None:
                return False
            if not all(map(np.array_equal, continuous, after_seek)):
                return False
    return True


def _stretches(timeline: Timeline) -> Iterator[tuple[int, int, int]]:
    """Yield (keyframe, next keyframe, end) for boundaries spread over the file, both ends in."""
    keys = np.flatnonzero(timeline.keyframe)
    pairs = list(pairwise(keys)) or [(keys[0], keys[0])]
    mean_group = max(1, timeline.n_frames // keys.size)
    count = min(max(_FRAMES_BEFORE_BOUNDARIES // mean_group, 3), 5)
    spread = np.unique(np.linspace(0, len(pairs) - 1, count).round().astype(int))
    for start, key in (pairs[i] for i in spread):
        yield int(start), int(key), min(int(key) + _FRAMES_AFTER_BOUNDARY, timeline.n_frames)


def _from_the_start(
    source: SourceFile, stop: int, max_pixels: int, beat: Beat
) -> Iterator[av.VideoFrame]:
    with open_container(source, max_pixels=max_pixels, thread_type="FRAME") as opened:
        yield from islice(decode_in_sequence(opened, refuse_loss, beat), stop)


def _delivered(
    frames: Iterable[av.VideoFrame], timeline: Timeline, indices: range, keep_from: int
) -> list[ImageArray] | None:
    """Images of the frames from `keep_from` on, or None if the PTS are not those of `indices`.

    Frames shown before the first one are passed over: a seek into an open group may deliver
    them, and nobody asks for them there.
    """
    converter = ImageConverter(None)
    expected = iter(indices)
    images = []
    try:
        for frame in frames:
            if frame.pts is not None and frame.pts < timeline.pts[indices[0]]:
                continue
            index = next(expected, None)
            if index is None:
                break
            if frame.pts != timeline.pts[index]:
                return None
            if index >= keep_from:
                images.append(converter.image(frame))
    except FastPathError:
        return None
    return images if next(expected, None) is None else None
