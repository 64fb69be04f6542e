"""`stride`: equally many frames of every video, evenly spaced in time.

The baseline that a cleverer strategy has to beat.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import equal_shares


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Share the budget out equally, and space each share from a random phase.

    Videos take turns, those with the fewest labelled or queued frames first and in random order
    among equals, so that a budget smaller than the number of videos is dealt fairly too. What a
    short video cannot use goes to the others. Within a video the times are used in random
    order, so that a queue labelled in part is spread out as well.
    """
    while selection.wants_more:
        room = np.array([selection.room(video) for video in range(len(selection.videos))])
        turn_order = np.lexsort((rng.random(len(room)), selection.n_marked))
        turn_order = turn_order[room[turn_order] > 0][: selection.remaining]
        shares = equal_shares(room[turn_order], selection.remaining)
        times = [
            _even_times_s(selection, video, share, rng)
            for video, share in zip(turn_order, shares, strict=True)
        ]
        for turn in range(shares.max()):
            for video, share, targets_s in zip(turn_order, shares, times, strict=True):
                if turn >= share:
                    continue
                row = selection.nearest_open(
                    targets_s[turn], selection.time_s, selection.videos[video]
                )
                if row is not None:
                    selection.take(row, 0.0, f"one of {share} evenly spaced frames of its video")


def _even_times_s(
    selection: Selection, video: int, share: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """`share` times over the video's open frames, from a random phase, in random order."""
    times_s = selection.time_s[selection.open_rows(selection.videos[video])]
    step_s = (times_s[-1] - times_s[0]) / share
    return rng.permutation(times_s[0] + (np.arange(share) + rng.random()) * step_s)
