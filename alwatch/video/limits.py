"""What a decoding child may use, and which ways it may go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FastPath = Literal["auto", "keyframe", "decord", "none"]
"""Which faster path may be tried; `auto` is keyframe seeks where they save work."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Bounds on decoding one video; going over one ends the child, not the daemon.

    Parameters
    ----------
    memory_bytes : int
        Address space of the child.
    max_pixels : int
        Largest frame that is decoded; the default admits 8K.
    stall_s : float
        Longest silence of the child while its frames are waited for.
    wall_s : float
        Longest time that one request may be waited for, all in all.
    """

    memory_bytes: int = 4 * 2**30
    max_pixels: int = 8192 * 8192
    stall_s: float = 60.0
    wall_s: float = 6 * 3600.0

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "max_pixels", "stall_s", "wall_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
