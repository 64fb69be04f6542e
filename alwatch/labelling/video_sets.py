"""Adds videos to a DeepLabCut config.yaml and leaves every other byte of it alone.

DeepLabCut refuses a file with a key it does not know, and a file written anew by a YAML library
would lose a person's comments and order. So the lines are put in as text, at the place the
parser names, and the result counts only if it parses to the old content and the new entries.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import yaml

from alwatch.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_SECTION = "video_sets"
_LONGEST_FLOW_KEY = 120
_MOST_VALUES = 1_000_000
_COMMA = re.compile(r"\s*, ?")
_LINE_BREAK = re.compile(r"\r\n|\n|\r")


def parse_config(content: bytes) -> dict[str, Any]:
    """Parse a project's config.yaml.

    Raises
    ------
    ValueError
        If it is not UTF-8, not YAML, or not the settings of a (2-D) DeepLabCut project; the
        message says which.
    """
    try:
        config = yaml.safe_load(content.decode())
    except (UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"it is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise ValueError("it holds no settings")
    if _n_values(config, {}) > _MOST_VALUES:
        raise ValueError(f"with its aliases written out it holds more than {_MOST_VALUES} values")
    missing = [key for key in ("Task", "scorer", _SECTION) if key not in config]
    if missing:
        raise ValueError(f"it has no {' and no '.join(missing)}")
    if not isinstance(config[_SECTION] or {}, dict):
        raise ValueError(f"{_SECTION} is {config[_SECTION]!r:.60}, not videos with their cropping")
    return config


def _n_values(value: Any, known: dict[int, int]) -> int:
    """How many values there are if aliases are written out: a few lines may stand for billions."""
    if id(value) not in known:
        known[id(value)] = _MOST_VALUES + 1  # until it is known: it may hold itself
        parts = value.values() if isinstance(value, dict) else value
        parts = parts if isinstance(value, dict | list) else ()
        known[id(value)] = 1 + sum(_n_values(part, known) for part in parts)
    return known[id(value)]


def add_video_sets(content: bytes, crops: Mapping[str, str]) -> bytes:
    """Add videos to the `video_sets` of a config.yaml.

    Parameters
    ----------
    content : bytes
        The file as it is, UTF-8; any YAML style, any line ends.
    crops : mapping of str to str
        Video path to its `crop` value, `"x1, x2, y1, y2"`; paths that the file does not list.

    Raises
    ------
    ExportError
        If the entries cannot be added without changing anything else.
    ValueError
        If a path is listed already, or this is not a project's config.yaml.
    """
    config = parse_config(content)
    listed = crops.keys() & (config[_SECTION] or {}).keys()
    if listed:
        raise ValueError(f"these videos are listed already: {', '.join(sorted(listed))}")
    entries = {key: {"crop": crop} for key, crop in crops.items()}
    wanted = config | {_SECTION: (config[_SECTION] or {}) | entries}
    try:
        grown = _insert(content.decode(), entries, empty=not config[_SECTION]).encode()
        exact = list(parse_config(grown).items()) == list(wanted.items())
    except (UnicodeEncodeError, ValueError, yaml.YAMLError):
        exact = False
    if not exact:
        raise ExportError(
            f"config.yaml must list {', '.join(map(repr, crops))}, and its {_SECTION} is written "
            "in a way that new lines cannot be added to safely. Add it there by hand."
        )
    return grown


def _insert(text: str, entries: dict[str, dict[str, str]], *, empty: bool) -> str:
    key, value = _section(text)
    newline = _line_end(text, key.end_mark.index)[1] or "\n"
    if empty:
        text = text[: value.start_mark.index].rstrip(" ") + text[value.end_mark.index :]
        indent, last = key.start_mark.column + 2, key.end_mark.index
    elif value.flow_style:
        inside = value.start_mark.index + 1
        return text[:inside] + _in_flow_style(entries) + text[inside:]
    else:
        indent, last = value.start_mark.column, _last_index(value)
    at = _line_end(text, last - 1)[0]  # a block scalar ends after its line's end
    lines = _in_block_style(entries, indent, newline)
    gap = "" if text[:at].endswith(("\n", "\r")) else newline
    return text[:at] + gap + lines + text[at:]


def _line_end(text: str, start: int) -> tuple[int, str]:
    """Where the line ends that `start` is in, and the line break that ends it."""
    found = _LINE_BREAK.search(text, start)
    return (found.end(), found.group()) if found else (len(text), "")


def _last_index(node: yaml.Node) -> int:
    """Where the last thing written in a node ends; a block mapping's own end is further down."""
    while isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        node = node.value[-1][1]
    return int(node.end_mark.index)


def _in_block_style(entries: dict[str, dict[str, str]], indent: int, newline: str) -> str:
    block = yaml.safe_dump(
        entries, allow_unicode=True, width=sys.maxsize, sort_keys=False, line_break="\n"
    )
    return "".join(" " * indent + line + newline for line in block.rstrip("\n").split("\n"))


def _in_flow_style(entries: dict[str, dict[str, str]]) -> str:
    parts = []
    for key, value in entries.items():
        mark = "? " if len(key) > _LONGEST_FLOW_KEY else ""
        parts.append(f"{mark}{json.dumps(key, ensure_ascii=False)}: {json.dumps(value)}, ")
    return "".join(parts)


def remove_video_sets(content: bytes, keys: Collection[str]) -> bytes:
    """Take videos off the `video_sets` of a config.yaml, every other byte left alone.

    Parameters
    ----------
    content : bytes
    keys : collection of str
        Video paths; those that are not listed do not matter.

    Returns
    -------
    bytes
        The content as it was where the entries cannot be cut out without changing anything else.
    """
    config = parse_config(content)
    listed = config[_SECTION] or {}
    kept = {key: entry for key, entry in listed.items() if str(key) not in keys}
    if len(kept) == len(listed):
        return content
    try:
        less = _cut(content.decode(), keys, empty=not kept).encode()
        exact = list(parse_config(less).items()) == list((config | {_SECTION: kept}).items())
    except (UnicodeEncodeError, ValueError, yaml.YAMLError):
        exact = False
    return less if exact else content


def _cut(text: str, keys: Collection[str], *, empty: bool) -> str:
    section, value = _section(text)
    if empty:
        start, end = section.end_mark.index, _last_index(value)
        return f"{text[:start]}: {{}}{text[start + len(text[start:end].rstrip()) :]}"
    entries = value.value
    for i in reversed(range(len(entries))):
        if entries[i][0].value not in keys:
            continue
        start = entries[i][0].start_mark.index
        if value.flow_style:
            end = entries[i][1].end_mark.index
            comma = _COMMA.match(text, end)
            end = comma.end() if comma else end
        else:
            start -= entries[i][0].start_mark.column
            end = _line_end(text, _last_index(entries[i][1]) - 1)[0]
        text = text[:start] + text[end:]
    return text


def _section(text: str) -> tuple[yaml.Node, Any]:
    """The nodes of `video_sets` and of its value."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # parse_config has seen to it
    return next((k, v) for k, v in root.value if k.value == _SECTION)
