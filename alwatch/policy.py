"""Which strategy a season's next queue is made by, learned from the season's rounds so far.

Nothing is kept for it: queues, labels and scores tell all, so it cannot fall out of step with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import numpy as np

from alwatch.errors import NothingToDoError
from alwatch.records import Queue, Snapshot
from alwatch.scored import audited_errors
from alwatch.store import Store
from alwatch.strategies.bandit import BANDIT, BanditState, Round, choose_arm, replayed
from alwatch.strategies.registry import STRATEGIES, lacking_scores


def next_arm(
    store: Store,
    *,
    season: str,
    snapshot: Snapshot | None,
    arms: tuple[str, ...],
    scores: Iterable[str],
    seed: int,
) -> tuple[str, dict[str, Any]]:
    """Choose the strategy of a season's next queue.

    A round is all queues that were made under one snapshot, as their labels teach the next one
    together: while the snapshot stays, so does the strategy. The same store and seed give the
    same choice. Callers hold one view of the store.

    Parameters
    ----------
    store : Store
    season : str
    snapshot : Snapshot or None
        The current one.
    arms : tuple of str
        Names of strategies; see `fault_of_bandit`.
    scores : iterable of str
        What is known of the season's frames; strategies that need more are left out.
    seed : int

    Returns
    -------
    arm : str
    manifest : dict
        What was chosen from, as JSON, and in words under `why`.

    Raises
    ------
    NothingToDoError
        Every strategy needs scores that are not there.
    """
    known = tuple(scores)
    offered = tuple(arm for arm in arms if not lacking_scores(arm, known))
    if not offered:
        needs = "; ".join(f"{arm} needs {', '.join(STRATEGIES[arm].needs)}" for arm in arms)
        raise NothingToDoError(
            f"queue.strategy is {BANDIT}, but no frame of season {season!r} has the scores for any "
            f"of queue.bandit_arms ({needs}); set pose_model and let `alwatch score` work first, "
            "or offer one that needs none, such as herding."
        )
    queues = _queues(store, season)
    rounds = season_rounds(store, season)
    last = queues[-1] if queues else None
    goes_on = last is not None and snapshot is not None and _snapshot(last) == snapshot.sha256
    if goes_on and rounds[-1].arm in offered:
        arm, state = rounds[-1].arm, replayed(offered, rounds)
        verb = "keeps, until the pose model is trained on,"
    else:
        rng = np.random.default_rng([seed, len(queues)])
        arm, state = choose_arm(offered, rounds, rng)
        verb = "chose"
    assert arm is not None
    told = ", ".join(_told(name, state) for name in offered)
    return arm, {
        "name": BANDIT,
        "arms": list(offered),
        "rewarded_rounds": {name: state.counts.get(name, 0) for name in offered},
        "mean_reward_px_per_label": {name: state.means.get(name) for name in offered},
        "why": f"{BANDIT} {verb} {arm}; the error fell by, in px for each label: {told}",
    }


def season_rounds(store: Store, season: str) -> list[Round]:
    """The rounds of a season so far, in order.

    The error of a round is the mean over all its audit frames that are labelled by now.
    """
    n_labelled = {summary.id: summary.labelled for summary in store.queues.summaries()}
    rounds = []
    for _, group in groupby(_queues(store, season), _snapshot):
        queues = list(group)
        strategies = {queue.strategy for queue in queues}
        errors_px = [e for queue in queues for e in audited_errors(store, queue).values()]
        rounds.append(
            Round(
                arm=strategies.pop() if len(strategies) == 1 else None,
                n_labels=sum(n_labelled[queue.id] for queue in queues),
                error_px=float(np.mean(errors_px)) if errors_px else None,
            )
        )
    return rounds


def _queues(store: Store, season: str) -> list[Queue]:
    ids = [
        summary.id
        for summary in store.queues.summaries()
        if summary.season == season and summary.withdrawn_at is None
    ]
    return [store.queues.get(queue_id) for queue_id in ids]


def _snapshot(queue: Queue) -> str | None:
    sha256: str | None = queue.manifest.get("snapshot")
    return sha256


def _told(arm: str, state: BanditState) -> str:
    n = state.counts.get(arm, 0)
    if n == 0:
        return f"{arm} not known"
    return f"{arm} {state.means[arm]:.3g} ({n} {'round' if n == 1 else 'rounds'})"
