"""`status`, `seasons`, `similar` and `reindex`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alwatch.cli.printing import QUEUE_COLUMNS, print_json, print_table
from alwatch.cli.root import alwatch, app_of, json_option
from alwatch.errors import shown

_SEASON_COLUMNS = ["season", "videos", "frames", "labelled", "queued"]


@alwatch.command()
@json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show what is ingested, what waits, what is wrong, and what is queued."""
    from alwatch.status import archive_status

    report = archive_status(app_of(context))
    if as_json:
        print_json(report)
        return
    videos = report["videos"]
    click.echo(f"videos    {', '.join(f'{n} {state}' for state, n in videos.items())}")
    click.echo(f"frames    {report['frames']}, vectors {report['vectors']} ({report['embedder']})")
    click.echo(f"daemon    {report['daemon']}")
    backup = report["backup"]
    told = f"{backup['made_at']}  {shown(backup['backup'])}" if backup else "none yet"
    click.echo(f"backup    {told}")
    if report["pose_model"] is not None:
        _print_pose_model(report["pose_model"])
    for root in report["roots"]:
        click.echo(f"root      {shown(root['root'])}: {shown(root['problem'])}")
    if report["seasons"]:
        print_table(report["seasons"], [*_SEASON_COLUMNS, "state"])
    if report["queues"]:
        print_table(report["queues"], QUEUE_COLUMNS)
    for video in report["quarantined"]:
        click.echo(f"quarantined  {shown(video['video'])}\n    {shown(video['reason'])}")


@alwatch.command()
@json_option
@click.pass_context
def seasons(context: click.Context, as_json: bool) -> None:
    """Show every season: counts, how much the labelled set covers, and how snapshots do on it."""
    from alwatch.status import season_row

    app = app_of(context)
    rows = [season_row(s.counts, coverage=s.coverage) for s in app.seasons()]
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
        print_json({"seasons": rows, "snapshots": by_snapshot})
        return
    print_table(rows, [*_SEASON_COLUMNS, "coverage", "state"])
    if by_snapshot:
        click.echo()
        columns = ["season", "snapshot", "frames", "uncertainty", "error_px", "labelled_frames"]
        print_table(by_snapshot, columns)


@alwatch.command()
@click.argument("video", type=click.Path(path_type=Path))
@click.argument("frame", type=click.IntRange(min=0))
@click.option("-k", "count", type=click.IntRange(min=1), default=10, help="How many (10).")
@json_option
@click.pass_context
def similar(context: click.Context, video: Path, frame: int, count: int, as_json: bool) -> None:
    """List the frames of the archive that are most like FRAME of VIDEO."""
    used, found = app_of(context).similar(video, frame, count)
    rows = [
        {
            "video": str(path),
            "frame": neighbour.frame,
            "similarity": round(neighbour.similarity, 4),
        }
        for path, neighbour in found
    ]
    if as_json:
        print_json({"video": str(video.absolute()), "frame": used, "similar": rows})
        return
    if used != frame:
        click.echo(f"Frame {frame} was not looked at; frame {used}, the nearest, stands in for it.")
    print_table(rows, ["similarity", "frame", "video"])


@alwatch.command()
@click.pass_context
def reindex(context: click.Context) -> None:
    """Rebuild the similarity index from the store."""
    _, state = app_of(context).refresh_index(rebuild=True)
    click.echo(f"Indexed {state.n_frames} frames ({state.kind}, recall {state.recall:.3f}).")


def _print_pose_model(model: dict[str, Any]) -> None:
    if model["snapshot"] is None:
        click.echo(f"model     {model['kind']}: {shown(model['problem'] or 'not looked at yet')}")
        return
    done, left, failed = model["videos_done"], model["videos_left"], model["videos_failed"]
    line = f"model     {model['snapshot']}: {done} of {done + left + failed} videos scored"
    if left and model["left_s"] is not None:
        line += f", {_duration(model['left_s'])} left"
    click.echo(shown(line))
    if model["problem"]:
        click.echo(f"    {shown(model['problem'])}")
    for video in model["failed"]:
        click.echo(f"not scored  {shown(video['video'])}\n    {shown(video['reason'])}")


def _duration(seconds: float) -> str:
    """A duration as a person would say it: two units at most."""
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"
