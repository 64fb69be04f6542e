"""What the worker makes of errors."""

from __future__ import annotations

import pytest
import torch

from alwatch.pose_models.worker import _is_out_of_memory


def wrapped(inner: Exception, outer: Exception, *, explicitly: bool) -> Exception:
    """The outer error, raised while the inner one was handled."""
    try:
        try:
            raise inner
        except Exception as error:
            raise outer from (error if explicitly else None)
    except Exception as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: Out of memory. Tried to allocate 2 GiB\n\nIf you use DirectML"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate"),
        wrapped(torch.OutOfMemoryError("2 GiB"), RuntimeError("no luck"), explicitly=True),
        wrapped(MemoryError(), ValueError("no luck"), explicitly=False),
    ],
)
def test_memory_that_ran_out_is_known_however_it_is_wrapped(error: Exception) -> None:
    assert _is_out_of_memory(error)


def test_other_errors_are_not_for_want_of_memory() -> None:
    other = wrapped(ValueError("shapes differ"), RuntimeError("no luck"), explicitly=True)
    assert not _is_out_of_memory(other)
