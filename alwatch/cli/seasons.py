"""`seasons`: what each season is like, and what labelling has brought."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alwatch.cli.printing import print_json, print_seasons, print_table
from alwatch.cli.root import ShortGroup, alwatch, app_of, json_option
from alwatch.errors import SettingsError, shown
from alwatch.seasons.figures import Interval
from alwatch.seasons.words import error_in_short


@alwatch.group(
    cls=ShortGroup, short_for="list", alone=True, subcommand_metavar="[COMMAND] [ARGS]..."
)
def seasons() -> None:
    """Seasons: list them all, show one, or report what labelling it has brought."""


@seasons.command("list")
@json_option
@click.pass_context
def seasons_list(context: click.Context, as_json: bool) -> None:
    """List every season with its figures and state, and how every snapshot does on it."""
    from alwatch.status import season_row

    app = app_of(context)
    figures, states = app.seasons(), app.store.seasons.states()
    found = [
        (
            season_row(counts, figures[counts.season], states.get(counts.season)),
            figures[counts.season],
        )
        for counts in app.store.pools.season_counts()
        if counts.season in figures
    ]
    by_snapshot = [
        {
            "season": row.season,
            "snapshot": row.snapshot.name,
            "sha256": row.snapshot.sha256,
            "frames": row.frames,
            "uncertainty": row.uncertainty,
            "error_px": row.error_px,
            "labelled_frames": row.labelled_frames,
        }
        for row in sorted(app.snapshots_on_seasons(), key=lambda row: row.season)
    ]
    if as_json:
        print_json({"seasons": [row for row, _ in found], "snapshots": by_snapshot})
        return
    print_seasons(found)
    if by_snapshot:
        click.echo()
        columns = ["season", "snapshot", "frames", "uncertainty", "error_px", "labelled_frames"]
        print_table(by_snapshot, columns)


@seasons.command("show")
@click.argument("season")
@json_option
@click.pass_context
def seasons_show(context: click.Context, season: str, as_json: bool) -> None:
    """Show all figures of SEASON and what they mean, and how its state has changed."""
    from alwatch.status import season_details

    details = season_details(app_of(context), season)
    if as_json:
        print_json(details.row)
        return
    row = details.row
    since = f" since {row['since']}: {row['reason']}" if row["since"] else ""
    click.echo(shown(f"Season {season}: {row['state']}{since}"))
    for name, sentence in details.sentences:
        click.echo(f"  {name:12}  {shown(sentence)}")
        for line in details.below.get(name, ()):
            click.echo(f"  {'':14}{shown(line)}")
    if row["history"]:
        click.echo()
        print_table(row["history"], ["at", "state", "reason"])


@seasons.command("report")
@click.argument("season")
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="Also write it with its plots as one page.",
)
@json_option
@click.pass_context
def seasons_report(context: click.Context, season: str, page: Path | None, as_json: bool) -> None:
    """Report what labelling SEASON has brought: the model before and after, round by round."""
    from alwatch.season_report import season_report, summary_of

    app = app_of(context)
    app.check_season(season, option="SEASON")
    if page is not None and not page.absolute().parent.is_dir():
        raise SettingsError(f"--page is {shown(page)}; its folder is not there. Make it first.")
    report = season_report(app.store, season, app.seasons()[season])
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    if page is not None:
        from alwatch.web.season_page import write_season_page

        write_season_page(page, report, summary_of(report))
        click.echo(f"Wrote {shown(page)}.", err=as_json)


def _print_report(report: dict[str, Any]) -> None:
    from alwatch.season_report import summary_of

    click.echo(shown(f"Season {report['season']}: {summary_of(report)}"))
    if report["snapshots"]:
        click.echo("\nSnapshots, on the same audited frames:")
        rows = [
            row | {"error": _error(row["error_px"]), "honest": _error(row["honest_error_px"])}
            for row in report["snapshots"]
        ]
        print_table(
            rows, ["snapshot", "since", "labels", "uncertainty", "error", "honest", "honest_frames"]
        )
    if report["change"]:
        click.echo()
        click.echo(shown(f"From {report['change']['before']} to {report['change']['after']}:"))
        print_table(report["change"]["bodyparts"], ["bodypart", "before_px", "after_px", "frames"])
        videos = [row | {"video": Path(row["video"]).name} for row in report["change"]["videos"]]
        print_table(videos, ["video", "before_px", "after_px", "frames", "honest"])
    if report["rounds"]:
        click.echo("\nRounds, px; random frames stand for what uniform sampling would have found:")
        rows = [
            row
            | {
                "chosen": _error(row["chosen_px"]),
                "random": _error(row["random_px"]),
            }
            for row in report["rounds"]
        ]
        columns = ["queue", "strategy", "labelled", "frames", "snapshot", "chosen", "random"]
        print_table(rows, [*columns, "rank_correlation", "proved_trust"])


def _error(written: dict[str, Any] | None) -> str:
    return error_in_short(Interval.from_dict(written) if written else None)
