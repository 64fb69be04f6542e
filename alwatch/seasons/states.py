"""The state of a season, and what it needs, read off its figures and what is under way. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Literal

from alwatch.seasons.figures import SeasonFigures

SeasonState = Literal[
    "quiet",
    "needs labels",
    "queue out",
    "labelled",
    "retraining asked",
    "new snapshot",
    "judged",
]
"""In the order that a season goes through them; `judged` is where a snapshot ends."""

_NAMED_VIDEOS = 3


@dataclass(frozen=True, slots=True)
class Needs:
    """When a season needs labels: the settings of `rounds`."""

    coverage_min: float = 0.0
    error_ratio: float = 2.0
    every_days: int | None = None


@dataclass(frozen=True, slots=True)
class QueueOut:
    """A queue that is not labelled to its end."""

    id: int
    frames: int

    @property
    def in_words(self) -> str:
        """Without how far it is, which the reason of a state would not keep up with."""
        return f"queue {self.id}: {self.frames} frames"


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What goes on for a season, beside its figures.

    Parameters
    ----------
    any_labels : bool
        Whether anything is labelled in the whole archive.
    queue_out : QueueOut or None
    last_queue_at : datetime or None
    newest_video_at : datetime or None
        When its newest video was discovered.
    labelled_before : int
        Its labels when retraining was asked for last: they do not count again.
    asked : str or None
        The reason of a firing that no judgement has followed.
    candidate : str or None
        The name of a snapshot that is being judged.
    verdict : str or None
        A judgement that has come since the season's state changed last, in words.
    """

    any_labels: bool
    queue_out: QueueOut | None = None
    last_queue_at: datetime | None = None
    newest_video_at: datetime | None = None
    labelled_before: int = 0
    asked: str | None = None
    candidate: str | None = None
    verdict: str | None = None


def needs_of(
    figures: SeasonFigures, under_way: UnderWay, needs: Needs, now: datetime
) -> tuple[str, ...]:
    """Why a season needs labels, in words; empty where it does not."""
    if not figures.frames:
        return ()
    if not under_way.any_labels:
        return ("nothing is labelled yet",)
    reasons = []
    for drift in figures.drift:
        if drift.is_found:
            names = [PurePath(path).name for path, _ in drift.videos[:_NAMED_VIDEOS]]
            reasons.append(
                f"drift of {drift.over} (p {drift.p:.2g}, {drift.effect:.2g} SD"
                + (f", most in {', '.join(names)})" if names else ")")
            )
    if figures.coverage < needs.coverage_min:
        reasons.append(f"coverage {figures.coverage:.2f}, below {needs.coverage_min:g}")
    error, baseline = figures.error_px, figures.baseline_px
    if error is not None and baseline and error.low > needs.error_ratio * baseline:
        reasons.append(
            f"audited error {error.mean:.3g} px ({error.low:.3g} to {error.high:.3g}), where the "
            f"model reaches {baseline:.3g} px on what it was taught"
        )
    if needs.every_days is not None and _is_time(under_way, needs.every_days, now):
        reasons.append(f"new videos, and no queue for {needs.every_days} days")
    return tuple(reasons)


def state_of(
    figures: SeasonFigures, under_way: UnderWay, needs: tuple[str, ...]
) -> tuple[SeasonState, str]:
    """The state of a season, with its reason.

    What is nearest to the next snapshot comes first: a season whose queue is out and for which
    retraining is asked waits for the snapshot.
    """
    if under_way.verdict is not None:
        return "judged", under_way.verdict
    if under_way.candidate is not None:
        return "new snapshot", f"{under_way.candidate} is being judged"
    if under_way.asked is not None:
        return "retraining asked", under_way.asked
    if under_way.queue_out is not None:
        return "queue out", under_way.queue_out.in_words
    awaiting = _awaiting(figures)
    if needs and not awaiting:
        return "needs labels", "; ".join(needs)
    if awaiting:
        also = f"; needs more: {'; '.join(needs)}" if needs else ""
        return "labelled", f"{awaiting} labels that the model does not know{also}"
    return "quiet", "nothing calls for labels"


def wants_queue(
    figures: SeasonFigures, under_way: UnderWay, needs: tuple[str, ...], *, labels_wanted: int
) -> bool:
    """Whether the daemon should make a queue: never while one is out or retraining is asked.

    Parameters
    ----------
    figures : SeasonFigures
    under_way : UnderWay
    needs : tuple of str
    labels_wanted : int
        New labels with which a rule asks for retraining; while there are fewer that it has not
        been asked for with, the season gets another queue.
    """
    unused = min(_awaiting(figures), figures.labelled - under_way.labelled_before)
    is_busy = under_way.queue_out or under_way.asked or under_way.candidate or under_way.verdict
    return bool(needs) and not is_busy and unused < labels_wanted


def _awaiting(figures: SeasonFigures) -> int:
    """Labels that wait for a training; without a pose model nothing waits."""
    return figures.new_labels if figures.snapshot else 0


def _is_time(under_way: UnderWay, every_days: int, now: datetime) -> bool:
    newest, last = under_way.newest_video_at, under_way.last_queue_at
    if newest is None:
        return False
    return last is None or (newest > last and (now - last) / timedelta(days=1) >= every_days)
