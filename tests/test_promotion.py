"""The current snapshot and its candidates, with models that are as good as they are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from alwatch.promotion import CurrentPoseModel
from alwatch.store import Store
from alwatch.store.triggers import DeliveryState
from tests.snapshot_lab import RULES, Lab, snapshot
from tests.store.helpers import add_video

BOTH = ["2025/a", "2025/b"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Store(tmp_path) as store:
        yield Lab(store)


@pytest.fixture
def model(lab: Lab) -> CurrentPoseModel:
    """A snapshot that is 4 px off has scored everything, and six audited frames are labelled."""
    lab.train(50, 4.0)
    model = lab.model()
    lab.score_all(model)
    lab.audit(BOTH)
    return model


def settled(lab: Lab, model: CurrentPoseModel) -> None:
    """Let the newest snapshot rest for long enough."""
    lab.later(2)
    model.look()
    lab.later(11)


def test_the_first_snapshot_is_current_at_once(lab: Lab) -> None:
    lab.train(50, 4.0)
    assert lab.model().look() == snapshot(50)
    assert lab.verdicts == [("snapshot-050", "promoted", "first")]


def test_a_better_one_is_promoted_after_a_look_at_the_audited_frames(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.train(100, 2.0)
    settled(lab, model)
    assert lab.current == "snapshot-050"
    lab.scored.clear()
    assert model.work_once() is not None
    assert (lab.candidate, lab.current) == ("snapshot-100", "snapshot-050")
    lab.score_all(model)
    assert (lab.candidate, lab.current) == (None, "snapshot-100")
    videos = list(lab.videos.values())
    assert sorted(lab.scored[:2]) == [("snapshot-100", video, 3) for video in videos[:2]]
    assert sorted(lab.scored[2:]) == [("snapshot-100", video, 10) for video in videos]
    assert lab.verdicts[-1] == ("snapshot-100", "promoted", "gate")
    assert lab.reason == (
        "not worse than snapshot-050 over all: 2 px against 4 px on 6 audited frames of 2 videos; "
        "it may have been trained on them, so this says little"
    )


def test_a_worse_one_is_set_aside_and_the_current_one_scores_on(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.train(100, 9.0)
    settled(lab, model)
    lab.score_all(model)
    assert (lab.candidate, lab.current) == (None, "snapshot-050")
    assert lab.verdicts[-1] == ("snapshot-100", "aside", "gate")
    assert lab.reason.startswith("worse than snapshot-050 over all: 9 px against 4 px on 6 ")
    add_video(lab.store, "2026/new.mp4", [0, 10], season="2026")
    lab.scored.clear()
    for _ in range(5):
        lab.later(20)
        lab.score_all(model)
    assert [name for name, _, _ in lab.scored] == ["snapshot-050"]
    assert len(lab.verdicts) == 2  # it is not judged again, however long it lies there


def test_without_audited_frames_a_new_one_is_promoted_at_once(lab: Lab) -> None:
    lab.train(50, 4.0)
    model = lab.model()
    lab.score_all(model)
    lab.audit(["2025/a"], frames=4)
    lab.audit(["2025/b"], label=False)
    lab.train(100, 9.0)
    settled(lab, model)
    assert model.look() == snapshot(100)
    assert lab.verdicts[-1] == ("snapshot-100", "promoted", "gate")
    assert lab.reason == "no audited frames to judge it by (4 of 5)"


def test_without_the_gate_every_new_one_becomes_current(lab: Lab, model: CurrentPoseModel) -> None:
    model = lab.model(gate=None)
    lab.train(100, 9.0)
    settled(lab, model)
    assert model.look() == snapshot(100)
    assert lab.reason == "promotion.gate is off"


def test_a_gate_that_is_switched_off_lets_the_candidate_pass(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.train(100, 9.0)
    settled(lab, model)
    model.look()
    assert lab.candidate == "snapshot-100"
    model = lab.model(gate=None)
    settled(lab, model)
    assert model.look() == snapshot(100)
    assert lab.candidate is None


def test_a_snapshot_must_rest_before_it_is_a_candidate_after_a_restart_too(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.train(100, 9.0)
    for _ in range(3):
        model = lab.model()
        model.look()
        lab.later(9)
        model.look()
        assert lab.candidate is None
    lab.later(2)
    model.look()
    assert lab.candidate == "snapshot-100"


def test_a_candidate_that_is_followed_by_another_is_not_judged(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.train(100, 1.0)
    settled(lab, model)
    model.look()
    lab.train(150, 2.0)
    lab.later(2)
    model.look()
    assert lab.candidate is None
    settled(lab, model)
    lab.score_all(model)
    assert lab.current == "snapshot-150"
    assert "snapshot-100" not in [name for name, _, _ in lab.verdicts]


def test_the_same_one_in_files_that_were_touched_stays_what_it_is(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.touched += 1
    lab.later(2)
    assert model.look() == snapshot(50)
    stored = lab.store.snapshots.located(snapshot(50))
    assert stored == lab.find()
    lab.train(100, 2.0)
    settled(lab, model)
    model.look()
    lab.touched += 1
    lab.later(2)
    model.look()
    assert lab.candidate == "snapshot-100"
    assert lab.store.snapshots.located(snapshot(100)) == lab.find()


def test_labels_that_nobody_has_read_when_a_snapshot_comes_are_known_to_it(lab: Lab) -> None:
    lab.train(50, 4.0)
    model = lab.model()
    model.look()
    lab.audit(BOTH, label=False)
    lab.unread = [(lab.videos[name], frame) for name in BOTH for frame in (0, 10, 20)]
    lab.train(100, 2.0)
    settled(lab, model)
    model.look()
    assert lab.candidate == "snapshot-100"  # and there is something to judge it by
    assert len(lab.store.labels.points(after=snapshot(50))) == 6
    assert lab.store.labels.points(after=snapshot(100)) == {}


# --- restarts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error_px", "verdict"), [(2.0, "promoted"), (9.0, "aside")])
def test_a_judgement_goes_on_after_a_restart_before_each_of_its_steps(
    lab: Lab, model: CurrentPoseModel, error_px: float, verdict: str
) -> None:
    lab.train(100, error_px)
    settled(lab, model)
    lab.scored.clear()
    for _ in range(4):  # a new process for each video, and then for the verdict
        model = lab.model()
        model.judge_once()
    assert [name for name, _, _ in lab.scored] == []  # none has let it rest for long enough
    model.look()
    lab.later(11)
    model.look()
    for _ in range(3):
        model = lab.model()
        model.judge_once()
    assert len(lab.scored) == 2  # nothing twice
    assert lab.verdicts[-1][:2] == ("snapshot-100", verdict)
    model = lab.model()
    lab.score_all(model)
    wanted = "snapshot-100" if verdict == "promoted" else "snapshot-050"
    assert lab.current == wanted
    assert model.look() == lab.store.snapshots.current().snapshot


def test_the_current_one_is_loaded_from_where_it_lay_when_the_newest_is_aside(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.train(100, 9.0)
    settled(lab, model)
    lab.score_all(model)
    add_video(lab.store, "2026/new.mp4", [0, 10], season="2026")
    lab.loaded.clear()
    model = lab.model()
    lab.score_all(model)
    assert lab.loaded == ["snapshot-050"]
    assert model.fault is None
    assert lab.store.snapshots.current().problem is None


# --- files that are overwritten ------------------------------------------------------------------


def test_overwritten_files_of_the_current_one_are_a_problem_where_the_new_one_is_aside(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.gone.add("snapshot-050")
    lab.train(100, 9.0)
    settled(lab, model)
    lab.score_all(model)
    assert lab.current == "snapshot-050"  # it has scored the audited frames before
    add_video(lab.store, "2026/new.mp4", [0, 10], season="2026")
    lab.scored.clear()
    for process in (model, lab.model()):
        lab.later(2)
        lab.score_all(process)
        assert process.look() is None
    assert lab.scored == []
    assert lab.store.snapshots.current().problem == (
        "The current snapshot is snapshot-050, but its files were overwritten (/models/x.pt); "
        "`alwatch promote` takes the new one, snapshot-100."
    )
    lab.store.snapshots.promote(
        snapshot(100), judge="hand", reason="", now=lab.now, against=snapshot(50)
    )
    lab.later(2)
    lab.score_all(model)
    assert lab.store.snapshots.current().problem is None
    assert {name for name, _, _ in lab.scored} == {"snapshot-100"}


def test_while_the_new_one_rests_overwritten_files_matter_only_where_something_waits(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.gone.add("snapshot-050")
    lab.train(100, 2.0)
    lab.later(2)
    assert model.look() == snapshot(50)
    assert model.work_once() is None
    assert lab.store.snapshots.current().problem is None
    add_video(lab.store, "2026/new.mp4", [0, 10], season="2026")
    lab.scored.clear()
    assert model.work_once() is None
    problem = lab.store.snapshots.current().problem
    assert problem is not None
    assert problem.endswith("the new one, snapshot-100, is next when it has rested.")
    lab.later(11)
    lab.score_all(model)
    assert lab.current == "snapshot-100"
    assert {name for name, _, _ in lab.scored} == {"snapshot-100"}
    assert lab.store.snapshots.current().problem is None


def test_what_is_loaded_already_scores_on_when_its_files_are_overwritten(
    lab: Lab, model: CurrentPoseModel
) -> None:
    for name in ("x", "y"):
        add_video(lab.store, f"2026/{name}.mp4", [0, 10], season="2026")
    lab.later(2)
    assert model.work_once() is not None
    lab.gone.add("snapshot-050")
    lab.train(100, 2.0)
    lab.later(2)
    assert model.work_once() is not None
    assert model.fault is None


# --- candidates that make trouble ----------------------------------------------------------------


def test_a_candidate_that_cannot_be_loaded_is_told_tried_more_and_more_rarely_and_in_nobodys_way(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.train(100, 2.0)
    lab.broken.add("snapshot-100")
    settled(lab, model)
    add_video(lab.store, "2026/new.mp4", [0, 10], season="2026")
    lab.scored.clear()
    lab.score_all(model)
    assert [name for name, _, _ in lab.scored] == ["snapshot-050"]
    assert lab.store.snapshots.current().problem == (
        "The new snapshot snapshot-100 cannot be judged: snapshot-100 could not be loaded: no "
        "memory."
    )
    lab.loaded.clear()
    for _ in range(60):
        lab.later(1)
        lab.score_all(model)
        assert "cannot be judged" in str(lab.store.snapshots.current().problem)
    assert lab.loaded == ["snapshot-100"] * 5  # after 1, 2, 4, 8 and 16 minutes
    lab.broken.clear()
    lab.later(64)
    lab.score_all(model)
    assert lab.current == "snapshot-100"
    assert lab.store.snapshots.current().problem is None


def test_audited_frames_that_the_current_one_has_not_scored_yet_are_scored_first(lab: Lab) -> None:
    lab.train(50, 4.0)
    model = lab.model()
    model.look()
    lab.audit(BOTH)
    lab.train(100, 9.0)
    settled(lab, model)
    for _ in range(5):
        model.judge_once()
    assert [(name, n) for name, _, n in lab.scored] == [
        ("snapshot-050", 3), ("snapshot-050", 3), ("snapshot-100", 3), ("snapshot-100", 3),
    ]  # fmt: skip
    assert lab.verdicts[-1] == ("snapshot-100", "aside", "gate")


def test_audited_frames_that_cannot_be_decoded_are_tried_once(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.audit(["2026/a"])
    lab.undecodable = {10}
    lab.train(100, 9.0)
    settled(lab, model)
    lab.scored.clear()
    lab.score_all(model)
    assert [(name, n) for name, _, n in lab.scored] == [("snapshot-100", 2)] * 3
    assert lab.verdicts[-1] == ("snapshot-100", "aside", "gate")


def test_a_current_one_that_is_lost_is_judged_against_by_what_it_has_scored(lab: Lab) -> None:
    lab.train(50, 4.0)
    model = lab.model()
    model.look()
    lab.audit(BOTH)
    lab.gone.add("snapshot-050")
    lab.train(100, 9.0)
    settled(lab, model)
    lab.score_all(model)
    assert lab.loaded == ["snapshot-100"]
    assert lab.reason == "no audited frames to judge it by (0 of 5)"
    assert lab.current == "snapshot-100"


def test_a_current_one_that_cannot_be_loaded_for_now_is_waited_for(lab: Lab) -> None:
    lab.train(50, 4.0)
    model = lab.model()
    model.look()
    lab.audit(BOTH)
    lab.broken.add("snapshot-050")
    lab.train(100, 9.0)
    settled(lab, model)
    lab.score_all(model)
    assert lab.candidate == "snapshot-100"
    lab.broken.clear()
    lab.later(2)
    lab.score_all(model)
    assert lab.verdicts[-1] == ("snapshot-100", "aside", "gate")


def test_a_former_snapshot_that_is_judged_again_keeps_its_scores(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.train(100, 2.0)
    settled(lab, model)
    lab.score_all(model)
    lab.audit(["2026/a", "2026/b"])
    before = {v: lab.store.scores.scored_frames(v, snapshot(50)) for v in lab.videos.values()}
    lab.label([(lab.videos["2026/a"], 7)])  # a frame that nobody looked at: scored again
    lab.score_all(model)
    lab.train(50, 9.0)
    settled(lab, model)
    lab.score_all(model)
    assert lab.verdicts[-1] == ("snapshot-050", "aside", "gate")
    for video, frames in before.items():
        assert lab.store.scores.scored_frames(video, snapshot(50)) == frames


def test_a_project_that_is_away_changes_nothing(lab: Lab, model: CurrentPoseModel) -> None:
    lab.newest = None
    lab.later(2)
    assert model.look() is None
    assert lab.store.snapshots.current().problem == "The project is away."
    lab.train(50, 4.0)
    lab.later(2)
    assert model.look() == snapshot(50)
    assert lab.store.snapshots.current().problem is None


# --- by hand, beside a daemon --------------------------------------------------------------------


def test_what_is_promoted_or_rolled_back_by_hand_is_taken_up_at_the_next_look(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.train(100, 9.0)
    settled(lab, model)
    lab.score_all(model)
    assert model.look() == snapshot(50)
    lab.store.snapshots.promote(
        snapshot(100), judge="hand", reason="", now=lab.now, against=snapshot(50)
    )
    lab.later(2)
    lab.score_all(model)
    assert model.look() == snapshot(100)
    lab.store.snapshots.roll_back(snapshot(50), now=lab.now, against=snapshot(100))
    for _ in range(4):
        lab.later(20)
        assert model.look() == snapshot(50)  # the source's newest is the one that was set aside
        lab.score_all(model)
    assert lab.store.scores.n_waiting(snapshot(50)) == 0


def test_a_verdict_does_not_overrule_a_person(
    lab: Lab, model: CurrentPoseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alwatch import promotion

    lab.train(100, 9.0)
    settled(lab, model)
    model.judge_once()
    model.judge_once()
    judge = promotion.judge

    def slow(*args: object) -> object:
        lab.store.snapshots._connection._sqlite.execute("ROLLBACK")  # the reader's view
        lab.store.snapshots.promote(
            snapshot(100), judge="hand", reason="by hand", now=lab.now, against=snapshot(50)
        )
        lab.store.snapshots._connection._sqlite.execute("BEGIN")
        return judge(lab.store, snapshot(100), snapshot(50), RULES)

    monkeypatch.setattr(promotion, "judge", slow)
    model.judge_once()
    assert lab.current == "snapshot-100"
    assert lab.verdicts[-1] == ("snapshot-100", "promoted", "hand")


# --- what the training has left out --------------------------------------------------------------


def ask_for_training(lab: Lab, *, left_out: bool) -> None:
    audited = [list(at) for at in lab.store.queues.audit_frames()]
    lab.store.triggers.fire(
        "retrain",
        seasons=["2025"],
        reason="six new labels",
        evidence={"labelled": {"2025": 6}, "left_out": audited if left_out else []},
        actions=[("command", {"command": ["train"]})],
        now=lab.later(1),
    )
    assert lab.store.triggers.claim(lab.now) is not None


@pytest.mark.parametrize("left_out", [True, False])
def test_a_training_that_left_the_audited_frames_out_is_judged_on_them(
    lab: Lab, model: CurrentPoseModel, left_out: bool
) -> None:
    ask_for_training(lab, left_out=left_out)
    lab.train(100, 2.0)
    settled(lab, model)
    lab.score_all(model)
    assert lab.current == "snapshot-100"
    assert ("it may have been trained on them" in lab.reason) is not left_out
    assert len(lab.store.snapshots.held_out(snapshot(100))) == (6 if left_out else 0)


def test_a_snapshot_that_was_there_before_the_training_was_asked_for_left_nothing_out(
    lab: Lab, model: CurrentPoseModel
) -> None:
    lab.train(100, 2.0)
    lab.later(2)
    model.look()  # it is seen here, and rests
    ask_for_training(lab, left_out=True)
    lab.later(11)
    lab.score_all(model)
    assert lab.store.snapshots.held_out(snapshot(100)) == frozenset()


def test_a_firing_that_is_closed_tells_nothing_of_later_snapshots(
    lab: Lab, model: CurrentPoseModel
) -> None:
    ask_for_training(lab, left_out=True)
    lab.store.triggers.close(lab.store.triggers.firings()[0], "by hand", lab.now)
    lab.train(100, 2.0)
    settled(lab, model)
    lab.score_all(model)
    assert lab.store.snapshots.held_out(snapshot(100)) == frozenset()


@pytest.mark.parametrize(
    ("kind", "state", "left_out"),
    [
        ("command", "delivered", {(1, 0)}),
        ("command", "working", {(1, 0)}),
        ("command", "failed", set()),  # so a person has trained it, on who knows what
        ("command", "cancelled", set()),
        ("mail", "failed", {(1, 0)}),
    ],
)
def test_what_a_training_was_to_leave_out_counts_only_where_it_was_made(
    lab: Lab, model: CurrentPoseModel, kind: str, state: DeliveryState, left_out: set[object]
) -> None:
    lab.store.triggers.fire(
        "retrain",
        seasons=["2025"],
        reason="6 new labels",
        evidence={"left_out": [[1, 0]]},
        actions=[(kind, {}), ("file", {})],
        now=lab.later(1),
    )
    ends: tuple[DeliveryState, ...] = (state, "delivered")
    for end in ends:
        delivery = lab.store.triggers.claim(lab.now)
        assert delivery is not None
        if end != "working":
            lab.store.triggers.end(delivery, end, "so it went", lab.now)
    new = lab.train(100, 2.0)
    settled(lab, model)
    model.look()
    assert lab.store.snapshots.held_out(new) == left_out
