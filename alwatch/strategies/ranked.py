"""Plain rankings by one score: the highest first, whatever the video or the likeness.

The one-shot use of the DeepLabCut AI-residency study on Horse-10, in which it lost to uniform
sampling: a ranking by itself concentrates on a few animals and on what resembles each other.
`mpe` is the multiple-peak entropy of Liu & Ferrari (2017) with sum-normalised peaks, `mpe_softmax`
the study's own version of it; `learned_loss` is after Yoo & Kweon (2019). What differs: the
limits hold, equals are drawn in random order, and frames without the score come last.
"""

from __future__ import annotations

import numpy as np

from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import ranked, take_from


def mpe(selection: Selection, rng: np.random.Generator) -> None:
    """Rank by multiple-peak entropy."""
    _fill(selection, rng, "mpe", "bodyparts could be in several places (peak entropy {:.2f})")


def mpe_softmax(selection: Selection, rng: np.random.Generator) -> None:
    """Rank by the study's multiple-peak entropy, that of a softmax over raw peaks."""
    _fill(
        selection,
        rng,
        "mpe_softmax",
        "bodyparts could be in several places (softmax entropy {:.3f})",
    )


def confidence(selection: Selection, rng: np.random.Generator) -> None:
    """Rank by what the model's confidence lacks to 1."""
    _fill(selection, rng, "confidence", "the model is unsure (confidence lacks {:.2f} to 1)")


def novelty(selection: Selection, rng: np.random.Generator) -> None:
    """Rank by how unlike the labelled poses the predicted pose is."""
    _fill(selection, rng, "novelty", "the pose is unlike those labelled (novelty {:.2f})")


def learned_loss(selection: Selection, rng: np.random.Generator) -> None:
    """Rank by the loss that the model predicts for itself."""
    _fill(selection, rng, "learned_loss", "the model expects to be wrong (learned loss {:.3g})")


def ensemble(selection: Selection, rng: np.random.Generator) -> None:
    """Rank by how far the snapshots of an ensemble disagree."""
    _fill(selection, rng, "ensemble", "snapshots disagree about the pose ({:.3g})")


def _fill(selection: Selection, rng: np.random.Generator, name: str, reason: str) -> None:
    rows = selection.open_rows()
    take_from(selection, ranked(rows, selection.score(name)[rows], reason, rng))
