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
from alwatch.simulate.presets import INDIVIDUAL, NETWORKS, PRESETS, spelled


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


class _Sessions(click.ParamType[float]):
    """How many sessions, or which share of them: 4 or 66.7%."""

    name = "sessions"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = re.fullmatch(r"([1-9]\d*)|(\d{1,2}(?:\.\d+)?)%", str(value))
        if match is None or (match[2] and float(match[2]) == 0):
            self.fail(f"{value!r} is neither a number such as 4 nor a share such as 66.7%.")
        return float(match[1]) if match[1] else float(match[2]) / 100


def _use_preset(ctx: click.Context, param: click.Parameter, name: str | None) -> None:
    """Make a preset's values the defaults of all other options."""
    if name is not None:
        ctx.default_map = {**(ctx.default_map or {}), **PRESETS[name]}


_PRESETS = "\n\n".join(
    "\n".join(["\b", f"--preset {name}, with other values where given, is", *spelled(name)])
    for name in PRESETS
)


@alwatch.command(epilog=_PRESETS)
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
    "--preset",
    type=click.Choice(list(PRESETS)),
    is_eager=True,
    expose_value=False,
    callback=_use_preset,
    help="Other defaults: the experiment of the DeepLabCut study on Horse-10 (see below).",
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
    default=INDIVIDUAL,
    show_default=True,
    metavar="PATTERN",
    help="Its first group, in a video's name, is the individual.",
)
@click.option(
    "--session",
    metavar="PATTERN",
    help="Its first group is the session; whole sessions are held out, and no other frame of who "
    "is in them is used. By default each video, or each individual where --individual is given.",
)
@click.option(
    "--test-sessions",
    type=_Sessions(),
    default="1",
    show_default=True,
    metavar="SESSIONS",
    help="Held out: a number, or a share such as 20%.",
)
@click.option(
    "--test-frames",
    type=click.IntRange(min=0),
    default=300,
    show_default=True,
    help="Of the test, evenly spaced; 0: all.",
)
@click.option(
    "--base-individuals",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Labelled at the start.",
)
@click.option(
    "--base-frames",
    type=click.IntRange(min=0),
    default=60,
    show_default=True,
    help="Of these, labelled at the start; 0: all.",
)
@click.option(
    "--features",
    default="pose",
    show_default=True,
    metavar="NAME",
    help="By which frames are compared: the base model's backbone (pose), hog, alexnet, a DINO as "
    "embedding.model names it, or the true poses (truth), which no lab has.",
)
@click.option(
    "--features-weights",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Weights of that network; by default they come from its hub.",
)
@click.option(
    "--predicted",
    is_flag=True,
    help="Take predictions in SLEAP projects as truth where nobody has labelled.",
)
@click.option(
    "--reference",
    metavar="A,B",
    help="Two bodyparts whose distance is the animal's length (Eye and Nose where there are such, "
    "else the first and the last).",
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
    "--trainer",
    type=click.Choice(["unet", "deeplabcut"]),
    default="unet",
    show_default=True,
    help="The network that is trained: alwatch's own small U-Net, or one of DeepLabCut 3.",
)
@click.option(
    "--network",
    type=click.Choice(NETWORKS),
    default="resnet_50",
    show_default=True,
    help="Of DeepLabCut.",
)
@click.option(
    "--backbone-weights",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="From which DeepLabCut's network starts (random weights); nothing is downloaded.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    help="On which DeepLabCut trains, and a network of --features works: cpu, cuda, cuda:N, or "
    "auto. The U-Net trains on the processor.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=400,
    show_default=True,
    help="Of each training, of 16 frames each; for DeepLabCut, the nearest number of epochs.",
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
    the bodyparts that all have count. A network is trained on what is labelled at the
    start; each strategy chooses, the truth answers, and the network is trained anew and tested on
    animals that it has never seen. An interrupted run goes on where it was.
    """
    from alwatch.simulate.command import run_simulation

    error = options["error"]
    summary = run_simulation(
        options, on_row=lambda row: click.echo(_experiment_line(row, error), err=True)
    )
    if as_json:
        print_json(summary.as_dict())
        return
    print_table(summary.table(), ["strategy", *summary.curves[0].budgets, *_CURVE])
    click.echo(f"See {shown(options['out'] / 'report.html')}.")


_CURVE = ["area", "difference", "p_holm", "labels", "to 90 %"]


def _experiment_line(row: dict[str, Any], error: str) -> str:
    labels = f"{row['labels']} labels of {row['individuals']} animals"
    return f"seed {row['seed']}  {row['strategy']}  {labels}: {error} {row[error]:.3g}"
