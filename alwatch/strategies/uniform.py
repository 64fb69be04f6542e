"""`uniform`: every so-many-th frame of one list of all frames, video after video.

The baseline of the DeepLabCut AI-residency study on Horse-10. Videos get frames in proportion
to how many they have; see `stride` for equal shares.
"""

from __future__ import annotations

import numpy as np

from alwatch.strategies.selection import Selection


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Stride over the open frames from a random phase.

    Where a frame has been closed meanwhile, the nearest open one on the list stands in. The
    frames are ranked in random order, so that a queue labelled in part is spread out as well.
    """
    rows = selection.open_rows()
    place = np.arange(len(selection.open_mask))
    budget = min(selection.remaining, len(rows))
    step = len(rows) / max(budget, 1)
    targets = rows[((np.arange(budget) + rng.random()) * step).astype(np.int64)]
    for target in rng.permutation(targets):
        row = selection.nearest_open(target, place)
        if row is None:
            return
        selection.take(row, 0.0, f"one in {step:.3g} frames of all videos in a row")
