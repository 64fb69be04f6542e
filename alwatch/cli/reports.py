"""`status`, `similar` and `reindex`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alwatch.cli.printing import QUEUE_COLUMNS, print_json, print_seasons, print_table
from alwatch.cli.root import alwatch, app_of, json_option
from alwatch.errors import shown


@alwatch.command()
@json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show what is ingested, what waits, what is wrong, and what is queued."""
    from alwatch.status import archive_status, last_assessed

    app = app_of(context)
    report, seasons = archive_status(app), last_assessed(app)
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
    if seasons:
        print_seasons(seasons)
    for firing in report["retraining"]:
        _print_firing(firing)
    if report["queues"]:
        print_table(report["queues"], QUEUE_COLUMNS)
    for video in report["quarantined"]:
        click.echo(f"quarantined  {shown(video['video'])}\n    {shown(video['reason'])}")


def _print_firing(firing: dict[str, Any]) -> None:
    from alwatch.status import progress_in_words

    click.echo(f"retraining  {firing['key']} since {firing['fired_at']}: {shown(firing['reason'])}")
    for each in firing["deliveries"]:
        told = progress_in_words(each["progress"]) or each["outcome"] or ""
        click.echo(f"    {each['delivery']} {each['kind']}: {each['state']} {shown(told)}".rstrip())


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
    if model["candidate"]:
        click.echo(shown(f"    {model['candidate']['snapshot']} is being judged"))
    judgement = model["last_judgement"]
    if judgement and judgement["verdict"] == "aside":
        click.echo(shown(f"    {judgement['snapshot']} was set aside: {judgement['reason']}"))
    for video in model["failed"]:
        click.echo(f"not scored  {shown(video['video'])}\n    {shown(video['reason'])}")


def _duration(seconds: float) -> str:
    """A duration as a person would say it: two units at most."""
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"
