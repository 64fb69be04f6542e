"""A video's frames from its packet table, and what reading some of them costs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from alwatch.records import Timeline

if TYPE_CHECKING:
    from alwatch.records import BoolArray, IntArray

NO_PTS = int(np.iinfo(np.int64).min)
"""Stands in a packet table for a packet without a presentation time stamp."""

_KEYFRAME_EXTRA_COST = 5  # a keyframe takes some six times as long to decode as the others


@dataclass(frozen=True, slots=True)
class PacketTable:
    """The video packets of a file in stored order, one entry per packet.

    Parameters
    ----------
    pts : int64 array of shape (n_packets,), `NO_PTS` where a packet has none
    keyframe, discard : bool array of shape (n_packets,)
        `discard` marks packets that an edit list hides: decoded, never shown.
    size_bytes : int64 array of shape (n_packets,)
        An empty packet (AVI's mark for a dropped frame) yields no frame.
    position : int64 array of shape (n_packets,)
        Where in the file each packet lies, in bytes; -1 where unknown.
    """

    pts: IntArray
    keyframe: BoolArray
    discard: BoolArray
    size_bytes: IntArray
    position: IntArray

    def __post_init__(self) -> None:
        columns = (self.pts, self.keyframe, self.discard, self.size_bytes, self.position)
        shapes = {column.shape for column in columns}
        if len(shapes) != 1 or self.pts.ndim != 1:
            raise ValueError(f"the columns must be 1-D and equally long, got shapes {shapes}")


@dataclass(frozen=True, slots=True)
class SeekRun:
    """Frames to be read after one seek: from keyframe index `key` on to the last of `wanted`."""

    key: int
    wanted: IntArray


class PacketLookup:
    """Tells whether a packet is the one that a scan of the file from its start met at that PTS.

    Some containers (AVI) store no PTS: demuxers count, and in a damaged file they count
    differently after a seek. The same PTS then names another packet.
    """

    def __init__(self, packets: PacketTable) -> None:
        order = np.argsort(packets.pts, kind="stable")
        self._pts = packets.pts[order]
        self._size_bytes = packets.size_bytes[order]
        self._position = packets.position[order]

    def holds(self, pts: int | None, size_bytes: int, position: int | None) -> bool:
        """Whether the scan met this packet, alone, at this PTS."""
        if pts is None:
            return False
        first = int(np.searchsorted(self._pts, pts))
        last = int(np.searchsorted(self._pts, pts, side="right"))
        return (
            last - first == 1
            and int(self._size_bytes[first]) == size_bytes
            and int(self._position[first]) == (-1 if position is None else position)
        )


def build_timeline(packets: PacketTable, time_base: Fraction) -> Timeline | None:
    """List the frames that a packet table promises, or None where it does not tell.

    A frame's index is the rank of its PTS among the packets that are shown. That needs every
    one of them to have a PTS of its own.

    Parameters
    ----------
    packets : PacketTable
    time_base : Fraction
        Seconds per PTS unit.
    """
    shown = ~packets.discard & (packets.size_bytes > 0)
    pts = packets.pts[shown]
    order = np.argsort(pts, kind="stable")
    pts = pts[order]
    if pts.size == 0 or pts[0] == NO_PTS or bool((np.diff(pts) == 0).any()):
        return None
    return Timeline(
        pts=pts,
        keyframe=packets.keyframe[shown][order],
        time_base=time_base,
        source="packets",
        seekable=True,
    )


def timeline_from_census(
    pts: IntArray, keyframe: BoolArray, time_base: Fraction, frame_s: Fraction
) -> Timeline:
    """List the frames that decoding in sequence has delivered, in that order.

    PTS that increase strictly name one frame each and are kept; others (decoders of files
    that store no PTS make them up) are replaced by a constant rate.

    Parameters
    ----------
    pts : int64 array of shape (n_frames,), `NO_PTS` where a frame has none
    keyframe : bool array of shape (n_frames,)
    time_base : Fraction
        Seconds per PTS unit.
    frame_s : Fraction
        Seconds per frame, where PTS do not tell.
    """
    usable = bool((pts != NO_PTS).all() and (np.diff(pts) > 0).all())
    return Timeline(
        pts=pts if usable else np.arange(pts.size, dtype=np.int64),
        keyframe=keyframe,
        time_base=time_base if usable else frame_s,
        source="decode",
        seekable=usable,
    )


def validate_indices(indices: IntArray, n_frames: int) -> None:
    """Raise ValueError unless the indices increase strictly and name frames of the video."""
    if indices.ndim != 1 or bool((np.diff(indices) <= 0).any()):
        raise ValueError("frame indices must be 1-D and increase")
    if indices.size and (indices[0] < 0 or indices[-1] >= n_frames):
        raise ValueError(
            f"frames {indices[0]} to {indices[-1]} were asked for; the video has frames 0 to "
            f"{n_frames - 1}"
        )


def plan_seek_runs(timeline: Timeline, indices: IntArray) -> list[SeekRun] | None:
    """Group increasing frame indices by the keyframe to seek to; None if one precedes them all."""
    keys = np.flatnonzero(timeline.keyframe)
    owners = np.searchsorted(keys, indices, side="right") - 1
    if indices.size and owners[0] < 0:
        return None
    cuts = np.flatnonzero(np.diff(owners)) + 1
    return [
        SeekRun(key=int(keys[owner[0]]), wanted=wanted)
        for owner, wanted in zip(np.split(owners, cuts), np.split(indices, cuts), strict=True)
        if wanted.size
    ]


def sequence_cost(indices: IntArray) -> int:
    """Frames that a read in sequence decodes to deliver these increasing indices."""
    return int(indices[-1]) + 1 if indices.size else 0


def seek_cost(timeline: Timeline, runs: list[SeekRun]) -> int:
    """Frames' worth of work that reading these runs takes.

    The seek itself costs next to nothing; that each starts with a keyframe does, except where
    every frame is one.
    """
    extra = 0 if bool(timeline.keyframe.all()) else _KEYFRAME_EXTRA_COST
    return sum(int(run.wanted[-1]) - run.key + 1 + extra for run in runs)
