"""What the gate says of a candidate, by the labels, queues and scores of a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from alwatch.gate import GateRules, Ruling, honest_errors, judge
from alwatch.records import LocatedSnapshot, Snapshot
from alwatch.store import Store
from tests.snapshot_lab import RULES, Lab, snapshot

OLD, NEW = snapshot(50), snapshot(100)
ALL = ["2025/a", "2025/b", "2026/a", "2026/b"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Store(tmp_path) as store:
        yield Lab(store)


def score(lab: Lab, one: Snapshot) -> None:
    """Score every frame by a snapshot."""
    with lab.load(LocatedSnapshot(one, {})) as scoring:
        while scoring.work_once():
            pass


def seen(lab: Lab, one: Snapshot, error_px: float | dict[str, float]) -> None:
    lab.errors_px[one.name] = error_px
    lab.store.snapshots.register(LocatedSnapshot(one, {}), lab.later())


def ruling(lab: Lab, rules: GateRules = RULES) -> Ruling:
    for one in (OLD, NEW):
        score(lab, one)
    return judge(lab.store, NEW, OLD, rules)


def test_on_frames_that_neither_knows_a_worse_one_is_set_aside(lab: Lab) -> None:
    seen(lab, OLD, 4.0)
    seen(lab, NEW, 8.1)
    lab.audit(ALL[:2])
    found = ruling(lab)
    assert found.verdict == "aside"
    assert found.reason == (
        "worse than snapshot-050 over all: 8.1 px against 4 px on 6 audited frames of 2 videos; "
        "more than 1.05 times as much in 100 of 100 draws"
    )
    assert found.figures["honest"] is True
    assert found.figures["comparisons"][0]["new_px"] == pytest.approx(8.1, rel=1e-4)


def test_one_that_is_better_is_promoted_with_its_figures(lab: Lab) -> None:
    seen(lab, OLD, 4.0)
    seen(lab, NEW, 2.0)
    lab.audit(ALL)
    found = ruling(lab)
    assert found.verdict == "promoted"
    assert found.reason == (
        "not worse than snapshot-050 over all: 2 px against 4 px on 12 audited frames of 4 videos"
    )


def test_worse_in_one_season_is_worse(lab: Lab) -> None:
    seen(lab, OLD, 4.0)
    seen(lab, NEW, {"2025": 1.0, "2026": 5.0})
    lab.audit(ALL)
    found = ruling(lab)
    assert found.verdict == "aside"
    assert found.reason == (
        "worse than snapshot-050 in season 2026: 5 px against 4 px on 6 audited frames of 2 "
        "videos; more than 1.05 times as much in 100 of 100 draws"
    )
    with_patience = ruling(lab, GateRules(min_frames=5, worse_ratio=1.3))
    assert with_patience.verdict == "promoted"
    with_more_frames = ruling(lab, GateRules(min_frames=7, worse_ratio=1.05))
    assert with_more_frames.verdict == "promoted"  # 6 in that season are too few


def test_frames_that_it_may_have_been_trained_on_can_only_speak_against_it(lab: Lab) -> None:
    seen(lab, OLD, 4.0)
    lab.audit(ALL[:2])
    seen(lab, NEW, 9.0)
    found = ruling(lab)
    assert found.verdict == "aside"
    assert found.reason.endswith("of 100 draws; it may have been trained on them")
    assert found.figures["honest"] is False


def test_honest_frames_count_alone_where_there_are_enough(lab: Lab) -> None:
    """It has learnt 2025 by heart, and does worse where it has not seen the labels."""
    seen(lab, OLD, 4.0)
    lab.audit(ALL[:2])
    seen(lab, NEW, {"2025": 0.0, "2026": 6.0})
    lab.audit(ALL[2:])
    found = ruling(lab)
    assert found.figures["honest"] is True
    assert found.figures["frames"] == 6
    assert "season 2025" not in found.reason
    assert found.verdict == "aside"


def test_frames_that_its_training_left_out_are_honest(lab: Lab) -> None:
    seen(lab, OLD, 4.0)
    lab.audit(ALL)
    seen(lab, NEW, {"2025": 0.0, "2026": 6.0})
    held_out = {(lab.videos[name], frame) for name in ALL[2:] for frame in (0, 10, 20)}
    lab.store.snapshots.set_held_out(NEW, held_out)
    found = ruling(lab)
    assert (found.figures["honest"], found.figures["frames"]) == (True, 6)
    assert found.verdict == "aside"
    assert honest_errors(lab.store, NEW) == pytest.approx([6.0] * 6)
    assert len(honest_errors(lab.store, OLD)) == 12


def test_frames_that_only_the_current_one_may_know_are_not_held_against_the_candidate(
    lab: Lab,
) -> None:
    lab.audit(ALL)
    seen(lab, OLD, 0.5)
    seen(lab, NEW, 4.0)
    lab.store.snapshots.set_held_out(NEW, {(lab.videos[v], f) for v in ALL for f in (0, 10, 20)})
    found = ruling(lab)
    assert found.verdict == "promoted"
    assert found.reason == "no audited frames to judge it by (0 of 5)"


def test_one_that_keeps_silent_where_it_is_hard_is_not_better_for_that(lab: Lab) -> None:
    """The nose is right to 3 px, and the tail, which the current one finds, is not found."""
    seen(lab, OLD, 4.0)
    seen(lab, NEW, 3.0)
    lab.audit(ALL)
    assert ruling(lab).verdict == "promoted"
    lab.store.scores.require(NEW, ["another"], lab.now)  # that is, score all of it again
    lab.silent.add(NEW.name)
    lab.errors_px[NEW.name] = 4.5
    found = ruling(lab)
    assert found.verdict == "aside"
    assert found.figures["comparisons"][0]["new_px"] == pytest.approx(4.5)


def test_bodyparts_that_only_one_of_them_has_are_left_out(lab: Lab) -> None:
    other = snapshot(7, parts=("tail", "ear"))
    seen(lab, OLD, 4.0)
    seen(lab, other, 2.0)
    lab.audit(ALL[:2])
    for one in (OLD, other):
        score(lab, one)
    assert judge(lab.store, other, OLD, RULES).verdict == "promoted"
    assert judge(lab.store, snapshot(8, parts=("ear",)), OLD, RULES).reason == (
        "no audited frames to judge it by (0 of 5)"
    )


def test_audit_frames_of_a_withdrawn_queue_and_other_labels_do_not_count(lab: Lab) -> None:
    seen(lab, OLD, 4.0)
    seen(lab, NEW, 9.0)
    lab.audit(ALL[:2], label=False)
    lab.store.queues.withdraw(lab.store.queues.get(1), lab.now)
    lab.label([(lab.videos[v], f) for v in ALL for f in (0, 10, 20)])
    assert ruling(lab).reason == "no audited frames to judge it by (0 of 5)"


def test_the_same_store_gives_the_same_ruling(lab: Lab) -> None:
    seen(lab, OLD, {"2025": 4.0, "2026": 6.0})
    seen(lab, NEW, {"2025": 7.0, "2026": 5.0})
    lab.audit(ALL)
    assert ruling(lab) == ruling(lab)
