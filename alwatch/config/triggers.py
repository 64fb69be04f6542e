"""The settings that close the loop: when a season needs labels, when retraining is asked for.

They are imported by `sections`, which puts them into their place in the file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from alwatch.config.base import Must, Section, fault
from alwatch.config.values import (
    Count,
    File,
    Folder,
    Names,
    NotEmpty,
    Period,
    Rate,
    Ratio,
    Seconds,
    Share,
    Text,
    outside_the_archive,
    web_address,
)

_Some = Annotated[Names, NotEmpty, Must("a list of at least one text")]
_Open = Annotated[float, Field(gt=0, lt=1), Must("a number between 0 and 1")]


class Rounds(Section):
    """When a season needs labels, and whether the daemon then makes a queue by itself."""

    automatic: bool = Field(
        default=True,
        description="Whether the daemon makes a queue when a season needs labels and none is out. "
        "It does so only where exports names a project.",
    )
    check_s: Period = Field(
        default=900, description="Seconds between two looks at what the seasons need."
    )
    drift_alpha: _Open = Field(
        default=0.05,
        description="How often, at most, a season that is like those that are labelled may be "
        "taken for another kind, over all looks at it.",
    )
    coverage_min: Share = Field(
        default=0.0,
        description="A season needs labels where a smaller share of its frames than this lies near "
        "a labelled one.",
    )
    error_ratio: Ratio = Field(
        default=2.0,
        description="A season needs labels where the audited error surely lies above so many times "
        "the error on frames that the model was trained on.",
    )
    every_days: Count | None = Field(
        default=None,
        description="A season that has new videos needs labels when its last queue is so many "
        "days old, whatever the figures say.",
        examples=[30],
    )
    season_budget: Count = Field(
        default=200, description="Frames that the daemon queues of one season at most."
    )


class Action(Section):
    """Something that a trigger rule asks for when it fires."""

    do: Annotated[
        Literal["file", "command", "webhook", "mail", "slurm", "deeplabcut"],
        Must("file, command, webhook, mail, slurm or deeplabcut"),
    ] = Field(
        description="file, command, webhook, mail, slurm, or deeplabcut, which trains the project "
        "of pose_model.",
        examples=["file"],
    )
    folder: Folder | None = Field(
        default=None,
        description="file: the folder that receives one JSON file.",
        examples=["/data/retraining"],
        json_schema_extra={"set_in_sample": True},
    )
    command: _Some | None = Field(
        default=None,
        description="command: the program and its arguments; no shell reads them. slurm: the "
        "batch script and its arguments. The evidence is on standard input (slurm: in the file "
        "that $ALWATCH_EVIDENCE names).",
        examples=[["/usr/local/bin/retrain", "--quick"]],
    )
    url: Text | None = Field(
        default=None,
        description="webhook: where the evidence is posted to.",
        examples=["https://lab.example/hooks/alwatch"],
    )
    secret_file: File | None = Field(
        default=None,
        description="webhook: a file that holds the secret that the body is signed with "
        "(HMAC-SHA256). mail: the password for smtp.",
        examples=["/etc/alwatch/secret"],
    )
    allow_private: bool = Field(
        default=False,
        description="webhook: whether the address may lie in this machine or its own network.",
    )
    to: _Some | None = Field(
        default=None, description="mail: who receives it.", examples=[["lab@example.org"]]
    )
    sender: Text | None = Field(
        default=None, description="mail: who it comes from.", examples=["alwatch@example.org"]
    )
    smtp: Text | None = Field(
        default=None,
        description="mail: host:port of a server; by default the system's sendmail. With "
        "secret_file it is logged in to as the sender.",
        examples=["mail.example.org:587"],
    )
    epochs: Count | None = Field(
        default=None,
        description="deeplabcut: epochs to train for; by default as the project says.",
        examples=[50],
    )
    device: Text | None = Field(
        default=None,
        description="deeplabcut: what to train on; by default pose_model.device.",
        examples=["cuda:1"],
    )
    nice: Annotated[int, Field(ge=0, le=19), Must("a whole number from 0 to 19")] = Field(
        default=10, description="command, deeplabcut: how far it stands back behind other programs."
    )
    timeout_s: Period | None = Field(
        default=None,
        description="Seconds after which it is ended and counts as failed; by default 60, and for "
        "deeplabcut a week.",
        examples=[3600],
    )
    attempts: Count = Field(
        default=8,
        description="Attempts before it counts as failed; each waits twice as long as the one "
        "before, from one minute to six hours.",
    )

    _is_address = field_validator("url")(web_address)
    _outside_the_archive = field_validator("folder")(outside_the_archive)

    @model_validator(mode="after")
    def _takes_its_own(self) -> Action:
        needed, possible = _TAKES[self.do]
        given = {name for own in _TAKES.values() for names in own for name in names}
        given = {n for n in given if getattr(self, n) != type(self).model_fields[n].default}
        if lacking := sorted(needed - given):
            raise fault(f"have {' and '.join(lacking)}, which {self.do} needs")
        if foreign := sorted(given - needed - possible):
            raise fault(f"not have {', '.join(foreign)}, which {self.do} does not take")
        return self


_TAKES: dict[str, tuple[set[str], set[str]]] = {
    "file": ({"folder"}, set()),
    "command": ({"command"}, {"nice"}),
    "webhook": ({"url"}, {"secret_file", "allow_private"}),
    "mail": ({"to", "sender"}, {"smtp", "secret_file"}),
    "slurm": ({"command"}, set()),
    "deeplabcut": (set(), {"epochs", "device", "nice"}),
}
"""What each action needs, and what else it takes."""


CONDITIONS = ("new_labels", "error_ratio", "error_px", "drift_checks", "season_ended")
"""The settings of a rule that are conditions."""


class Trigger(Section):
    """A rule that says when retraining is asked for, and what is done then."""

    name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$"), Must("letters, digits, _ and -, 40 at most")
    ] = Field(default="retrain", description="The rule's name.", examples=["retrain"])
    match: Annotated[Literal["all", "any"], Must("all or any")] = Field(
        default="all", description="Whether all of its conditions must hold, or any."
    )
    new_labels: Count | None = Field(
        default=None,
        description="Condition: so many labels that the model does not know, in one season.",
        examples=[50],
        json_schema_extra={"set_in_sample": True},  # a rule without a condition is none
    )
    error_ratio: Ratio | None = Field(
        default=None,
        description="Condition: the audited error surely lies above so many times the error on "
        "frames that the model was trained on.",
        examples=[1.5],
    )
    error_px: Rate | None = Field(
        default=None,
        description="Condition: the audited error surely lies above so many pixels.",
        examples=[8],
    )
    drift_checks: Count | None = Field(
        default=None,
        description="Condition: drift was found at so many looks in a row.",
        examples=[2],
    )
    season_ended: bool = Field(
        default=False,
        description="Condition: the last day of the season (season.ranges) is over.",
    )
    cool_down_s: Seconds = Field(
        default=86400, description="Seconds before the rule may fire again."
    )
    per_30_days_max: Count = Field(
        default=8, description="How often the rule may fire within 30 days."
    )
    held_out: bool = Field(
        default=False,
        description="Whether the training that its actions start leaves out the audited frames, "
        "which the evidence lists as held_out. The new snapshot is then judged on them.",
    )
    actions: Annotated[tuple[Action, ...], NotEmpty, Must("a list of at least one action")] = Field(
        description="What is done when it fires."
    )

    @field_validator("actions")
    @classmethod
    def _has_a_condition(
        cls, actions: tuple[Action, ...], info: ValidationInfo
    ) -> tuple[Action, ...]:
        if not any(info.data.get(name, True) for name in CONDITIONS):
            raise fault(f"stand beside at least one condition: {', '.join(CONDITIONS)}")
        return actions


class Promotion(Section):
    """Whether a new snapshot of the pose model is judged before it becomes the current one."""

    gate: bool = Field(
        default=True,
        description="Whether a new snapshot is compared with the current one on audited frames, "
        "and kept aside where it is worse. Without it every new snapshot becomes current.",
    )
    worse_ratio: Ratio = Field(
        default=1.05,
        description="A snapshot is worse where its error lies above so many times that of the "
        "current one, in 90 of 100 draws of the videos.",
    )
    min_frames: Count = Field(
        default=5, description="Audited frames that a judgement needs; with fewer there is none."
    )
