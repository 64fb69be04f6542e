from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from alwatch.embedders.batching import BatchSizer, embed_in_batches
from alwatch.errors import AlwatchError

Forward = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def run(sizer: BatchSizer, seconds: Callable[[int], float], n_batches: int = 40) -> list[int]:
    """Sizes that were used on a machine that takes `seconds(n)` for a batch of n."""
    sizes = []
    for _ in range(n_batches):
        sizes.append(sizer.size)
        sizer.batch_done(sizer.size, seconds(sizer.size))
    return sizes


def test_it_doubles_up_to_the_largest_size_where_every_doubling_pays() -> None:
    sizes = run(BatchSizer(start=4, largest=100), lambda n: 1.0)
    assert sizes[:10] == [4, 4, 8, 8, 16, 16, 32, 32, 64, 64]
    assert set(sizes[10:]) == {64}


def test_it_goes_back_to_the_smaller_size_where_doubling_gains_five_percent_or_less() -> None:
    rate_hz = {4: 100.0, 8: 150.0, 16: 157.0, 32: 1000.0}
    sizes = run(BatchSizer(start=4, largest=32), lambda n: n / rate_hz[n])
    assert sizes[:6] == [4, 4, 8, 8, 16, 16]
    assert set(sizes[6:]) == {8}


def test_it_never_goes_below_the_start_where_the_first_doubling_does_not_pay() -> None:
    assert run(BatchSizer(start=1, largest=64), lambda n: float(n))[-1] == 1


def test_a_slow_first_batch_of_a_size_does_not_stop_the_growth() -> None:
    sizer = BatchSizer(start=4, largest=8)
    for n, elapsed_s in ((4, 1.0), (4, 1.0), (8, 50.0), (8, 1.0)):
        assert sizer.size == n
        sizer.batch_done(n, elapsed_s)
    assert sizer.size == 8


def test_a_short_last_batch_teaches_nothing() -> None:
    sizer = BatchSizer(start=8, largest=64)
    for _ in range(10):
        sizer.batch_done(3, 1e-3)
    assert sizer.size == 8


@given(start=st.integers(1, 64), factor=st.integers(1, 64), data=st.data())
def test_the_size_is_in_range_and_never_grows_past_what_did_not_fit(
    start: int, factor: int, data: st.DataObject
) -> None:
    largest = start * factor
    sizer = BatchSizer(start, largest)
    bound = largest
    for _ in range(data.draw(st.integers(0, 30))):
        n = data.draw(st.integers(1, sizer.size), label="frames")
        if data.draw(st.booleans(), label="fits"):
            before = sizer.size
            sizer.batch_done(n, data.draw(st.floats(0, 10), label="seconds"))
            assert sizer.size in (before // 2, before, 2 * before)
        else:
            sizer.batch_failed(n)
            bound = max(1, n // 2)
            assert sizer.size == bound
        assert 1 <= sizer.size <= bound


@given(
    overhead_s=st.floats(0, 10),
    per_frame_s=st.floats(1e-4, 1),
    largest=st.sampled_from([8, 64, 512]),
)
def test_what_it_settles_on_is_nearly_the_best_for_constant_overhead(
    overhead_s: float, per_frame_s: float, largest: int
) -> None:
    def seconds(n: int) -> float:
        return overhead_s + per_frame_s * n

    size = run(BatchSizer(start=8, largest=largest), seconds)[-1]
    rates_hz = [n / seconds(n) for n in (8, 16, 32, 64, 128, 256, 512) if n <= largest]
    # Each doubling halves what is left of the overhead, so the untried ones gain < 5 % + 2.5 % ...
    assert size / seconds(size) > max(rates_hz) / 1.11


@pytest.mark.parametrize(("start", "largest"), [(0, 4), (8, 4)])
def test_an_impossible_range_is_refused(start: int, largest: int) -> None:
    with pytest.raises(ValueError, match=f"start {start}, largest {largest}"):
        BatchSizer(start, largest)


def frames(n: int) -> NDArray[np.uint8]:
    return np.arange(n * 12, dtype=np.uint8).reshape(n, 2, 2, 3)


def flatten(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    return batch.reshape(len(batch), 12).astype(np.float32)


def raise_memory_error() -> None:
    raise MemoryError


def raise_as_cuda_does() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.")


def allocate_more_than_any_machine_has() -> None:
    torch.empty(10**15)


def fits_up_to(limit: int, otherwise: Callable[[], None]) -> tuple[Forward, list[int]]:
    tried: list[int] = []

    def forward(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        tried.append(len(batch))
        if len(batch) > limit:
            otherwise()
        return flatten(batch)

    return forward, tried


def ticks() -> Callable[[], float]:
    return itertools.count().__next__


OUT_OF_MEMORY = [raise_memory_error, raise_as_cuda_does, allocate_more_than_any_machine_has]


@pytest.mark.parametrize("run_out", OUT_OF_MEMORY)
def test_a_batch_that_does_not_fit_is_retried_in_halves_and_nothing_is_lost(
    run_out: Callable[[], None],
) -> None:
    forward, tried = fits_up_to(5, run_out)
    sizer = BatchSizer(start=16, largest=64)
    vectors = embed_in_batches(frames(21), forward, dim=12, sizer=sizer, clock=ticks())
    assert tried == [16, 8, 4, 4, 4, 4, 4, 1]
    assert sizer.size == 4
    np.testing.assert_array_equal(vectors, flatten(frames(21)))


@pytest.mark.parametrize("run_out", OUT_OF_MEMORY)
def test_one_frame_that_does_not_fit_is_an_error_with_a_remedy(
    run_out: Callable[[], None],
) -> None:
    forward, tried = fits_up_to(0, run_out)
    with pytest.raises(AlwatchError, match=r"2x2 pixels .*embedding\.device: cpu"):
        embed_in_batches(frames(4), forward, dim=12, sizer=BatchSizer(4), clock=ticks())
    assert tried == [4, 2, 1]


def test_another_fault_of_the_network_is_passed_on() -> None:
    def forward(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        embed_in_batches(frames(2), forward, dim=12, sizer=BatchSizer(), clock=ticks())


def test_no_frames_give_no_vectors() -> None:
    forward, tried = fits_up_to(8, raise_memory_error)
    vectors = embed_in_batches(frames(0), forward, dim=12, sizer=BatchSizer(), clock=ticks())
    assert vectors.shape == (0, 12)
    assert tried == []
