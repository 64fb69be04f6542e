"""The archive: what is watched and ingested, and what its frames look like."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from alwatch.app.wired import Wired
from alwatch.errors import (
    NothingToDoError,
    SettingsError,
)
from alwatch.records import EmbedderIdentity, SeenFile
from alwatch.season_rules import SeasonRange, SeasonRule, named_group, season_of

if TYPE_CHECKING:
    from alwatch.index import FrameIndex, IndexState, Neighbour, VectorsSince
    from alwatch.ingest import Ingest
    from alwatch.scored import Ranking, SnapshotOnSeason
    from alwatch.store.videos import StoredVideo
    from alwatch.watch import WatchedRoot


class WithArchive(Wired):
    """The archive's videos and frames."""

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
        identity = self.embedded_with()
        index = self._index_of(identity)
        with self.store.pools.one_view():
            state = index.refresh(
                self._parts_since(identity),
                n_frames=self.store.pools.n_vectors(identity),
                rebuild=rebuild,
            )
        return index, state

    def _index_of(self, identity: EmbedderIdentity) -> FrameIndex:
        from alwatch.index import FrameIndex

        return FrameIndex(
            self.settings.state_dir / "index",
            embedder=f"{identity.name} {identity.weights}",
            dim=identity.dim,
        )

    def _parts_since(self, identity: EmbedderIdentity) -> VectorsSince:
        return lambda revision: (
            (part.video_id, part.revision, part.frame_indices, part.matrix)
            for part in self.store.pools.vectors_since(identity, revision)
        )

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
