"""Seasons: their figures, the trigger rules, and what these ask for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alwatch.app.parts import ACTION_TIMEOUT_S, TRAINING_TIMEOUT_S, locate_part
from alwatch.app.rounds import WithRounds
from alwatch.errors import (
    NothingToDoError,
    SettingsError,
    shown,
)

if TYPE_CHECKING:
    from alwatch.actions.supervisor import ActionProcess
    from alwatch.config.triggers import Action, Trigger
    from alwatch.delivery import Deliverer
    from alwatch.loop import LoopRules, SeasonLoop
    from alwatch.records import Queue
    from alwatch.seasons import SeasonFigures
    from alwatch.seasons.rules import Due
    from alwatch.store.triggers import Delivery, Firing


def _only_trains_here(rule: Trigger) -> bool:
    """Whether no other training than alwatch's own, which leaves out the audit, can follow."""
    kinds = {action.do for action in rule.actions}
    return "deeplabcut" in kinds and not kinds & {"command", "slurm"}


class WithSeasons(WithRounds):
    """Seasons and trigger rules."""

    def seasons(self) -> dict[str, SeasonFigures]:
        """Every season's figures as they are now; nothing is kept of it.

        What the daemon has kept is taken where nothing has changed since.
        """
        from alwatch.seasons import SeasonFigures
        from alwatch.seasons.assess import inputs_of

        embedder, store = self.embedded_with(), self.store
        with store.pools.one_view():
            kept = store.seasons.latest()
            before = {name: SeasonFigures.from_dict(a.figures) for name, a in kept.items()}
            inputs = inputs_of(store, embedder)
            changed = [
                counts.season
                for counts in store.pools.season_counts()
                if counts.season not in kept
                or kept[counts.season].inputs != inputs.get(counts.season)
            ]
            now = self._assess(changed, before)
            return {
                counts.season: now.get(counts.season) or before[counts.season]
                for counts in store.pools.season_counts()
            }

    def loop_rules(self) -> LoopRules:
        """What the settings say of seasons and triggers."""
        from alwatch.loop import LoopRules
        from alwatch.seasons.rules import Rule
        from alwatch.seasons.states import Needs

        settings, own = self.settings, {"actions", "held_out"}
        rounds = settings.rounds
        return LoopRules(
            needs=Needs(rounds.coverage_min, rounds.error_ratio, rounds.every_days),
            rules=tuple(Rule(**rule.model_dump(exclude=own)) for rule in settings.triggers),
            actions={
                rule.name: tuple((each.do, self._action_settings(each)) for each in rule.actions)
                for rule in settings.triggers
            },
            leaves_out=frozenset(
                rule.name for rule in settings.triggers if rule.held_out or _only_trains_here(rule)
            ),
            last_days={one.season: one.last for one in settings.season.ranges},
            budget=settings.queue.budget,
            season_budget=rounds.season_budget,
            check_s=rounds.check_s,
            has_model=settings.pose_model.kind != "none",
        )

    def dry_run(self) -> list[Due]:
        """What the rules of the settings would have fired over the past.

        Raises
        ------
        NothingToDoError
            There is no rule.
        """
        from alwatch.loop import dry_run

        rules = self.loop_rules()
        if not rules.rules:
            raise NothingToDoError(
                f"triggers in {self.settings.source} has no rule, so nothing would have fired; "
                "add one."
            )
        return dry_run(self.store, rules)

    def fire_by_hand(self, rule: str, seasons: Sequence[str]) -> Firing:
        """Fire a rule of the settings, whatever its conditions say.

        Raises
        ------
        SettingsError
            There is no such rule, or no such season.
        NothingToDoError
            The daemon has not looked at a season yet.
        """
        from alwatch.loop import fire
        from alwatch.seasons.rules import Condition, Due

        rules = self.loop_rules()
        if rule not in rules.actions:
            there = ", ".join(rules.actions)
            raise SettingsError(
                f"RULE is {shown(rule)}; "
                + (f"rules of the settings: {there}." if there else "the settings have no rule.")
            )
        for season in seasons:
            self.check_season(season, option="SEASON")
            if season not in self.store.seasons.latest():
                raise NothingToDoError(
                    f"Season {shown(season)} has not been looked at yet, so there is no evidence "
                    "to fire on; let `alwatch run` work first."
                )
        asked = (Condition("by_hand", True, "by hand"),)
        return fire(self.store, rules, Due(rule, self.clock(), dict.fromkeys(seasons, asked)))

    def _action_settings(self, action: Action) -> dict[str, Any]:
        """What an action is made of, as JSON; a training is of the project of `pose_model`."""
        given = action.model_dump(mode="json", exclude={"do"})
        if action.do == "deeplabcut":
            model = self.settings.pose_model.model_dump(mode="json")
            given |= {name: model[name] for name in ("project", "python", "shuffle")}
            given["device"] = given["device"] or model["device"]
        return given

    def season_loop(self) -> SeasonLoop:
        """The clock that looks after the seasons."""
        from alwatch.loop import SeasonLoop
        from alwatch.seasons.assess import inputs_of

        makes_queues = self.settings.rounds.automatic and self.settings.exports
        return SeasonLoop(
            self.store,
            self.loop_rules(),
            inputs_of=lambda: inputs_of(self.store, self.embedded_with()),
            assess=self._assess,
            make_queue=self._queue_by_itself if makes_queues else None,
            clock=self.clock,
            timer=time.monotonic,
        )

    def _assess(
        self, seasons: Sequence[str], before: Mapping[str, SeasonFigures]
    ) -> dict[str, SeasonFigures]:
        from alwatch.seasons.assess import assess_seasons

        has_sessions = self.settings.groups.session is not None
        return assess_seasons(
            self.store,
            self.embedded_with(),
            seasons,
            before=before,
            drift_alpha=self.settings.rounds.drift_alpha,
            sessions_of=self._sessions_of if has_sessions else None,
        )

    def _sessions_of(self, video_ids: Iterable[int]) -> dict[int, str | None]:
        videos = self.store.videos.by_id(video_ids)
        return {video_id: self.groups_of(video)[1] for video_id, video in videos.items()}

    def _queue_by_itself(self, season: str, budget: int) -> Queue:
        return self.make_queue(season, budget=budget)

    # --- what triggers ask for -----------------------------------------------------------------

    def deliverer(self) -> Deliverer:
        """Makes the deliveries that are due; only for the holder of the lock."""
        from alwatch.delivery import Deliverer

        return Deliverer(self.store, self.start_action, self.clock)

    def start_action(self, delivery: Delivery, evidence: dict[str, Any]) -> ActionProcess:
        """Start an attempt at a delivery in a process of its own.

        Raises
        ------
        SettingsError
            No such action.
        OSError
            The process cannot be started.
        """
        from alwatch.actions.supervisor import ActionProcess
        from alwatch.delivery import workdir_of

        kind = delivery.kind
        request = {
            "kind": kind,
            "part": locate_part("action", kind, setting="triggers[].actions[].do"),
            "settings": delivery.settings,
            "key": delivery.key,
            "evidence": evidence,
            "workdir": str(workdir_of(self.store, delivery)),
        }
        default_s = TRAINING_TIMEOUT_S if kind == "deeplabcut" else ACTION_TIMEOUT_S
        timeout_s = delivery.settings.get("timeout_s") or default_s
        return ActionProcess(request, timeout_s=timeout_s)

    def get_firing(self, key: str) -> Firing:
        """A firing by its key.

        Raises
        ------
        SettingsError
            There is no such firing.
        """
        firings = {firing.key: firing for firing in self.store.triggers.firings()}
        if key not in firings:
            raise SettingsError(
                f"KEY is {shown(key)}; "
                + (f"keys that exist: {', '.join(firings)}." if firings else "nothing fired yet.")
            )
        return firings[key]

    def get_delivery(self, delivery_id: int) -> Delivery:
        """A delivery by its number.

        Raises
        ------
        SettingsError
            There is no such delivery.
        """
        deliveries = {each.id: each for each in self.store.triggers.deliveries()}
        if delivery_id not in deliveries:
            numbers = ", ".join(map(str, deliveries))
            raise SettingsError(
                f"DELIVERY is {delivery_id}; "
                + (f"deliveries that exist: {numbers}." if numbers else "none exists yet.")
            )
        return deliveries[delivery_id]
