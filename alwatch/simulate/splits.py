"""Who is labelled at the start, who can be queued, and who is held out for the test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alwatch.errors import SettingsError


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Rows of an archive.

    Parameters
    ----------
    base, pool, test : int64 arrays
        Labelled at the start; may be queued; only ever tested on. No individual of the test is in
        the others.
    pool_test : int64 array
        Frames of the pool, evenly spaced in each individual, on which the model is tested too:
        what a lab wants of it first is that it works on the videos that it has.
    base_individuals, test_sessions : tuple of int
        What was drawn.
    """

    base: NDArray[np.int64]
    pool: NDArray[np.int64]
    test: NDArray[np.int64]
    pool_test: NDArray[np.int64]
    base_individuals: tuple[int, ...]
    test_sessions: tuple[int, ...]


def draw_split(
    individual: NDArray[np.int64],
    session: NDArray[np.int64],
    *,
    n_base: int,
    base_individuals: int,
    test_sessions: float,
    n_test: int,
    rng: np.random.Generator,
) -> Split:
    """Draw the sessions to hold out, then the individuals that are labelled at the start.

    Frames that individuals of the test have in other sessions too are left out altogether.

    The base is `n_base` frames of its individuals, evenly spaced from a random phase; what else
    these have is left out, as a lab goes on with new animals. All other individuals outside the
    test are the pool. Of the test, `n_test` evenly spaced frames are looked at.

    Parameters
    ----------
    individual, session : int64 arrays of shape (n,)
        Of each frame.
    n_base : int
        Frames; 0 for all.
    base_individuals : int
    test_sessions : float
        How many; below 1, a share of all sessions, of which one is held out at least, and a base
        and a pool are left.
    n_test : int
        Frames; 0 for all.
    rng : numpy.random.Generator

    Raises
    ------
    SettingsError
        There are too few sessions or individuals to leave a pool.
    """
    sessions = np.unique(session)
    n_held_out = int(test_sessions)
    if test_sessions < 1:
        most = len(sessions) - base_individuals - 1
        n_held_out = max(1, min(round(test_sessions * len(sessions)), most))
    if len(sessions) <= n_held_out:
        raise SettingsError(
            f"{n_held_out} sessions were to be held out, but there are {len(sessions)}; name a "
            "pattern for --session that tells more apart, or hold out fewer."
        )
    held_out = rng.permutation(sessions)[:n_held_out]
    is_test = np.isin(session, held_out)
    is_other = ~np.isin(individual, individual[is_test])
    others = np.unique(individual[is_other])
    if len(others) <= base_individuals:
        raise SettingsError(
            f"{base_individuals} individuals were to be labelled at the start, but outside the "
            f"test there are {len(others)}, which leaves no pool; take fewer, or hold out less."
        )
    base = rng.permutation(others)[:base_individuals]
    is_base = np.isin(individual, base)
    pool = np.flatnonzero(is_other & ~is_base)
    animals = np.unique(individual[pool])
    return Split(
        base=_spaced(np.flatnonzero(is_base), n_base, rng.random()),
        pool=pool,
        test=_spaced(np.flatnonzero(is_test), n_test, 0.5),
        pool_test=np.concatenate(
            [_spaced(pool[individual[pool] == a], -(-n_test // len(animals)), 0.5) for a in animals]
        ),
        base_individuals=tuple(np.sort(base).tolist()),
        test_sessions=tuple(np.sort(held_out).tolist()),
    )


def _spaced(rows: NDArray[np.int64], n: int, phase: float) -> NDArray[np.int64]:
    """Evenly spaced rows, `n` at most (0: all); `phase` from 0 to 1 within a step."""
    if n == 0 or len(rows) <= n:
        return rows
    return rows[((np.arange(n) + phase) * len(rows) / n).astype(np.int64)]
