"""`random`: every open frame is equally likely."""

from __future__ import annotations

import numpy as np

from alwatch.strategies.selection import Selection


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Take open frames in random order."""
    for row in rng.permutation(selection.open_rows()):
        if not selection.wants_more:
            return
        if selection.is_open(int(row)):
            selection.take(int(row), 0.0, "drawn at random")
