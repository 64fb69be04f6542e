"""The promotion gate: whether a candidate is worse than the current snapshot, on audited frames.

Audited frames were drawn at random, so that errors on them are a fair measure of a season. A
snapshot's error is an honest one where it knows no label of the frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from alwatch.records import Snapshot
from alwatch.scored import Labelled, errors_on
from alwatch.scores.comparison import Comparison, compare, frame_errors
from alwatch.store import Store
from alwatch.store.snapshots import Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import FloatArray

_SEED = 0  # the same store gives the same ruling


@dataclass(frozen=True, slots=True)
class GateRules:
    """What the settings say (`promotion`).

    Parameters
    ----------
    min_frames : int
        Audited frames that a judgement needs.
    worse_ratio : float
        What the candidate's error may be of the current snapshot's.
    """

    min_frames: int
    worse_ratio: float


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the gate says of a candidate, in words and, as JSON, in figures."""

    verdict: Verdict
    reason: str
    figures: dict[str, Any]


def audited_labels(store: Store) -> Labelled:
    """Points of the audited frames that are labelled."""
    labels, audit = store.labels.points(), set(store.queues.audit_frames())
    return {at: points for at, points in labels.items() if at in audit}


def honest_errors(store: Store, snapshot: Snapshot) -> list[float]:
    """Mean errors in px of a snapshot on the audited frames of which it knows no label."""
    audit = set(store.queues.audit_frames())
    labels = store.labels.points(after=snapshot, held_out=True)
    honest = {at: points for at, points in labels.items() if at in audit}
    errors_px = errors_on(store, snapshot, honest).values()
    return [float(np.nanmean(px)) for px in errors_px if np.isfinite(px).any()]


def unjudged(n_frames: int, rules: GateRules) -> Ruling:
    """The ruling where there are not frames enough for another."""
    reason = f"no audited frames to judge it by ({n_frames} of {rules.min_frames})"
    return Ruling("promoted", reason, {"frames": n_frames})


def judge(store: Store, candidate: Snapshot, current: Snapshot, rules: GateRules) -> Ruling:
    """Compare two snapshots on the audited frames that both have scored.

    Where fewer than `rules.min_frames` of them are honest for both, all count but those that only
    the current one may know: there the candidate has the better chances, and can only be refused.
    Callers hold one view of the store.
    """
    labels = audited_labels(store)
    new, old = (errors_on(store, one, labels) for one in (candidate, current))
    both = new.keys() & old.keys()
    for_new, for_old = (
        both & store.labels.points(after=one, held_out=True).keys() for one in (candidate, current)
    )
    is_honest = len(for_new & for_old) >= rules.min_frames
    frames = sorted(for_new & for_old if is_honest else both - (for_new - for_old))
    names = [name for name in candidate.bodyparts if name in current.bodyparts]
    new_px, old_px = frame_errors(
        _table(new, frames, candidate, names), _table(old, frames, current, names)
    )
    videos = store.videos.by_id(video_id for video_id, _ in frames)
    comparisons = compare(
        new_px,
        old_px,
        np.array([video_id for video_id, _ in frames], np.int64),
        np.array([videos[video_id].season for video_id, _ in frames], np.str_),
        np.random.default_rng(_SEED),
        min_frames=rules.min_frames,
        worse_ratio=rules.worse_ratio,
    )
    if not comparisons:
        return unjudged(int(np.isfinite(new_px).sum()), rules)
    return _ruling(comparisons, current, rules, is_honest=is_honest)


def _table(
    errors: Mapping[tuple[int, int], FloatArray],
    frames: Sequence[tuple[int, int]],
    snapshot: Snapshot,
    names: Sequence[str],
) -> NDArray[np.float64]:
    columns = [snapshot.bodyparts.index(name) for name in names]
    rows = [errors[at][columns] for at in frames]
    return np.array(rows, np.float64).reshape(len(frames), len(names))


def _ruling(
    comparisons: Sequence[Comparison], current: Snapshot, rules: GateRules, *, is_honest: bool
) -> Ruling:
    worse = [comparison for comparison in comparisons if comparison.is_worse]
    told = worse or list(comparisons)
    told = told[:1] if told[0].season is None else told  # over all: no need to say where
    verb = "worse" if worse else "not worse"
    reason = f"{verb} than {current.name} {'; '.join(_in_words(each) for each in told)}"
    if worse:
        shares = " and ".join(f"{100 * each.share_worse:.0f}" for each in told)
        reason += f"; more than {rules.worse_ratio:g} times as much in {shares} of 100 draws"
    if not is_honest:
        reason += f"; it may have been trained on them{'' if worse else ', so this says little'}"
    figures = {
        "frames": comparisons[0].frames,
        "honest": is_honest,
        "worse_ratio": rules.worse_ratio,
        "comparisons": [asdict(comparison) for comparison in comparisons],
    }
    return Ruling("aside" if worse else "promoted", reason, figures)


def _in_words(comparison: Comparison) -> str:
    where = "over all" if comparison.season is None else f"in season {comparison.season}"
    videos = "1 video" if comparison.videos == 1 else f"{comparison.videos} videos"
    return (
        f"{where}: {comparison.new_px:.3g} px against {comparison.old_px:.3g} px on "
        f"{comparison.frames} audited frames of {videos}"
    )
