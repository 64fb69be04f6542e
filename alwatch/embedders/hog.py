"""A descriptor of shape and colour that needs no weights.

Two parts, side by side in one vector:

- histograms of oriented gradients (Dalal and Triggs, CVPR 2005) of the grey frame: where there
  are edges and which way they run, so where the animal is and how it is turned;
- colour layout (MPEG-7, ISO/IEC 15938-3): the low frequencies of an 8x8 thumbnail in YCrCb, so
  light, background and coat, which is what separates one season from another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from alwatch.records import EmbedderIdentity

if TYPE_CHECKING:
    from alwatch.records import FloatArray, ImageArray

_RECIPE = "hog-1"  # part of the identity: another number for any change of the vectors

_SIDE_PX = 128
_CELL_PX = 16
_BLOCK_CELLS = 2  # blocks do not overlap: neighbours nearly as good, a third of the length
_ORIENTATIONS = 9
_CLIP = 0.2  # L2-Hys
_TINY = 1e-5

# Block normalisation blows the compression noise of an empty floor up to the size of an animal.
# Blocks are therefore faded out where their gradient energy (grey levels) is not above this. On
# five videos, halving to doubling it changed little; without it neighbours were 40 % worse.
_NOISE_FLOOR = 8.0

_LAYOUT_SIDE = 8
_FREQUENCIES = (5, 3, 3)  # of Y, Cr, Cb: coefficients (u, v) with u + v below this
_RGB_TO_YCRCB = np.array(
    [[0.299, 0.587, 0.114], [0.5, -0.418688, -0.081312], [-0.168736, -0.331264, 0.5]],
    dtype=np.float32,
)

_CHUNK = 64  # frames at a time, so that temporary arrays stay near 30 MB


class HogEmbedder:
    """Histogram of oriented gradients and colour layout of the whole frame, without weights.

    The frame is squashed to 128x128. The gradient part holds 4x4 blocks of 2x2 cells of 9
    unsigned orientations (576 numbers), the colour part 15 + 6 + 6 DCT coefficients (27).

    Neither part swamps the other: both are scaled to root mean squares over the frame, gradients
    in units of a full block, colours in units of 128 grey levels. Between frames of different
    videos (17 of flies and mice) the two parts then differ by the same 0.66 and 0.65 (RMS);
    within a video by 0.36 and 0.09, so that there the pose decides.
    """

    def __init__(self) -> None:
        blocks = (_SIDE_PX // _CELL_PX // _BLOCK_CELLS) ** 2
        n_gradient = blocks * _BLOCK_CELLS**2 * _ORIENTATIONS
        n_colour = sum(k * (k + 1) // 2 for k in _FREQUENCIES)
        self._identity = EmbedderIdentity("hog", _RECIPE, n_gradient + n_colour)

    @property
    def identity(self) -> EmbedderIdentity:
        """Name, version of the recipe, and dimension."""
        return self._identity

    def frame_size_px(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Height and width at which frames are wanted: always the same square."""
        return _SIDE_PX, _SIDE_PX

    def embed(self, frames: ImageArray) -> FloatArray:
        """Describe each frame.

        Parameters
        ----------
        frames : uint8 array of shape (n, 128, 128, 3), RGB

        Returns
        -------
        float32 array of shape (n, 603)

        Raises
        ------
        ValueError
            Frames of another size or type.
        """
        wanted = (_SIDE_PX, _SIDE_PX, 3)
        if frames.ndim != 4 or frames.shape[1:] != wanted or frames.dtype != np.uint8:
            raise ValueError(
                f"frames must be uint8 of shape (n, {', '.join(map(str, wanted))}), got "
                f"{frames.dtype} of shape {frames.shape}; decode at frame_size_px()"
            )
        vectors = np.empty((len(frames), self._identity.dim), np.float32)
        for start in range(0, len(frames), _CHUNK):
            chunk = np.ascontiguousarray(frames[start : start + _CHUNK])
            gradients = _oriented_gradients(chunk)
            vectors[start : start + len(chunk), : gradients.shape[1]] = gradients
            vectors[start : start + len(chunk), gradients.shape[1] :] = _colour_layout(chunk)
        return vectors


def _oriented_gradients(frames: ImageArray) -> FloatArray:
    """Faded L2-Hys blocks, scaled by the root of their number, of shape (n, 576)."""
    histograms = _cell_histograms(frames)
    n, side = histograms.shape[:2]
    b = side // _BLOCK_CELLS
    blocks = (
        histograms.reshape(n, b, _BLOCK_CELLS, b, _BLOCK_CELLS, _ORIENTATIONS)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(n, b * b, -1)
    )
    energy = _norm(blocks)
    clipped = np.minimum(blocks / energy, _CLIP)
    presence = energy / np.hypot(energy, _NOISE_FLOOR)
    faded: FloatArray = clipped / _norm(clipped) * (presence / np.sqrt(blocks.shape[1]))
    return faded.reshape(n, -1)


def _cell_histograms(frames: ImageArray) -> FloatArray:
    """Mean gradient magnitude per cell and orientation, of shape (n, 8, 8, 9)."""
    n = len(frames)
    tall = frames.reshape(n * _SIDE_PX, _SIDE_PX, 3)
    grey = cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY).reshape(n, _SIDE_PX, _SIDE_PX)
    grey = grey.astype(np.float32)
    down, right = np.zeros_like(grey), np.zeros_like(grey)
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    right[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]

    # An angle of just below 0 is rounded up to 180, which is orientation 0 again.
    turns = np.arctan2(down, right) * np.float32(_ORIENTATIONS / np.pi)
    bins = np.floor(turns).astype(np.int32) % _ORIENTATIONS
    cells = _SIDE_PX // _CELL_PX
    row = np.arange(_SIDE_PX, dtype=np.int32) // _CELL_PX
    bins += (row[:, None] * cells + row) * _ORIENTATIONS
    bins += np.arange(n, dtype=np.int32)[:, None, None] * (cells * cells * _ORIENTATIONS)
    total = np.bincount(
        bins.ravel(), np.hypot(down, right).ravel(), n * cells * cells * _ORIENTATIONS
    )
    means: FloatArray = (total / _CELL_PX**2).astype(np.float32)
    return means.reshape(n, cells, cells, _ORIENTATIONS)


def _colour_layout(frames: ImageArray) -> FloatArray:
    """Low DCT coefficients of the 8x8 thumbnail in YCrCb around mid-grey, of shape (n, 27)."""
    n, k = len(frames), _SIDE_PX // _LAYOUT_SIDE
    rows = frames.reshape(n, _LAYOUT_SIDE, k, _LAYOUT_SIDE, k * 3).sum(axis=2, dtype=np.uint16)
    cells = rows.reshape(n, _LAYOUT_SIDE, _LAYOUT_SIDE, k, 3).sum(axis=3, dtype=np.uint32)
    ycrcb = (cells / np.float32(k * k)).astype(np.float32) @ _RGB_TO_YCRCB.T
    ycrcb[..., 0] -= 128
    dct = _dct_matrix(_LAYOUT_SIDE)
    planes = np.moveaxis(ycrcb, -1, 0) / np.float32(128 * _LAYOUT_SIDE)  # (3, n, 8, 8)
    coefficients = dct @ planes @ dct.T
    frequency = np.add.outer(np.arange(_LAYOUT_SIDE), np.arange(_LAYOUT_SIDE))
    kept = [plane[:, frequency < k] for plane, k in zip(coefficients, _FREQUENCIES, strict=True)]
    return np.concatenate(kept, axis=1)


def _dct_matrix(n: int) -> FloatArray:
    """Orthonormal DCT-II of length n, of shape (n, n)."""
    i = np.arange(n)
    matrix: FloatArray = np.cos(np.pi / (2 * n) * np.outer(i, 2 * i + 1)).astype(np.float32)
    matrix *= np.sqrt(2 / n)
    matrix[0] /= np.sqrt(2)
    return matrix


def _norm(blocks: FloatArray) -> FloatArray:
    """L2 norm over the last axis, kept, never 0."""
    norms: FloatArray = np.sqrt(np.einsum("nbi,nbi->nb", blocks, blocks) + np.float32(_TINY**2))
    return norms[..., None]
