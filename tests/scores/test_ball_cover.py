"""Coverage by balls against plain loops, and the radius at which balls are pure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alwatch.scores.ball_cover import BallCover, pure_radius


def test_the_ball_with_most_bare_targets_comes_first() -> None:
    # With delta 1.5: 0 holds 0, 1; 1 holds 0, 1, 2; 2 holds 1, 2; the ball of the known 9 holds
    # 8 and 9. After 1 only 5 is bare.
    rows = np.array([[0.0], [1], [2], [5], [8], [9]], np.float32)
    cover = BallCover(rows.__getitem__, 6, rows, rows[5:], 1.5)
    assert cover.n_bare == 4
    assert cover.best(np.ones(6, bool)) == (1, 3)
    cover.add(rows[1])
    assert cover.best(np.ones(6, bool)) == (3, 1)
    cover.add(rows[3])
    assert cover.n_bare == 0
    assert cover.best(np.array([0, 0, 1, 1, 1, 1], bool)) == (2, 0)
    assert cover.best(np.zeros(6, bool)) is None


def test_a_target_exactly_delta_away_is_outside() -> None:
    rows = np.array([[0.0], [2], [3]], np.float32)
    assert BallCover(rows.__getitem__, 3, rows, rows[:0], 2.0).best(np.ones(3, bool)) == (1, 2)
    assert BallCover(rows.__getitem__, 3, rows, rows[:1], 2.0).n_bare == 2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(0, 4), st.integers(1, 9), st.integers(0, 10_000))
def test_its_choices_are_those_of_plain_loops(n: int, m: int, quarter: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-5, 6, (n, 2)).astype(np.float32)
    known = rng.integers(-5, 6, (m, 2)).astype(np.float32)
    delta = quarter / 2 + 0.01  # distances are roots of whole numbers: none is near the border
    holds = np.linalg.norm(rows[:, None] - rows[None], axis=2) < delta
    bare = (np.linalg.norm(rows[:, None] - known[None], axis=2) >= delta).all(axis=1)
    cover, is_open = BallCover(rows.__getitem__, n, rows, known, delta), np.ones(n, bool)
    while is_open.any():
        gains = np.where(is_open, (holds & bare).sum(axis=1), -1)
        assert cover.best(is_open) == (gains.argmax(), gains.max())
        cover.add(rows[gains.argmax()])
        bare &= ~holds[gains.argmax()]
        is_open[gains.argmax()] = False
        assert cover.n_bare == bare.sum()


def test_the_radius_is_the_largest_at_which_enough_balls_are_pure() -> None:
    # Nearest row of the other label: 0 -> 10, 4 -> 6, 9 -> 1; 10 -> 1, 30 -> 21.
    rows = np.array([[0.0], [4], [9], [10], [30]], np.float32)
    label, every = np.array([7, 7, 7, 2, 2]), np.arange(5)
    for purity, delta in ((1.0, 1), (0.8, 1), (0.6, 6), (0.4, 10), (0.2, 21)):
        found = pure_radius(rows.__getitem__, label, every, purity=purity)
        assert found == pytest.approx(delta, abs=0.003)
    assert pure_radius(rows.__getitem__, label, np.array([1, 4]), purity=1) == pytest.approx(
        6, abs=0.003
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 50), st.integers(1, 4), st.integers(0, 1000))
def test_at_the_radius_balls_are_pure_and_beyond_it_too_many_are_not(
    n: int, n_labels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, 2)).astype(np.float32)
    label = rng.integers(0, n_labels, n)
    delta = pure_radius(rows.__getitem__, label, np.arange(n))
    apart = np.linalg.norm(rows[:, None].astype(float) - rows[None], axis=2)
    differ = label[:, None] != label[None]

    def purity(radius: float) -> float:
        return float((~(differ & (apart < radius))).all(axis=1).mean())

    assert purity(delta * 0.99) >= 0.95
    if differ.any():
        assert purity(np.sqrt(delta**2 + 1e-3) * 1.01) < 0.95
    else:
        assert delta == np.inf
