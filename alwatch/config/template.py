"""Writes settings files and the table of settings from the models themselves."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from alwatch.config.base import Section, all_settings, fields_of, is_list, section_of, words_of
from alwatch.config.sections import Settings

_WIDTH = 88
_EXAMPLE_ARCHIVE = "/data/videos"
_PLAIN = re.compile(r"[\w./~-]+")

_MINIMAL = """\
# Settings of alwatch. Only `archive` has no default; `alwatch init --full` writes a file that
# explains all the others.

# The folders that are watched; nothing is ever written in them.
archive:
  - {archive}
"""

_FULL = """\
# Settings of alwatch. Every setting but `archive` has a default: it is the value shown here,
# or none where the line is commented out and holds an example. What is left out or left empty
# keeps its default.
#
# In paths `~` and $VARIABLES are expanded ($$ is a dollar sign), and a relative path starts at
# the folder of this file.
"""


def commented_settings(archive: Path | None, full: bool) -> str:
    """Write a settings file with comments.

    Parameters
    ----------
    archive : Path or None
        The folder to watch; None for an example.
    full : bool
        Whether all settings are written, or only those that have no default.

    Returns
    -------
    str
        YAML text that `load_settings` reads.
    """
    folder = _yaml(str(archive).replace("$", "$$") if archive else _EXAMPLE_ARCHIVE)
    if not full:
        return _MINIMAL.format(archive=folder)
    text = _FULL + "\n".join(_section_lines(Settings, spaced=True)) + "\n"
    return text.replace(f"- path: {_EXAMPLE_ARCHIVE}\n", f"- path: {folder}\n", 1)


def settings_table() -> list[tuple[str, str, str]]:
    """List every setting as (name, default as YAML, what it means and must be)."""
    return [
        (name, _default(setting), _meaning(setting)) for name, setting in all_settings(Settings)
    ]


def _section_lines(section: type[Section], *, spaced: bool = False) -> Iterator[str]:
    for name, setting in fields_of(section).items():
        if spaced:
            yield ""
        yield from (f"# {line}" for line in textwrap.wrap(_meaning(setting), _WIDTH))
        inner = section_of(setting)
        if inner is None:
            yield _value_line(name, setting)
        elif not is_list(setting):
            yield f"{name}:"
            yield from (f"  {line}" for line in _section_lines(inner))
        else:
            lines = [f"{name}:", *_item_lines(inner)]
            yield from lines if setting.is_required() else [f"# {line}" for line in lines]


def _item_lines(section: type[Section]) -> list[str]:
    lines = [f"    {line}" for line in _section_lines(section)]
    first = next(i for i, line in enumerate(lines) if not line.lstrip().startswith("#"))
    lines[first] = "  - " + lines[first].lstrip()
    return lines


def _value_line(name: str, setting: FieldInfo) -> str:
    """Write the default; where there is none, or it depends on the machine, an example."""
    if not setting.examples:
        return f"{name}: {_yaml(setting.default)}"
    line = f"{name}: {_yaml(setting.examples[0])}"
    extra = setting.json_schema_extra
    is_set = setting.is_required() or (isinstance(extra, dict) and extra.get("set_in_sample"))
    return line if is_set else f"# {line}"


def _meaning(setting: FieldInfo) -> str:
    words = words_of(setting)
    return f"{setting.description} [{words}]" if words else str(setting.description)


def _default(setting: FieldInfo) -> str:
    if setting.is_required():
        return "required"
    return "none" if setting.default in (None, (), {}) else _yaml(setting.default)


def _yaml(value: Any) -> str:
    """Write a value on one line."""
    if isinstance(value, Path):
        value = str(value)
    elif isinstance(value, tuple):
        value = list(value)
    quotes = None
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        quotes = "'" if value.isprintable() else '"'
    text = yaml.safe_dump(
        value, default_flow_style=True, default_style=quotes, width=10**6, allow_unicode=True
    )
    return text.removesuffix("...\n").strip()
