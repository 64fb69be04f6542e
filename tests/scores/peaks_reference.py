"""Peaks and their entropy by plain loops, written from the definitions and from nothing else."""

from __future__ import annotations

import math

import numpy as np


def plain_peaks(
    values: np.ndarray, *, distance: int, lowest: float, share: float, most: int
) -> list[tuple[float, int, int]]:
    """(height, row, column) of the peaks of one map, in the order in which they are taken."""
    height, width = values.shape
    level = max(lowest, share * float(values.max()))
    maxima = set()
    for r in range(height):
        for c in range(width):
            window = values[max(0, r - distance) : r + distance + 1]
            window = window[:, max(0, c - distance) : c + distance + 1]
            if values[r, c] > level and values[r, c] >= window.max():
                maxima.add((r, c))
    if len(maxima) == height * width:
        return []
    first_cells = []
    left = set(maxima)
    for cell in sorted(maxima):
        if cell not in left:
            continue
        first_cells.append(cell)
        plateau = [cell]
        left.discard(cell)
        while plateau:
            r, c = plateau.pop()
            for dr in (-1, 0, 1):
                for dc in (-1, 0, 1):
                    if (r + dr, c + dc) in left:
                        left.discard((r + dr, c + dc))
                        plateau.append((r + dr, c + dc))
    taken: list[tuple[float, int, int]] = []
    for r, c in sorted(first_cells, key=lambda cell: (-values[cell], cell)):
        near = any(max(abs(r - r2), abs(c - c2)) < distance for _, r2, c2 in taken)
        if not near and len(taken) < most:
            taken.append((float(values[r, c]), r, c))
    return taken


def plain_mpe(values: np.ndarray, *, max_peaks: int = 5, n_expected: int = 1) -> tuple[float, bool]:
    """Entropy of one map's peaks, and whether it has none."""
    most = max_peaks + n_expected - 1
    peaks = plain_peaks(values, distance=2, lowest=0.05, share=0.1, most=most)
    if not peaks:
        return 0.0, True
    total = sum(height for height, _, _ in peaks)
    entropy = -sum(h / total * math.log(h / total) for h, _, _ in peaks)
    usual = math.log(min(len(peaks), n_expected))
    return max(0.0, entropy - usual) / (math.log(most) - usual), False
