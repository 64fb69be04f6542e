"""Vectors seen along few directions: flat maps for pages that draw them, and narrow copies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIT_ROWS = 10_000
_EXTRA_DIRECTIONS = 8
_PASSES = 8
_CHUNK = 4096
_FEWEST_FOR_NEIGHBOURS = 20
_NEGLIGIBLE = 1e-6


def plane_coordinates(vectors: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float32]:
    """Project vectors on the plane along which they vary most (PCA).

    The plane is fitted to at most 10,000 random rows by a randomised singular value
    decomposition (Halko, Martinsson & Tropp 2011); then all rows are projected, chunk by chunk.
    Each axis points to where its largest loading is positive, so that the picture does not flip
    from one drawing to the next.

    Parameters
    ----------
    vectors : float array of shape (n, d)
    rng : numpy.random.Generator
        The same state and vectors give the same map.

    Returns
    -------
    float32 array of shape (n, 2)
        The first column varies most; a direction that does not vary is all zeros.
    """
    return principal_coordinates(vectors, 2, rng)


def principal_coordinates(
    vectors: NDArray[Any], n_axes: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Project vectors on the directions along which they vary most, as `plane_coordinates` does.

    Parameters
    ----------
    vectors : float array of shape (n, d)
    n_axes : int
    rng : numpy.random.Generator

    Returns
    -------
    float32 array of shape (n, n_axes)
        About their mean. A direction that does not vary is all zeros.
    """
    if vectors.ndim != 2:
        raise ValueError(f"vectors must be 2-D, one row per frame, got shape {vectors.shape}")
    n, width = vectors.shape
    coordinates = np.zeros((n, n_axes), dtype=np.float32)
    if n == 0 or width == 0:
        return coordinates
    fit = vectors
    if n > _FIT_ROWS:
        fit = vectors[np.sort(rng.choice(n, _FIT_ROWS, replace=False))]
    centre = fit.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = fit.astype(np.float32) - centre
    axes = _leading_axes(centred, n_axes, np.abs(centre).max(), rng)  # (d, <= n_axes)
    for low in range(0, n, _CHUNK):
        rows = vectors[low : low + _CHUNK].astype(np.float32) - centre
        coordinates[low : low + _CHUNK, : axes.shape[1]] = rows @ axes
    return coordinates


def neighbour_map(vectors: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float32]:
    """Lay vectors out in the plane so that near ones stay near (t-SNE, from the PCA plane).

    Where an archive has seasons, PCA shows little but the gap between them; this shows what
    lies within each. Distances between far groups mean nothing. Takes some seconds for 1,000
    vectors (van der Maaten & Hinton 2008; Kobak & Berens 2019 for the start).

    Parameters
    ----------
    vectors : float array of shape (n, d)
    rng : numpy.random.Generator
        The same state and vectors give the same map on one machine.

    Returns
    -------
    float32 array of shape (n, 2)
        The PCA plane itself where there are fewer than 20 vectors or all are equal.
    """
    plane = plane_coordinates(vectors, rng)
    spread = float(plane.std(axis=0).max()) if len(plane) else 0.0
    if len(vectors) < _FEWEST_FOR_NEIGHBOURS or spread == 0:
        return plane
    from sklearn.manifold import TSNE

    layout = TSNE(
        init=plane / spread * 1e-4,
        perplexity=min(30.0, len(vectors) / 4),
        max_iter=500,
        random_state=int(rng.integers(2**31)),
    )
    placed: NDArray[np.float32] = layout.fit_transform(np.asarray(vectors, np.float32))
    return placed


def _leading_axes(
    centred: NDArray[np.float32], n_axes: int, offset: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Up to `n_axes` orthonormal directions as columns, those that are rounding noise left out."""
    n, width = centred.shape
    k = min(n_axes + _EXTRA_DIRECTIONS, n, width)
    basis = rng.standard_normal((width, k)).astype(np.float32)
    for _ in range(_PASSES):
        basis = np.linalg.qr(centred.T @ (centred @ basis))[0]
    _, lengths, turn = np.linalg.svd(centred @ basis, full_matrices=False)
    noise = _NEGLIGIBLE * (offset * np.sqrt(n * width) + lengths[0])
    axes: NDArray[np.float32] = (basis @ turn.T)[:, :n_axes][:, lengths[:n_axes] > noise]
    largest = np.abs(axes).argmax(axis=0)
    axes *= np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1, 1).astype(np.float32)
    return axes
