"""`stride`: equally many frames of every video, evenly spaced in time.

The baseline that a cleverer strategy has to beat.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import Candidate, dealt, take_in_turns


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Share the budget out equally, and space each share from a random phase.

    Individuals take turns, and their videos within, those with the fewest labelled or queued
    frames first and in random order among equals, so that a budget smaller than their number is
    dealt fairly too. What a short video cannot use goes to the others. Within a video the times
    are used in random order, so that a queue labelled in part is spread out as well.
    """
    while selection.wants_more:
        groups = [[pair for pair in group if pair[1]] for group in dealt(selection, rng)]
        times_s = {
            video: _even_times_s(selection, video, share, rng)
            for group in groups
            for video, share in group
        }

        def stream(
            video: int, share: int, times_s: dict[int, NDArray[np.float64]] = times_s
        ) -> Iterator[Candidate]:
            for target_s in times_s[video]:
                row = selection.nearest_open(target_s, selection.time_s, selection.videos[video])
                if row is None:
                    return
                yield row, 0.0, f"one of {share} evenly spaced frames of its video"

        take_in_turns(selection, groups, stream)


def _even_times_s(
    selection: Selection, video: int, share: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """`share` times over the video's open frames, from a random phase, in random order."""
    times_s = selection.time_s[selection.open_rows(selection.videos[video])]
    step_s = (times_s[-1] - times_s[0]) / share
    return rng.permutation(times_s[0] + (np.arange(share) + rng.random()) * step_s)
