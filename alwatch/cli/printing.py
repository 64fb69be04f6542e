"""How tables and JSON are printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from alwatch.errors import shown

if TYPE_CHECKING:
    from alwatch.seasons import SeasonFigures

QUEUE_COLUMNS = [
    "queue", "season", "strategy", "frames", "labelled", "skipped", "state", "exported_to"
]  # fmt: skip


SEASON_COLUMNS = [
    "season", "videos", "frames", "labelled", "queued", "coverage", "error", "drift", "novel",
    "state",
]  # fmt: skip


def print_json(value: object) -> None:
    """Print a value for scripts."""
    click.echo(json.dumps(value, indent=1))


def print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Print these columns of some rows, aligned, for a person."""
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in [columns, *cells]:
        click.echo("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def print_seasons(seasons: Sequence[tuple[dict[str, Any], SeasonFigures | None]]) -> None:
    """Print seasons with their figures as a table, and below it what it has no room for."""
    from alwatch.status import season_cells, season_notes

    print_table([season_cells(row, figures) for row, figures in seasons], SEASON_COLUMNS)
    for row, figures in seasons:
        for note in season_notes(row, figures):
            click.echo(f"    {shown(note)}")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, (list, tuple)):
        return shown(", ".join(map(str, value))) or "-"
    return shown(value)
