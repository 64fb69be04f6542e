"""The clock of the seasons, on a real store; what a season is like is told to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alwatch.errors import NothingToDoError
from alwatch.loop import LoopRules, SeasonLoop, dry_run, under_way_of
from alwatch.records import LabelledFrame, LabelledPoint, LocatedSnapshot, Queue, Snapshot
from alwatch.seasons import Drift, SeasonFigures
from alwatch.seasons.rules import Rule
from alwatch.seasons.states import Needs
from alwatch.store import Store
from alwatch.store.connection import Connection
from tests.store.helpers import add_video

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
DRIFT = Drift("embeddings", 0.001, 0.005, 2.0, 9, 6, True, (("/archive/new.mp4", 0.6),))
OLD = Snapshot("exported", "mouse-1", "a" * 64, ("nose",))
NEW = Snapshot("exported", "mouse-2", "b" * 64, ("nose",))
RULES = LoopRules(
    needs=Needs(),
    rules=(Rule("retrain", new_labels=3, cool_down_s=0),),
    actions={"retrain": (("file", {"folder": "/out"}), ("command", {"command": ["train"]}))},
    leaves_out=frozenset({"retrain"}),
    last_days={},
    budget=4,
    season_budget=10,
    check_s=60.0,
)


@dataclass
class Lab:
    """A season, what is true of it, and what people do."""

    store: Store
    rules: LoopRules = RULES
    now: datetime = START
    figures: dict[str, SeasonFigures] = field(default_factory=dict)
    asked_budgets: list[int] = field(default_factory=list)
    queues_fail: bool = False

    def loop(self) -> SeasonLoop:
        return SeasonLoop(
            self.store,
            self.rules,
            inputs_of=lambda: {season: repr(of) for season, of in self.figures.items()},
            assess=lambda seasons, before: {season: self.figures[season] for season in seasons},
            make_queue=self.make_queue,
            clock=lambda: self.now,
            timer=lambda: 0.0,
        )

    def tick(self, minutes: float = 10, **options: Any) -> list[str]:
        self.now += timedelta(minutes=minutes)
        return self.loop().tick(**options)

    def make_queue(self, season: str, budget: int) -> Queue:
        self.asked_budgets.append(budget)
        if self.queues_fail:
            raise NothingToDoError("Season 's2' has nothing left to queue.")
        used = sum(queue.frames for queue in self.store.queues.summaries())
        video_id = self.store.videos.listing("done")[-1].id
        return self.store.queues.add(
            season=season,
            strategy="herding",
            seed=0,
            budget=budget,
            picks=[(video_id, 10 * (used + n), 0.5, "it is typical") for n in range(budget)],
            manifest={"audit_frames": 1, "snapshot": OLD.sha256},
            now=self.now,
        )

    def label(self, n: int, *, of_queue: int = 1) -> None:
        """A person labels the first n frames of a queue, which everything then knows of."""
        project, points = Path("/project"), (LabelledPoint("", "nose", 3.0, 4.0),)
        queue = self.store.queues.get(of_queue)
        self.store.queues.add_export(
            queue, "folder", project, 1, [("new-abc", queue.frames[0].video_id)], self.now
        )
        done = [
            (frame.video_id, LabelledFrame(project, "new-abc", frame.frame, project, points))
            for queue_id in range(1, of_queue)
            for frame in self.store.queues.get(queue_id).frames
        ] + [
            (frame.video_id, LabelledFrame(project, "new-abc", frame.frame, project, points))
            for frame in queue.frames[:n]
        ]
        self.store.labels.set("folder", project, done, self.now)
        known = self.figures["s2"]
        self.figures["s2"] = replace(known, labelled=len(done), new_labels=len(done))

    def train(self, verdict: str) -> None:
        """A new snapshot comes and is judged."""
        self.now += timedelta(minutes=10)
        self.store.snapshots.register(LocatedSnapshot(NEW, {}), self.now)
        self.now += timedelta(minutes=10)
        if verdict == "promoted":
            self.store.snapshots.promote(
                NEW, judge="gate", reason="3 px instead of 9", now=self.now, against=OLD
            )
            calm = replace(self.figures["s2"], drift=(), new_labels=0, snapshot=NEW.sha256)
            self.figures["s2"] = calm
        else:
            self.store.snapshots.set_aside(
                NEW, judge="gate", reason="30 px instead of 9", now=self.now, against=OLD
            )

    def states(self) -> list[str]:
        return [change.state for change in self.store.seasons.changes("s2")]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Store(tmp_path) as store:
        yield started(store)


def started(store: Store) -> Lab:
    """Season 2 has come and is of another kind than what the model was taught."""
    add_video(store, "old.mp4", list(range(0, 100, 10)), season="s1")
    add_video(store, "new.mp4", list(range(0, 400, 10)), season="s2")
    store.labels.set(
        "folder",
        Path("/before"),
        [(1, LabelledFrame(Path("/before"), "old", 10, Path("/before")))],
        START,
    )
    store.snapshots.register(LocatedSnapshot(OLD, {}), START)
    store.snapshots.promote(OLD, judge="first", reason="the first", now=START, against=None)
    calm = SeasonFigures(
        videos=1,
        frames=10,
        labelled=1,
        queued=0,
        new_labels=0,
        coverage=0.5,
        snapshot=OLD.sha256,
    )
    drifted = replace(calm, frames=40, labelled=0, drift=(DRIFT,), drift_looks=1)
    return Lab(store, figures={"s1": calm, "s2": drifted})


def test_a_season_of_another_kind_gets_a_queue_and_the_known_one_stays_quiet(lab: Lab) -> None:
    said = lab.tick()
    assert lab.states() == ["needs labels", "queue out"]
    assert [change.state for change in lab.store.seasons.changes("s1")] == ["quiet"]
    assert "drift of embeddings" in said[-1]
    assert lab.store.queues.summaries()[0].season == "s2"


def test_a_second_look_at_the_same_changes_nothing(lab: Lab) -> None:
    lab.tick()
    assert lab.tick() == []
    assert len(lab.store.seasons.assessments()) == 2


def test_the_whole_way_round(lab: Lab) -> None:
    lab.tick()
    lab.label(2)
    lab.tick()
    lab.label(4)
    assert "rule retrain has fired" in lab.tick()[-1]
    lab.tick()
    lab.train("promoted")
    lab.tick()
    lab.tick()
    assert lab.states() == [
        "needs labels",
        "queue out",
        "labelled",
        "retraining asked",
        "judged",
        "quiet",
    ]
    (firing,) = lab.store.triggers.firings()
    assert firing.closed_by == "mouse-2 is promoted: 3 px instead of 9"
    assert [change.reason for change in lab.store.seasons.changes("s2")][-2] == firing.closed_by


def test_what_fires_carries_its_evidence_and_its_deliveries(lab: Lab) -> None:
    lab.tick()
    lab.label(3)
    lab.tick()
    (firing,) = lab.store.triggers.firings()
    assert firing.reason == "s2: 3 new labels (of 3)"
    assert firing.evidence["figures"]["s2"]["drift"][0]["over"] == "embeddings"
    assert firing.evidence["snapshot"]["name"] == "mouse-1"
    assert firing.evidence["queues"] == [{"queue": 1, "season": "s2", "frames": 4, "labelled": 3}]
    # The first frame of the queue was its audit.
    assert firing.evidence["held_out"] == [
        {"tool": "folder", "project": "/project", "folder": "new-abc", "frame": 0}
    ]
    assert firing.evidence["left_out"] == [[2, 0]]
    assert [(each.kind, each.key) for each in lab.store.triggers.deliveries()] == [
        ("file", f"{firing.key}.1-file"),
        ("command", f"{firing.key}.2-command"),
    ]


def test_a_snapshot_set_aside_leads_to_another_queue_not_to_the_same_training(lab: Lab) -> None:
    lab.tick()
    lab.label(4)
    lab.tick()
    lab.train("aside")
    lab.tick()
    lab.tick()
    assert len(lab.store.triggers.firings()) == 1
    assert lab.states()[-4:] == ["retraining asked", "judged", "labelled", "queue out"]
    lab.label(3, of_queue=2)
    lab.tick()
    assert len(lab.store.triggers.firings()) == 2


def test_without_a_pose_model_nothing_waits_for_a_snapshot_that_cannot_come(lab: Lab) -> None:
    lab.rules = replace(RULES, has_model=False)
    lab.tick()
    lab.label(4)
    lab.tick()
    lab.tick()
    assert lab.states()[-1] == "retraining asked"
    while delivery := lab.store.triggers.claim(lab.now):
        lab.store.triggers.end(delivery, "delivered", "done", lab.now)
    lab.tick()
    assert lab.store.triggers.firings()[0].closed_by is not None
    assert lab.states()[-1] == "queue out"  # the second one


def test_a_failed_action_shows_in_the_reason_of_the_state(lab: Lab) -> None:
    lab.tick()
    lab.label(4)
    lab.tick()
    delivery = lab.store.triggers.claim(lab.now)
    assert delivery is not None
    lab.store.triggers.end(delivery, "failed", "/out is read-only", lab.now)
    assert under_way_of(lab.store, "s2").asked == (
        "s2: 4 new labels (of 3); file failed: /out is read-only"
    )


def test_no_queue_is_made_while_it_is_unknown_what_is_labelled(lab: Lab) -> None:
    lab.tick(may_queue=False)
    assert lab.states() == ["needs labels"]
    lab.tick()
    assert lab.states() == ["needs labels", "queue out"]


def test_the_daemon_s_queues_stay_within_the_season_s_budget(lab: Lab) -> None:
    lab.rules = replace(RULES, rules=(), budget=4, season_budget=6)
    lab.tick()
    lab.label(4)
    lab.figures["s2"] = replace(lab.figures["s2"], new_labels=3)  # one could not be used
    lab.tick()
    lab.label(2, of_queue=2)
    lab.figures["s2"] = replace(lab.figures["s2"], new_labels=3)
    lab.tick()
    assert lab.asked_budgets == [4, 2]


def test_where_the_season_s_budget_is_spent_it_is_said_why_no_queue_comes(lab: Lab) -> None:
    lab.rules = replace(RULES, rules=(), season_budget=4)
    lab.tick()
    lab.label(4)
    lab.figures["s2"] = replace(lab.figures["s2"], new_labels=3)
    assert "rounds.season_budget (4 frames) is spent" in lab.tick()[-1]


def test_no_rule_fires_for_a_season_that_is_no_more(lab: Lab) -> None:
    lab.rules = replace(RULES, rules=())
    lab.figures["s1"] = replace(lab.figures["s1"], new_labels=5, labelled=5)
    lab.tick()
    lab.figures["2025"] = lab.figures.pop("s1")  # renamed in the settings
    lab.rules = RULES
    lab.tick()
    assert [firing.seasons for firing in lab.store.triggers.firings()] == [("2025",)]


def test_a_video_whose_name_is_no_text_may_drive_drift(lab: Lab) -> None:
    drift = replace(DRIFT, videos=(("/archive/new\udcff.mp4", 0.6),))
    lab.figures["s2"] = replace(lab.figures["s2"], drift=(drift,))
    lab.tick()
    assert r"new\udcff.mp4" in lab.store.seasons.changes("s2")[0].reason


def test_a_queue_that_cannot_be_made_is_told_and_ends_nothing(lab: Lab) -> None:
    lab.queues_fail = True
    assert any("no queue could be made" in line for line in lab.tick())
    assert lab.states() == ["needs labels"]


def test_a_queue_that_was_withdrawn_is_not_out(lab: Lab) -> None:
    lab.tick()
    lab.store.queues.withdraw(lab.store.queues.get(1), lab.now)
    lab.tick()
    assert lab.asked_budgets == [4, 4]


def test_the_dry_run_says_what_the_daemon_did(lab: Lab) -> None:
    lab.tick()
    lab.label(2)
    lab.tick()
    lab.label(4)
    lab.tick()
    (due,) = dry_run(lab.store, RULES)
    (firing,) = lab.store.triggers.firings()
    assert (due.rule, due.seasons, due.reason) == (firing.rule, firing.seasons, firing.reason)


def test_it_looks_when_the_archive_is_at_rest_or_has_not_been_for_long(lab: Lab) -> None:
    time_s = 0.0
    loop = SeasonLoop(
        lab.store, RULES, inputs_of=dict, assess=lambda seasons, before: lab.figures,
        make_queue=None, clock=lambda: lab.now, timer=lambda: time_s,
    )  # fmt: skip
    assert loop.is_due(at_rest=True)
    loop.tick()
    time_s = 59.0
    assert not loop.is_due(at_rest=True)
    time_s = 60.0
    assert loop.is_due(at_rest=True)
    assert not loop.is_due(at_rest=False)
    time_s = 60.0 + 24 * 60
    assert loop.is_due(at_rest=False)


def test_a_season_s_end_fires_by_the_calendar(lab: Lab) -> None:
    lab.rules = replace(
        RULES,
        rules=(Rule("end", season_ended=True),),
        actions={"end": (("file", {}),)},
        last_days={"s2": date(2026, 5, 3)},
    )
    lab.tick()
    lab.label(4)
    lab.tick()
    assert not lab.store.triggers.firings()
    lab.tick(minutes=3 * 24 * 60)
    assert [firing.rule for firing in lab.store.triggers.firings()] == ["end"]


# --- a kill between any two writes -------------------------------------------------------------


class KilledError(BaseException):
    """Stands for the end of the process: what is not committed is lost."""


@contextmanager
def killed_at(write: int, *, committed: bool) -> Iterator[None]:
    """End everything at the n-th write, before it is committed or right after."""
    original: Callable[..., Any] = Connection.write
    count = 0

    @contextmanager
    def dying(self: Connection) -> Iterator[Any]:
        nonlocal count
        count += 1
        dies = count == write
        with original(self) as db:
            yield db
            if dies and not committed:
                raise KilledError
        if dies:
            raise KilledError

    patch = pytest.MonkeyPatch()
    patch.setattr(Connection, "write", dying)
    try:
        yield
    finally:
        patch.undo()


def play(lab: Lab, step: int) -> None:
    """One step of a life; steps that only look may be repeated."""
    if step == 1:
        lab.label(2)
    elif step == 2:
        lab.label(4)
    elif step == 4:
        lab.train("promoted")


def told(store: Store) -> tuple[Any, ...]:
    return (
        [(change.season, change.state, change.reason) for change in store.seasons.changes()],
        [(a.season, a.inputs) for a in store.seasons.assessments()],
        [(f.rule, f.seasons, f.reason, f.closed_by) for f in store.triggers.firings()],
        [(d.kind, d.state) for d in store.triggers.deliveries()],
        [(q.season, q.frames) for q in store.queues.summaries()],
    )


def live(folder: Path, *, kill_in: int = -1, write: int = 0, committed: bool = True) -> Any:
    """Six looks; the process is killed once in one of them, and starts again with that look."""
    with Store(folder) as store:
        lab = started(store)
        was_killed = False
        for step in range(6):
            play(lab, step)
            if step == kill_in:
                try:
                    with killed_at(write, committed=committed):
                        lab.tick()
                except KilledError:
                    was_killed = True
                else:
                    continue
            lab.tick(minutes=0 if was_killed and step == kill_in else 10)
        return told(store), was_killed


@pytest.mark.parametrize("committed", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(6))
def test_a_kill_at_any_write_of_a_look_changes_nothing(
    tmp_path: Path, step: int, committed: bool
) -> None:
    expected, _ = live(tmp_path / "whole")
    write = 0
    while True:
        write += 1
        found, was_killed = live(
            tmp_path / str(write), kill_in=step, write=write, committed=committed
        )
        assert found == expected
        if not was_killed:
            break
    assert write > 1 or step in (3, 5)
