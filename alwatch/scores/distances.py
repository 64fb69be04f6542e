"""Euclidean distances between rows of vectors, in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_REFERENCE_CHUNK = 8192
"""Reference rows per matrix product; with `chunk` it bounds the product's size."""


def unit_rows(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Scale every row to Euclidean length 1; rows of zeros stay zero.

    Parameters
    ----------
    vectors : float array of shape (n, d)
        Any float dtype; lengths are measured in float32.

    Returns
    -------
    float32 array of shape (n, d)
        A new array.
    """
    _check_matrix(vectors, "vectors")
    rows = np.array(vectors, dtype=np.float32)
    rows /= _divisors(rows)
    return rows


def nearest_distance(
    vectors: NDArray[Any], reference: NDArray[Any], *, chunk: int = 2048
) -> NDArray[np.float32]:
    """Measure how far each row lies from its nearest reference row.

    The nearest row is found by matrix products and its distance then taken from the difference
    itself, so equal rows are exactly 0 apart and small distances keep their digits.

    Parameters
    ----------
    vectors : float array of shape (n, d)
    reference : float array of shape (m, d)
    chunk : int
        Rows of `vectors` worked on at a time; memory beyond the result is about
        ``4 * chunk * (d + 8192)`` bytes, plus 8192 reference rows in float32.

    Returns
    -------
    float32 array of shape (n,)
        Euclidean distances, >= 0; infinite if there is no reference row.
    """
    _check_matrix(vectors, "vectors")
    _check_matrix(reference, "reference")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    if len(vectors) and len(reference) and vectors.shape[1] != reference.shape[1]:
        raise ValueError(
            f"vectors and reference must be equally wide, got shapes {vectors.shape} "
            f"and {reference.shape}"
        )
    distance = np.full(len(vectors), np.inf, dtype=np.float32)
    for start in range(0, len(reference), _REFERENCE_CHUNK):
        part = np.asarray(reference[start : start + _REFERENCE_CHUNK], dtype=np.float32)
        for low in range(0, len(vectors), chunk):
            rows = np.asarray(vectors[low : low + chunk], dtype=np.float32)
            into = distance[low : low + chunk]
            np.minimum(into, _to_nearest(rows, part), out=into)
    return distance


def relative_squares(rows: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared distances, each less the squared length of its row, by one matrix product.

    Enough to tell which of the others is nearest; add ``squared_lengths(rows)`` for the squared
    distances themselves, good to about 1e-6 of the squared lengths and at times just below 0.

    Parameters
    ----------
    rows : float32 array of shape (n, d)
    others : float32 array of shape (m, d)

    Returns
    -------
    float32 array of shape (n, m)
    """
    squares = rows @ (-2 * others).T
    squares += squared_lengths(others)
    return squares


def squared_lengths(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Square the length of each row: float32 arrays of shape (n, d) to (n,)."""
    lengths: NDArray[np.float32] = np.einsum("ij,ij->i", rows, rows)
    return lengths


def _to_nearest(rows: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float32]:
    nearest = relative_squares(rows, reference).argmin(axis=1)
    return np.sqrt(squared_lengths(rows - reference[nearest]))


def _divisors(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lengths of the rows as a column, with 1 where a row is zero."""
    lengths = np.sqrt(squared_lengths(rows))[:, None]
    lengths[lengths == 0] = 1.0
    return lengths


def _check_matrix(array: NDArray[Any], name: str) -> None:
    if array.ndim != 2:
        raise ValueError(f"{name} must be 2-D, one row per frame, got shape {array.shape}")
