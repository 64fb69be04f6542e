"""Reads a YAML settings file into plain data, and remembers where everything stood.

Every value stays the text that was written; what it means is for the setting to decide. YAML's
own guesses would read the season `no` as false, 007 as 7 and 1:30 as 90.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from alwatch.errors import SettingsError

Location = tuple[str | int, ...]
"""Keys and list positions that lead to a value: `("archive", 0, "path")`."""

_LARGEST_FILE_BYTES = 1_000_000
_LONGEST_SHOWN = 80
_TAG_PREFIX = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(
    _TAG_PREFIX + name
    for name in ["str", "int", "float", "bool", "null", "timestamp", "merge", "value", "seq", "map"]
)
_UNREADABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


@dataclass(slots=True)
class Document:
    """The content of one YAML file.

    Parameters
    ----------
    data : dict
        Nested dicts and lists of texts; None where a value was left empty.
    marks : dict of Location to (line, column)
        Where each key or list item starts, counted from 0.
    faults : list of ((line, column), sentence)
        What is wrong with the YAML itself although it could be read.
    """

    data: dict[str, Any]
    marks: dict[Location, tuple[int, int]] = field(default_factory=dict)
    faults: list[tuple[tuple[int, int], str]] = field(default_factory=list)

    def mark(self, location: Location) -> tuple[int, int]:
        """Line and column of a value, or of the nearest thing around it that was written."""
        while location and location not in self.marks:
            location = location[:-1]
        return self.marks.get(location, (0, 0))


def read_yaml(path: Path) -> Document:
    """Read a settings file.

    Raises
    ------
    SettingsError
        The file cannot be read, is no YAML, or holds something else than keys with values.
    """
    text = _text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise SettingsError(_syntax_fault(path, error)) from None
    except RecursionError:
        raise SettingsError(f"{path} is nested too deeply. Correct the file.") from None
    except (ValueError, OverflowError) as error:  # PyYAML on numbers that no character has
        raise SettingsError(f"{path} is not valid YAML: {error}. Correct the file.") from None
    if root is None or root.tag == _TAG_PREFIX + "null":
        raise SettingsError(
            f"{path} is empty; it must at least name an archive. "
            "Write a settings file with `alwatch init`."
        )
    if not isinstance(root, yaml.MappingNode):
        found = "a list" if isinstance(root, yaml.SequenceNode) else shown(root.value)
        raise SettingsError(
            f"{path} holds {found}; it must hold settings, each as `name: value`. "
            "Write a settings file with `alwatch init`."
        )
    document = Document({})
    data = _Converter(path, document).plain(root, ())
    if not isinstance(data, dict):
        raise SettingsError(*(sentence for _, sentence in document.faults))
    document.data = data
    return document


def key_path(location: Location) -> str:
    """Write a location the way a person would: `archive[0].path`."""
    parts = ""
    for part in location:
        if isinstance(part, int):
            parts += f"[{part}]"
        elif re.fullmatch(r"[\w-]+", part):
            parts += f".{part}" if parts else part
        else:
            parts += f"[{_quoted(part)}]"
    return parts


def shown(value: object) -> str:
    """Say in a few words what was found as a value."""
    if value is None:
        return "not set"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "empty"
    if isinstance(value, dict):
        return "a group of settings" if value else "empty"
    text = str(value)
    plain = text.isprintable() and text == text.strip() != ""
    return _shortened(text) if plain else _quoted(text)


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST_SHOWN:
        return text
    return f"{text[: _LONGEST_SHOWN - 20]}…{text[-19:]}"


def _quoted(text: str) -> str:
    short = _shortened(text)
    return f'"{short if short.isprintable() else short.encode("unicode_escape").decode("ascii")}"'


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        raise SettingsError(
            f"{path} does not exist; it must be a settings file. Write one with `alwatch init`."
        ) from None
    except IsADirectoryError:
        raise SettingsError(
            f"{path} is a folder; it must be a settings file. Name the file in it."
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read ({error.strerror}); check its owner and permissions."
        ) from None
    if len(raw) > _LARGEST_FILE_BYTES:
        raise SettingsError(
            f"{path} is larger than {_LARGEST_FILE_BYTES} bytes; that is no settings file. "
            "Name another file."
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SettingsError(
            f"{path}, line {line}: byte 0x{raw[error.start]:02x} is not UTF-8 text. "
            "Save the file as UTF-8."
        ) from None


def _syntax_fault(path: Path, error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return (
            f"{path} holds a character that YAML does not allow (number {error.character} "
            f"at position {error.position}). Remove it from the file."
        )
    problem, place = "it cannot be understood", ""
    if isinstance(error, yaml.MarkedYAMLError):
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        if "'\\t'" in problem:
            problem = "a tab stands where only spaces may; indent with spaces"
        elif "<block" in problem:
            problem = "the indentation does not fit the lines above"
        elif "unknown escape" in problem:
            problem += "; in double quotes a backslash is special, use single quotes"
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{path}{place}: not valid YAML, {' '.join(problem.split())}. Correct it there."


class _Converter:
    """Turns YAML nodes into plain data, and notes marks and faults in the document."""

    def __init__(self, path: Path, document: Document) -> None:
        self._path = path
        self._document = document
        self._met: set[int] = set()

    def plain(self, node: yaml.Node, at: Location) -> Any:
        """Convert a node and all that is in it; None where that is not allowed."""
        if id(node) in self._met:
            self._fault(node, f"{key_path(at)} repeats this value by an alias (*); write it out")
            return None
        self._met.add(id(node))
        if node.tag not in _PLAIN_TAGS:
            tag = node.tag.replace(_TAG_PREFIX, "!!")
            self._fault(node, f"the tag {shown(tag)} is not allowed in settings")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            for i, item in enumerate(node.value):
                self._document.marks[(*at, i)] = _mark(item)
            return [self.plain(item, (*at, i)) for i, item in enumerate(node.value)]
        if node.tag == _TAG_PREFIX + "null":
            return None
        if _UNREADABLE.search(node.value):
            self._fault(node, f"{key_path(at)} holds a control character; remove it")
            return None
        return node.value

    def _mapping(self, node: yaml.MappingNode, at: Location) -> dict[str, Any]:
        """Convert a mapping; of a key that is set twice the first value counts."""
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, "a name must be plain text, not a list or group")
                continue
            key = key_node.value
            location = (*at, key)
            if key in result:
                first = self._document.marks[location][0] + 1
                self._fault(key_node, f"{key_path(location)} is already set in line {first}")
                continue
            self._document.marks[location] = _mark(key_node)
            result[key] = self.plain(value_node, location)
        return result

    def _fault(self, node: yaml.Node, problem: str) -> None:
        line, column = _mark(node)
        sentence = f"{self._path}, line {line + 1}: {problem}. Correct it there."
        self._document.faults.append(((line, column), sentence))


def _mark(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line, node.start_mark.column
