"""The clock that ticks now and then: figures -> state -> queue -> rules -> firing.

It decides and asks; queues are made by the clock of rounds, and what a firing asks for is done by
the clock of deliveries. Every step writes one row, so whatever a kill interrupts is decided again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from alwatch.errors import AlwatchError, NothingToDoError, StoreError, shown
from alwatch.gate import audited_labels
from alwatch.records import Queue, Snapshot
from alwatch.seasons import SeasonFigures
from alwatch.seasons.rules import Assessed, Due, Fired, Rule, due_rules, replay
from alwatch.seasons.states import (
    Needs,
    QueueOut,
    SeasonState,
    UnderWay,
    needs_of,
    state_of,
    wants_queue,
)
from alwatch.store import Store
from alwatch.store.queues import QueueSummary
from alwatch.store.seasons import Assessment
from alwatch.store.snapshots import Judgement
from alwatch.store.triggers import Firing

log = logging.getLogger(__name__)

_OVERDUE = 24  # checks that an archive in full work may miss


Assess = Callable[[Sequence[str], Mapping[str, SeasonFigures]], Mapping[str, SeasonFigures]]
"""Computes the figures of seasons from the store, given those of the last assessment."""


@dataclass(frozen=True, slots=True)
class LoopRules:
    """What the settings say of the loop.

    Parameters
    ----------
    needs : Needs
    rules : tuple of Rule
    actions : mapping of str to tuple of (kind, settings)
        What each rule asks for.
    leaves_out : frozenset of str
        The rules whose trainings leave out the audited frames.
    last_days : mapping of str to date
        Of the seasons that have one.
    budget, season_budget : int
        Frames of one queue, and of all that are made here for one season.
    check_s : float
    has_model : bool
        Whether a new snapshot of the pose model would be noticed.
    """

    needs: Needs
    rules: tuple[Rule, ...]
    actions: Mapping[str, tuple[tuple[str, dict[str, Any]], ...]]
    leaves_out: frozenset[str]
    last_days: Mapping[str, date]
    budget: int
    season_budget: int
    check_s: float
    has_model: bool = True

    @property
    def labels_wanted(self) -> int:
        """New labels with which a rule asks for retraining; one queue's where no rule counts."""
        counts = [rule.new_labels for rule in self.rules if rule.new_labels is not None]
        return min(counts, default=self.budget)


class SeasonLoop:
    """Looks after the seasons.

    Parameters
    ----------
    store : Store
    rules : LoopRules
    inputs_of : callable
        What every season's figures depend on, as one text for each: while it stays, so do they.
    assess : Assess
    make_queue : callable or None
        Makes a queue of so many frames of a season and exports it; None where the daemon makes
        none by itself.
    clock : callable
        The time of day, in UTC.
    timer : callable
        Seconds on a clock that only goes forward.
    """

    def __init__(
        self,
        store: Store,
        rules: LoopRules,
        *,
        inputs_of: Callable[[], Mapping[str, str]],
        assess: Assess,
        make_queue: Callable[[str, int], Queue] | None,
        clock: Callable[[], datetime],
        timer: Callable[[], float],
    ) -> None:
        self._store = store
        self._rules = rules
        self._inputs_of = inputs_of
        self._assess = assess
        self._make_queue = make_queue
        self._clock = clock
        self._timer = timer
        self._due_s = timer()

    def is_due(self, *, at_rest: bool) -> bool:
        """Whether it is time to look; while videos come in, only where it is long overdue."""
        late_s = self._timer() - self._due_s
        return late_s >= (0 if at_rest else _OVERDUE * self._rules.check_s)

    def tick(
        self, on_step: Callable[[], None] = lambda: None, *, may_queue: bool = True
    ) -> list[str]:
        """Look at every season once; what has happened, in lines for the log.

        Parameters
        ----------
        on_step : callable
            Called between steps, each of which may take a while.
        may_queue : bool
            Whether queues may be made: not while it is unknown what is labelled.

        Raises
        ------
        StoreError
            The store cannot be used.
        """
        self._due_s = self._timer() + self._rules.check_s
        try:
            inputs = self._inputs_of()
        except NothingToDoError:
            return []
        said: list[str] = []
        self._assess_changed(inputs)
        self._close_firings()
        latest = self._store.seasons.latest()
        here = {s: SeasonFigures.from_dict(latest[s].figures) for s in inputs if s in latest}
        for season, figures in here.items():
            said += self._advance(season, figures, may_queue=may_queue)
            on_step()
        for due in self._due(here):
            said.append(self._fire(due))
        return said

    # --- figures and states --------------------------------------------------------------------

    def _assess_changed(self, inputs: Mapping[str, str]) -> None:
        latest = self._store.seasons.latest()
        changed = [s for s in inputs if s not in latest or latest[s].inputs != inputs[s]]
        if not changed:
            return
        before = {s: SeasonFigures.from_dict(latest[s].figures) for s in changed if s in latest}
        for season, figures in self._assess(changed, before).items():
            self._store.seasons.assess(season, inputs[season], figures.as_dict(), self._clock())

    def _advance(self, season: str, figures: SeasonFigures, *, may_queue: bool) -> Iterator[str]:
        """Enter the season's state, and make it a queue if it needs one."""
        now = self._clock()
        under_way = under_way_of(self._store, season)
        needs = needs_of(figures, under_way, self._rules.needs, now)
        state, reason = state_of(figures, under_way, needs)
        if self._enter(season, state, reason):
            yield f"season {season}: {state} ({reason})"
        wanted = self._rules.labels_wanted
        if may_queue and wants_queue(figures, under_way, needs, labels_wanted=wanted):
            yield from self._queue(season, "; ".join(needs))

    def _enter(self, season: str, state: SeasonState, reason: str) -> bool:
        # It may hold names of files, which need not be text.
        return self._store.seasons.enter(season, state, shown(reason), self._clock())

    def _queue(self, season: str, why: str) -> Iterator[str]:
        mine = [queue for queue in _live_queues(self._store) if queue.season == season]
        budget = min(
            self._rules.budget, self._rules.season_budget - sum(queue.frames for queue in mine)
        )
        if self._make_queue is None:
            return
        if budget < 1:
            spent = f"rounds.season_budget ({self._rules.season_budget} frames) is spent"
            yield f"season {season}: no queue is made, as {spent}; it needs labels: {why}"
            return
        try:
            queue = self._make_queue(season, budget)
        except StoreError:
            raise
        except AlwatchError as error:
            yield f"season {season}: no queue could be made: {error}"
            return
        yield f"queue {queue.id}: {len(queue.frames)} frames of season {season} ({why})"
        self._enter(season, "queue out", QueueOut(queue.id, len(queue.frames)).in_words)

    # --- rules ---------------------------------------------------------------------------------

    def _due(self, here: Mapping[str, SeasonFigures]) -> list[Due]:
        fired = [each for each in fired_of(self._store) if each.rule in self._rules.actions]
        return due_rules(
            self._rules.rules,
            list(self._recent(here, fired)),
            fired,
            last_days=self._rules.last_days,
            now=self._clock(),
        )

    def _recent(
        self, here: Mapping[str, SeasonFigures], fired: Sequence[Fired]
    ) -> Iterator[Assessed]:
        """What rules need of the past of the seasons that there are: since each fired last.

        A season without a label that the model does not know is left out, as no rule fires for it.
        """
        now = self._clock()
        for season, figures in here.items():
            if figures.new_labels:
                last = {each.rule: each.at for each in fired if season in each.labelled}
                since = min(last.values(), default=now)
                yield from map(_assessed, self._store.seasons.since(season, since))

    def _fire(self, due: Due) -> str:
        firing = fire(self._store, self._rules, due)
        for season in due.seasons:
            self._enter(season, "retraining asked", due.reason)
        return f"rule {due.rule} has fired as {firing.key}: {due.reason}"

    def _close_firings(self) -> None:
        judgements = self._store.snapshots.judgements()
        for firing in self._store.triggers.firings(open_only=True):
            answer = answer_to(firing, judgements)
            if answer is not None:
                self._store.triggers.close(firing, verdict_in_words(answer), self._clock())
            elif not self._rules.has_model and self._is_delivered(firing):
                by = "all is delivered, and no pose model is watched"
                self._store.triggers.close(firing, by, self._clock())

    def _is_delivered(self, firing: Firing) -> bool:
        deliveries = self._store.triggers.deliveries(firing=firing)
        return all(each.state in ("delivered", "cancelled") for each in deliveries)


def fire(store: Store, rules: LoopRules, due: Due) -> Firing:
    """Keep that a rule fires, with its evidence and all that it asks for."""
    return store.triggers.fire(
        due.rule,
        seasons=due.seasons,
        reason=due.reason,
        evidence=evidence_of(store, due, leaves_out=due.rule in rules.leaves_out),
        actions=rules.actions[due.rule],
        now=due.at,
    )


def under_way_of(store: Store, season: str) -> UnderWay:
    """What goes on for a season, as the store has it."""
    queues = [queue for queue in _live_queues(store) if queue.season == season]
    out = [queue for queue in queues if queue.labelled + queue.skipped < queue.frames]
    judgements = store.snapshots.judgements()
    firings = [firing for firing in store.triggers.firings() if season in firing.seasons]
    asking = [
        firing
        for firing in firings
        if firing.closed_at is None and answer_to(firing, judgements) is None
    ]
    candidate = store.snapshots.candidate()
    change = store.seasons.states().get(season)
    verdict = None
    if change is not None and change.state in ("retraining asked", "new snapshot"):
        since = [judgement for judgement in judgements if judgement.at > change.at]
        verdict = verdict_in_words(since[-1]) if since else None
    return UnderWay(
        any_labels=any(counts.labelled for counts in store.pools.season_counts()),
        queue_out=(QueueOut(out[-1].id, out[-1].frames) if out else None),
        last_queue_at=queues[-1].created_at if queues else None,
        newest_video_at=store.videos.newest_of(season),
        labelled_before=firings[-1].evidence["labelled"][season] if firings else 0,
        asked=asked_in_words(store, asking[-1]) if asking else None,
        candidate=candidate.name if candidate else None,
        verdict=verdict,
    )


def asked_in_words(store: Store, firing: Firing) -> str:
    """Why a firing asks for retraining, and what keeps it from being done."""
    deliveries = store.triggers.deliveries(firing=firing)
    failed = [each for each in deliveries if each.state == "failed"]
    if not failed:
        return firing.reason
    return f"{firing.reason}; {failed[-1].kind} failed: {failed[-1].outcome}"


def answer_to(firing: Firing, judgements: Sequence[Judgement]) -> Judgement | None:
    """The first judgement of a snapshot that came after a firing."""
    return next((j for j in judgements if j.first_seen_at > firing.fired_at), None)


def verdict_in_words(judgement: Judgement) -> str:
    """A judgement in one line."""
    verb = "is promoted" if judgement.verdict == "promoted" else "is set aside"
    return f"{judgement.snapshot.name} {verb}: {judgement.reason}"


def history_of(store: Store) -> list[Assessed]:
    """Every assessment as the rules want it."""
    return [_assessed(assessment) for assessment in store.seasons.assessments()]


def _assessed(assessment: Assessment) -> Assessed:
    figures = SeasonFigures.from_dict(assessment.figures)
    return Assessed(assessment.season, assessment.at, figures)


def fired_of(store: Store) -> list[Fired]:
    """Every firing as the rules want it."""
    return [
        Fired(firing.rule, firing.fired_at, firing.evidence["labelled"])
        for firing in store.triggers.firings()
    ]


def dry_run(store: Store, rules: LoopRules) -> list[Due]:
    """What the rules would have fired over the past, had they been in force all along."""
    return replay(rules.rules, history_of(store), last_days=rules.last_days)


def evidence_of(store: Store, due: Due, *, leaves_out: bool) -> dict[str, Any]:
    """Why a rule fires, as JSON: the figures, the queues, and the frames not to be taught.

    `held_out` are the audited frames, by the names that the labelling projects know them by: a
    training that leaves them out is judged on frames that it has never seen. `left_out` are the
    same as (video id, frame), where the training does so.
    """
    latest = store.seasons.latest()
    current = store.snapshots.current().snapshot
    queues = [queue for queue in _live_queues(store) if queue.season in due.seasons]
    return {
        "rule": due.rule,
        "seasons": list(due.seasons),
        "reason": due.reason,
        "at": due.at.isoformat(timespec="seconds"),
        "conditions": {
            season: [asdict(condition) for condition in conditions]
            for season, conditions in due.conditions.items()
        },
        "figures": {season: latest[season].figures for season in due.seasons},
        "labelled": {season: latest[season].figures["labelled"] for season in due.seasons},
        "snapshot": _snapshot(store, current) if current else None,
        "queues": [
            {
                "queue": queue.id,
                "season": queue.season,
                "frames": queue.frames,
                "labelled": queue.labelled,
            }
            for queue in queues
        ],
        "held_out": [
            {"tool": tool, "project": str(project), "folder": folder, "frame": frame}
            for tool, project, folder, frame in store.queues.audited_in_projects()
        ],
        "left_out": sorted(audited_labels(store)) if leaves_out else [],
    }


def _snapshot(store: Store, snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot with the file that a training may go on from, where one is known."""
    located = store.snapshots.located(snapshot)
    files = located.model.get("snapshots") if located else None
    return asdict(snapshot) | {"file": files[0] if files else None}


def _live_queues(store: Store) -> list[QueueSummary]:
    return [queue for queue in store.queues.summaries() if queue.withdrawn_at is None]
