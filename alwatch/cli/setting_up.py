"""`init`, `check` and `demo`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from alwatch.cli.printing import print_json
from alwatch.cli.root import alwatch, json_option, settings_of
from alwatch.errors import SettingsError, shown


@alwatch.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("alwatch.yaml"))
@click.option(
    "--archive",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder of videos to watch.",
)
@click.option("--full", is_flag=True, help="Write every setting, not only the common ones.")
def init(file: Path, archive: Path | None, full: bool) -> None:
    """Write a commented settings FILE (default: alwatch.yaml)."""
    from alwatch.config import commented_settings

    text = commented_settings(Path(os.path.abspath(archive)) if archive else None, full=full)
    try:
        with open(file, "x", encoding="utf-8") as output:
            output.write(text)
    except FileExistsError:
        raise SettingsError(
            f"{file} exists already and was left as it is; name another file, or remove it."
        ) from None
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}.") from error
    click.echo(f"Wrote {shown(file)}. Next: look through it, then `alwatch check`.")


@alwatch.command()
@json_option
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Say what is wrong on this machine (disk, limits, codecs, weights, …), and the remedy."""
    from alwatch.check import check_machine

    settings = settings_of(context)
    findings = []
    for finding in check_machine(settings):
        findings.append(finding)
        if not as_json:
            mark = {"ok": "ok  ", "warning": "warn", "fault": "FAIL"}[finding.level]
            click.echo(f"{mark}  {finding.subject}: {shown(finding.found)}")
            if finding.remedy:
                click.echo(f"      -> {shown(finding.remedy)}")
    if as_json:
        print_json({"findings": [finding.as_dict() for finding in findings]})
    context.exit(int(any(finding.level == "fault" for finding in findings)))


@alwatch.command()
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("alwatch-demo"),
    show_default=True,
    help="Folder to make it in.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, help="Draws another archive.")
def demo(into: Path, seed: int) -> None:
    """Play two seasons with the real daemon: drift, queue, labels, retraining, judgement."""
    from alwatch.demo.run import run_demo

    page = run_demo(into.absolute(), seed=seed, say=click.echo)
    click.echo(f"Open {page} in a browser.")
