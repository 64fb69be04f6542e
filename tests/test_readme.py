"""The README, `--help`, the samples in config/ and the code say the same.

Run as a program, this file rewrites the README's table of settings.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alwatch.app import PARTS
from alwatch.cli import alwatch
from alwatch.config import settings_table
from alwatch.strategies.registry import STRATEGIES
from tests.test_architecture import MAY_IMPORT
from tests.test_cli import every_command

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN = "<!-- settings: begin (written by `python -m tests.test_readme`) -->\n"
END = "<!-- settings: end -->"


def table_of_settings() -> str:
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, default, description in settings_table():
        cells = (f"`{name}`", default, description)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def test_the_table_of_settings_is_that_of_the_code() -> None:
    text = README.read_text(encoding="utf-8")
    found = text.split(BEGIN)[1].split(END)[0]
    assert found == table_of_settings(), "run `python -m tests.test_readme`"


@pytest.mark.parametrize("command", every_command(alwatch), ids=" ".join)
def test_every_command_is_in_the_readme(command: tuple[str, ...]) -> None:
    assert f"| `alwatch {' '.join(command)}" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_is_in_the_readme(strategy: str) -> None:
    table = (
        README.read_text(encoding="utf-8").split("| name | how it chooses |")[1].split("\n\n")[0]
    )
    assert f"`{strategy}`" in "".join(line.split("|")[1] for line in table.splitlines()[1:])


def test_every_embedder_is_named_where_embedders_are_set() -> None:
    described = next(text for name, _, text in settings_table() if name == "embedding.model")
    for name in PARTS["embedder"]:
        assert name in described


def test_the_table_of_rooms_is_the_one_that_is_tested() -> None:
    text = README.read_text(encoding="utf-8").split("| room |")[1].split("\n\n")[0]
    rows = [line.split("|")[1:4] for line in text.splitlines()[2:]]
    told = {}
    for rooms, _, may in rows:
        for room in re.findall(r"`(\w+)(?:\.py|/)`", rooms):
            told[room] = may.strip()
    assert set(told) == set(MAY_IMPORT)
    for room, may in told.items():
        if "below" not in may and "all of" not in may:
            allowed = set() if may == "nothing" else set(may.split(", "))
            assert allowed == MAY_IMPORT[room], room


def test_the_first_two_commands_are_one_line_each_from_a_bare_python() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[:2]
    for block, ending in zip(blocks, ("alwatch demo", "pytest -n 2 --dist loadfile"), strict=True):
        assert block.startswith("python3 -m venv .venv && ")
        assert block.strip().endswith(ending)
        assert block.count("\n") == 1


if __name__ == "__main__":
    whole = README.read_text(encoding="utf-8")
    head, rest = whole.split(BEGIN)
    README.write_text(head + BEGIN + table_of_settings() + END + rest.split(END)[1], "utf-8")
