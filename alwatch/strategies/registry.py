"""The strategies by name, and the one way to run them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

import numpy as np

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.selection import Selection

STRATEGIES: Mapping[str, str] = MappingProxyType(
    {
        "kmeans": "alwatch.strategies.kmeans:fill",
        "minmax": "alwatch.strategies.minmax:fill",
        "random": "alwatch.strategies.random:fill",
        "stride": "alwatch.strategies.stride:fill",
        "uniform": "alwatch.strategies.uniform:fill",
    }
)
"""Name -> where its function is, imported on first use.

The function takes the selection and the random generator, and picks from the open rows until
the selection wants no more.
"""


def fault_of(name: str) -> str | None:
    """One sentence on what is wrong with a strategy's name; None if nothing is."""
    if name in STRATEGIES:
        return None
    near = difflib.get_close_matches(name, STRATEGIES, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"strategy is {name!r}; {hint}It must be one of {', '.join(sorted(STRATEGIES))}."


def select(
    pool: Pool,
    *,
    strategy: str,
    budget: int,
    limits: Limits,
    rng: np.random.Generator,
) -> Picks:
    """Choose frames to label.

    Parameters
    ----------
    pool : Pool
    strategy : str
        A name of `STRATEGIES`.
    budget : int
        Number of frames, >= 1.
    limits : Limits
        Hold for every strategy. The audit share comes first.
    rng : numpy.random.Generator
        The same state and pool give the same picks; the order of the pool's rows does not
        matter.

    Returns
    -------
    Picks
        `budget` frames, or fewer where the limits leave no more. Never one that is taken.

    Raises
    ------
    ValueError
        The strategy is not known, or the budget is below 1.
    """
    fault = fault_of(strategy)
    if fault is not None:
        raise ValueError(fault)
    if budget < 1:
        raise ValueError(f"budget is {budget}; it must be a whole number >= 1.")
    selection = Selection(pool, limits, budget)
    selection.take_audit(rng)
    module, function = STRATEGIES[strategy].split(":")
    getattr(import_module(module), function)(selection, rng)
    return selection.picks()
