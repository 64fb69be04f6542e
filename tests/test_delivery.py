from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alwatch.app import App
from alwatch.delivery import AT_ONCE, Deliverer, evidence_of, workdir_of
from alwatch.errors import ActionError, SettingsError, StoreError
from alwatch.records import ActionEnd
from alwatch.store import Store
from alwatch.store.connection import Connection
from alwatch.store.triggers import Delivery
from tests.actions.helpers import is_gone, program, wait_for
from tests.dying_deliveries import fire as fire_commands
from tests.dying_deliveries import outcome
from tests.videos import make_app

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DONE = ActionEnd(True, "done")


@dataclass
class Attempt:
    """An attempt whose end the test decides."""

    delivery: Delivery
    evidence: dict[str, Any]
    end: ActionEnd | None = None
    is_stopped: bool = False

    def poll(self) -> ActionEnd | None:
        return self.end

    def stop(self) -> None:
        self.is_stopped = True


@dataclass
class Scene:
    """A store, a clock, and a deliverer whose attempts are under the test's hand."""

    store: Store
    now: datetime = NOW
    attempts: list[Attempt] = field(default_factory=list)
    fault: Exception | None = None

    def __post_init__(self) -> None:
        self.deliverer = Deliverer(self.store, self._start, lambda: self.now)

    def _start(self, delivery: Delivery, evidence: dict[str, Any]) -> Attempt:
        if self.fault is not None:
            raise self.fault
        self.attempts.append(Attempt(delivery, evidence))
        return self.attempts[-1]

    def fire(self, *kinds: str, **settings: Any) -> None:
        self.store.triggers.fire(
            "retrain",
            seasons=["2026"],
            reason="60 new labels",
            evidence={"figures": {"2026": {"new_labels": 60}}},
            actions=[(kind, settings) for kind in kinds],
            now=self.now,
        )

    def work(self) -> None:
        while self.deliverer.work():
            pass

    def rows(self) -> list[Delivery]:
        return self.store.triggers.deliveries()

    @property
    def states(self) -> list[str]:
        return [delivery.state for delivery in self.rows()]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Store(tmp_path / "state") as store:
        yield Scene(store)


def test_a_delivery_is_claimed_started_and_ended(scene: Scene) -> None:
    scene.fire("file")
    scene.work()
    assert (scene.states, scene.rows()[0].attempts) == (["working"], 1)
    scene.attempts[0].end = DONE
    scene.work()
    (row,) = scene.rows()
    assert (row.state, row.outcome, row.retry_at) == ("delivered", "done", None)
    assert scene.deliverer.work() is False


def test_what_is_sent_tells_the_firing_and_all_its_evidence(scene: Scene) -> None:
    scene.fire("file")
    scene.work()
    (firing,) = scene.store.triggers.firings()
    assert scene.attempts[0].evidence == {
        "key": firing.key,
        "rule": "retrain",
        "seasons": ["2026"],
        "reason": "60 new labels",
        "fired_at": "2026-03-01T12:00:00+00:00",
        "figures": {"2026": {"new_labels": 60}},
    }
    assert json.loads(json.dumps(evidence_of(firing))) == evidence_of(firing)


def test_a_failed_attempt_waits_twice_as_long_each_time_up_to_six_hours(scene: Scene) -> None:
    scene.fire("file", attempts=12)
    waits_min = []
    while scene.states != ["failed"]:
        scene.work()
        scene.attempts[-1].end = ActionEnd(False, "no luck")
        scene.work()
        (row,) = scene.rows()
        if row.retry_at is not None:
            waits_min.append((row.retry_at - scene.now) / timedelta(minutes=1))
            scene.now = row.retry_at - timedelta(seconds=1)
            scene.work()
            assert scene.states == ["waiting"]
            scene.now = row.retry_at
    assert waits_min == [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360]
    assert (row.attempts, row.outcome) == (12, "no luck")
    assert len({attempt.delivery.key for attempt in scene.attempts}) == 1


def test_one_that_waits_for_its_next_attempt_does_not_touch_the_store(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.fire("file")
    scene.work()
    scene.attempts[0].end = ActionEnd(False, "busy")
    scene.work()

    def write(self: Connection) -> None:
        raise AssertionError

    monkeypatch.setattr(Connection, "write", write)
    assert not scene.deliverer.work()


def test_without_a_setting_the_eighth_failed_attempt_is_the_last(scene: Scene) -> None:
    scene.fire("file")
    for _ in range(8):
        assert scene.states == ["waiting"]
        scene.work()
        scene.attempts[-1].end = ActionEnd(False, "no luck")
        scene.work()
        scene.now += timedelta(days=1)
    assert scene.states == ["failed"]


def test_what_another_attempt_cannot_help_has_failed_at_once(scene: Scene) -> None:
    scene.fire("webhook", attempts=8)
    scene.work()
    scene.attempts[0].end = ActionEnd(False, "answered 404", again=False)
    scene.work()
    assert (scene.states, scene.rows()[0].attempts) == (["failed"], 1)


@pytest.mark.parametrize(("said_s", "wait_s"), [(600, 600), (5, 60), (10**9, 21600)])
def test_a_receiver_may_ask_for_more_time(scene: Scene, said_s: float, wait_s: float) -> None:
    scene.fire("webhook")
    scene.work()
    scene.attempts[0].end = ActionEnd(False, "answered 429", retry_after_s=said_s)
    scene.work()
    assert scene.rows()[0].retry_at == scene.now + timedelta(seconds=wait_s)


def test_one_that_wants_to_be_asked_later_has_not_failed(scene: Scene) -> None:
    scene.fire("command", attempts=1)
    for _ in range(5):
        scene.work()
        scene.attempts[-1].end = ActionEnd(False, "GPU busy", counts=False)
        scene.work()
        (row,) = scene.rows()
        assert (row.state, row.attempts) == ("waiting", 0)
        assert row.retry_at is not None
        scene.now = row.retry_at
    scene.work()
    scene.attempts[-1].end = ActionEnd(False, "no luck")
    scene.work()
    assert scene.states == ["failed"]


def test_four_are_made_at_once_and_one_training(scene: Scene) -> None:
    scene.fire("deeplabcut", "deeplabcut", *["file"] * 5)
    scene.work()
    assert [a.delivery.kind for a in scene.attempts] == ["deeplabcut", "file", "file", "file"]
    assert len(scene.attempts) == AT_ONCE
    scene.attempts[0].end = DONE
    scene.work()
    assert [a.delivery.kind for a in scene.attempts[4:]] == ["deeplabcut"]


def test_a_delivery_that_is_cancelled_is_ended_and_stays_cancelled(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "alwatch")
    scene.fire("file")
    scene.work()
    scene.store.triggers.cancel(scene.rows()[0], scene.now)
    scene.work()
    assert scene.attempts[0].is_stopped
    scene.attempts[0].end = DONE
    scene.work()
    assert scene.states == ["cancelled"]
    assert "done" not in caplog.text


def test_one_cancelled_and_asked_for_again_waits_for_the_end_of_the_first(scene: Scene) -> None:
    scene.fire("file")
    scene.work()
    scene.store.triggers.cancel(scene.rows()[0], scene.now)
    scene.store.triggers.retry(scene.rows()[0], scene.now)
    scene.work()
    assert len(scene.attempts) == 1
    scene.attempts[0].end = ActionEnd(False, "ended by hand", again=False)
    scene.work()
    assert (scene.states, len(scene.attempts)) == (["working"], 2)


def test_a_delivery_may_be_asked_for_again_when_it_has_failed(scene: Scene) -> None:
    scene.fire("file", attempts=1)
    scene.work()
    scene.attempts[0].end = ActionEnd(False, "no luck")
    scene.work()
    assert scene.states == ["failed"]
    scene.store.triggers.retry(scene.rows()[0], scene.now)
    scene.work()
    assert (scene.states, scene.rows()[0].attempts) == (["working"], 1)


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (OSError(11, "no process left"), "waiting"),
        (SettingsError("no such action"), "waiting"),
        (ActionError("no such folder", again=False), "failed"),
    ],
)
def test_one_that_cannot_be_started_has_failed_an_attempt(
    scene: Scene, fault: Exception, state: str
) -> None:
    scene.fault = fault
    scene.fire("file")
    scene.work()
    (row,) = scene.rows()
    assert (row.state, row.attempts, row.outcome) == (state, 1, str(fault))


def test_an_outcome_is_one_short_line(scene: Scene) -> None:
    scene.fire("file")
    scene.work()
    scene.attempts[0].end = ActionEnd(True, "one\ntwo \x1b[2J" + "x" * 5000)
    scene.work()
    outcome = scene.rows()[0].outcome
    assert outcome is not None and outcome.startswith(r"one\ntwo \x1b[2J") and len(outcome) == 1000


def test_a_store_that_fails_loses_no_outcome(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    scene.fire("file", "file")
    scene.work()
    scene.attempts[0].end = DONE
    with monkeypatch.context() as faulty:
        faulty.setattr(scene.store.triggers, "end", full)
        with pytest.raises(StoreError):
            scene.work()
    scene.work()
    assert scene.states == ["delivered", "working"]


def test_a_claim_whose_start_a_store_has_failed_is_made_up_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise StoreError("locked")

    scene.fire("file")
    with monkeypatch.context() as faulty:
        faulty.setattr(scene.store.triggers, "firing_of", locked)
        with pytest.raises(StoreError):
            scene.work()
    assert scene.states == ["working"]
    scene.work()
    assert (scene.states, len(scene.attempts)) == (["working"], 1)


def test_folders_are_kept_for_a_week_and_those_of_jobs_for_good(scene: Scene) -> None:
    scene.fire("file", "slurm", "deeplabcut")
    scene.work()
    folders = [workdir_of(scene.store, row) for row in scene.rows()]
    for attempt, folder in zip(scene.attempts, folders, strict=True):
        (folder / "inner").mkdir(parents=True)
        attempt.end = DONE
    scene.work()
    scene.now += timedelta(days=6)
    scene.work()
    assert [folder.exists() for folder in folders] == [True, True, True]
    scene.now += timedelta(days=2)
    scene.work()
    assert [folder.exists() for folder in folders] == [False, True, True]


# --- with real processes -----------------------------------------------------------------------


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = make_app(tmp_path)
    yield app
    app.close()


def fire(app: App, kind: str, **settings: Any) -> None:
    app.store.triggers.fire(
        "retrain",
        seasons=["2026"],
        reason="60 new labels",
        evidence={},
        actions=[(kind, settings)],
        now=app.clock(),
    )


def working(deliverer: Deliverer, until: Callable[[], object]) -> None:
    """Let the daemon's loop turn until something holds."""
    wait_for(lambda: (deliverer.work(), until())[1])


def the_delivery(app: App) -> Delivery:
    (delivery,) = app.store.triggers.deliveries()
    return delivery


def test_a_file_is_delivered_by_a_process(app: App, tmp_path: Path) -> None:
    fire(app, "file", folder=str(tmp_path))
    working(app.deliverer(), lambda: the_delivery(app).state == "delivered")
    delivery = the_delivery(app)
    written = json.loads((tmp_path / f"{delivery.key}.json").read_bytes())
    assert written["key"] == app.store.triggers.firings()[0].key
    assert workdir_of(app.store, delivery).is_dir()


def test_a_command_that_is_cancelled_by_hand_is_ended(app: App, tmp_path: Path) -> None:
    script = program(tmp_path / "p", f"echo $$ > {tmp_path}/pid; sleep 60; touch {tmp_path}/late")
    fire(app, "command", command=[str(script)])
    deliverer, file = app.deliverer(), tmp_path / "pid"
    working(deliverer, lambda: file.is_file() and file.read_text().endswith("\n"))
    app.store.triggers.cancel(the_delivery(app), app.clock())
    working(deliverer, lambda: is_gone(int(file.read_text())))
    assert the_delivery(app).state == "cancelled"
    assert not (tmp_path / "late").exists()


def test_a_daemon_that_stops_ends_its_deliveries_and_gives_them_back(
    app: App, tmp_path: Path
) -> None:
    script = program(tmp_path / "p", f"echo $$ > {tmp_path}/pid; sleep 60")
    fire(app, "command", command=[str(script)], attempts=1)
    deliverer, file = app.deliverer(), tmp_path / "pid"
    working(deliverer, lambda: file.is_file() and file.read_text().endswith("\n"))
    deliverer.close()
    assert is_gone(int(file.read_text()))
    delivery = the_delivery(app)
    assert (delivery.state, delivery.attempts, delivery.retry_at) == ("waiting", 0, None)


def test_an_action_that_no_part_is_named_for_is_said(app: App) -> None:
    fire(app, "carrier_pigeon")
    app.deliverer().work()
    assert "'carrier_pigeon'" in str(the_delivery(app).outcome)


def test_a_kill_between_any_two_steps_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.dying_deliveries", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(done.stdout)
    assert seen["steps"] >= 5
    assert seen["faults"] == []
    # Some kills come after the program has been run, so it is run again: under the same key.
    assert seen["repeats"] >= 2


def n_received(folder: Path) -> int:
    file = folder / "received"
    return len(file.read_text().split()) if file.exists() else 0


def test_kills_at_any_moment_lose_nothing(tmp_path: Path) -> None:
    keys = fire_commands(tmp_path, count=6, work="sleep 0.1")
    command = [sys.executable, "-m", "tests.dying_deliveries", "--work", str(tmp_path)]
    for number in range(1, 5):  # while one is made, others are about to be started or ended
        with subprocess.Popen(command) as daemon:
            wait_for(lambda n=number: n_received(tmp_path) >= n)
            daemon.kill()
    assert subprocess.run(command, check=False, timeout=60).returncode == 0
    received, states = outcome(tmp_path)
    assert (set(received), states) == (keys, {"delivered"})


def test_folders_of_deliveries_stay_in_the_state_folder(scene: Scene) -> None:
    scene.fire("../../x")
    with pytest.raises(ActionError, match="cannot be the name"):
        workdir_of(scene.store, scene.rows()[0])
    assert not os.path.lexists(scene.store.state_dir.parent / "x")
