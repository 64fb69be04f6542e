"""The settings: their names, defaults, meanings and what is permitted, here and nowhere else.

The sample files, the table of settings and the sentences about faults are made from these models.
"""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from alwatch.config.base import Must, Section, fault
from alwatch.config.triggers import Promotion, Rounds, Trigger
from alwatch.config.values import (
    AnyPath,
    Count,
    Day,
    Device,
    Extension,
    File,
    Folder,
    Names,
    NotEmpty,
    NotNegative,
    Period,
    Rate,
    Ratio,
    Reading,
    Seconds,
    Sha256,
    Share,
    Text,
    Whole,
    outside_the_archive,
    reading_of,
    web_address,
)

VIDEO_EXTENSIONS = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".flv"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".mjpeg", ".mjpg"),
)


class Archive(Section):
    """One watched folder; nothing is ever written in it."""

    path: Folder = Field(
        description="The folder, with all folders in it. It may be missing for a while.",
        examples=["/data/videos"],
    )
    watch: Annotated[Literal["auto", "inotify", "poll"], Must("auto, inotify or poll")] = Field(
        default="auto",
        description="How new files are noticed between two scans. auto: inotify on local disks, "
        "poll on network drives.",
    )
    settle_s: Seconds | None = Field(
        default=None,
        description="Seconds a file must stay unchanged before it is read. By default 60 on local "
        "disks and 300 on network drives.",
        examples=[60],
    )
    scan_s: Period | None = Field(
        default=None,
        description="Seconds between two complete scans. By default 300 where file events come "
        "and 60 where not.",
        examples=[300],
    )
    extensions: Annotated[
        tuple[Extension, ...], NotEmpty, Must("a list of at least one file ending")
    ] = Field(
        default=VIDEO_EXTENSIONS,
        description="Ends of file names that make a video; case is ignored.",
    )
    ignore: Names = Field(
        default=(),
        description="Shell patterns of files and folders to pass over, beside the usual temporary "
        "and hidden ones.",
        examples=[["*_labeled.mp4", "trash"]],
    )
    follow_symlinks: Annotated[Literal["never", "files", "all"], Must("never, files or all")] = (
        Field(
            default="files", description="Which links are followed. all: links to folders as well."
        )
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        return {"path": data} if isinstance(data, (str, Path)) else data

    @field_validator("path")
    @classmethod
    def _apart_from_all_others(cls, path: Path, info: ValidationInfo) -> Path:
        reading = reading_of(info)
        other = next(
            (r for r in reading.roots if r.is_relative_to(path) or path.is_relative_to(r)), None
        )
        reading.roots.append(path)
        if other == path:
            raise fault("be listed only once")
        if other is not None:
            raise fault(f"not hold, or lie in, another archive folder ({other})")
        state_dir = reading.state_dir
        if state_dir is not None and (
            state_dir.is_relative_to(path) or Path(os.path.realpath(state_dir)).is_relative_to(path)
        ):
            why = "nothing is ever written in an archive folder"
            raise fault(f"not hold state_dir ({state_dir}), because {why}")
        return path


class SeasonRange(Section):
    """A season from its first to its last day."""

    season: Text = Field(description="The season's name.", examples=["autumn-2018"])
    first: Day = Field(description="Its first day.", examples=[date(2018, 9, 1)])
    last: Day = Field(description="Its last day.", examples=[date(2018, 11, 30)])

    @field_validator("last")
    @classmethod
    def _in_order(cls, last: date, info: ValidationInfo) -> date:
        first = info.data.get("first")
        if first is None:  # faulty itself
            return last
        if first > last:
            raise fault(f"not lie before the range's first day, {first}")
        ranges = reading_of(info).ranges
        overlap = next((r for r in ranges if r[0] <= last and first <= r[1]), None)
        ranges.append((first, last, info.data.get("season", "another")))
        if overlap is not None:
            raise fault(
                f"not overlap the range of {overlap[2]} ({overlap[0]} to {overlap[1]}); "
                f"this one begins on {first}"
            )
        return last


_MUST_NAME = "be a regular expression with a named group, `(?P<{}>…)`"


def _with_group(pattern: str, group: str) -> str:
    """Refuse a pattern that is no regular expression, or has no such group."""
    expected = _MUST_NAME.format(group)
    try:
        groups = re.compile(pattern).groupindex
    except (re.error, OverflowError, RecursionError) as error:
        raise fault(f"{expected}, but: {error}") from None
    if group not in groups:
        raise fault(expected)
    return pattern


class Season(Section):
    """Which season a video belongs to."""

    from_: Annotated[Literal["path", "date", "mapping"], Must("path, date or mapping")] = Field(
        default="date",
        alias="from",
        description="What decides: the file's path, the recording date (of the container, else "
        "in the file name, else the modification time), or a table of patterns.",
    )
    pattern: Text | None = Field(
        default=None,
        validate_default=True,
        description="For `from: path`: a regular expression with a named group `season`, searched "
        "for in the path below the archive folder. Write it in single quotes.",
        examples=["(?P<season>20[0-9][0-9])/"],
    )
    ranges: Annotated[tuple[SeasonRange, ...], Must("a list of ranges")] = Field(
        default=(),
        description="For `from: date`: the seasons. Without them each calendar year is one.",
    )
    mapping: Annotated[
        dict[str, Text], Must("patterns with their seasons, each as `pattern: season`")
    ] = Field(
        default={},
        validate_default=True,
        description="For `from: mapping`: shell patterns of paths below the archive folder, each "
        "with its season; the first that fits decides, and `*` also crosses folders.",
        examples=[{"cage-a/*": "spring", "cage-b/*": "autumn"}],
    )
    otherwise: Text = Field(
        default="unassigned", description="The season of videos that fit nowhere."
    )

    @field_validator("pattern")
    @classmethod
    def _has_group(cls, pattern: str | None, info: ValidationInfo) -> str | None:
        if pattern is None:
            if info.data.get("from_") == "path":
                raise fault(f"{_MUST_NAME.format('season')}, because season.from is path")
            return None
        return _with_group(pattern, "season")

    @field_validator("mapping")
    @classmethod
    def _is_there(cls, mapping: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if not mapping and info.data.get("from_") == "mapping":
            raise fault("hold at least one `pattern: season`, because season.from is mapping")
        return mapping


class Groups(Section):
    """Whom a video shows, and when it was recorded, as its path says it."""

    individual: Text | None = Field(
        default=None,
        description="A regular expression with a named group `individual`, searched for in the "
        "path below the archive folder. A video in which it finds nothing, and every video "
        "without it, is an individual of its own.",
        examples=["/(?P<individual>mouse[0-9]+)_"],
    )
    session: Text | None = Field(
        default=None,
        description="The same, with a named group `session`, for the session.",
        examples=["(?P<session>20[0-9][0-9]-[0-9][0-9]-[0-9][0-9])"],
    )

    @field_validator("individual", "session")
    @classmethod
    def _has_group(cls, pattern: str | None, info: ValidationInfo) -> str | None:
        return None if pattern is None else _with_group(pattern, str(info.field_name))


class Sampling(Section):
    """Which frames of a video are looked at."""

    method: Annotated[
        Literal["uniform", "keyframes", "adaptive"], Must("uniform, keyframes or adaptive")
    ] = Field(
        default="uniform",
        description="uniform: evenly. keyframes: only those, the fastest. adaptive: coarsely, then "
        "more where the picture changes most.",
    )
    stride: Count | None = Field(
        default=None,
        description="Look at every n-th frame; instead of rate_hz.",
        examples=[30],
    )
    rate_hz: Rate = Field(default=1.0, description="Frames to look at for each second of video.")
    max_frames: Count = Field(default=1000, description="Frames to look at in one video at most.")
    min_gap_s: Seconds = Field(
        default=0.2, description="Seconds between two of them at least, for keyframes and adaptive."
    )

    @field_validator("rate_hz")
    @classmethod
    def _is_the_only_step(cls, rate_hz: float, info: ValidationInfo) -> float:
        stride = info.data.get("stride")
        if stride is not None:  # this runs only where rate_hz was given
            raise fault(f"be left out where sampling.stride is set (to {stride})")
        return rate_hz


class Embedding(Section):
    """What turns a frame into a vector."""

    model: Text = Field(
        default="hog",
        description="hog needs no weights; the networks are alexnet, dino_vits16, dino_vits8, "
        "dino_vitb16, dino_vitb8, dinov2_vits14, dinov2_vitb14, dinov3_vits16 and dinov3_vitb16. "
        "pose is the backbone of pose_model: the whole frame, and around the bodyparts.",
    )
    weights: File | None = Field(
        default=None,
        description="A local file with the network's weights. By default they come from their hub.",
        examples=["/data/weights/dino_vits16.pth"],
    )
    weights_sha256: Sha256 | None = Field(
        default=None,
        description="The sha256 that this file must have.",
        examples=["0123456789abcdef" * 4],
    )
    device: Device = Field(
        default="auto", description="What computes. auto: CUDA where there is one."
    )

    @field_validator("weights_sha256")
    @classmethod
    def _has_weights(cls, sha256: str, info: ValidationInfo) -> str:
        if info.data.get("weights", ...) is None:
            raise fault("come with embedding.weights, the file that it belongs to")
        return sha256


class Decoding(Section):
    """How videos are decoded, in a process of its own with limits."""

    fast_path: Annotated[
        Literal["auto", "keyframe", "decord", "none"], Must("auto, keyframe, decord or none")
    ] = Field(
        default="auto",
        description="A faster way than reading every frame in sequence; used on a video only after "
        "it has delivered the same frames there.",
    )
    max_pixels: Count = Field(
        default=64_000_000, description="Larger frames, in pixels, are refused."
    )
    memory_mb: Count = Field(default=4096, description="Memory of the decoding process, in MiB.")
    stall_s: Period = Field(
        default=60, description="Seconds without a frame after which it is ended."
    )
    attempts: Count = Field(default=3, description="Attempts before a video is put in quarantine.")


class PoseModel(Section):
    """The lab's current pose model, by which every frame is scored."""

    kind: Annotated[
        Literal["none", "deeplabcut", "exported", "sleap"],
        Must("none, deeplabcut, exported or sleap"),
    ] = Field(
        default="none",
        description="none: frames are not scored. deeplabcut: a DeepLabCut 3 project. exported: "
        "an ONNX, TorchScript or torch.export file with a YAML file that describes it. sleap: a "
        "model folder of sleap-nn.",
    )
    project: AnyPath | None = Field(
        default=None,
        validate_default=True,
        description="DeepLabCut's config.yaml, the YAML file of an exported model, or the model "
        "folder of SLEAP.",
        examples=["/data/my-project/config.yaml"],
    )
    shuffle: Count = Field(
        default=1,
        description="DeepLabCut: the shuffle. What alwatch trains from it gets shuffles of its own "
        "and counts as its later snapshots.",
    )
    snapshot: Text = Field(
        default="best",
        description="DeepLabCut: best (else the latest, as DeepLabCut itself chooses), latest, or "
        "a snapshot's name. A new one is noticed, and the archive scored again.",
    )
    ensemble: Names = Field(
        default=(),
        description="DeepLabCut: names of further snapshots; where they disagree is scored too. "
        "Each costs a pass.",
        examples=[["snapshot-050"]],
    )
    individuals: Count | None = Field(
        default=None,
        description="SLEAP: how many animals a frame may show, which its multi-animal models do "
        "not say.",
        examples=[2],
    )
    flip: bool = Field(
        default=False,
        description="Score how much the poses change in the mirror; doubles the work.",
    )
    change: bool = Field(
        default=False,
        description="Score how much the poses change to the next frame; doubles the work.",
    )
    python: File | None = Field(
        default=None,
        description="The Python of the environment in which DeepLabCut or SLEAP is installed. By "
        "default alwatch's own.",
        examples=["/opt/deeplabcut/bin/python"],
    )
    device: Device = Field(
        default="auto", description="What computes. auto: CUDA where there is one."
    )
    batch_size: Count = Field(
        default=8,
        description="Frames in one pass; fewer are tried by itself where they do not fit.",
    )
    stall_s: Period = Field(
        default=120, description="Seconds that one batch may take before its worker is replaced."
    )
    attempts: Count = Field(default=2, description="Attempts before a video counts as failed.")
    scan_s: Period = Field(default=60, description="Seconds between two looks for a new snapshot.")
    settle_s: Period = Field(
        default=600,
        description="Seconds that a new snapshot must rest before it replaces another one: a "
        "training that still runs brings better ones.",
    )

    @field_validator("project")
    @classmethod
    def _is_there(cls, project: Path | None, info: ValidationInfo) -> Path | None:
        kind = info.data.get("kind", "none")
        if project is None and kind != "none":
            raise fault(f"be given, because pose_model.kind is {kind}")
        return project


class Queue(Section):
    """How the frames of a labelling queue are chosen."""

    budget: Count = Field(default=20, description="Frames in one queue.")
    strategy: Text = Field(
        default="herding", description="How frames are chosen: a name of the table of strategies."
    )
    bandit_arms: Names = Field(
        default=("herding", "stride", "kmeans"),
        description="For `strategy: bandit`: the strategies among which it draws. One that needs "
        "scores which are not there is left out.",
    )
    seed: Whole = Field(
        default=0, description="The same seed and the same data give the same queue."
    )
    per_video_max: Count | None = Field(
        default=None, description="Frames of one video in a queue at most.", examples=[5]
    )
    per_individual_max: Count | None = Field(
        default=None, description="The same for an individual; see groups.", examples=[8]
    )
    per_session_max: Count | None = Field(
        default=None, description="The same for a session.", examples=[10]
    )
    equal_share_max: Ratio | None = Field(
        default=1.0,
        description="Frames of one individual at most, as a multiple of its equal share of the "
        "queue, as long as others have any left; null for no such limit.",
    )
    share_by: Annotated[
        Literal["video", "individual", "session"], Must("video, individual or session")
    ] = Field(
        default="individual",
        description="Who has these equal shares. Without groups each video is an individual.",
    )
    presence_min: Share = Field(
        default=0.0,
        description="Frames in which the pose model is less sure than this that an animal is "
        "there are left out.",
    )
    outlier_share: Share = Field(
        default=0.0,
        description="Of each video, this share of the frames that are least like any other of it "
        "is left out; the farthest are listed with the queue, to be looked at.",
    )
    min_gap_s: Seconds = Field(default=0.5, description="Seconds between two frames of one video.")
    near_duplicate_quantile: Share = Field(
        default=0.2,
        description="Two frames are near-duplicates, of which one is left out, where they differ "
        "less than this share of a video's neighbouring frames do.",
    )
    audit_share: Share = Field(
        default=0.1,
        description="Share of a queue that is drawn at random, to measure the true error: by it "
        "seasons are watched and new snapshots judged.",
    )


class Export(Section):
    """A labelling project that every queue is written to."""

    to: Text = Field(
        description="The labelling tool: deeplabcut, sleap, lightning_pose, label_studio, cvat, "
        "coco or folder.",
        examples=["folder"],
    )
    project: AnyPath = Field(
        description="DeepLabCut's config.yaml, SLEAP's project (a .slp file), Lightning Pose's "
        "data directory, or the folder that receives the images.",
        examples=["/data/labelling"],
    )
    bodyparts: dict[str, Text] | None = Field(
        default=None,
        description="What the project calls the bodyparts that it names otherwise, by their names "
        "in alwatch, which are those of the pose model.",
        examples=[{"snout": "nose"}],
    )
    package: bool = Field(
        default=False,
        description="SLEAP: write every queue as a package of its own, which holds its images, "
        "instead of into the project.",
    )

    url: Text | None = Field(
        default=None,
        description="The tool's server, for label_studio and cvat; then the frames are put there.",
        examples=["http://localhost:8080"],
    )
    token_file: File | None = Field(
        default=None,
        validate_default=True,
        description="A file that holds nothing but the token of a person of that server.",
        examples=["/etc/alwatch/label-studio-token"],
    )

    _outside_the_archive = field_validator("project")(outside_the_archive)

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        if url is not None and "@" in url:
            raise fault("hold no name and password, because the token says who asks")
        return web_address(url)

    @field_validator("token_file")
    @classmethod
    def _beside_url(cls, token_file: Path | None, info: ValidationInfo) -> Path | None:
        if "url" in info.data and (info.data["url"] is None) != (token_file is None):
            raise fault("be set where url is, and nowhere else")
        return token_file

    @field_validator("bodyparts")
    @classmethod
    def _told_apart(cls, names: dict[str, str] | None) -> dict[str, str] | None:
        given = list((names or {}).values())
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice:
            raise fault(f"give each bodypart a name of its own; {', '.join(twice)} is given twice")
        return names


class Labels(Section):
    """How labels come back from the projects that queues go to."""

    scan_s: Period = Field(
        default=300, description="Seconds between two looks for what has been labelled."
    )


class Backup(Section):
    """The daemon's backups of its database."""

    folder: Folder | None = Field(
        default=None,
        description="Where they are kept, best on another disk; it must be there. By default "
        "`backups` in state_dir, which is made.",
        examples=["/mnt/backups/alwatch"],
    )
    every_h: NotNegative = Field(
        default=24, description="Hours between two of them; 0 for none but those made by hand."
    )
    keep: Count = Field(
        default=7,
        description="How many of the newest are kept, beside the last one of each week for eight "
        "weeks.",
    )

    _outside_the_archive = field_validator("folder")(outside_the_archive)


class Settings(Section):
    """All settings of one file, as `load_settings` returns them."""

    state_dir: Folder = Field(
        default=Path("~/.local/state/alwatch"),
        validate_default=True,
        description="Where the database and all else that alwatch writes for itself is kept, on a "
        "local disk. By default $XDG_STATE_HOME/alwatch where that variable is set.",
        examples=["~/.local/state/alwatch"],
    )
    archive: Annotated[
        tuple[Archive, ...], NotEmpty, Must("a list of at least one folder to watch")
    ] = Field(
        description="The folders that are watched; nothing is ever written in them. A path alone "
        "is enough for an entry."
    )
    season: Season = Field(default_factory=Season, description=Season.__doc__)
    groups: Groups = Field(default_factory=Groups, description=Groups.__doc__)
    sampling: Sampling = Field(default_factory=Sampling, description=Sampling.__doc__)
    embedding: Embedding = Field(default_factory=Embedding, description=Embedding.__doc__)
    decoding: Decoding = Field(default_factory=Decoding, description=Decoding.__doc__)
    pose_model: PoseModel = Field(default_factory=PoseModel, description=PoseModel.__doc__)
    queue: Queue = Field(default_factory=Queue, description=Queue.__doc__)
    exports: Annotated[tuple[Export, ...], Must("a list of labelling projects")] = Field(
        default=(), description="The labelling projects that every queue is written to."
    )
    labels: Labels = Field(default_factory=Labels, description=Labels.__doc__)
    rounds: Rounds = Field(default_factory=Rounds, description=Rounds.__doc__)
    triggers: Annotated[tuple[Trigger, ...], Must("a list of rules")] = Field(
        default=(), description="The rules that ask for retraining."
    )
    promotion: Promotion = Field(default_factory=Promotion, description=Promotion.__doc__)
    backup: Backup = Field(default_factory=Backup, description=Backup.__doc__)

    _source: Path = PrivateAttr()

    @property
    def source(self) -> Path:
        """The file that these settings come from."""
        return self._source

    @model_validator(mode="before")
    @classmethod
    def _default_state_dir(cls, data: Any, info: ValidationInfo) -> Any:
        state_home = reading_of(info).environ.get("XDG_STATE_HOME", "")
        if isinstance(data, dict) and data.get("state_dir") is None and state_home[:1] == "/":
            return {**data, "state_dir": f"{state_home.replace('$', '$$')}/alwatch"}
        return data

    @field_validator("triggers")
    @classmethod
    def _can_train(cls, triggers: tuple[Trigger, ...], info: ValidationInfo) -> tuple[Trigger, ...]:
        trains = any(each.do == "deeplabcut" for rule in triggers for each in rule.actions)
        model = info.data.get("pose_model")
        if trains and model is not None and model.kind != "deeplabcut":
            raise fault("not train with DeepLabCut (do: deeplabcut) unless pose_model.kind is so")
        season = info.data.get("season")
        if any(rule.season_ended for rule in triggers) and season is not None and not season.ranges:
            raise fault(
                "not wait for a season's end (season_ended) unless season.ranges has its days"
            )
        names = [rule.name for rule in triggers]
        if len(set(names)) < len(names):
            raise fault("give each rule a name of its own")
        return triggers

    @field_validator("state_dir")
    @classmethod
    def _note_state_dir(cls, state_dir: Path, info: ValidationInfo) -> Path:
        reading_of(info).state_dir = state_dir
        return state_dir

    def model_post_init(self, context: Any, /) -> None:
        """Keep the name of the file."""
        self._source = context.source if isinstance(context, Reading) else Path()
