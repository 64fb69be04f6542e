"""Which snapshot scores: the current one, and the candidate that may take its place.

The store decides which one is current; whoever changes that, by hand or here, is followed at the
next look. A new snapshot is judged by the promotion gate before it becomes current.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from alwatch.errors import AlwatchError, PoseModelError, SettingsError, shown
from alwatch.gate import GateRules, Ruling, audited_labels, judge, unjudged
from alwatch.protocols import SnapshotSource
from alwatch.records import LocatedSnapshot, Outcome, Snapshot
from alwatch.scoring import Scoring
from alwatch.store import Store
from alwatch.store.triggers import Delivery

log = logging.getLogger(__name__)

_LONGEST_WAIT = 64
"""Looks between two attempts with a candidate that cannot be scored by, at most."""


class CurrentPoseModel:
    """The snapshot that scores: looked for now and then, loaded where there is work for it.

    A snapshot that replaces another makes the whole archive wait to be scored, so it must have
    rested before: a training that still runs, or a copy, brings more. Then it is the candidate:
    it scores the audited frames, and is promoted or set aside. Whatever is wrong with the
    model is kept in the store, for `alwatch status`, and tried again at the next look. One worker
    is loaded at a time, and ended where nothing is left to score, so that its memory is free.

    Parameters
    ----------
    store : Store
    source : SnapshotSource
    load : callable
        Makes the clock that scores by a snapshot, its model loaded; ended on exit.
    read_labels : callable
        Brings the store's labels up to date: a snapshot that is new may know all of these.
    gate : GateRules or None
        How a candidate is judged; None makes every new snapshot the current one.
    scan_s : float
        Seconds between two looks for a new snapshot.
    settle_s : float
        Seconds that a snapshot must stay the same before it replaces another.
    signals : frozenset of str
        What scores must hold by the settings; videos whose scores do not are scored again.
    clock : callable
        The time of day, in UTC.
    timer : callable
        Seconds on a clock that only goes forward.
    """

    def __init__(
        self,
        store: Store,
        source: SnapshotSource,
        load: Callable[[LocatedSnapshot], AbstractContextManager[Scoring]],
        *,
        read_labels: Callable[[], object],
        gate: GateRules | None,
        scan_s: float,
        settle_s: float,
        signals: frozenset[str],
        clock: Callable[[], datetime],
        timer: Callable[[], float],
    ) -> None:
        self._store = store
        self._source = source
        self._read_labels = read_labels
        self._gate = gate
        self._scan_s = scan_s
        self._settle_s = settle_s
        self._signals = signals
        self._clock = clock
        self._timer = timer
        self._worker = _Worker(load)
        self._look_due_s = -math.inf
        self._current: Snapshot | None = None
        self._found: Snapshot | None = None
        self._fault: SettingsError | PoseModelError | None = None
        self._told = ""
        self._next: LocatedSnapshot | None = None
        self._next_since = (0.0, clock())
        self._judging = _Judging()

    def work_once(
        self,
        *,
        on_start: Callable[[Path], None] = lambda path: None,
        on_frames: Callable[[int], None] = lambda n: None,
    ) -> Outcome | None:
        """Score one video, for the judgement of a candidate first; None where there is none now.

        Raises
        ------
        StopRequestedError, StoreError
            As `Scoring.work_once`.
        """
        outcome = self.judge_once(on_start=on_start, on_frames=on_frames)
        if outcome is not None:
            return outcome
        snapshot = self.look()
        if snapshot is None:
            return None
        if not self._store.scores.n_waiting(snapshot):
            self.close()
            return None
        try:
            scoring = self._worker.scoring_by(snapshot, self._locate_current)
            return scoring.work_once(on_start=on_start, on_frames=on_frames)
        except (SettingsError, PoseModelError) as error:
            self.close()
            self._report(error)
            return None

    def look(self) -> Snapshot | None:
        """The current snapshot; None where there is a problem with it."""
        if self._timer() >= self._look_due_s:
            self._look_due_s = self._timer() + self._scan_s
            try:
                self._look()
            except (SettingsError, PoseModelError) as error:
                self._report(error)
        return None if self._fault is not None else self._current

    @property
    def fault(self) -> SettingsError | PoseModelError | None:
        """What keeps the model from scoring."""
        return self._fault

    def close(self) -> None:
        """End the model's worker, if there is one."""
        self._worker.close()

    # --- which one is current ------------------------------------------------------------------

    def _look(self) -> None:
        found = find_snapshot(self._source)
        self._consider(found)
        if not self._is_judging():
            self._judging = _Judging()
        current = self._store.snapshots.current().snapshot
        assert current is not None
        if not current.is_same(self._current):
            self._store.scores.require(current, self._signals, self._clock())
            log.info("scoring by %s of %s", current.name, current.kind)
        self._current = current
        self._found = found.snapshot
        # What is loaded needs its files no more, and what is replaced soon may never need them.
        if not self._worker.is_of(current) and self._next is None and not self._is_judging():
            self._locate_current(current)
        self._fault = None
        self._set_problem(self._judging.problem)

    def _consider(self, found: LocatedSnapshot) -> None:
        """Make what the source has found the current one or the candidate, if it is to be."""
        snapshots, now = self._store.snapshots, self._clock()
        current, candidate = snapshots.current().snapshot, snapshots.candidate()
        if current is None:
            self._read_labels()
            snapshots.register(found, self._clock())
            self._promote(found.snapshot, None, Ruling("promoted", "there was none before", {}))
            return
        if candidate and (self._gate is None or not found.snapshot.is_same(candidate)):
            snapshots.set_candidate(None, now)
            candidate = None
        is_known = found.snapshot.is_same(current) or found.snapshot.is_same(candidate)
        if is_known and snapshots.located(found.snapshot) != found:
            snapshots.register(found, now)
        last = snapshots.last_judgement(found.snapshot)
        if is_known or (last is not None and last.verdict == "aside"):
            self._next = None
        elif self._has_settled(found):
            self._read_labels()
            snapshots.register(found, self._clock(), seen_at=self._next_since[1])
            self._note_left_out(found.snapshot)
            self._take(found.snapshot, current)

    def _has_settled(self, found: LocatedSnapshot) -> bool:
        if found != self._next:
            self._next, self._next_since = found, (self._timer(), self._clock())
        return self._timer() - self._next_since[0] >= self._settle_s

    def _note_left_out(self, snapshot: Snapshot) -> None:
        """Keep which frames the training that was asked for last has left out."""
        since, triggers = self._next_since[1], self._store.triggers
        asked = [firing for firing in triggers.firings(open_only=True) if firing.fired_at < since]
        left_out = [
            f.evidence["left_out"] for f in asked if _may_be_of(triggers.deliveries(firing=f))
        ]
        if left_out:
            frames = {(video_id, frame) for video_id, frame in left_out[-1]}
            self._store.snapshots.set_held_out(snapshot, frames)

    def _take(self, snapshot: Snapshot, current: Snapshot) -> None:
        """Let a new snapshot be judged, or make it the current one where there is no need."""
        if self._gate is None:
            ruling = Ruling("promoted", "promotion.gate is off", {})
            self._promote(snapshot, current, ruling)
            return
        n_frames = len(audited_labels(self._store))
        if n_frames < self._gate.min_frames:
            self._promote(snapshot, current, unjudged(n_frames, self._gate))
            return
        self._store.snapshots.set_candidate(snapshot, self._clock())
        log.info("judging %s by %d audited frames", snapshot.name, n_frames)

    def _promote(self, snapshot: Snapshot, current: Snapshot | None, ruling: Ruling) -> None:
        is_kept = self._store.snapshots.promote(
            snapshot,
            judge="gate" if current else "first",
            reason=ruling.reason,
            figures=ruling.figures,
            now=self._clock(),
            against=current,
        )
        if is_kept:
            log.info("promoted %s: %s", snapshot.name, ruling.reason)

    def _is_judging(self) -> bool:
        return self._store.snapshots.candidate() is not None

    def _locate_current(self, current: Snapshot) -> LocatedSnapshot:
        try:
            return self._locate(current)
        except (SettingsError, PoseModelError) as error:
            new = self._found
            assert new is not None
            remedy = f"`alwatch promote` takes the new one, {new.name}"
            if self._is_judging():
                remedy = f"the new one, {new.name}, is being judged"
            elif self._next is not None:
                remedy = f"the new one, {new.name}, is next when it has rested"
            raise PoseModelError(
                f"The current snapshot is {current.name}, but {str(error).rstrip('.')}; {remedy}."
            ) from error

    def _locate(self, snapshot: Snapshot) -> LocatedSnapshot:
        return verified(self._store, self._source, snapshot)

    def _report(self, fault: SettingsError | PoseModelError) -> None:
        candidate = self._store.snapshots.candidate()
        if candidate is None or not self._worker.is_of(candidate):
            self.close()
        self._set_problem(str(fault))
        if str(fault) != self._told:  # else it is the same again, as at every look
            log.error("the pose model cannot score: %s", fault)
            self._told = str(fault)
        self._fault = fault
        self._look_due_s = self._timer() + self._scan_s

    def _set_problem(self, problem: str | None) -> None:
        if self._store.snapshots.current().problem != problem:
            self._store.snapshots.set_problem(problem, self._clock())

    # --- judging a candidate -------------------------------------------------------------------

    def judge_once(
        self,
        *,
        on_start: Callable[[Path], None] = lambda path: None,
        on_frames: Callable[[int], None] = lambda n: None,
    ) -> Outcome | None:
        """Score one video for the judgement of the candidate; None where there is none to score.

        The frames are the audited ones that are labelled. When they are scored, as far as can be,
        by the candidate and by the current snapshot, the candidate is judged.

        Raises
        ------
        StopRequestedError, StoreError
            As `Scoring.work_once`.
        """
        self.look()
        candidate, current = self._store.snapshots.candidate(), self._current
        if self._gate is None or candidate is None or current is None:
            return None
        if self._timer() < self._judging.due_s:
            return None
        able = (candidate,) if self._is_lost(current) else (current, candidate)
        try:
            for snapshot in able:
                outcome = self._score_audited(snapshot, on_start, on_frames)
                if outcome is not None:
                    return outcome
        except (SettingsError, PoseModelError) as error:
            self._put_off(candidate, error)
            return None
        self._judge(candidate, current, self._gate)
        return None

    def _is_lost(self, snapshot: Snapshot) -> bool:
        """Whether what a snapshot has not scored yet it never will."""
        try:
            return not self._worker.is_of(snapshot) and not self._locate(snapshot)
        except (SettingsError, PoseModelError):
            return True

    def _score_audited(
        self,
        snapshot: Snapshot,
        on_start: Callable[[Path], None],
        on_frames: Callable[[int], None],
    ) -> Outcome | None:
        frames: dict[int, set[int]] = {}
        for video_id, frame in audited_labels(self._store):
            frames.setdefault(video_id, set()).add(frame)
        waiting = {
            video_id: of_video
            for video_id, of_video in frames.items()
            if (snapshot.sha256, video_id) not in self._judging.tried
            and not of_video.issubset(self._store.scores.scored_frames(video_id, snapshot))
        }
        if not self._store.scores.n_waiting(snapshot, only=waiting):
            return None
        scoring = self._worker.scoring_by(snapshot, self._locate)
        outcome = scoring.work_once(on_start=on_start, on_frames=on_frames, only=waiting)
        if outcome is not None and outcome.state == "done":
            video = self._store.videos.at(outcome.path)
            if video is not None:  # some of its frames may be beyond decoding: once is enough
                self._judging.tried.add((snapshot.sha256, video.id))
        return outcome

    def _judge(self, candidate: Snapshot, current: Snapshot, gate: GateRules) -> None:
        with self._store.pools.one_view():
            ruling = judge(self._store, candidate, current, gate)
        if ruling.verdict == "promoted":
            self._promote(candidate, current, ruling)
        elif self._store.snapshots.set_aside(
            candidate,
            judge="gate",
            reason=ruling.reason,
            figures=ruling.figures,
            now=self._clock(),
            against=current,
        ):
            log.warning("set aside %s: %s", candidate.name, ruling.reason)
        self._judging = _Judging()
        self._look_due_s = -math.inf

    def _put_off(self, candidate: Snapshot, error: SettingsError | PoseModelError) -> None:
        """Try again later and later: each attempt takes the worker from the current snapshot."""
        self.close()
        judging = self._judging
        judging.problem = f"The new snapshot {candidate.name} cannot be judged: {error}"
        judging.due_s = self._timer() + judging.wait * self._scan_s
        judging.wait = min(2 * judging.wait, _LONGEST_WAIT)
        log.error("%s", judging.problem)
        if self._fault is None:
            self._set_problem(judging.problem)


def _may_be_of(deliveries: Iterable[Delivery]) -> bool:
    """Whether a snapshot may be what these have led to: one that failed has trained nothing."""
    made = [each for each in deliveries if each.kind != "mail"]
    return all(each.state in ("working", "delivered") for each in made)


class _Judging:
    """What is known of the judgement under way, in this process only."""

    def __init__(self) -> None:
        self.tried: set[tuple[str, int]] = set()
        self.problem: str | None = None
        self.due_s = -math.inf
        self.wait = 1


class _Worker:
    """The one model that is loaded, if one is."""

    def __init__(self, load: Callable[[LocatedSnapshot], AbstractContextManager[Scoring]]) -> None:
        self._load = load
        self._loaded: tuple[Snapshot, AbstractContextManager[Scoring], Scoring] | None = None

    def is_of(self, snapshot: Snapshot) -> bool:
        return self._loaded is not None and self._loaded[0].is_same(snapshot)

    def scoring_by(
        self, snapshot: Snapshot, locate: Callable[[Snapshot], LocatedSnapshot]
    ) -> Scoring:
        """Load a snapshot, if it is not the one that is loaded."""
        if self._loaded is None or not self._loaded[0].is_same(snapshot):
            self.close()
            context = self._load(locate(snapshot))
            try:
                self._loaded = (snapshot, context, context.__enter__())
            except AlwatchError:
                raise
            except Exception as error:
                log.exception("loading the pose model failed in an unforeseen way")
                raise PoseModelError(f"It cannot be loaded: {shown(repr(error))}.") from error
        return self._loaded[2]

    def close(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded[1].__exit__(None, None, None)


def find_snapshot(source: SnapshotSource) -> LocatedSnapshot:
    """Find the newest snapshot, whatever its source stumbles over.

    Raises
    ------
    SettingsError
        There is none where the settings say.
    PoseModelError
        It cannot be found at this moment.
    """
    try:
        return source.find()
    except (SettingsError, PoseModelError):
        raise
    except Exception as error:
        log.exception("looking for the pose model failed in an unforeseen way")
        raise PoseModelError(f"The pose model cannot be found: {shown(repr(error))}.") from error


def verified(store: Store, source: SnapshotSource, snapshot: Snapshot) -> LocatedSnapshot:
    """Where a registered snapshot lies, its files found to be those that it is of.

    Raises
    ------
    SettingsError, PoseModelError
        They are gone, or hold another by now: in words that go on a sentence.
    """
    located = store.snapshots.located(snapshot)
    if located is None:
        raise PoseModelError("where its files lie was not kept by an older alwatch")
    try:
        return source.verify(located)
    except (SettingsError, PoseModelError):
        raise
    except Exception as error:
        log.exception("looking for %s failed in an unforeseen way", snapshot.name)
        raise PoseModelError(f"its files cannot be looked at: {shown(repr(error))}") from error
