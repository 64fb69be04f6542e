"""What labelling a season has brought, as one HTML file with plots.

The file needs nothing but itself. Names of videos, seasons and snapshots are other people's
text, and are escaped wherever they appear.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from alwatch.web.page import write_page

_LEFT, _RIGHT, _TOP, _BOTTOM = 10.0, 97.0, 5.0, 86.0  # % of a plot
_TICKS = 4
_VIDEOS_DRAWN = 40


def write_season_page(path: Path, report: Mapping[str, Any], summary: str) -> None:
    """Write a season's report as one self-contained HTML file.

    Parameters
    ----------
    path : Path
        The file to write, in a folder that exists; see `write_page`.
    report : mapping
        What `season_report` gives.
    summary : str
        What it comes to, in a sentence.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    snapshots = list(report["snapshots"])
    change = report["change"]
    view = {
        "report": report,
        "summary": summary,
        "headline": change and (change["honest"] or change["all"]),
        "error_plot": series_plot([row["error_px"] for row in snapshots], _honest(snapshots)),
        "uncertainty_plot": series_plot(
            [_alone(row["uncertainty"]) for row in snapshots], [True] * len(snapshots)
        ),
        "bodyparts": change and pair_plot(change["bodyparts"], "before_px", "after_px"),
        "videos": change and pair_plot(change["videos"][:_VIDEOS_DRAWN], "before_px", "after_px"),
        "n_videos_left_out": max(0, len(change["videos"]) - _VIDEOS_DRAWN) if change else 0,
        "rounds": pair_plot([_round(row) for row in report["rounds"]], "random", "chosen"),
        "name_of": lambda file: Path(file).name,
        "day": lambda moment: moment[:10],
        "px": _px,
        "range": _range,
    }
    write_page(path, "season_page.html.j2", view)


def series_plot(
    values: Sequence[Mapping[str, Any] | None], filled: Sequence[bool]
) -> dict[str, Any]:
    """Where the marks of a series lie, in percent of a plot; of what is not known, none.

    Parameters
    ----------
    values : sequence of {"mean", "low", "high"} or None
        At even steps; bounds that are None are open.
    filled : sequence of bool
        Whether each is drawn filled.

    Returns
    -------
    dict
        `marks` with `x`, `y`, `low`, `high`, `number` (from 1), `filled` and `mean`; `ticks`, each
        a `y` with its `label`; `lines` from one mark to the next.
    """
    known = [value for value in values if value is not None]
    bounds = [value[side] for value in known for side in ("mean", "high")]
    ticks = nice_ticks(max((b for b in bounds if b is not None), default=1.0))
    top = ticks[-1]
    step = (_RIGHT - _LEFT) / max(len(values), 1)

    def y(value: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * min(value / top, 1.0), 2)

    marks = [
        {
            "number": i + 1,
            "x": round(_LEFT + step * (i + 0.5), 2),
            "y": y(value["mean"]),
            "low": y(value["mean"] if value["low"] is None else value["low"]),
            "high": y(value["mean"] if value["high"] is None else value["high"]),
            "filled": filled[i],
            "mean": f"{value['mean']:.3g}",
        }
        for i, value in enumerate(values)
        if value is not None
    ]
    return {
        "marks": marks,
        "lines": list(pairwise(marks)),
        "ticks": [{"y": y(tick), "label": f"{tick:g}"} for tick in ticks],
    }


def pair_plot(rows: Sequence[Mapping[str, Any]], one: str, other: str) -> dict[str, Any]:
    """Rows with two values each, and where these lie, in percent of a strip.

    Parameters
    ----------
    rows : sequence of mappings
    one, other : str
        The keys of the two values; a value may be None.
    """
    values = [row[key] for row in rows for key in (one, other) if row[key] is not None]
    top = nice_ticks(max(values, default=1.0))[-1]

    def x(value: float | None) -> float | None:
        return None if value is None else round(2 + 96 * value / top, 2)

    return {
        "rows": [{**row, "x_one": x(row[one]), "x_other": x(row[other])} for row in rows],
        "top": f"{top:g}",
    }


def nice_ticks(largest: float) -> list[float]:
    """Round numbers from 0 to at least `largest`, about `_TICKS` steps of 1, 2 or 5."""
    if not largest > 0:
        return [0.0, 1.0]
    size = 10 ** math.floor(math.log10(largest / _TICKS))
    step = next(s * size for s in (1, 2, 5, 10) if s * size * _TICKS >= largest * (1 - 1e-9))
    return [step * i for i in range(math.ceil(largest / step * (1 - 1e-9)) + 1)]


def _honest(snapshots: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether a snapshot knows none of the frames that it is compared on."""
    return [
        row["error_px"] is not None and row["honest_frames"] == row["error_px"]["frames"]
        for row in snapshots
    ]


def _alone(mean: float | None) -> dict[str, float | None] | None:
    return None if mean is None else {"mean": mean, "low": None, "high": None}


def _round(row: Mapping[str, Any]) -> dict[str, Any]:
    sides = {"chosen": row["chosen_px"], "random": row["random_px"]}
    return {**row, **{side: found and found["mean"] for side, found in sides.items()}}


def _px(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _range(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "–"
    high = "?" if found["high"] is None else f"{found['high']:.3g}"
    return f"{found['low']:.3g} to {high}"
