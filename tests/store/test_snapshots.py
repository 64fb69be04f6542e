from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from alwatch.records import FileSignature, LocatedSnapshot, Snapshot
from alwatch.store import Store
from tests.store.helpers import NEW, NOW, OLD, make_current

THIRD = Snapshot("deeplabcut", "snapshot-150", "c" * 64, ("nose", "tail"))
LATER = NOW + timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With a current snapshot, and a candidate."""
    with Store(tmp_path) as opened:
        make_current(opened, OLD, NOW)
        opened.snapshots.register(LocatedSnapshot(NEW, {}), NOW)
        opened.snapshots.set_candidate(NEW, NOW)
        yield opened


def states(store: Store) -> dict[str, str]:
    return {known.snapshot.name: known.state for known in store.snapshots.known()}


def test_where_a_snapshot_lies_is_read_back(store: Store) -> None:
    odd = Path("/models/\udcff é\n/a.pt")
    files = ((odd, FileSignature(1, 2, 3, 2**62, 5)),)
    located = LocatedSnapshot(THIRD, {"snapshots": ["/a.pt"], "individuals": 2}, files)
    store.snapshots.register(located, NOW)
    assert store.snapshots.located(THIRD) == located
    moved = LocatedSnapshot(THIRD, {"snapshots": ["/b.pt"]})
    store.snapshots.register(moved, LATER)
    assert store.snapshots.located(THIRD) == moved


def test_a_snapshot_that_is_found_again_was_first_seen_and_taught_when_it_was(store: Store) -> None:
    seen = NOW - timedelta(minutes=10)
    store.snapshots.register(LocatedSnapshot(THIRD, {}), NOW, seen_at=seen)
    store.snapshots.register(LocatedSnapshot(THIRD, {}), LATER)
    assert store.snapshots.taught_until(THIRD) == NOW
    assert store.snapshots.known()[0].snapshot == THIRD  # the first one seen
    assert store.snapshots.known()[0].first_seen_at == seen


def test_what_was_taught_may_be_told(store: Store) -> None:
    store.snapshots.set_taught_until(NEW, LATER)
    store.snapshots.set_held_out(NEW, {(1, 7), (2, 0)})
    assert store.snapshots.taught_until(NEW) == LATER
    assert store.snapshots.held_out(NEW) == {(1, 7), (2, 0)}
    assert store.snapshots.held_out(OLD) == frozenset()
    with pytest.raises(KeyError):
        store.snapshots.set_held_out(THIRD, set())  # nobody has registered it


def test_a_promoted_candidate_is_current_and_no_candidate_any_more(store: Store) -> None:
    figures = {"frames": 7}
    store.snapshots.set_problem("no such interpreter", NOW)
    assert store.snapshots.promote(
        NEW, judge="gate", reason="not worse", figures=figures, now=LATER, against=OLD
    )
    assert store.snapshots.current().snapshot == NEW
    assert store.snapshots.current().problem is None
    assert store.snapshots.candidate() is None
    assert states(store) == {"snapshot-050": "former", "snapshot-100": "current"}
    last = store.snapshots.last_judgement()
    assert last is not None
    assert (last.snapshot, last.against, last.verdict) == (NEW, OLD, "promoted")
    assert (last.judge, last.reason, last.figures, last.at) == ("gate", "not worse", figures, LATER)


def test_a_candidate_that_is_set_aside_changes_nothing_else(store: Store) -> None:
    assert store.snapshots.set_aside(NEW, judge="gate", reason="worse", now=LATER, against=OLD)
    assert store.snapshots.current().snapshot == OLD
    assert store.snapshots.candidate() is None
    assert states(store) == {"snapshot-050": "current", "snapshot-100": "aside"}


def test_a_judgement_is_void_where_another_became_current_meanwhile(store: Store) -> None:
    store.snapshots.register(LocatedSnapshot(THIRD, {}), NOW)
    make_current(store, THIRD, NOW)
    before = store.snapshots.judgements()
    for judged in (store.snapshots.promote, store.snapshots.set_aside):
        assert not judged(NEW, judge="gate", reason="", now=LATER, against=OLD)
    assert not store.snapshots.roll_back(NEW, now=LATER, against=OLD)
    assert store.snapshots.judgements() == before
    assert store.snapshots.current().snapshot == THIRD


def test_rolled_back_is_aside_and_the_former_one_current(store: Store) -> None:
    make_current(store, NEW, NOW)
    assert store.snapshots.roll_back(OLD, now=LATER, against=NEW)
    assert states(store) == {"snapshot-050": "current", "snapshot-100": "aside"}
    told = [(j.snapshot, j.verdict, j.judge, j.reason) for j in store.snapshots.judgements()[-2:]]
    assert told == [
        (NEW, "aside", "hand", "rolled back to snapshot-050"),
        (OLD, "promoted", "hand", "rolled back from snapshot-100"),
    ]


def test_a_candidate_that_was_never_judged_is_called_so(store: Store) -> None:
    store.snapshots.set_candidate(None, NOW)
    assert states(store)["snapshot-100"] == "not judged"


def test_a_snapshot_of_an_older_alwatch_was_current_once(store: Store) -> None:
    store.snapshots._connection._sqlite.execute(
        "UPDATE snapshots SET located = NULL WHERE name = 'snapshot-100'"
    )
    store.snapshots.set_candidate(None, NOW)
    assert states(store)["snapshot-100"] == "former"
    assert store.snapshots.located(NEW) is None


def test_problems_come_and_go_and_the_current_one_stays(store: Store) -> None:
    store.snapshots.set_problem("no such interpreter", NOW)
    assert store.snapshots.current().problem == "no such interpreter"
    assert store.snapshots.current().snapshot == OLD
    store.snapshots.set_problem(None, NOW)
    assert store.snapshots.current().problem is None


def test_an_archive_without_a_pose_model_has_none(tmp_path: Path) -> None:
    with Store(tmp_path / "other") as store:
        assert store.snapshots.current().snapshot is None
        assert store.snapshots.candidate() is None
        assert store.snapshots.last_judgement() is None
        assert store.snapshots.scored() == store.snapshots.known() == []
        store.snapshots.set_problem("not found", NOW)
        assert store.snapshots.current().snapshot is None


@pytest.mark.parametrize("action", ["promote", "set_aside", "roll_back"])
def test_a_kill_leaves_a_judgement_whole_or_unmade(
    store: Store, tmp_path: Path, action: str
) -> None:
    """Killed before each of its statements in turn: as before; and then once to the end."""
    command = [sys.executable, "-m", "tests.store.dying_judgements", str(tmp_path), action]
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    codes, seen = [code for code, _ in told], [state for _, state in told]
    assert codes == [9] * (len(told) - 1) + [0]
    assert len(codes) > 4
    assert all(state == [OLD.name, NEW.name, ["promoted"]] for state in seen[:-1])
    assert (
        seen[-1]
        == {
            "promote": [NEW.name, None, ["promoted", "promoted"]],
            "set_aside": [OLD.name, None, ["promoted", "aside"]],
            "roll_back": [NEW.name, None, ["promoted", "aside", "promoted"]],
        }[action]
    )
