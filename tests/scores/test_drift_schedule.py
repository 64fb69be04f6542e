"""When a season is tested for drift, and at which alpha."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.scores.drift import smallest_p
from alwatch.scores.drift_schedule import alpha_of_look, look_is_due


def looks_of_a_season(n_reference: int, n_videos: int, alpha: float) -> list[int]:
    """How many new videos there are at each look when they come one by one."""
    at: list[int] = []
    for n_new in range(1, n_videos + 1):
        n_at_last = at[-1] if at else 0
        if look_is_due(n_reference, n_new, looks=len(at), n_at_last=n_at_last, alpha=alpha):
            at.append(n_new)
    return at


def test_a_season_is_looked_at_whenever_its_videos_have_doubled() -> None:
    assert looks_of_a_season(20, 100, 0.01) == [3, 6, 12, 24, 48, 96]


def test_a_look_that_could_find_nothing_waits_for_more_videos() -> None:
    """Of 5 + 4 videos there are 126 ways and of 5 + 5 there are 252: p can be 0.004 < 0.005."""
    assert looks_of_a_season(5, 12, 0.01) == [5, 10]
    assert looks_of_a_season(1, 100, 0.01) == []


def test_at_the_usual_alphas_looks_go_on_for_eight_doublings() -> None:
    assert looks_of_a_season(20, 1000, 0.005) == [3 * 2**k for k in range(9)]


def test_videos_that_come_all_at_once_are_looked_at_once_with_half_of_alpha() -> None:
    assert look_is_due(20, 500, looks=0, n_at_last=0, alpha=0.01)
    assert alpha_of_look(1, 0.01) == 0.005
    assert not look_is_due(20, 999, looks=1, n_at_last=500, alpha=0.01)


@given(st.floats(1e-4, 0.5), st.integers(1, 1000))
def test_the_looks_together_spend_no_more_than_alpha(alpha: float, looks: int) -> None:
    spent = sum(alpha_of_look(k, alpha) for k in range(1, looks + 1))
    assert spent == pytest.approx(alpha * looks / (looks + 1))
    assert spent < alpha


@given(st.integers(2, 60), st.integers(0, 500), st.sampled_from([0.005, 0.01, 0.05]))
def test_every_look_can_raise_an_alarm(n_reference: int, n_videos: int, alpha: float) -> None:
    for k, n_new in enumerate(looks_of_a_season(n_reference, n_videos, alpha), 1):
        assert smallest_p(n_reference, n_new) <= alpha_of_look(k, alpha)


def test_looks_count_from_one_and_alpha_is_a_probability() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        alpha_of_look(0, 0.01)
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1, got 1"):
        alpha_of_look(1, 1.0)
