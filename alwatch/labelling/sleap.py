"""Queues for, and labels from, a project of SLEAP: a `.slp` file.

A queued frame becomes a suggestion, in the order of the ranks, in a video that the project names
by its path; what the pose model finds becomes predicted instances, which SLEAP shows for a person
to correct. All else in the file stays. It is replaced as a whole, and the one before is kept.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from glob import escape
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

import sleap_io

from alwatch.errors import ExportError
from alwatch.labelling.images import write_durably
from alwatch.labelling.sleap_file import (
    find_video,
    holds_images,
    labelled_frames,
    load_project,
    origin_of,
    save_project,
)
from alwatch.labelling.sleap_placing import (
    PlacedVideo,
    add_queue,
    check_frames,
    forget,
    place_video,
    read_images,
    remember,
    write_package,
)
from alwatch.labelling.sleap_queue import remove_frames
from alwatch.labelling.sleap_record import Record
from alwatch.labelling.sleap_shown import ShownFrames, shown_by_sleap
from alwatch.labelling.staging import (
    check_space,
    clear_stale,
    explained,
    keep_rights,
    only_run,
    put_in_place,
    staging_folder,
    sync_folder,
)
from alwatch.records import Exported, FileSignature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alwatch.records import LabelledFrame, Queue, QueuedVideo, ReadFrames, Skeleton

_SPARE_BYTES = 16_000_000


class SleapProject:
    """A project of SLEAP, made if only the file itself is missing.

    Parameters
    ----------
    project : Path
        The `.slp` file; nothing is read before it is needed.
    package : bool
        Whether every queue becomes a package of its own, `<name>.queue-<id>.pkg.slp`, which holds
        its images, and the project stays as it is: for people who label where the videos are not,
        and for videos in which SLEAP does not find the right frame. Its labels are read too.
    shown_frames : callable
        What SLEAP shows.
    """

    def __init__(
        self,
        project: Path,
        *,
        package: bool = False,
        shown_frames: ShownFrames = shown_by_sleap,
    ) -> None:
        self._project = Path(os.path.abspath(project))
        self._file = self._project.resolve()
        self._folder = self._file.parent
        self._record = self._file.with_suffix(".alwatch.json")
        self._with_package = package
        self._shown_frames = shown_frames

    def write_queue(
        self,
        queue: Queue,
        videos: Sequence[QueuedVideo],
        read_frames: ReadFrames,
        skeleton: Skeleton,
    ) -> Exported:
        """Add the frames to the project as suggestions, with the poses; twice changes nothing.

        A frame that is suggested or labelled already stays as it is. Every frame that is added is
        read, and compared with what SLEAP shows for its number. SLEAP should not have the project
        open: it would save over it what it has read before.

        Parameters
        ----------
        queue : Queue
        videos : sequence of QueuedVideo
        read_frames : callable
            Asked only for the frames that the project does not have yet, by increasing index.
        skeleton : Skeleton
            Taken where the project has none; else its bodyparts go to the nodes of that name.

        Returns
        -------
        Exported
            `written` counts the suggestions that are new, or the images of a new package.

        Raises
        ------
        ExportError
            There is no folder for it, it cannot be written, it is a package or no project, or
            somebody has changed it meanwhile; or SLEAP shows another picture for a frame.
        """
        asked = f"Exporting queue {queue.id} to {self._project}"
        videos = [video for video in videos if video.frames]
        with explained(asked, "Nothing was changed; put this right and export again."):
            self._check()
            with only_run(self._folder):
                clear_stale(self._folder)
                record, written = self._write(queue, videos, read_frames, skeleton)
        n_frames = sum(len(video.frames) for video in videos)
        return Exported(
            tool="sleap",
            project=self._project,
            written=written,
            kept=n_frames - written,
            folders=tuple((record.videos[v.content_hash].folder, v.content_hash) for v in videos),
        )

    def read_labels(self) -> list[LabelledFrame]:
        """List the frames that a person has labelled or said to be empty, packages included.

        A frame that is labelled in the project and in a package is read from the project.

        Raises
        ------
        ExportError
            The folder of the project is not there, or a file cannot be read.
        """
        self._check_folder()
        found: dict[tuple[str, int], LabelledFrame] = {}
        with explained(f"Reading the labels of {self._project}", "Make it readable and try again."):
            record = Record.read(self._record)
            packages = sorted(self._folder.glob(f"{escape(self._file.stem)}.queue-*.pkg.slp"))
            for source in [self._file] * self._file.exists() + packages:
                labels = load_project(source)
                folders = record.folder_names(map(origin_of, labels.videos))
                for label in labelled_frames(labels, self._project, source, folders):
                    found.setdefault((label.folder, label.frame), label)
        return [found[key] for key in sorted(found)]

    def withdraw_queue(self, queue: Queue, videos: Sequence[QueuedVideo]) -> int:
        """Remove the queue's suggestions, its poses if nobody touched them, and its package.

        Raises
        ------
        ExportError
            A person has labelled one of the frames, or the project cannot be written.
        """
        with explained(f"Withdrawing queue {queue.id} from {self._project}", "Try again."):
            self._check()
            with only_run(self._folder):
                clear_stale(self._folder)
                return self._withdraw(queue, videos)

    # --- before anything is written ------------------------------------------------------------

    def _check_folder(self) -> None:
        if not self._folder.is_dir() or self._file.is_dir():
            found = "a folder" if self._file.is_dir() else f"{self._folder} is not a folder"
            raise ExportError(
                f"A project of SLEAP is a .slp file; {self._project}: {found}. Correct the path."
            )

    def _check(self) -> None:
        self._check_folder()
        if self._file.suffix != ".slp" or self._file.name.endswith(".pkg.slp"):
            raise ExportError(
                f"Queues go into a project of SLEAP, whose name ends in .slp (and not .pkg.slp, "
                f"which holds images of its own); {self._project} does not. Correct the path."
            )
        for path in (self._folder, self._file, self._record):
            if path.exists() and not os.access(path, os.W_OK):
                raise ExportError(
                    f"Exporting to {self._project} needs write permission for {path}, which the "
                    f"user with id {os.geteuid()} has not. Grant it, or run as another user."
                )

    def _read(self) -> tuple[sleap_io.Labels, FileSignature | None]:
        """The project, and by what it is known not to have changed: None where there is none."""
        if not self._file.exists():
            return sleap_io.Labels(), None
        signature = FileSignature.from_stat(self._file.stat())
        labels = load_project(self._file)
        if holds_images(labels):
            raise ExportError(
                f"Queues go into a project that names its videos; {self._project} is a package, "
                "which holds images of its own. Export to the project that it was made from."
            )
        return labels, signature

    def _package(self, queue: Queue) -> Path:
        return self._file.with_suffix(f".queue-{queue.id:04d}.pkg.slp")

    # --- writing -------------------------------------------------------------------------------

    def _write(
        self,
        queue: Queue,
        videos: Sequence[QueuedVideo],
        read_frames: ReadFrames,
        skeleton: Skeleton,
    ) -> tuple[Record, int]:
        labels, signature = self._read()
        record = Record.read(self._record)
        record.check_same(queue, videos, self._project)
        placed = [place_video(labels, self._file, record, video) for video in videos]
        if self._with_package:
            return record, self._write_package(labels, record, placed, queue, read_frames, skeleton)
        written = sum(len(place.missing) for place in placed)
        if not written and queue.id in record.queues:
            return record, 0
        self._check_space(0)
        check_frames(placed, read_frames, self._shown_frames)
        poses = add_queue(labels, placed, queue, skeleton)
        before = record.queues.get(queue.id)
        remember(record, placed, queue, skeleton.source, poses, before.package if before else None)
        with staging_folder(self._folder) as staging:
            new = staging / self._file.name
            if written:
                save_project(labels, new, self._file if signature else None)
            self._check_unchanged(signature)
            self._write_record(record, staging)
            if written:
                self._replace(new, signature)
        return record, written

    def _write_package(
        self,
        labels: sleap_io.Labels,
        record: Record,
        placed: list[PlacedVideo],
        queue: Queue,
        read_frames: ReadFrames,
        skeleton: Skeleton,
    ) -> int:
        package = self._package(queue)
        if package.exists() and queue.id in record.queues:
            return 0
        self._check_space(sum(_raw_bytes(place.video) for place in placed))
        images = read_images(placed, read_frames)
        for place in placed:
            place.missing = set()
        with staging_folder(self._folder) as staging:
            new = staging / package.name
            write_package(new, package, labels, placed, images, queue, skeleton)
            remember(record, placed, queue, skeleton.source, {}, _sha256(new))
            self._write_record(record, staging)
            put_in_place(new, package)
            sync_folder(self._folder)
        return sum(map(len, images.values()))

    def _write_record(self, record: Record, staging: Path) -> None:
        write_durably(staging / self._record.name, record.to_bytes())
        (staging / self._record.name).replace(self._record)

    def _check_space(self, images_bytes: int) -> None:
        size_bytes = self._file.stat().st_size if self._file.exists() else 0
        check_space(self._folder, images_bytes + 2 * size_bytes + _SPARE_BYTES)

    def _check_unchanged(self, signature: FileSignature | None) -> None:
        is_same = signature.is_of(self._file) if signature else not self._file.exists()
        if not is_same:
            raise ExportError(
                f"{self._project} was saved by somebody else meanwhile; it is as they saved it. "
                "Close it in SLEAP, and try again."
            )

    def _replace(self, new: Path, signature: FileSignature | None) -> None:
        """Put the new project in the place of the old one, and keep that as a backup."""
        if signature:
            keep_rights(new, self._file)
            aside = new.with_name("before.slp")
            try:
                os.link(self._file, aside)
            except OSError:
                shutil.copy2(self._file, aside)
            self._check_unchanged(replace(signature, ctime_ns=self._file.stat().st_ctime_ns))
            aside.replace(self._file.with_suffix(".alwatch-backup.slp"))
        new.replace(self._file)
        sync_folder(self._folder)

    def _withdraw(self, queue: Queue, videos: Sequence[QueuedVideo]) -> int:
        record = Record.read(self._record)
        record.check_same(queue, videos, self._project)
        there = record.frames_of(queue)
        if not there:
            return 0
        labels, signature = self._read()
        package = self._package(queue)
        has_package = package.exists()
        self._check_package(package, record.queues[queue.id].package)
        frames = [there[v.content_hash, frame.frame] for v in videos for frame in v.frames]
        del record.queues[queue.id]
        with staging_folder(self._folder) as staging:
            new = staging / self._file.name
            targets = {v.content_hash: self._target(labels, record, v) for v in videos}
            removed = remove_frames(labels, frames, targets, queue.id)
            forget(labels, record)
            if signature and any(frame.is_suggested or frame.pose for frame in frames):
                save_project(labels, new, self._file)
            self._check_unchanged(signature)
            package.unlink(missing_ok=True)
            if new.exists():
                self._replace(new, signature)
            if record.queues or record.videos:
                self._write_record(record, staging)
            else:
                self._record.unlink()
            sync_folder(self._folder)
        return removed + (len(frames) if has_package else 0)

    def _target(
        self, labels: sleap_io.Labels, record: Record, video: QueuedVideo
    ) -> sleap_io.Video | None:
        known = record.videos[video.content_hash]
        return find_video(labels, self._file, video, known.filename)

    def _check_package(self, package: Path, digest: str | None) -> None:
        if package.exists() and _sha256(package) != digest:
            raise ExportError(
                f"{package} was to be removed with its queue, but somebody has saved it since. "
                "Move it elsewhere, and withdraw again."
            )


def _raw_bytes(video: QueuedVideo) -> int:
    return len(video.frames) * video.width_px * video.height_px * 3


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
