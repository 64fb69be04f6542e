"""What the experiments say: a table, learning curves, and whether a difference is one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from alwatch.simulate.conditions import BASE, WHOLE_POOL
from alwatch.simulate.measures import (
    Difference,
    area_under_curve,
    differences,
    labels_needed,
)

_COLOURS = ("#0b63b5", "#c44601", "#1b8a5a", "#7b4fb5", "#8a6d00", "#c2257a", "#3c7d8c", "#5d5d5d")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 760, 420, 64, 48, 16, 16
_REACH_SHARE = 0.9
"""How far from the base's error to the whole pool's a strategy is to come."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A strategy's learning curve over the seeds that have run it at every budget.

    Parameters
    ----------
    strategy : str
    budgets : tuple of str
        As they were asked for.
    labels : tuple of float
        How many that was, averaged over the seeds.
    mean, standard_error : tuple of float
        Of the error at each budget, over the seeds.
    area : float
        Mean height of the curve over log(labels), averaged over the seeds.
    labels_to_reach : float
        Labels that bring the mean curve 90 % of the way from the base's error to that of the
        whole pool; infinity where it does not get there, or where that is no better.
    labels_ratio : float or None
        Share of the baseline's labels at the middle budget that reaches the baseline's error
        there; None for the baseline itself.
    individuals : float
        Individuals among the labels, at the largest budget.
    worst_individual_px : float
        At the largest budget.
    difference : Difference or None
        Of the areas, to the baseline.
    """

    strategy: str
    budgets: tuple[str, ...]
    labels: tuple[float, ...]
    mean: tuple[float, ...]
    standard_error: tuple[float, ...]
    area: float
    labels_to_reach: float
    labels_ratio: float | None
    individuals: float
    worst_individual_px: float
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All curves, with what bounds them.

    `error` names the measure: `mean_px`, `normalised` and so on. `base` and `whole_pool` are its
    means without a label, and with the whole pool labelled.
    """

    error: str
    baseline: str
    seeds: tuple[int, ...]
    base: float
    whole_pool: float
    curves: tuple[Curve, ...]

    def table(self) -> list[dict[str, Any]]:
        """A row per strategy, for a person."""
        rows = []
        for curve in self.curves:
            difference, row = (
                curve.difference,
                dict(zip(curve.budgets, curve.mean, strict=True)),
            )
            rows.append(
                {
                    "strategy": curve.strategy,
                    **row,
                    "area": curve.area,
                    "difference": None
                    if difference is None
                    else f"{difference.mean:+.3g} ({difference.low:+.3g}, {difference.high:+.3g})",
                    "p_holm": difference and difference.p_holm,
                    "labels": None if curve.labels_ratio is None else _percent(curve.labels_ratio),
                    "to 90 %": f"{curve.labels_to_reach:.0f}"
                    if np.isfinite(curve.labels_to_reach)
                    else "never",
                }
            )
        return rows

    def as_dict(self) -> dict[str, Any]:
        """For JSON; infinity, which JSON has not, as null."""
        return json.loads(json.dumps(_finite(asdict(self))))  # type: ignore[no-any-return]


def summarise(rows: Sequence[dict[str, Any]], *, baseline: str, error: str) -> Summary:
    """Sum up experiments; seeds that lack one of them are left out.

    Parameters
    ----------
    rows : sequence of dict
        As `run_plan` gives them.
    baseline : str
        The strategy that the others are compared with.
    error : str
        The column to compare: `mean_px`, `rmse_px`, `normalised` or `worst_individual_px`.
    """
    contenders = [n for n in dict.fromkeys(r["strategy"] for r in rows) if n not in _BOUNDS]
    budgets = list(dict.fromkeys(r["asked"] for r in rows if r["strategy"] not in _BOUNDS))
    at = {(row["strategy"], row["asked"], row["seed"]): row for row in rows}
    wanted = [(BASE, "0"), (WHOLE_POOL, "100%"), *((c, b) for c in contenders for b in budgets)]
    every_seed = sorted({row["seed"] for row in rows})
    seeds = [s for s in every_seed if all((name, b, s) in at for name, b in wanted)]

    def values(name: str, budget: str, column: str = error) -> np.ndarray:
        return np.array([at[name, budget, seed][column] for seed in seeds], float)

    base, whole = values(BASE, "0").mean(), values(WHOLE_POOL, "100%").mean()
    # Where the whole pool is no better than no label, there is no way to go.
    target_of_all = base + _REACH_SHARE * (whole - base) if whole < base else -np.inf
    of = {name: np.stack([values(name, b) for b in budgets], axis=1) for name in contenders}
    labels = {
        name: np.stack([values(name, b, "labels") for b in budgets], axis=1).clip(min=1)
        for name in contenders
    }
    areas = {
        name: np.array([area_under_curve(x, y) for x, y in zip(labels[name], curves, strict=True)])
        for name, curves in of.items()
    }
    compared = differences(areas, baseline, np.random.default_rng(0)) if baseline in areas else {}
    middle = len(budgets) // 2
    curves = []
    for name in contenders:
        mean, spent = of[name].mean(axis=0).tolist(), labels[name].mean(axis=0).tolist()
        ratio = None
        if baseline in of and name != baseline:
            target = float(of[baseline].mean(axis=0)[middle])
            at_middle = float(labels[baseline].mean(axis=0)[middle])
            ratio = labels_needed(spent, mean, target) / at_middle
        curves.append(
            Curve(
                strategy=name,
                budgets=tuple(budgets),
                labels=tuple(spent),
                mean=tuple(mean),
                standard_error=tuple(
                    (of[name].std(axis=0, ddof=1) / len(seeds) ** 0.5).tolist()
                    if len(seeds) > 1
                    else [0.0] * len(budgets)
                ),
                area=float(areas[name].mean()),
                labels_to_reach=labels_needed(spent, mean, float(target_of_all)),
                labels_ratio=ratio,
                individuals=float(values(name, budgets[-1], "individuals").mean()),
                worst_individual_px=float(values(name, budgets[-1], "worst_individual_px").mean()),
                difference=compared.get(name),
            )
        )
    curves.sort(key=lambda curve: curve.area)
    return Summary(error, baseline, tuple(seeds), float(base), float(whole), tuple(curves))


def rows_as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Every experiment as a line of CSV."""
    out = io.StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)  # older rows may have fewer
    writer = csv.DictWriter(out, list(columns), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        flat = {k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()}
        writer.writerow(flat)
    return out.getvalue()


def write_report(folder: Path, rows: Sequence[dict[str, Any]], summary: Summary) -> Path:
    """Write experiments.csv, summary.json, curves.svg and report.html; the page's path."""
    environment = Environment(
        loader=PackageLoader("alwatch.simulate", "."), autoescape=True, undefined=StrictUndefined
    )
    svg = environment.get_template("curves.svg.j2").render(chart=_chart(summary))
    page = environment.get_template("report.html.j2").render(
        summary=summary, chart=_chart(summary), n_experiments=len(rows)
    )
    for name, text in (
        ("experiments.csv", rows_as_csv(rows)),
        ("summary.json", json.dumps(summary.as_dict(), indent=1)),
        ("curves.svg", svg),
        ("report.html", page),
    ):
        staged = folder / f".{name}.part"
        staged.write_text(text, encoding="utf-8")
        staged.replace(folder / name)
    return folder / "report.html"


_BOUNDS = (BASE, WHOLE_POOL)


def _percent(share: float) -> str:
    return f"{share:.0%}" if np.isfinite(share) else "never"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _chart(summary: Summary) -> dict[str, Any]:
    """Where everything of the plot lies, in its own pixels."""
    ticks = list(zip(summary.curves[0].labels, summary.curves[0].budgets, strict=True))
    heights = [h for c in summary.curves for m, e in zip(c.mean, c.standard_error, strict=True)
               for h in (m - e, m + e)]  # fmt: skip
    # The scale is the curves' own: what bounds them may lie far outside, and the text tells it.
    low, top = min(heights), max(heights)
    low, top = low - 0.05 * (top - low or 1), top + 0.05 * (top - low or 1)
    every = np.log([n for curve in summary.curves for n in curve.labels])
    first, span = every.min(), np.ptp(every) or 1.0

    def x(n_labels: float) -> float:
        share = (np.log(n_labels) - first) / span
        return round(float(_LEFT + 12 + share * (_WIDTH - _LEFT - _RIGHT - 24)), 1)

    def y(error: float) -> float:
        return round(float(_TOP + (top - error) / (top - low) * (_HEIGHT - _TOP - _BOTTOM)), 1)

    lines = []
    for number, curve in enumerate(summary.curves):
        points = [(x(b), y(m)) for b, m in zip(curve.labels, curve.mean, strict=True)]
        errors = [
            (x(b), y(m - e), y(m + e))
            for b, m, e in zip(curve.labels, curve.mean, curve.standard_error, strict=True)
        ]
        lines.append(
            {
                "name": curve.strategy,
                "colour": _COLOURS[number % len(_COLOURS)],
                "dash": "" if number < len(_COLOURS) else "5 4",
                "points": points,
                "bars": errors,
                "label_y": _HEIGHT + 14 + 18 * number,
            }
        )
    return {
        "width": _WIDTH,
        "height": _HEIGHT + 12 + 18 * len(lines),
        "left": _LEFT,
        "right": _WIDTH - _RIGHT,
        "bottom": _HEIGHT - _BOTTOM,
        "legend_x": _LEFT,
        "x_ticks": [(x(n), asked) for n, asked in ticks],
        "y_ticks": [(y(v), f"{v:.3g}") for v in np.linspace(low, top, 6)[1:-1]],
        "bounds": [
            (name, y(value))
            for name, value in (("base", summary.base), ("whole pool", summary.whole_pool))
            if low <= value <= top
        ],
        "lines": lines,
        "error": summary.error,
    }
