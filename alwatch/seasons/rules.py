"""The trigger rules: when retraining is asked for, and when it would have been.

Everything here is pure: the history of figures and firings in, what is due out, so that a dry run
over the past and the daemon of today decide alike.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from alwatch.seasons.figures import SeasonFigures

_RATE_WINDOW = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of `triggers`, which explains its fields; a condition that is None is not one."""

    name: str
    match: Literal["all", "any"] = "all"
    new_labels: int | None = None
    error_ratio: float | None = None
    error_px: float | None = None
    drift_checks: int | None = None
    season_ended: bool = False
    cool_down_s: float = 86400.0
    per_30_days_max: int = 8


@dataclass(frozen=True, slots=True)
class Assessed:
    """A season's figures at a moment."""

    season: str
    at: datetime
    figures: SeasonFigures


@dataclass(frozen=True, slots=True)
class Fired:
    """A rule has fired at a moment; `labelled` are each season's labels at that time."""

    rule: str
    at: datetime
    labelled: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a rule for a season: whether it holds, and what was found, in words."""

    name: str
    holds: bool
    words: str


@dataclass(frozen=True, slots=True)
class Due:
    """A rule that is to fire, for these seasons, each with its conditions."""

    rule: str
    at: datetime
    conditions: Mapping[str, tuple[Condition, ...]] = field(default_factory=dict)

    @property
    def seasons(self) -> tuple[str, ...]:
        """For which it fires."""
        return tuple(self.conditions)

    @property
    def reason(self) -> str:
        """Why, in one line."""
        return "; ".join(
            f"{season}: {', '.join(each.words for each in conditions if each.holds)}"
            for season, conditions in self.conditions.items()
        )


def conditions_of(
    rule: Rule, figures: SeasonFigures, *, labelled_before: int, ended: bool
) -> tuple[Condition, ...]:
    """What a rule's conditions say of a season.

    Parameters
    ----------
    rule : Rule
    figures : SeasonFigures
    labelled_before : int
        The season's labels when the rule fired last for it: they do not count again.
    ended : bool
        Whether the season's last day is over.
    """
    found = []
    new = _new_labels(figures, labelled_before)
    if rule.new_labels is not None:
        words = f"{new} new labels (of {rule.new_labels})"
        found.append(Condition("new_labels", new >= rule.new_labels, words))
    error, baseline = figures.error_px, figures.baseline_px
    if rule.error_ratio is not None:
        if error is None or not baseline:
            condition = Condition("error_ratio", False, "no audited error to compare")
        else:
            words = (
                f"audited error {error.mean:.3g} px ({error.low:.3g} to {error.high:.3g}) where "
                f"the model reaches {baseline:.3g} px on what it was taught"
            )
            condition = Condition("error_ratio", error.low > rule.error_ratio * baseline, words)
        found.append(condition)
    if rule.error_px is not None:
        if error is None:
            condition = Condition("error_px", False, "no audited error")
        else:
            words = f"audited error {error.mean:.3g} px ({error.low:.3g} to {error.high:.3g})"
            condition = Condition("error_px", error.low > rule.error_px, words)
        found.append(condition)
    if rule.drift_checks is not None:
        words = f"drift at {figures.drift_looks} looks in a row (of {rule.drift_checks})"
        found.append(Condition("drift_checks", figures.drift_looks >= rule.drift_checks, words))
    if rule.season_ended:
        found.append(Condition("season_ended", ended, "it has ended" if ended else "it goes on"))
    return tuple(found)


def due_rules(
    rules: Sequence[Rule],
    history: Sequence[Assessed],
    fired: Sequence[Fired],
    *,
    last_days: Mapping[str, date],
    now: datetime,
) -> list[Due]:
    """Say which rules fire now.

    A rule fires for the seasons whose conditions hold, and never without a label that the model
    does not know. For the same season again only with enough labels since, after its conditions
    have been found not to hold, or under another snapshot (hysteresis). Cool-down and maximum
    rate are the whole rule's.

    Parameters
    ----------
    rules : sequence of Rule
    history : sequence of Assessed
        Until now, the oldest first; the last one of a season is what it is like now.
    fired : sequence of Fired
        The oldest first.
    last_days : mapping of str to date
        Of the seasons that have one.
    now : datetime
    """
    of_season: dict[str, list[Assessed]] = {}
    for assessed in history:
        of_season.setdefault(assessed.season, []).append(assessed)
    return _due(rules, of_season, fired, last_days, now)


def _due(
    rules: Sequence[Rule],
    of_season: Mapping[str, Sequence[Assessed]],
    fired: Sequence[Fired],
    last_days: Mapping[str, date],
    now: datetime,
) -> list[Due]:
    found = []
    for rule in rules:
        own = [each for each in fired if each.rule == rule.name]
        times = [each.at for each in own]
        is_cooling = bool(times) and now - times[-1] < timedelta(seconds=rule.cool_down_s)
        recent = sum(now - at < _RATE_WINDOW for at in times)
        if is_cooling or recent >= rule.per_30_days_max:
            continue
        conditions = {}
        for season, past in of_season.items():
            last = next((each for each in reversed(own) if season in each.labelled), None)
            n_before = 0 if last is None else bisect_right(past, last.at, key=lambda each: each.at)
            since = past[n_before:] or past[-1:]
            labelled_before = _labelled_before(last, season, since)
            if not _new_labels(past[-1].figures, labelled_before):
                continue
            found_now = _conditions_at(rule, past[-1], labelled_before, last_days, now)
            if not _is_met(rule, found_now):
                continue
            before = past[n_before - 1] if n_before else None
            if last is None or _rearmed(rule, found_now, before, since, labelled_before, last_days):
                conditions[season] = found_now
        if conditions:
            found.append(Due(rule.name, now, conditions))
    return found


def replay(
    rules: Sequence[Rule], history: Sequence[Assessed], *, last_days: Mapping[str, date]
) -> list[Due]:
    """Say what the rules would have fired over a past, had they been in force all along.

    What a retraining would have changed in the figures is not known, so the past is taken as it
    was.

    Parameters
    ----------
    rules : sequence of Rule
    history : sequence of Assessed
        The oldest first.
    last_days : mapping of str to date
    """
    moments = {assessed.at for assessed in history}
    if moments:
        ends = {
            datetime.combine(day + timedelta(days=1), time(), UTC) for day in last_days.values()
        }
        moments |= {end for end in ends if min(moments) <= end <= max(moments)}
    fired: list[Fired] = []
    all_due = []
    of_season: dict[str, list[Assessed]] = {}
    to_come = deque(sorted(history, key=lambda assessed: assessed.at))
    for now in sorted(moments):
        while to_come and to_come[0].at <= now:
            of_season.setdefault(to_come[0].season, []).append(to_come.popleft())
        for due in _due(rules, of_season, fired, last_days, now):
            all_due.append(due)
            labelled = {season: of_season[season][-1].figures.labelled for season in due.seasons}
            fired.append(Fired(due.rule, now, labelled))
    return all_due


def _conditions_at(
    rule: Rule,
    assessed: Assessed,
    labelled_before: int,
    last_days: Mapping[str, date],
    now: datetime,
) -> tuple[Condition, ...]:
    last_day = last_days.get(assessed.season)
    ended = last_day is not None and now.astimezone(UTC).date() > last_day
    return conditions_of(rule, assessed.figures, labelled_before=labelled_before, ended=ended)


def _is_met(rule: Rule, conditions: Sequence[Condition]) -> bool:
    holds = [condition.holds for condition in conditions]
    return any(holds) if rule.match == "any" else bool(holds) and all(holds)


def _rearmed(
    rule: Rule,
    found_now: Sequence[Condition],
    before: Assessed | None,
    since: Sequence[Assessed],
    labelled_before: int,
    last_days: Mapping[str, date],
) -> bool:
    """Whether something has changed since the rule fired last for this season.

    New labels count anew after every firing; all else must have been found not to hold since, or
    another snapshot must be the current one.
    """
    if any(condition.name == "new_labels" and condition.holds for condition in found_now):
        return True
    if before is not None and before.figures.snapshot != since[-1].figures.snapshot:
        return True
    return any(
        not _is_met(rule, _conditions_at(rule, each, labelled_before, last_days, each.at))
        for each in since
    )


def _labelled_before(last: Fired | None, season: str, since: Sequence[Assessed]) -> int:
    """The season's labels when the rule fired last for it, less those that are gone since."""
    if last is None:
        return 0
    return min(last.labelled[season], *(each.figures.labelled for each in since))


def _new_labels(figures: SeasonFigures, labelled_before: int) -> int:
    """Labels that neither the model knows nor the firing before has asked for."""
    return max(0, min(figures.new_labels, figures.labelled - labelled_before))
