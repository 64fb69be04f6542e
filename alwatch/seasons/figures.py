"""What is known of a season at one moment, as it is kept, shown, and judged by the rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over videos with its 90 % interval, resampled over videos.

    `high` is infinite where there is one video, which says nothing of how videos differ.
    """

    mean: float
    low: float
    high: float
    frames: int
    videos: int

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what JSON has kept of it."""
        return cls(**_infinite(data, "high"))


@dataclass(frozen=True, slots=True)
class Drift:
    """Whether new videos are of another kind than those that the model was taught on.

    Parameters
    ----------
    over : str
        What was compared: "embeddings" or "uncertainty".
    p : float
        Of a permutation test whose units are whole videos.
    alpha : float
        What p is held against: this look's part of `rounds.drift_alpha`.
    effect : float
        How far the new videos lie from the others, in standard deviations between videos;
        infinite where videos of one kind do not differ. Of uncertainty it is negative where
        the new videos are surer.
    reference, new : int
        Videos on either side; sessions, where `groups.session` tells them.
    enough : bool
        Whether so few videos can give so small a p at all.
    videos : tuple of (path, contribution)
        The new videos that drive it, the strongest first.
    """

    over: str
    p: float
    alpha: float
    effect: float
    reference: int
    new: int
    enough: bool
    videos: tuple[tuple[str, float], ...] = ()

    @property
    def is_found(self) -> bool:
        """Whether there is drift that calls for labels: a model that is surer does not."""
        is_surer = self.over == "uncertainty" and self.effect < 0
        return self.p <= self.alpha and not is_surer


@dataclass(frozen=True, slots=True)
class SeasonFigures:
    """One season.

    Parameters
    ----------
    videos, frames, labelled, queued : int
    new_labels : int
        Labelled frames that the current snapshot cannot know.
    coverage : float
        Share of its frames near a labelled frame of any season.
    snapshot : str or None
        sha256 of the current one.
    uncertainty : float or None
        Mean over its frames.
    error_px : Interval or None
        Of the current snapshot, on audited frames that it was not trained on.
    baseline_px : float or None
        The same snapshot's mean error on labels that it may know.
    drift : tuple of Drift
        Of the last look; empty before the first.
    campaign : str
        What the season is compared with; another one begins the looks anew.
    looks : int
        How many looks this campaign has had.
    drift_looks : int
        How many of them, up to the last, have found drift in a row.
    novel_videos : tuple of (path, p)
        New videos that are stranger to the labelled set than its own videos are to each other.
    """

    videos: int
    frames: int
    labelled: int
    queued: int
    new_labels: int
    coverage: float
    snapshot: str | None = None
    uncertainty: float | None = None
    error_px: Interval | None = None
    baseline_px: float | None = None
    drift: tuple[Drift, ...] = ()
    campaign: str = ""
    looks: int = 0
    drift_looks: int = 0
    novel_videos: tuple[tuple[str, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinite numbers: they become None."""
        written: dict[str, Any] = finite(asdict(self))
        return written

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_dict` gave; fields that this version does not know are left out."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        error = known.get("error_px")
        return cls(
            **known
            | {
                "error_px": error and Interval.from_dict(error),
                "drift": tuple(
                    Drift(**_infinite(each, "effect") | {"videos": _pairs(each["videos"])})
                    for each in known.get("drift", ())
                ),
                "novel_videos": _pairs(known.get("novel_videos", ())),
            }
        )


def finite(value: Any) -> Any:
    """Plain data for JSON, which has no infinite numbers: they become None."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _infinite(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    return dict(data) | ({name: math.inf} if data[name] is None else {})


def _pairs(values: Any) -> tuple[tuple[str, float], ...]:
    return tuple((path, number) for path, number in values)
