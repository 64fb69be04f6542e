"""Finds the settings file and reads it; whatever is wrong with it is said at once."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from alwatch.config.base import Section, all_settings, fields_of, section_of, words_of
from alwatch.config.sections import Settings
from alwatch.config.values import Reading
from alwatch.config.yaml_file import Location, key_path, read_yaml, shown
from alwatch.errors import SettingsError

_PASSWORD = re.compile(r"://\S*@")
"""Where an address holds what must not stand in a message."""


def find_settings(
    explicit: Path | None, *, cwd: Path, home: Path, environ: Mapping[str, str]
) -> Path:
    """Say which settings file counts.

    Parameters
    ----------
    explicit : Path or None
        The file that was named on the command line; it counts whether it exists or not.
    cwd, home : Path
        The current folder and the user's home.
    environ : mapping of str to str
        For XDG_CONFIG_HOME, which counts only where it is absolute.

    Raises
    ------
    SettingsError
        There is none in any of the usual places.
    """
    if explicit is not None:
        return cwd / explicit
    config_home = Path(environ.get("XDG_CONFIG_HOME", ""))
    if not config_home.is_absolute():
        config_home = home / ".config"
    places = (
        cwd / "alwatch.yaml",
        config_home / "alwatch" / "alwatch.yaml",
        Path("/etc/alwatch/alwatch.yaml"),
    )
    found = next((place for place in places if os.path.exists(place)), None)
    if found is None:
        *first, last = map(str, places)
        raise SettingsError(
            f"no settings file was found; looked for {', '.join(first)} and {last}. "
            "Write one with `alwatch init`, or name one with --config."
        )
    return found


def load_settings(path: Path, *, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read a settings file.

    Parameters
    ----------
    path : Path
        The YAML file. Relative paths in it start at its folder.
    environ : mapping of str to str
        For HOME, XDG_STATE_HOME and the variables that paths in the file name.

    Raises
    ------
    SettingsError
        Everything that is wrong with the file, in the order of its lines.
    """
    source = Path(os.path.abspath(path))
    document = read_yaml(source)
    faults = list(document.faults)
    settings = None
    try:
        settings = Settings.model_validate(document.data, context=Reading(source, environ))
    except ValidationError as error:
        for found in error.errors(include_url=False):
            faults.append((document.mark(found["loc"]), f"{_sentence(found)} in {source}."))
    if settings is None or faults:
        raise SettingsError(*dict.fromkeys(sentence for _, sentence in sorted(faults)))
    return settings


def _sentence(found: ErrorDetails) -> str:
    location, kind = found["loc"], found["type"]
    name, value = key_path(location), _PASSWORD.sub("://***@", shown(found["input"]))
    if kind == "extra_forbidden":
        return f"{name} is not a setting; {_nearest(location)} Correct it"
    if kind == "missing":
        setting = fields_of(_section_at(location[:-1]))[str(location[-1])]
        return f"{name} is not set; it must be {words_of(setting)}. Set it"
    if kind == "must":
        return f"{name} is {value}; {found['msg']}. Set it"
    if kind in ("bool_type", "bool_parsing"):
        return f"{name} is {value}; it must be true or false. Set it"
    names = ", ".join(fields_of(_section_at(location)))
    return f"{name} is {value}; it must be a group of settings ({names}). Set it"


def _section_at(location: Location) -> type[Section]:
    section: type[Section] = Settings
    for part in location:
        if isinstance(part, str):
            section = section_of(fields_of(section)[part]) or section
    return section


def _nearest(location: Location) -> str:
    *parents, last = location
    wanted = str(last).lower().replace("-", "_")
    siblings = fields_of(_section_at(tuple(parents)))
    for name in difflib.get_close_matches(wanted, siblings, n=1):
        return f"did you mean {key_path((*parents, name))}?"
    elsewhere = [key for key, _ in all_settings(Settings) if key.rpartition(".")[2] == wanted]
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere)}?"
    return f"the settings there are {', '.join(siblings)}."
