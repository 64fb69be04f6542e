"""The composition root: settings in, wired parts out. Nothing else knows which part is which.

Exchangeable parts are looked up by name in one table of dotted names (and among the entry points
of installed plug-ins) and imported on first use, so that a command pays only for what it uses.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from alwatch import __version__
from alwatch.config import Export, Settings
from alwatch.errors import (
    AlwatchError,
    NothingToDoError,
    PoseModelError,
    SettingsError,
    StoreError,
    shown,
)
from alwatch.records import EmbedderIdentity, SeenFile
from alwatch.season_rules import SeasonRange, SeasonRule, named_group, season_of
from alwatch.store import Store

if TYPE_CHECKING:
    from alwatch.actions.supervisor import ActionProcess
    from alwatch.config.sections import Export
    from alwatch.config.triggers import Action
    from alwatch.delivery import Deliverer
    from alwatch.index import FrameIndex, IndexState, Neighbour
    from alwatch.ingest import Ingest
    from alwatch.loop import LoopRules, SeasonLoop
    from alwatch.pose_models.process import PoseProcess
    from alwatch.promotion import CurrentPoseModel
    from alwatch.protocols import (
        Embedder,
        LabellingTool,
        OpenVideo,
        Sampler,
        SnapshotSource,
    )
    from alwatch.records import Exported, LocatedSnapshot, Queue
    from alwatch.rounds import LabelSync
    from alwatch.scored import Ranking, SnapshotOnSeason
    from alwatch.scoring import Scoring
    from alwatch.seasons import SeasonFigures
    from alwatch.seasons.rules import Due
    from alwatch.store.projects import Remembered
    from alwatch.store.triggers import Delivery, Firing
    from alwatch.store.videos import StoredVideo
    from alwatch.strategies.pool import Limits
    from alwatch.watch import WatchedRoot

SOFTWARE = f"alwatch {__version__}"

ACTION_TIMEOUT_S = 60.0
TRAINING_TIMEOUT_S = 7 * 86400.0
"""Where the settings of an action do not say."""

PARTS: dict[str, dict[str, str]] = {
    "embedder": {
        "hog": "alwatch.embedders.hog:HogEmbedder",
        "pose": "alwatch.pose_models.embedder:PoseEmbedder",
        "alexnet": "alwatch.embedders.networks:AlexNetEmbedder",
        "dino_vits16": "alwatch.embedders.networks:DinoEmbedder",
        "dino_vits8": "alwatch.embedders.networks:DinoEmbedder",
        "dino_vitb16": "alwatch.embedders.networks:DinoEmbedder",
        "dino_vitb8": "alwatch.embedders.networks:DinoEmbedder",
        "dinov2_vits14": "alwatch.embedders.networks:DinoEmbedder",
        "dinov2_vitb14": "alwatch.embedders.networks:DinoEmbedder",
        "dinov3_vits16": "alwatch.embedders.networks:DinoEmbedder",
        "dinov3_vitb16": "alwatch.embedders.networks:DinoEmbedder",
    },
    "pose_model": {
        "deeplabcut": "alwatch.pose_models.deeplabcut_project:DeepLabCutSource",
        "exported": "alwatch.pose_models.sidecar:ExportedSource",
        "sleap": "alwatch.pose_models.sleap_folder:SleapSource",
    },
    "labelling": {
        "deeplabcut": "alwatch.labelling.deeplabcut:DeepLabCutProject",
        "folder": "alwatch.labelling.folder:FrameFolder",
        "sleap": "alwatch.labelling.sleap:SleapProject",
        "coco": "alwatch.labelling.coco:CocoFolder",
        "label_studio": "alwatch.labelling.label_studio:LabelStudioFolder",
        "cvat": "alwatch.labelling.cvat:CvatFolder",
        "lightning_pose": "alwatch.labelling.lightning_pose:LightningPoseProject",
    },
    "action": {
        "file": "alwatch.actions.file:WriteFile",
        "command": "alwatch.actions.command:RunCommand",
        "webhook": "alwatch.actions.webhook:Webhook",
        "mail": "alwatch.actions.mail:Mail",
        "slurm": "alwatch.actions.slurm:SubmitJob",
        "deeplabcut": "alwatch.actions.deeplabcut:DeepLabCutTraining",
    },
}
"""Kind -> name -> where it is. A plug-in adds to a kind by an entry point `alwatch.<kind>`."""


def find_part(kind: str, name: str, *, setting: str) -> Any:
    """Import an exchangeable part by its name.

    Parameters
    ----------
    kind : str
        A key of `PARTS`.
    name : str
    setting : str
        The setting that named it, for the message.

    Raises
    ------
    SettingsError
        No such part (the nearest name and all names are given), or its package is not installed.
    """
    part = locate_part(kind, name, setting=setting)
    try:
        return EntryPoint(name, part, f"alwatch.{kind}").load()
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{setting} is {name}, which needs the package {error.name}; install it with "
            f"`pip install 'alwatch[{name}]'`."
        ) from error


def locate_part(kind: str, name: str, *, setting: str) -> str:
    """Where an exchangeable part is, as `module:attribute`; parameters as of `find_part`.

    Raises
    ------
    SettingsError
        No such part; the nearest name and all names are given.
    """
    if name in PARTS[kind]:
        return PARTS[kind][name]
    plugins = {point.name: point.value for point in entry_points(group=f"alwatch.{kind}")}
    if name in plugins:
        return plugins[name]
    known = sorted([*PARTS[kind], *plugins])
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise SettingsError(f"{setting} is {name!r}; {hint}It must be one of {', '.join(known)}.")


def utc_now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)


class App:
    """Everything that settings describe, made on first use.

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
        return Store(self.settings.state_dir, checkpoints=self._is_daemon)

    def close(self) -> None:
        """Close what was opened."""
        if "store" in self.__dict__:
            self.store.close()

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

    # --- the archive ---------------------------------------------------------------------------

    def watched_roots(self) -> list[WatchedRoot]:
        """The archive's roots as the watcher wants them."""
        from alwatch.watch import IGNORED, WatchedRoot

        return [
            WatchedRoot(
                path=root.path,
                watch=root.watch,
                settle_s=root.settle_s,
                scan_s=root.scan_s,
                extensions=frozenset(suffix.removeprefix(".") for suffix in root.extensions),
                ignore=(*IGNORED, *root.ignore),
                follow_symlinks=root.follow_symlinks,
            )
            for root in self.settings.archive
        ]

    def ingest(
        self, *, patience_s: float, on_progress: Callable[[int], None] | None = None
    ) -> Ingest:
        """The clock that ticks once per video.

        Parameters
        ----------
        patience_s : float
            How long a file that looks unfinished is waited for.
        on_progress : callable
            Told, from time to time, how many frames the decoder has gone through.
        """
        from alwatch.ingest import Ingest, IngestRules
        from alwatch.watch import has_zero_tail

        return Ingest(
            self.store,
            embedder=self.embedder,
            sampler=self.sampler,
            open_video=self.open_video(on_progress),
            season_of=self.season_of,
            has_zero_tail=has_zero_tail,
            rules=IngestRules(attempts=self.settings.decoding.attempts, patience_s=patience_s),
            clock=self.clock,
        )

    @cached_property
    def _season_rule(self) -> SeasonRule:
        season = self.settings.season
        return SeasonRule(
            source=season.from_,
            pattern=None if season.pattern is None else re.compile(season.pattern),
            ranges=tuple(SeasonRange(r.season, r.first, r.last) for r in season.ranges),
            mapping=tuple(season.mapping.items()),
            otherwise=season.otherwise,
        )

    def season_of(self, file: SeenFile, recorded_at: datetime | None) -> str:
        """The season of a file by the settings."""
        inside = file.path.relative_to(file.root)
        return season_of(
            inside,
            rule=self._season_rule,
            recorded_at=recorded_at,
            mtime_s=file.signature.mtime_ns / 1e9,
        )

    def groups_of(self, video: StoredVideo) -> tuple[str | None, str | None]:
        """The individual and the session in a video's path; None where the settings find none."""

        def named(pattern: str | None, group: str) -> str | None:
            if pattern is None or video.root is None:
                return None
            return named_group(video.path.relative_to(video.root), re.compile(pattern), group)

        groups = self.settings.groups
        return named(groups.individual, "individual"), named(groups.session, "session")

    # --- what has been embedded ----------------------------------------------------------------

    def embedded_with(self) -> EmbedderIdentity:
        """The identity behind the vectors to work with, without loading any weights.

        Raises
        ------
        NothingToDoError
            Nothing has been embedded with the embedder of the settings yet.
        """
        name = self.settings.embedding.model
        identities = self.store.pools.embedders()
        for identity in identities:
            if identity.name == name:
                return identity
        others = f" (there is: {', '.join(i.name for i in identities)})" if identities else ""
        raise NothingToDoError(
            f"embedding.model is {name} but no frame is embedded with it yet{others}; "
            "let `alwatch run` or `alwatch ingest` work first."
        )

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

    def snapshots_on_seasons(self) -> list[SnapshotOnSeason]:
        """How every snapshot of the pose model does on every season it has scored."""
        from alwatch.scored import snapshots_on_seasons

        with self.store.pools.one_view():
            return snapshots_on_seasons(self.store)

    def check_season(self, season: str, *, option: str = "--season") -> None:
        """Refuse a season that no video is in, which `option` has named.

        Raises
        ------
        SettingsError
            There is no such season; those that exist are named.
        """
        seasons = [counts.season for counts in self.store.pools.season_counts()]
        if season not in seasons:
            raise SettingsError(
                f"{option} is {season!r}; seasons that exist: {', '.join(seasons) or 'none'}."
            )

    def ranked_frames(self, by: str, season: str | None) -> Ranking:
        """Frames by a score, the first one first to be looked at.

        Parameters
        ----------
        by : str
            A signal of the pose model, `novelty` or `influence`.
        season : str, optional
            Only this season.

        Raises
        ------
        NothingToDoError
            Nothing has that score.
        """
        from alwatch.scored import influential_frames, novel_frames, ranked_frames

        with self.store.pools.one_view():
            if by == "influence":
                return influential_frames(self.store, self.embedded_with(), season=season)
            current = self.store.snapshots.current().snapshot
            if current is None:
                raise NothingToDoError(
                    "Frames were to be ranked by the pose model, but none has scored yet; set "
                    f"pose_model in {self.settings.source} and let `alwatch score` work first."
                )
            if by == "novelty":
                return novel_frames(self.store, current, season=season)
            found = ranked_frames(self.store, current, by=by, season=season)
            if not found:
                raise NothingToDoError(
                    f"No frame is scored by {by} with {current.name}; let `alwatch score` work "
                    "first, and see whether pose_model in the settings asks for that signal."
                )
            return found

    def refresh_index(self, *, rebuild: bool = False) -> tuple[FrameIndex, IndexState]:
        """The similarity index, brought up to date with the store."""
        from alwatch.index import FrameIndex

        identity = self.embedded_with()
        index = FrameIndex(
            self.settings.state_dir / "index",
            embedder=f"{identity.name} {identity.weights}",
            dim=identity.dim,
        )
        with self.store.pools.one_view():
            state = index.refresh(
                lambda revision: (
                    (part.video_id, part.revision, part.frame_indices, part.matrix)
                    for part in self.store.pools.vectors_since(identity, revision)
                ),
                n_frames=self.store.pools.n_vectors(identity),
                rebuild=rebuild,
            )
        return index, state

    def similar(self, video: Path, frame: int, k: int) -> tuple[int, list[tuple[Path, Neighbour]]]:
        """The frames of the archive most like one frame.

        Parameters
        ----------
        video : Path
        frame : int
            Frame index; the embedded frame nearest to it stands in for it.
        k : int
            Number of frames.

        Returns
        -------
        int
            The frame index that was used.
        list of (Path, Neighbour)
            Nearest first; the frame itself is left out.

        Raises
        ------
        NothingToDoError
            The video is not in the store.
        """
        stored = self.store.videos.at(Path(os.path.abspath(video)))
        if stored is None or stored.state not in ("done", "partial"):
            found = "is not known" if stored is None else f"is {stored.state}"
            raise NothingToDoError(
                f"Frames similar to {video} frame {frame} were asked for, but that video "
                f"{found}; `alwatch ingest {video}` makes it known."
            )
        if stored.n_frames is not None and not 0 <= frame < stored.n_frames:
            raise SettingsError(f"FRAME is {frame}; {video} has frames 0 to {stored.n_frames - 1}.")
        identity = self.embedded_with()
        try:
            own = self.store.pools.video_vectors(identity, stored.id)
        except KeyError:
            raise NothingToDoError(
                f"{video} is not embedded with {identity.name} yet; let `alwatch run` or "
                "`alwatch ingest` work first."
            ) from None
        row = int(abs(own.frame_indices - frame).argmin())
        used = int(own.frame_indices[row])
        index, _ = self.refresh_index()
        found_frames = [
            neighbour
            for neighbour in index.nearest(own.matrix[row], k + 1)
            if (neighbour.video_id, neighbour.frame) != (stored.id, used)
        ][:k]
        paths = self.store.videos.by_id(neighbour.video_id for neighbour in found_frames)
        return used, [(paths[neighbour.video_id].path, neighbour) for neighbour in found_frames]

    # --- seasons -------------------------------------------------------------------------------

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
                rule.name
                for rule in settings.triggers
                if rule.held_out or all(action.do == "deeplabcut" for action in rule.actions)
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

        place = Path(os.path.realpath(project))
        for root in self.settings.archive:
            if place.is_relative_to(os.path.realpath(root.path)):
                raise SettingsError(
                    f"The project is {shown(project)}; it must lie outside the archive folder "
                    f"{shown(root.path)}, because nothing is ever written there."
                )
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
