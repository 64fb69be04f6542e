"""Streams of candidates, and how they take turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from alwatch.strategies.selection import Selection

Candidate: TypeAlias = tuple[int, float, str]
"""A row, its score and the reason: what `Selection.take` is given."""


def ranked(
    rows: NDArray[np.int64], scores: NDArray[np.float64], reason: str, rng: np.random.Generator
) -> Iterator[Candidate]:
    """Rank rows by score, the highest first, in random order among equals.

    Parameters
    ----------
    rows : int array of shape (k,)
    scores : float array of shape (k,)
        One for each of `rows`. Rows with NaN come last, in random order, as if drawn by lot.
    reason : str
        A format for the score, such as "sure only to {:.2f}".
    rng : numpy.random.Generator
    """
    for i in np.lexsort((rng.random(len(rows)), -scores)):
        if np.isnan(scores[i]):
            yield int(rows[i]), 0.0, "not scored yet, drawn at random"
        else:
            yield int(rows[i]), float(scores[i]), reason.format(scores[i])


def in_turns(selection: Selection, streams: Iterable[Iterator[Candidate]]) -> Iterator[Candidate]:
    """Give the next open candidate of each stream in turn; a stream without one drops out.

    Each candidate must be taken before the next one is asked for.
    """
    waiting = list(streams)
    while waiting:
        still_waiting = []
        for stream in waiting:
            candidate = next((each for each in stream if selection.is_open(each[0])), None)
            if candidate is not None:
                yield candidate
                still_waiting.append(stream)
        waiting = still_waiting


def take_from(selection: Selection, candidates: Iterator[Candidate]) -> None:
    """Take the candidates that are open until the selection wants no more."""
    while selection.wants_more and (candidate := next(candidates, None)) is not None:
        if selection.is_open(candidate[0]):
            selection.take(*candidate)


def equal_shares(most: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """Deal `budget` out one by one in turns; whoever has reached `most` is passed over."""
    shares = np.zeros_like(most)
    while budget > 0 and (hungry := np.flatnonzero(shares < most)).size:
        each = max(1, min(budget // len(hungry), int((most - shares)[hungry].min())))
        shares[hungry[: budget // each]] += each
        budget -= each * len(hungry[: budget // each])
    return shares


def dealt(selection: Selection, rng: np.random.Generator) -> list[list[tuple[int, int]]]:
    """Deal what remains of the budget to those who have equal shares, and on to their videos.

    Fewest labelled or queued frames first, random among equals; who has no room is left out.

    Returns
    -------
    list of lists of (video, share)
        The videos of each individual (or what `Limits.share_by` says). Shares may be 0.
    """
    room = np.array([selection.room(video) for video in range(len(selection.videos))], np.int64)
    lots = rng.random(len(room))
    of_sharers = [
        videos[np.lexsort((lots[videos], selection.n_marked[videos]))]
        for videos in selection.sharers
    ]
    first = np.array([videos[0] for videos in selection.sharers], np.int64)
    turn = np.lexsort((lots[first], selection.n_marked_of_sharer))
    turn = np.array([n for n in turn if room[of_sharers[n]].any()], np.int64)
    most = np.array([selection.room_of_sharer(n) for n in turn], np.int64)
    groups = []
    for number, share in zip(turn, equal_shares(most, selection.remaining), strict=True):
        videos = of_sharers[number][room[of_sharers[number]] > 0]
        shares = equal_shares(room[videos], int(share))
        groups.append(list(zip(videos.tolist(), shares.tolist(), strict=True)))
    return groups


def take_in_turns(
    selection: Selection,
    groups: Iterable[Iterable[tuple[int, int]]],
    stream: Callable[[int, int], Iterator[Candidate]],
) -> None:
    """Take candidates of the dealt groups in turn, and in each group of its videos in turn.

    Parameters
    ----------
    selection : Selection
    groups : iterable of iterables of (video, share)
        As `dealt` returns them.
    stream : callable
        The candidates of a video that has this share.
    """
    streams = [
        in_turns(selection, [stream(video, share) for video, share in group]) for group in groups
    ]
    take_from(selection, in_turns(selection, streams))
