"""The clock of deliveries: claim, start, poll, end.

A delivery is counted as an attempt when it is claimed and marked when it has ended, so whatever
a kill interrupts is made again under the same key. What an attempt does is the business of a
process that `start` starts and that never outlives this one.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from alwatch.errors import ActionError, AlwatchError, StoreError, shown
from alwatch.protocols import RunningAction
from alwatch.records import ActionEnd
from alwatch.store import Store
from alwatch.store.triggers import Delivery, DeliveryState, Firing

log = logging.getLogger(__name__)

AT_ONCE = 4
FIRST_WAIT_S, LONGEST_WAIT_S = 60.0, 6 * 3600.0
ATTEMPTS = 8
"""Where the settings of a delivery do not say."""

_TRAININGS = ("deeplabcut",)
"""One of them at a time."""
_LASTING = (*_TRAININGS, "slurm")
"""What they leave in their folders is wanted later."""
_KEPT = timedelta(days=7)
_TIDIED_EVERY = timedelta(days=1)
_POLL_S = 0.05
_OUTCOME_CHARACTERS = 1000

StartAction = Callable[[Delivery, dict[str, Any]], RunningAction]
"""Starts an attempt at a delivery, given the evidence; raises AlwatchError or OSError."""


def workdir_of(store: Store, delivery: Delivery) -> Path:
    """The folder in which an attempt finds what the one before it left.

    Raises
    ------
    ActionError
        The delivery's key is no name of a folder.
    """
    if Path(delivery.key).name != delivery.key:
        raise ActionError(f"{delivery.key!r} cannot be the name of a folder.", again=False)
    return store.state_dir / "deliveries" / delivery.key


def evidence_of(firing: Firing) -> dict[str, Any]:
    """What whoever is told of a firing gets, as JSON."""
    return firing.evidence | {
        "key": firing.key,
        "rule": firing.rule,
        "seasons": list(firing.seasons),
        "reason": firing.reason,
        "fired_at": firing.fired_at.isoformat(),
    }


@dataclass(slots=True)
class _Attempt:
    delivery: Delivery
    running: RunningAction
    is_given_up: bool = False


class Deliverer:
    """Makes the deliveries that are due, several at once, without ever waiting for one.

    Parameters
    ----------
    store : Store
    start : callable
    clock : callable
        The time of day, in UTC.
    """

    def __init__(self, store: Store, start: StartAction, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._start = start
        self._clock = clock
        self._attempts: dict[int, _Attempt] = {}
        self._tidied_at: datetime | None = None

    def work(self) -> bool:
        """Look after what runs and start what is due; whether anything ended or started.

        Only the lock's holder may call this: deliveries that seem to be under way elsewhere are
        taken for those of a process that was killed.
        """
        self._tidy()
        self._compare_with_store()
        ended = self._end_those_done()
        started = self._start_next()
        return ended or started

    def close(self) -> None:
        """End all that runs, within seconds, and give it back; that was no attempt."""
        for attempt in self._attempts.values():
            attempt.running.stop()
        while any(attempt.running.poll() is None for attempt in self._attempts.values()):
            time.sleep(_POLL_S)
        for number, attempt in list(self._attempts.items()):
            end = attempt.running.poll()
            if end is not None and end.delivered:
                self._keep(attempt.delivery, end)
            else:
                self._store.triggers.end(
                    attempt.delivery, "waiting", "the daemon stopped", self._clock(), tried=False
                )
            del self._attempts[number]

    # --- one round -----------------------------------------------------------------------------

    def _compare_with_store(self) -> None:
        """Stop what was cancelled, and give back what was claimed but is not under way."""
        claimed = {delivery.id: delivery for delivery in self._store.triggers.deliveries("working")}
        for number, attempt in self._attempts.items():
            if number not in claimed:
                attempt.is_given_up = True
                attempt.running.stop()
        for number in claimed.keys() - self._attempts.keys():
            self._store.triggers.end(
                claimed[number], "waiting", "it was interrupted", self._clock()
            )

    def _end_those_done(self) -> bool:
        ends = {number: a.running.poll() for number, a in self._attempts.items()}
        done = {number: end for number, end in ends.items() if end is not None}
        for number, end in done.items():
            attempt = self._attempts[number]
            if not attempt.is_given_up:
                self._keep(attempt.delivery, end)
            del self._attempts[number]  # only now: a store that fails is asked again
        return bool(done)

    def _start_next(self) -> bool:
        running = self._attempts.values()
        # One that was cancelled may be asked for again while its process is still ending.
        if len(running) >= AT_ONCE or any(attempt.is_given_up for attempt in running):
            return False
        now, waiting = self._clock(), self._store.triggers.deliveries("waiting")
        if not any(each.retry_at is None or each.retry_at <= now for each in waiting):
            return False  # a claim would wait for whoever writes to the store just now
        is_training = any(attempt.delivery.kind in _TRAININGS for attempt in running)
        besides = _TRAININGS if is_training else ()
        delivery = self._store.triggers.claim(now, besides=besides)
        if delivery is None:
            return False
        evidence = evidence_of(self._store.triggers.firing_of(delivery))
        try:
            self._attempts[delivery.id] = _Attempt(delivery, self._start(delivery, evidence))
        except StoreError:
            raise
        except ActionError as error:
            self._keep(delivery, ActionEnd(False, str(error), again=error.again))
        except (AlwatchError, OSError) as error:
            self._keep(delivery, ActionEnd(False, str(error)))
        return True

    def _keep(self, delivery: Delivery, end: ActionEnd) -> None:
        now, outcome = self._clock(), shown(end.outcome)[:_OUTCOME_CHARACTERS]
        state, retry_at = _next_state(delivery, end, now)
        self._store.triggers.end(delivery, state, outcome, now, retry_at=retry_at, tried=end.counts)
        if state == "delivered":
            log.info("%s: %s", delivery.key, outcome)
        else:
            log.warning("%s: %s: %s", delivery.key, state, outcome)

    def _tidy(self) -> None:
        """Remove, once a day, the folders of deliveries that ended long ago."""
        now = self._clock()
        if self._tidied_at is not None and now - self._tidied_at < _TIDIED_EVERY:
            return
        self._tidied_at = now
        for delivery in self._store.triggers.deliveries("delivered", "failed", "cancelled"):
            if delivery.kind not in _LASTING and now - delivery.changed_at > _KEPT:
                shutil.rmtree(workdir_of(self._store, delivery), ignore_errors=True)


def _next_state(
    delivery: Delivery, end: ActionEnd, now: datetime
) -> tuple[DeliveryState, datetime | None]:
    """What an attempt leads to, and when the next one is due."""
    if end.delivered:
        return "delivered", None
    is_spent = end.counts and delivery.attempts >= delivery.settings.get("attempts", ATTEMPTS)
    if is_spent or not end.again:
        return "failed", None
    doubled_s = FIRST_WAIT_S * 2 ** min(delivery.attempts - 1, 20)
    wait_s = min(max(doubled_s, end.retry_after_s or 0), LONGEST_WAIT_S)
    return "waiting", now + timedelta(seconds=wait_s)
