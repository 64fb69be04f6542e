"""Streams of candidates, and how they take turns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def videos_in_turn(selection: Selection, rng: np.random.Generator) -> NDArray[np.int64]:
    """Videos that have room: fewest labelled or queued frames first, random among equals."""
    room = np.array([selection.room(video) for video in range(len(selection.videos))], np.int64)
    order = np.lexsort((rng.random(len(room)), selection.n_marked))
    return order[room[order] > 0]


def equal_shares(most: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """Deal `budget` out one by one in turns; whoever has reached `most` is passed over."""
    shares = np.zeros_like(most)
    while budget > 0 and (hungry := np.flatnonzero(shares < most)).size:
        each = max(1, min(budget // len(hungry), int((most - shares)[hungry].min())))
        shares[hungry[: budget // each]] += each
        budget -= each * len(hungry[: budget // each])
    return shares


def dealt(selection: Selection, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Videos in turn, each with its equal share of what remains of the budget.

    A video for which nothing is left has a share of 1, in case that it stands in for another.
    """
    videos = videos_in_turn(selection, rng)
    room = np.array([selection.room(video) for video in videos], np.int64)
    shares = equal_shares(room, selection.remaining).clip(min=1)
    return list(zip(videos.tolist(), shares.tolist(), strict=True))
