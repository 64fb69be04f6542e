"""`density_coreset`: k-centre in groups of equal density, more of it where frames are sparse.

After the density-aware core-set of Kim & Shin (2022, "In Defense of Core-set"): density by
nearest neighbours, groups of like density by natural breaks, a budget for each group that favours
sparse ones, greedy k-centre within each. What differs or could not be verified in the paper: the
number of groups and of neighbours (here 5 and 20); a group's budget, here in proportion to its
mean distance to the neighbours, so that a group twice as sparse gets twice as many, whatever its
size; and a group's frames keep away from the picks of all groups.

In place of their locality-sensitive hashing, of more than 50,000 open frames a stratified sample
of as many is all that is looked at, and another one if the limits close all of it. Density is
then measured at a coarser scale, alike for all frames; any neighbourhood that holds 1/5000 of the
frames has one in the sample with a probability of 99.99 %. What is lost are lone frames.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from alwatch.scores.natural_breaks import natural_breaks
from alwatch.scores.neighbours import EXACT_UP_TO, mean_neighbour_distance, stratified_rows
from alwatch.strategies.candidates import farthest, vectors_of
from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import Candidate, take_from

_GROUPS = 5
_NEIGHBOURS = 20


def fill(selection: Selection, rng: np.random.Generator, *, rows_max: int = EXACT_UP_TO) -> None:
    """Take the farthest frame of a group, groups taking turns by their budgets.

    The score is the distance to the nearest labelled or queued frame at the moment of choice.
    `rng` only draws the sample of a pool of more than `rows_max` open frames.
    """
    with threadpool_limits(limits=1):
        while selection.wants_more:
            rows = selection.open_rows()
            rows = rows[stratified_rows(len(rows), rows_max, rng)]
            sparseness = mean_neighbour_distance(
                vectors_of(selection, rows), len(rows), _NEIGHBOURS, rng
            )
            group = natural_breaks(sparseness, _GROUPS)
            parts = [group == i for i in range(group.max(), -1, -1)]  # the sparsest first
            members = [rows[part] for part in parts]
            weights = np.array([sparseness[part].mean() for part in parts])
            take_from(selection, _in_proportion(selection, members, weights))


def _in_proportion(
    selection: Selection, members: list[NDArray[np.int64]], weights: NDArray[np.float64]
) -> Iterator[Candidate]:
    """Candidates of the groups, so that at any time each has had its share, to half a frame.

    Webster's divisors: the next one goes to the group of largest weight / (2 given + 1).
    """
    streams = [farthest(selection, rows) for rows in members]
    divisors = np.ones(len(members))
    claims = weights + 1e-12  # all frames alike: every group has weight 0
    while (claims > 0).any():
        i = int((claims / divisors).argmax())
        found = next((each for each in streams[i] if selection.is_open(each[0])), None)
        if found is None:
            claims[i] = 0
            continue
        divisors[i] += 2
        row, distance, reason = found
        yield row, distance, f"{_part(i, len(members))}, {reason}"


def _part(i: int, n: int) -> str:
    names = {0: "the sparsest", n - 1: "the densest"}
    return f"from {names.get(i, f'number {i + 1}')} of {n} parts of the pool, by density"
