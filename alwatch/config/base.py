"""What all sections share: how they are checked, and how others learn what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


def fault(what: str) -> PydanticCustomError:
    """Make the error that says: it must `what`."""
    return PydanticCustomError("must", "it must {what}", {"what": what})


@dataclass(frozen=True, slots=True)
class Must:
    """Says in plain words what a value must be, whatever pydantic found wrong with it."""

    words: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._check, handler(source))

    def _check(self, value: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            if any(found["loc"] or found["type"] == "must" for found in error.errors()):
                raise  # words of its own, or those of the values within this one
            raise fault(f"be {self.words}") from None


class Section(BaseModel):
    """A group of settings; one that is left empty keeps its default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, data: Any) -> Any:
        if data is None:
            return {}
        if not isinstance(data, dict):
            return data
        known = fields_of(cls)
        return {k: v for k, v in data.items() if v is not None or k not in known}


def fields_of(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a section's settings by the names they have in the file."""
    return {info.alias or name: info for name, info in section.model_fields.items()}


def section_of(setting: FieldInfo) -> type[Section] | None:
    """Return the section that a setting holds, by itself or as a list's items, or None."""
    kinds: tuple[object, ...] = (setting.annotation, *get_args(setting.annotation))
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, Section)), None)


def is_list(setting: FieldInfo) -> bool:
    """Say whether a setting is a list of values or sections."""
    return get_origin(setting.annotation) is tuple


def words_of(setting: FieldInfo) -> str | None:
    """Return the plain words for what a setting must be."""
    metadata = [*setting.metadata]
    for kind in get_args(setting.annotation):  # `Count | None` keeps them one level down
        metadata += getattr(kind, "__metadata__", ())
    return next((m.words for m in metadata if isinstance(m, Must)), None)


def all_settings(section: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every setting under its full name, such as `archive[].path`, in the file's order."""
    for name, setting in fields_of(section).items():
        inner = section_of(setting)
        if inner is None or is_list(setting):
            yield prefix + name, setting
        if inner is not None:
            yield from all_settings(inner, f"{prefix}{name}{'[]' * is_list(setting)}.")
