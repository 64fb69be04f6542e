"""Rounds: queues, their exports, the labels that come back, and projects that move."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alwatch.app.archive import WithArchive
from alwatch.app.parts import SOFTWARE
from alwatch.errors import (
    AlwatchError,
    SettingsError,
    StoreError,
    shown,
)

if TYPE_CHECKING:
    from alwatch.promotion import CurrentPoseModel
    from alwatch.records import Exported, LocatedSnapshot, Queue
    from alwatch.rounds import LabelSync
    from alwatch.scoring import Scoring
    from alwatch.store.projects import Remembered
    from alwatch.strategies.pool import Limits


class WithRounds(WithArchive):
    """Queues and labels."""

    # --- rounds --------------------------------------------------------------------------------

    def make_queue(
        self,
        season: str,
        *,
        budget: int | None = None,
        strategy: str | None = None,
        seed: int | None = None,
    ) -> Queue:
        """Choose frames of a season; what is not given is taken from the settings."""
        from alwatch.rounds import make_queue

        rules = self.settings.queue
        return make_queue(
            self.store,
            season=season,
            embedder=self.embedded_with(),
            strategy=strategy or rules.strategy,
            bandit_arms=rules.bandit_arms,
            budget=rules.budget if budget is None else budget,
            seed=rules.seed if seed is None else seed,
            limits=self.queue_limits(),
            groups_of=self.groups_of,
            software=SOFTWARE,
            now=self.clock(),
        )

    def queue_limits(self) -> Limits:
        """What no queue may hold, by the settings."""
        from alwatch.strategies.pool import Limits

        rules = self.settings.queue
        return Limits(
            per_video_max=rules.per_video_max,
            per_individual_max=rules.per_individual_max,
            per_session_max=rules.per_session_max,
            share_by=rules.share_by,
            min_gap_s=rules.min_gap_s,
            near_duplicate_quantile=rules.near_duplicate_quantile,
            equal_share_max=rules.equal_share_max,
            presence_min=rules.presence_min,
            outlier_share=rules.outlier_share,
            audit_share=rules.audit_share,
        )

    def get_queue(self, queue_id: int) -> Queue:
        """A queue by its number.

        Raises
        ------
        SettingsError
            There is no such queue.
        """
        try:
            return self.store.queues.get(queue_id)
        except KeyError:
            numbers = [str(summary.id) for summary in self.store.queues.summaries()]
            raise SettingsError(
                f"QUEUE is {queue_id}; "
                + (f"queues that exist: {', '.join(numbers)}." if numbers else "none exists yet.")
            ) from None

    def export(self, queue: Queue, to: str, project: Path) -> Exported:
        """Put a queue into a project of a labelling tool.

        Raises
        ------
        SettingsError
            The project lies in the archive.
        """
        from alwatch.rounds import export_queue

        self._refuse_in_archive("The project", project)
        return export_queue(
            self.store,
            queue,
            to=to,
            project=project,
            tool=self.labelling_tool(to, project),
            open_video=self.open_video(),
            names=self._names_in(to, project),
            now=self.clock(),
        )

    def _refuse_in_archive(self, what: str, path: Path) -> None:
        place = Path(os.path.realpath(path))
        for root in self.settings.archive:
            if place.is_relative_to(os.path.realpath(root.path)):
                raise SettingsError(
                    f"{what} is {shown(path)}; it must lie outside the archive folder "
                    f"{shown(root.path)}, because nothing is ever written there."
                )

    def withdraw_queue(self, queue: Queue) -> int:
        """Take a queue that nobody has worked on back out of its projects; images removed."""
        from alwatch.rounds import withdraw_queue

        projects = self.store.queues.exports_of(queue)
        for to, project in projects:
            self._sync_project(to, project)
        tools = [(project, self.labelling_tool(to, project)) for to, project in projects]
        return withdraw_queue(self.store, queue, projects=tools, now=self.clock())

    def _names_in(self, to: str, project: Path) -> Mapping[str, str]:
        """The project's own names of bodyparts."""
        export = self._export_of(to, project)
        return (export and export.bodyparts) or {}

    def export_as_set(self, queue: Queue) -> Iterator[tuple[str, Exported]]:
        """Export a queue to every place that the settings name, one after the other."""
        for export in self.settings.exports:
            yield export.to, self.export(queue, export.to, export.project)

    def export_pending(self) -> Iterator[tuple[Queue, str, Exported | AlwatchError]]:
        """Export what the settings name and could not be exported when a queue was made.

        Queues that were withdrawn, or are labelled to their end, are left alone. What fails again
        is given as its error, and does not keep the others from being tried.
        """
        for summary in self.store.queues.summaries():
            is_done = summary.labelled + summary.skipped == summary.frames
            if summary.withdrawn_at is not None or is_done:
                continue
            queue = self.store.queues.get(summary.id)
            exported = set(self.store.queues.exports_of(queue, ended=True))
            for export in self.settings.exports:
                if (export.to, export.project) in exported:
                    continue
                try:
                    yield queue, export.to, self.export(queue, export.to, export.project)
                except StoreError:
                    raise
                except AlwatchError as error:
                    yield queue, export.to, error

    def sync_labels(self) -> list[LabelSync]:
        """Read the labels of every project that the settings name or a queue was exported to.

        A project that cannot be read does not keep the others from being read.
        """
        from alwatch.rounds import LabelSync

        named = {(export.to, export.project) for export in self.settings.exports}
        syncs = []
        for to, project in sorted(named | self.store.queues.exported_to()):
            try:
                sync = self._sync_project(to, project)
            except StoreError:
                raise
            except AlwatchError as error:
                sync = LabelSync(to, project, problem=str(error))
            syncs.append(sync)
        return syncs

    def _sync_project(self, to: str, project: Path) -> LabelSync:
        from alwatch.rounds import sync_labels

        return sync_labels(
            self.store,
            to=to,
            project=project,
            tool=self.labelling_tool(to, project),
            names=self._names_in(to, project),
            now=self.clock(),
        )

    # --- projects that move or end -------------------------------------------------------------

    def move_project(self, old: Path, new: Path, to: str | None) -> LabelSync:
        """Remember of a project at its new place what is remembered of it.

        Raises
        ------
        SettingsError
            Nothing is remembered of it, or the settings still name it.
        NothingToDoError, ExportError
            It is not the project at the new place; nothing was changed.
        """
        from alwatch.rounds import move_project

        to = self._tool_of(old, to)
        self._check_not_set(to, old, remedy=f"name {shown(new)} instead")
        return move_project(
            self.store,
            to=to,
            old=old,
            new=new,
            tool=self.labelling_tool(to, new),
            names=self._names_in(to, new),
            now=self.clock(),
        )

    def forget_project(
        self, project: Path, to: str | None, *, drops_labels: bool, is_sure: bool
    ) -> tuple[str, Remembered]:
        """Forget that queues lie in a project, and so read it no more; its tool, and what it was.

        Raises
        ------
        SettingsError
            Nothing is remembered of it, the settings still name it, or labels are to be dropped
            and nobody `is_sure`.
        """
        to = self._tool_of(project, to)
        self._check_not_set(to, project, remedy="remove it")
        known = self.store.projects.known()[to, project]
        if drops_labels and known.labels and not is_sure:
            raise SettingsError(
                f"--labels is drop, by which the {known.labels} labels that were read from "
                f"{shown(project)} are lost to alwatch; add --yes if that is meant."
            )
        self.store.projects.forget(to, project, drops_labels=drops_labels)
        return to, known

    def _tool_of(self, project: Path, to: str | None) -> str:
        """The tool by which a project is known."""
        known = self.store.projects.known()
        tools = [name for name, path in known if path == project and to in (name, None)]
        if len(tools) == 1:
            return tools[0]
        if tools:
            raise SettingsError(
                f"PROJECT is {shown(project)}, known by {' and by '.join(tools)}; say which: --to."
            )
        there = ", ".join(f"{shown(path)} ({name})" for name, path in known)
        raise SettingsError(
            f"PROJECT is {shown(project)}, of which nothing is remembered"
            + f"{f' for {to}' if to else ''}; projects that are known: {there or 'none'}."
        )

    def _check_not_set(self, to: str, project: Path, *, remedy: str) -> None:
        if self._export_of(to, project) is not None:
            raise SettingsError(
                f"exports in {self.settings.source} still names {shown(project)}, so it would be "
                f"read and written to again; {remedy} there first, and restart the daemon."
            )

    # --- the snapshot that scores --------------------------------------------------------------

    def current_pose_model(
        self, on_progress: Callable[[int], None] | None = None, *, at_once: bool = False
    ) -> CurrentPoseModel | None:
        """What scores the archive, or None where the settings name no pose model.

        Parameters
        ----------
        on_progress : callable
            Told, from time to time, how many frames the decoder or the model has gone through.
        at_once : bool
            Whether a new snapshot need not have rested.
        """
        from alwatch.gate import GateRules
        from alwatch.promotion import CurrentPoseModel
        from alwatch.scoring import Scoring

        source, model = self.snapshot_source, self.settings.pose_model
        promotion = self.settings.promotion
        if source is None:
            return None

        @contextmanager
        def load(located: LocatedSnapshot) -> Iterator[Scoring]:
            with self.pose_process(located, on_progress) as scorer:
                scorer.open()
                yield Scoring(
                    self.store,
                    scorer=scorer,
                    open_video=self.open_video(on_progress),
                    attempts=model.attempts,
                    with_change=model.change,
                    clock=self.clock,
                    timer=time.monotonic,
                )

        return CurrentPoseModel(
            self.store,
            source,
            load,
            read_labels=self.sync_labels,
            gate=(
                GateRules(promotion.min_frames, promotion.worse_ratio) if promotion.gate else None
            ),
            scan_s=model.scan_s,
            settle_s=0.0 if at_once else model.settle_s,
            signals=frozenset(name for name in ("flip", "change") if getattr(model, name)),
            clock=self.clock,
            timer=time.monotonic,
        )
