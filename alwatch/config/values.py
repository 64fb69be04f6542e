"""The kinds of values that a setting may have, each with plain words for what it must be."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo

from alwatch.config.base import Must, fault

LARGEST_NUMBER = 2**32 - 1
"""Bound of every number: what lies above fits neither databases nor clocks."""

_VARIABLE = re.compile(r"\$(?:\$|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)


@dataclass(slots=True)
class Reading:
    """What a file's meaning depends on beside its text, and the places met so far in it.

    It travels through the validation of one file, so that what must stay apart (archive folders,
    the state folder, ranges) is compared as it comes, also where other settings are faulty.
    """

    source: Path
    environ: Mapping[str, str]
    state_dir: Path | None = None
    roots: list[Path] = field(default_factory=list)
    ranges: list[tuple[date, date, str]] = field(default_factory=list)


def reading_of(info: ValidationInfo) -> Reading:
    """Return the reading in progress; values made in code read as in `./alwatch.yaml`."""
    if isinstance(info.context, Reading):
        return info.context
    return Reading(Path.cwd() / "alwatch.yaml", os.environ)


def _to_path(value: object, info: ValidationInfo) -> Path:
    text = str(value) if isinstance(value, Path) else value
    if not isinstance(text, str) or not text.strip():
        raise ValueError("not a path")
    reading = reading_of(info)

    def content(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name is None:
            return "$"
        if name not in reading.environ:
            raise fault(f"not name {name}, an environment variable that is not set")
        return reading.environ[name]

    text = _VARIABLE.sub(content, text)
    if reading.environ.get("HOME") and re.match("~(/|$)", text):
        text = reading.environ["HOME"] + text[1:]
    return Path(os.path.normpath(reading.source.parent / os.path.expanduser(text)))


def _to_date(value: object) -> date:
    return value if isinstance(value, date) else date.fromisoformat(str(value))


def _to_extension(text: str) -> str:
    return "." + text.lower().removeprefix(".")


def _not_empty(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("empty")
    return values


def _bounded(value: float) -> float:
    if value > LARGEST_NUMBER:
        raise fault(f"be at most {LARGEST_NUMBER}")
    return value


_Finite = Field(allow_inf_nan=False)
_Bounded = AfterValidator(_bounded)
NotEmpty = AfterValidator(_not_empty)
"""For lists; pydantic's own check would also speak up where all items are faulty."""

Text = Annotated[str, Field(min_length=1), Must("text")]
Whole = Annotated[int, Field(ge=0), Must("a whole number >= 0"), _Bounded]
Count = Annotated[int, Field(ge=1), Must("a whole number >= 1"), _Bounded]
Seconds = Annotated[float, Field(ge=0), _Finite, Must("a number of seconds >= 0"), _Bounded]
Period = Annotated[float, Field(gt=0), _Finite, Must("a number of seconds > 0"), _Bounded]
NotNegative = Annotated[float, Field(ge=0), _Finite, Must("a number >= 0"), _Bounded]
Rate = Annotated[float, Field(gt=0), _Finite, Must("a number > 0"), _Bounded]
Share = Annotated[float, Field(ge=0, le=1), _Finite, Must("a number from 0 to 1")]
Ratio = Annotated[float, Field(ge=1), _Finite, Must("a number >= 1"), _Bounded]
Day = Annotated[date, PlainValidator(_to_date), Must("a day such as 2018-10-30")]
Folder = Annotated[Path, PlainValidator(_to_path), Must("the path of a folder")]
AnyPath = Annotated[Path, PlainValidator(_to_path), Must("a path")]
File = Annotated[Path, PlainValidator(_to_path), Must("the path of a file")]
Extension = Annotated[
    str,
    Field(pattern=r"^\.?[A-Za-z0-9]+$"),
    AfterValidator(_to_extension),
    Must("the end of a file name such as .mp4"),
]
Sha256 = Annotated[
    str,
    Field(pattern=r"^[0-9a-fA-F]{64}$"),
    AfterValidator(str.lower),
    Must("a sha256, 64 digits from 0-9 and a-f"),
]
Device = Annotated[
    str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$"), Must("auto, cpu, cuda or cuda:N")
]
Names = Annotated[tuple[Text, ...], Must("a list of texts")]


def outside_the_archive(path: Path | None, info: ValidationInfo) -> Path | None:
    """Refuse a place of which a part lies in an archive folder; for `field_validator`s."""
    root = next((r for r in reading_of(info).roots if path and path.is_relative_to(r)), None)
    if root is not None:
        raise fault(f"lie outside the archive folder {root}, because nothing is ever written there")
    return path


def web_address(url: str | None) -> str | None:
    """Refuse what is no address of a web server; for `field_validator`s."""
    if url is not None and not url.startswith(("http://", "https://")):
        raise fault("begin with http:// or https://")
    return url
