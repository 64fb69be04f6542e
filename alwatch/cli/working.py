"""`run`, `ingest` and `score`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alwatch.cli.printing import print_json, print_table
from alwatch.cli.root import alwatch, app_of, json_option, settings_of
from alwatch.errors import SettingsError, shown

if TYPE_CHECKING:
    from alwatch.app import App
    from alwatch.scored import ScoredFrame

_RANKINGS = ["mpe", "mpe_softmax", "confidence", "flip", "change", "ensemble", "learned_loss",
             "novelty", "influence"]  # fmt: skip


@alwatch.command()
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.pass_context
def run(context: click.Context, verbose: bool) -> None:
    """Run the daemon: ingest and score what arrives, notice labels, until it is stopped."""
    from alwatch.app import App
    from alwatch.service import Daemon, Notifier, set_up_logging

    set_up_logging(verbose=verbose, under_journald="JOURNAL_STREAM" in os.environ)
    app = App(settings_of(context), is_daemon=True)
    Daemon(app, Notifier(os.environ.get("NOTIFY_SOCKET"))).run()


@alwatch.command()
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1)
@json_option
@click.pass_context
def ingest(context: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Ingest videos or folders now (without PATHS: the whole archive). Safe to interrupt, repeat.

    Exits with 1 where a video could not be ingested; `alwatch status` gives the reason.
    """
    from alwatch.progress import reporter
    from alwatch.service import Backfill, set_up_logging

    set_up_logging(verbose=False, under_journald=False)
    app = app_of(context)
    with reporter(sys.stderr) as report:
        summary = Backfill(app, report).run([Path(os.path.abspath(path)) for path in paths])
    if as_json:
        print_json(summary.as_dict())
    else:
        click.echo(shown(summary.sentence()))
    context.exit(int(bool(summary.quarantined)))


@alwatch.command()
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", help="List the N frames to look at."
)
@click.option("--season", metavar="SEASON", help="Of this season only, for --top.")
@click.option(
    "--by",
    type=click.Choice(_RANKINGS),
    default="mpe",
    show_default=True,
    help="What --top goes by.",
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="Draw the N first and the N last of that list (50 at most) with their score maps.",
)
@json_option
@click.pass_context
def score(
    context: click.Context,
    top: int | None,
    season: str | None,
    by: str,
    sheet: Path | None,
    as_json: bool,
) -> None:
    """Score every frame by the current pose model, and list where it is least sure.

    What is scored already is not scored again; beside a daemon, which scores by itself, only
    the list is made.
    """
    from alwatch.progress import reporter
    from alwatch.service import score_now, set_up_logging
    from alwatch.sheet import draw_score_sheet
    from alwatch.status import daemon_state

    set_up_logging(verbose=False, under_journald=False)
    app = app_of(context)
    if season is not None:
        app.check_season(season)
    if sheet is not None and not sheet.absolute().parent.is_dir():
        raise SettingsError(f"--sheet is {shown(sheet)}; its folder is not there. Make it first.")
    summary = None
    if by != "influence" or sheet is not None:  # which the embeddings tell, without a model
        with reporter(sys.stderr) as report:
            summary = score_now(app, report)
        beside = f"Nothing is scored now: alwatch is {daemon_state(app.settings.state_dir)} and "
        told = summary.sentence() if summary else beside + "scores by itself if it is the daemon."
        click.echo(shown(told), err=as_json)
    rows = []
    if top is not None or sheet is not None:
        ranked = app.ranked_frames(by, season)
        rows = _ranked_rows(app, ranked[: top or 6])
        if sheet is not None:
            draw_score_sheet(app, sheet, ranked, count=min(top or 6, 50), by=by)
            click.echo(f"Drew {shown(sheet)}.", err=as_json)
    if as_json:
        print_json({"scoring": summary.as_dict() if summary else None, "frames": rows})
    elif rows:
        print_table(rows, ["score", "bodypart", "presence", "frame", "video"])
    context.exit(int(summary is not None and bool(summary.failed)))


def _ranked_rows(app: App, ranked: Sequence[ScoredFrame]) -> list[dict[str, Any]]:
    videos = app.store.videos.by_id(frame.video_id for frame in ranked)
    return [
        {
            "video": str(videos[frame.video_id].path),
            "frame": frame.frame,
            "score": round(frame.score, 4),
            "bodypart": frame.bodypart,
            "presence": round(frame.presence, 4),
        }
        for frame in ranked
    ]
