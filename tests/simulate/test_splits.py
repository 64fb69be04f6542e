from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.errors import SettingsError
from alwatch.simulate.splits import Split, draw_split

# Six animals, two to a session, with 10 to 60 frames.
SIZES = (10, 20, 30, 40, 50, 60)
INDIVIDUAL = np.repeat(np.arange(6), SIZES)
SESSION = INDIVIDUAL // 2


def split(seed: int, **more: int) -> Split:
    rules = {"n_base": 8, "base_individuals": 1, "test_sessions": 1, "n_test": 12} | more
    return draw_split(INDIVIDUAL, SESSION, **rules, rng=np.random.default_rng(seed))


@given(st.integers(0, 1000), st.integers(1, 2), st.integers(1, 2))
def test_no_animal_of_the_test_is_labelled_or_queued(
    seed: int, test_sessions: int, base_individuals: int
) -> None:
    if test_sessions == 2 and base_individuals == 2:
        return  # leaves no pool
    drawn = split(seed, test_sessions=test_sessions, base_individuals=base_individuals)
    parts = [set(INDIVIDUAL[rows].tolist()) for rows in (drawn.base, drawn.pool, drawn.test)]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    assert not set(SESSION[drawn.test].tolist()) & set(SESSION[drawn.pool].tolist())
    assert parts[0] == set(drawn.base_individuals)


@given(st.integers(0, 1000))
def test_no_animal_of_the_test_is_in_the_pool_though_it_was_recorded_twice(seed: int) -> None:
    session = np.arange(len(INDIVIDUAL)) // 35  # animals 1 to 5 are in two sessions, or more
    drawn = draw_split(
        INDIVIDUAL, session, n_base=0, base_individuals=1, test_sessions=1, n_test=0,
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    seen = set(INDIVIDUAL[np.concatenate([drawn.base, drawn.pool])].tolist())
    assert not seen & set(INDIVIDUAL[drawn.test].tolist())
    assert len(set(session[drawn.test].tolist())) == 1


def test_the_pool_is_every_frame_of_the_animals_that_are_left() -> None:
    drawn = split(3)
    animals = set(INDIVIDUAL[drawn.pool].tolist())
    assert len(drawn.pool) == sum(SIZES[animal] for animal in animals)


def test_the_models_work_on_the_pool_is_tested_on_every_animal_alike() -> None:
    drawn = split(3)
    assert set(drawn.pool_test.tolist()) <= set(drawn.pool.tolist())
    counts = np.unique(INDIVIDUAL[drawn.pool_test], return_counts=True)[1]
    assert set(counts.tolist()) == {4}  # 12 frames of three animals


def test_base_and_test_are_evenly_spaced() -> None:
    drawn = split(3, n_base=5)
    assert set(np.diff(drawn.base)) <= {
        len(np.flatnonzero(drawn.base_individuals[0] == INDIVIDUAL)) // 5
    }
    assert len(drawn.test) == 12


def test_another_seed_draws_another_split_and_the_same_the_same() -> None:
    assert len({(split(s).base_individuals, split(s).test_sessions) for s in range(20)}) > 5
    assert split(4).pool.tolist() == split(4).pool.tolist()


def test_fewer_frames_than_asked_for_are_all_taken() -> None:
    assert len(split(0, n_test=10_000).test) in {30, 70, 110}


def test_too_few_sessions_or_animals_are_refused_with_their_number() -> None:
    with pytest.raises(SettingsError, match="3 sessions were to be held out, but there are 3"):
        split(0, test_sessions=3)
    with pytest.raises(SettingsError, match=r"4 individuals were to be labelled.*there are 4"):
        split(0, base_individuals=4)


def test_a_share_of_the_sessions_leaves_a_base_and_a_pool() -> None:
    def counts(n: int, share: float) -> tuple[int, int, int]:
        individual = np.repeat(np.arange(n), 3)
        drawn = draw_split(
            individual, individual, n_base=0, base_individuals=1, test_sessions=share, n_test=0,
            rng=np.random.default_rng(0),
        )  # fmt: skip
        assert len(drawn.base) + len(drawn.pool) + len(drawn.test) == 3 * n
        return tuple(
            len(np.unique(individual[rows])) for rows in (drawn.base, drawn.pool, drawn.test)
        )  # type: ignore[return-value]

    assert counts(30, 0.667) == (1, 9, 20)
    assert counts(17, 0.667) == (1, 5, 11)
    assert counts(3, 0.667) == (1, 1, 1)
    assert counts(10, 0.01) == (1, 8, 1)
    assert counts(10, 0.99) == (1, 1, 8)
    with pytest.raises(SettingsError, match="which leaves no pool"):
        counts(2, 0.5)
