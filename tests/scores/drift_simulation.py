"""Videos whose frames resemble each other, and seasons of them tested as they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from alwatch.scores.drift import video_permutation_mmd
from alwatch.scores.drift_schedule import alpha_of_look, look_is_due

LAG_1 = 0.95

Videos = list[np.ndarray]
Test = Callable[[Videos, Videos, np.random.Generator], float]


@dataclass(frozen=True)
class Drifts:
    """A shift in standard deviations between videos of their means, in all directions or one."""

    sd: float
    along: str = "all"

    def of(self, d: int) -> np.ndarray:
        return self.sd * (np.ones(d) if self.along == "all" else np.eye(d)[0])


def correlated_videos(
    n: int, d: int, rng: np.random.Generator, *, frames: int = 500, shift: np.ndarray | float = 0.0
) -> Videos:
    """AR(1) frames of variance 1 about an offset per video, of variance 1 too."""
    noise = rng.standard_normal((n, frames, d))
    noise[:, 1:] *= np.sqrt(1 - LAG_1**2)
    walks = lfilter([1.0], [1.0, -LAG_1], noise, axis=1)
    return list(walks + rng.standard_normal((n, 1, d)) + shift)


def by_video(reference: Videos, new: Videos, rng: np.random.Generator) -> float:
    return video_permutation_mmd(reference, new, rng=rng).p


def by_video_roughly(reference: Videos, new: Videos, rng: np.random.Generator) -> float:
    return video_permutation_mmd(reference, new, rng=rng, n_permutations=999).p


def alarms(
    test: Test,
    reference: Videos,
    season: Videos,
    alpha: float,
    rng: np.random.Generator,
) -> list[tuple[int, bool]]:
    """Whether a test raises alarm at each look: (new videos, alarm), as videos come one by one."""
    found: list[tuple[int, bool]] = []
    for n_new in range(1, len(season) + 1):
        n_at_last = found[-1][0] if found else 0
        if look_is_due(len(reference), n_new, looks=len(found), n_at_last=n_at_last, alpha=alpha):
            p = test(reference, season[:n_new], rng)
            found.append((n_new, p <= alpha_of_look(len(found) + 1, alpha)))
    return found
