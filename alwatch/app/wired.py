"""The parts themselves: store, embedder, decoder, labelling tools, pose model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from alwatch.app.parts import find_part, utc_now
from alwatch.config import Export, Settings
from alwatch.errors import (
    NothingToDoError,
    PoseModelError,
    SettingsError,
)
from alwatch.store import Store, backups_beside

if TYPE_CHECKING:
    from alwatch.config.sections import Export
    from alwatch.pose_models.process import PoseProcess
    from alwatch.protocols import (
        Embedder,
        LabellingTool,
        OpenVideo,
        Sampler,
        SnapshotSource,
    )
    from alwatch.records import LocatedSnapshot


class Wired:
    """What the settings describe, each part made on first use.

    Parameters
    ----------
    settings : Settings
    clock : callable
        The time of day, in UTC.
    is_daemon : bool
        Whether this process is the one that works on the state folder.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = utc_now,
        is_daemon: bool = False,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._is_daemon = is_daemon

    @cached_property
    def store(self) -> Store:
        """The open state folder."""
        return Store(
            self.settings.state_dir, checkpoints=self._is_daemon, backups=self.backup_folder
        )

    @property
    def backup_folder(self) -> Path:
        """Where backups are kept."""
        return self.settings.backup.folder or backups_beside(self.settings.state_dir)

    def close(self) -> None:
        """Close what was opened."""
        for name in {"backups", "store"} & self.__dict__.keys():
            getattr(self, name).close()

    # --- exchangeable parts --------------------------------------------------------------------

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder of the settings, its weights loaded.

        Raises
        ------
        SettingsError
            No such embedder, or weights named for one that has none.
        WeightsError
            The weights are not there or not the ones that were named.
        """
        embedding = self.settings.embedding
        part = find_part("embedder", embedding.model, setting="embedding.model")
        takes = inspect.signature(part).parameters
        for name in ("weights", "weights_sha256"):
            value = getattr(embedding, name)
            if value is not None and name not in takes:
                raise SettingsError(
                    f"embedding.{name} is {value}, but {embedding.model} has no weights; "
                    f"remove it from {self.settings.source}."
                )
        given = {
            "model": embedding.model,
            "weights": embedding.weights,
            "weights_sha256": embedding.weights_sha256,
            "device": embedding.device,
            "open_scorer": self._scorer_with_features,
        }
        return cast("Embedder", part(**{name: given[name] for name in given if name in takes}))

    @property
    def sampler(self) -> Sampler:
        """Which frames of a video are looked at."""
        from alwatch.video.sampling import AdaptiveSampler, KeyframeSampler, UniformSampler

        how = self.settings.sampling
        if how.method == "keyframes":
            return KeyframeSampler(max_frames=how.max_frames, min_gap_s=how.min_gap_s)
        if how.method == "adaptive":
            return AdaptiveSampler(
                rate_hz=how.rate_hz, max_frames=how.max_frames, min_gap_s=how.min_gap_s
            )
        return UniformSampler(
            rate_hz=how.rate_hz if how.stride is None else None,
            stride=how.stride,
            max_frames=how.max_frames,
        )

    def labelling_tool(self, name: str, project: Path) -> LabellingTool:
        """A project of a labelling tool, with what the settings say of it.

        Raises
        ------
        SettingsError
            No such tool, or a setting that it does not take.
        """
        part = find_part("labelling", name, setting="exports.to")
        takes = inspect.signature(part).parameters
        export = self._export_of(name, project)
        given: dict[str, Any] = {}
        if export is not None:
            given = {key: getattr(export, key) for key in ("package", "url", "token_file")}
        for key, value in given.items():
            if value and key not in takes:
                raise SettingsError(
                    f"exports.{key} is {value}, but {name} does not take it; remove it from "
                    f"{self.settings.source}."
                )
        kept = {key: value for key, value in given.items() if key in takes}
        return cast("LabellingTool", part(project, **kept))

    def _export_of(self, to: str, project: Path) -> Export | None:
        """What the settings say of a project, if they name it."""
        exports = self.settings.exports
        return next((e for e in exports if (e.to, e.project) == (to, project)), None)

    def open_video(self, on_progress: Callable[[int], None] | None = None) -> OpenVideo:
        """How videos are opened: in a child process, within the limits of the settings."""
        from alwatch.video.process import DecodeLimits, open_video

        decoding = self.settings.decoding
        limits = DecodeLimits(
            memory_bytes=decoding.memory_mb * 2**20,
            max_pixels=decoding.max_pixels,
            stall_s=decoding.stall_s,
        )
        return lambda path: open_video(
            path, limits=limits, fast_path=decoding.fast_path, on_progress=on_progress
        )

    # --- the pose model ------------------------------------------------------------------------

    @cached_property
    def snapshot_source(self) -> SnapshotSource | None:
        """Where the snapshots lie; None where the settings name no pose model."""
        model = self.settings.pose_model
        if model.kind == "none" or model.project is None:
            return None
        part = find_part("pose_model", model.kind, setting="pose_model.kind")
        given = {
            "shuffle": model.shuffle,
            "snapshot": model.snapshot,
            "ensemble": model.ensemble,
            "individuals": model.individuals,
        }
        takes = inspect.signature(part).parameters
        return cast(
            "SnapshotSource",
            part(model.project, **{name: given[name] for name in given if name in takes}),
        )

    def find_snapshot(self) -> LocatedSnapshot:
        """The newest snapshot, whether it is current or not.

        Raises
        ------
        NothingToDoError
            The settings name no pose model.
        SettingsError, PoseModelError
            It cannot be found.
        """
        from alwatch.promotion import find_snapshot

        if self.snapshot_source is None:
            raise NothingToDoError(f"pose_model.kind is none in {self.settings.source}; set it.")
        return find_snapshot(self.snapshot_source)

    def current_snapshot(self) -> LocatedSnapshot:
        """The snapshot that scores, or the newest one where none does yet.

        Raises
        ------
        NothingToDoError, SettingsError, PoseModelError
            As `find_snapshot`; or the files of the current one are not what they were.
        """
        from alwatch.promotion import verified

        current, found = self.store.snapshots.current().snapshot, self.find_snapshot()
        if current is None or current.is_same(found.snapshot):
            return found
        assert self.snapshot_source is not None
        try:
            return verified(self.store, self.snapshot_source, current)
        except (SettingsError, PoseModelError) as error:
            raise PoseModelError(
                f"The current snapshot is {current.name}, but {str(error).rstrip('.')}; let "
                "`alwatch score` work first, or see `alwatch status`."
            ) from error

    def _scorer_with_features(self) -> PoseProcess:
        if self.snapshot_source is None:
            raise SettingsError(
                f"embedding.model is pose, but pose_model.kind is none in {self.settings.source}; "
                "set pose_model, or choose another embedding.model."
            )
        try:
            located = self.current_snapshot()
        except PoseModelError:  # vectors need not be of the snapshot that scores
            located = self.find_snapshot()
        return self.pose_process(located, wants=frozenset({"features"}))

    def pose_process(
        self,
        located: LocatedSnapshot,
        on_progress: Callable[[int], None] | None = None,
        *,
        wants: frozenset[str] = frozenset(),
    ) -> PoseProcess:
        """A snapshot in a worker process; use it as a context manager.

        Parameters
        ----------
        located : LocatedSnapshot
        on_progress : callable
            Told, after every batch, how many frames it had.
        wants : frozenset of str
            What is computed beside what the settings ask for.
        """
        from alwatch.pose_models.process import PoseProcess, WorkerRules

        model = self.settings.pose_model
        rules = WorkerRules(
            python=model.python,
            device=model.device,
            batch_size=model.batch_size,
            wants=wants | ({"flip"} if model.flip else set()),
            stall_s=model.stall_s,
        )
        return PoseProcess(located, rules, on_progress=on_progress)
