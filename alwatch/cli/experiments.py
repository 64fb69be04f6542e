"""`simulate`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import click

from alwatch.cli.printing import print_json, print_table
from alwatch.cli.root import alwatch, json_option
from alwatch.errors import shown


class _Budgets(click.ParamType[tuple[str, ...]]):
    """Numbers of labels or shares of the pool, rising: 10,20,40 or 2%,5%,10%."""

    name = "budgets"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        parts = [part.strip() for part in value.split(",")]
        is_share = all(re.fullmatch(r"\d+(\.\d+)?%", part) for part in parts)
        is_number = all(re.fullmatch(r"\d+", part) for part in parts)
        sizes = [float(part.rstrip("%")) for part in parts] if is_share or is_number else [0.0]
        if min(sizes) <= 0 or (is_share and max(sizes) > 100) or len(set(sizes)) < len(sizes):
            self.fail(f"{value!r} is no list such as 10,20,40 or 2%,5%,10%.", param, ctx)
        return tuple(sorted(parts, key=lambda part: float(part.rstrip("%"))))


@alwatch.command()
@click.argument(
    "projects",
    nargs=-1,
    required=True,
    metavar="PROJECT...",
    type=click.Path(path_type=Path, dir_okay=False),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Where the experiments and the report are kept.",
)
@click.option(
    "--strategies",
    default="stride,random,herding",
    show_default=True,
    metavar="NAMES",
    help="Names, each perhaps with limits: minmax@equal_share_max=1.3+outlier_share=0.03.",
)
@click.option(
    "--baseline",
    default="stride",
    show_default=True,
    metavar="NAME",
    help="The strategy that the others are compared with.",
)
@click.option(
    "--budgets",
    type=_Budgets(),
    default="10,20,40,80",
    show_default=True,
    metavar="BUDGETS",
    help="Numbers of labels, or shares of the pool: 2%,5%,10%.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 10_000),
    default=5,
    show_default=True,
    help="How many splits; each draws who is labelled, pooled and held out.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="A training after each.",
)
@click.option(
    "--individual",
    default="^(.*?)(/#.*)?$",
    show_default=True,
    metavar="PATTERN",
    help="Its first group, in a video's name, is the individual.",
)
@click.option(
    "--session",
    default="^([^/]*)",
    show_default=True,
    metavar="PATTERN",
    help="Its first group is the session; whole sessions are held out.",
)
@click.option("--test-sessions", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--test-frames", type=click.IntRange(min=1), default=300, show_default=True)
@click.option(
    "--base-individuals",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Labelled at the start.",
)
@click.option("--base-frames", type=click.IntRange(min=1), default=60, show_default=True)
@click.option(
    "--features",
    type=click.Choice(["pose", "hog"]),
    default="pose",
    show_default=True,
    help="By which frames are compared: the base model's backbone, or HOG.",
)
@click.option(
    "--predicted",
    is_flag=True,
    help="Take predictions in SLEAP projects as truth where nobody has labelled.",
)
@click.option(
    "--reference",
    metavar="A,B",
    help="Two bodyparts whose distance is the animal's length (the first and the last).",
)
@click.option(
    "--error",
    default="mean_px",
    show_default=True,
    type=click.Choice(
        ["mean_px", "rmse_px", "normalised", "worst_individual_px", "pool_px", "pool_worst_px"]
    ),
)
@click.option(
    "--size",
    "size_px",
    type=click.IntRange(min=16),
    default=96,
    show_default=True,
    help="Side of the network's input, a multiple of 16.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=400,
    show_default=True,
    help="Of each training of the U-Net.",
)
@click.option(
    "--more-steps",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Train the base model on by so many steps once labels have come; 0: train anew.",
)
@click.option(
    "--width",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Channels of the U-Net.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=os.cpu_count() or 1,
    help="Processes; one for each core by default.",
)
@json_option
def simulate(as_json: bool, **options: Any) -> None:
    """Would a strategy have saved labels? Try it on the labelled frames of PROJECTs.

    PROJECT is the config.yaml of a DeepLabCut project, or the .slp of a SLEAP project. Of several,
    the bodyparts that all have count. A small network is trained on what is labelled at the
    start; each strategy chooses, the truth answers, and the network is trained anew and tested on
    animals that it has never seen. An interrupted run goes on where it was.
    """
    from alwatch.simulate.command import run_simulation

    summary = run_simulation(
        options, on_row=lambda row: click.echo(_experiment_line(row), err=True)
    )
    if as_json:
        print_json(summary.as_dict())
        return
    print_table(summary.table(), ["strategy", *summary.curves[0].budgets, *_CURVE])
    click.echo(f"See {shown(options['out'] / 'report.html')}.")


_CURVE = ["area", "difference", "p_holm", "labels"]


def _experiment_line(row: dict[str, Any]) -> str:
    labels = f"{row['labels']} labels of {row['individuals']} animals"
    return f"seed {row['seed']}  {row['strategy']}  {labels}: {row['mean_px']:.2f} px"
