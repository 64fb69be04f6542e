"""How many frames go through a network at once: found by trying, never a setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from alwatch.errors import AlwatchError

if TYPE_CHECKING:
    from alwatch.records import FloatArray, ImageArray

_WORTHWHILE_GAIN = 1.05
_BATCHES_PER_SIZE = 2  # judged by the better: the first at a size pays for its memory
_SHORTEST_S = 1e-9


class BatchSizer:
    """Finds a batch size from how long batches took and whether they fitted.

    The size doubles from `start` as long as that makes the frames more than 5 % faster. Where a
    doubling does not pay, the smaller size is taken back and kept. Running out of memory
    halves the size, which then never grows again.

    Parameters
    ----------
    start : int
        First size tried, in frames.
    largest : int
        Size that is never exceeded, in frames.
    """

    def __init__(self, start: int = 8, largest: int = 512) -> None:
        if not 1 <= start <= largest:
            raise ValueError(f"needs 1 <= start <= largest, got start {start}, largest {largest}")
        self._size = start
        self._largest = largest
        self._settled = False
        self._n_timed = 0
        self._rate_hz = 0.0
        self._smaller_rate_hz = 0.0

    @property
    def size(self) -> int:
        """Frames to put into the next batch."""
        return self._size

    def batch_done(self, n_frames: int, elapsed_s: float) -> None:
        """Learn that a batch of `n_frames` took `elapsed_s`; a short last batch tells nothing."""
        if self._settled or n_frames != self._size:
            return
        self._rate_hz = max(self._rate_hz, n_frames / max(elapsed_s, _SHORTEST_S))
        self._n_timed += 1
        if self._n_timed < _BATCHES_PER_SIZE:
            return
        if self._rate_hz <= _WORTHWHILE_GAIN * self._smaller_rate_hz:
            self._size //= 2
            self._settled = True
        elif 2 * self._size > self._largest:
            self._settled = True
        else:
            self._size *= 2
            self._smaller_rate_hz, self._rate_hz, self._n_timed = self._rate_hz, 0.0, 0

    def batch_failed(self, n_frames: int) -> None:
        """Learn that a batch of `n_frames` did not fit into memory."""
        self._size = max(1, n_frames // 2)
        self._settled = True


def embed_in_batches(
    frames: ImageArray,
    forward: Callable[[ImageArray], FloatArray],
    *,
    dim: int,
    sizer: BatchSizer,
    clock: Callable[[], float],
) -> FloatArray:
    """Apply `forward` to all frames, in batches that fit into memory.

    Parameters
    ----------
    frames : uint8 array of shape (n, h, w, 3)
    forward : callable
        Frames of shape (k, h, w, 3) to vectors of shape (k, dim); done when it returns.
    dim : int
        Length of a vector.
    sizer : BatchSizer
        Remembers what was learnt; one for each frame size.
    clock : callable
        Seconds on a clock that only goes forward.

    Returns
    -------
    float32 array of shape (n, dim)

    Raises
    ------
    AlwatchError
        Not even a single frame fits into memory.
    """
    vectors = np.empty((len(frames), dim), np.float32)
    done = 0
    while done < len(frames):
        batch = frames[done : done + sizer.size]
        started_s = clock()
        computed = _forward_if_it_fits(batch, forward)
        if computed is not None:
            sizer.batch_done(len(batch), clock() - started_s)
            vectors[done : done + len(batch)] = computed
            done += len(batch)
        elif len(batch) > 1:
            sizer.batch_failed(len(batch))
        else:
            height_px, width_px = frames.shape[1:3]
            raise AlwatchError(
                f"embedding one frame of {width_px}x{height_px} pixels needs more memory than "
                "is free; free some, or set embedding.device: cpu, or choose a smaller "
                "embedding.model."
            )
    return vectors


def _forward_if_it_fits(
    batch: ImageArray, forward: Callable[[ImageArray], FloatArray]
) -> FloatArray | None:
    """Vectors of the batch, or None where memory ran out."""
    try:
        return forward(batch)
    except (MemoryError, RuntimeError) as fault:
        if not _is_out_of_memory(fault):
            raise
    # After the except block, so that the fault's frames no longer hold what is to be freed.
    torch.cuda.empty_cache()
    return None


def _is_out_of_memory(fault: MemoryError | RuntimeError) -> bool:
    """Whether this is the lack of memory; torch's own allocator on the CPU has no class for it."""
    return isinstance(fault, MemoryError | torch.OutOfMemoryError) or (
        "DefaultCPUAllocator" in str(fault)
    )
