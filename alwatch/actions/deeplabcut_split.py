"""Which labelled frames a training leaves out, so that its error can be told honestly.

Frames of one video are alike: a model that was trained on some of them does better on the others
than on a video that it has never seen. So whole videos are left out where that is possible.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

_IMAGE_NUMBER = re.compile(r"(\d{1,18})\.\w+$")


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to train on and rows that are left out, both increasing.

    `by` says what was left out beside the frames that had to be: whole videos, or, where every
    video is too large a part of all frames, single frames.
    """

    train: tuple[int, ...]
    test: tuple[int, ...]
    by: Literal["video", "frame"]


def split_frames(
    images: Sequence[tuple[str, str]],
    *,
    held_out: Collection[tuple[str, int]],
    train_share: float,
    seed: str,
) -> Split:
    """Divide frames.

    Parameters
    ----------
    images : sequence of (folder, file name), length n
        The labelled frames, no two alike; a folder is a video.
    held_out : collection of (folder, frame index)
        Left out in any case.
    train_share : float
        About 1 - `train_share` of the frames are left out: at least one, and beyond those that
        have to be no more than half.
    seed : str
        Draws the videos; the order of `images` has no say in it.

    Raises
    ------
    ValueError
        Nothing would be left to train on, or to test on.
    """
    wanted = min(max(1, round((1 - train_share) * len(images))), len(images) // 2)
    test = {row for row, (video, name) in enumerate(images) if (video, frame_of(name)) in held_out}
    of_video: dict[str, set[int]] = defaultdict(set)
    for row, (video, _) in enumerate(images):
        if row not in test:
            of_video[video].add(row)
    for video in _drawn(of_video, seed):
        with_it = test | of_video[video]
        if len(with_it) - wanted < wanted - len(test) and 2 * len(with_it) <= len(images):
            test = with_it  # nearer to what is wanted
    by: Literal["video", "frame"] = "video"
    if len(test) < wanted / 2:
        by = "frame"
        rows = {f"{video}/{name}": row for row, (video, name) in enumerate(images)}
        drawn = [rows[name] for name in _drawn(rows, seed) if rows[name] not in test]
        test.update(drawn[: wanted - len(test)])
    train = sorted(set(range(len(images))) - test)
    if not train or not test:
        raise ValueError(f"of {len(images)} labelled frames {len(test)} would be held out")
    return Split(tuple(train), tuple(sorted(test)), by)


def frame_of(image: str) -> int | None:
    """The frame index in an image's name, such as 7 in `img007.png`."""
    found = _IMAGE_NUMBER.search(image)
    return int(found[1]) if found else None


def _drawn(names: Collection[str], seed: str) -> list[str]:
    """Names in an order that is as good as random, and the same everywhere."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())


def padded(split: Split, train_fraction: float) -> tuple[list[int], list[int]]:
    """The rows, filled up with -1 until their share is `train_fraction` to two digits.

    DeepLabCut names a model by that share and finds it under the `TrainingFraction` of config.yaml
    only. Rows of -1 are its own way out: it leaves them off again.

    Raises
    ------
    ValueError
        No such share leaves rows on both sides.
    """
    named = int(100 * train_fraction)
    shares = [p for p in (round(100 * train_fraction), named, named + 1) if 0 < p < 100]
    percent = next((p for p in shares if int(100 * round(p / 100, 2)) == named), None)
    if percent is None:
        raise ValueError(f"TrainingFraction {train_fraction} leaves nothing to train or to test on")
    n_train, n_test = len(split.train), len(split.test)
    times = max(-(-n_train // percent), -(-n_test // (100 - percent)))
    return (
        [*split.train, *[-1] * (times * percent - n_train)],
        [*split.test, *[-1] * (times * (100 - percent) - n_test)],
    )
