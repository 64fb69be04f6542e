"""`queue`, `export` and `labels`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alwatch.cli.printing import QUEUE_COLUMNS, print_json, print_table
from alwatch.cli.root import ShortGroup, alwatch, app_of, json_option
from alwatch.errors import SettingsError, shown

if TYPE_CHECKING:
    from alwatch.app import App
    from alwatch.records import Exported, Queue


@alwatch.group(cls=ShortGroup, short_for="make", subcommand_metavar="SEASON | COMMAND [ARGS]...")
def queue() -> None:
    """Queues of frames to label: make one for SEASON, list, show or withdraw them."""


@queue.command("make")
@click.argument("season")
@click.option("--budget", type=click.IntRange(min=1), help="Number of frames.")
@click.option("--strategy", metavar="NAME", help="How to choose: see the README.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Same seed, same queue.")
@json_option
@click.pass_context
def queue_make(
    context: click.Context,
    season: str,
    budget: int | None,
    strategy: str | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Choose frames of SEASON for labelling, and export them as the settings say."""
    app = app_of(context)
    made = app.make_queue(season, budget=budget, strategy=strategy, seed=seed)
    if as_json:
        print_json(_queue_as_json(made))
    else:
        _print_queue(made)
    for to, exported in app.export_as_set(made):
        click.echo(_export_sentence(to, exported), err=as_json)


_queue_argument = click.argument("queue_id", metavar="QUEUE", type=click.IntRange(1, 2**63 - 1))


@queue.command("list")
@json_option
@click.pass_context
def queue_list(context: click.Context, as_json: bool) -> None:
    """List every queue with its progress, the newest last."""
    from alwatch.status import queue_row

    rows = [queue_row(summary) for summary in app_of(context).store.queues.summaries()]
    if as_json:
        print_json({"queues": rows})
    elif rows:
        print_table(rows, QUEUE_COLUMNS)
    else:
        click.echo("No queue has been made yet: alwatch queue SEASON.")


@queue.command("show")
@_queue_argument
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="Also write the frames with their pictures, and a map of the archive, as one page.",
)
@json_option
@click.pass_context
def queue_show(context: click.Context, queue_id: int, page: Path | None, as_json: bool) -> None:
    """Show the frames of QUEUE, why each was chosen, and what has become of it."""
    app = app_of(context)
    made = app.get_queue(queue_id)
    if as_json:
        print_json(_queue_as_json(made))
    else:
        _print_queue(made)
    if page is not None:
        _write_page(app, made, page, err=as_json)


@queue.command("withdraw")
@_queue_argument
@json_option
@click.pass_context
def queue_withdraw(context: click.Context, queue_id: int, as_json: bool) -> None:
    """Take QUEUE back out of its projects, as long as nothing in it is labelled."""
    app = app_of(context)
    removed = app.withdraw_queue(app.get_queue(queue_id))
    if as_json:
        print_json({"queue": queue_id, "removed": removed})
    else:
        click.echo(
            f"Withdrew queue {queue_id}: {removed} images were taken away; its frames may be "
            "chosen again."
        )


@alwatch.command()
@_queue_argument
@click.option(
    "--to",
    metavar="TOOL",
    help="deeplabcut, sleap, lightning_pose, label_studio, cvat, coco or folder.",
)
@click.option(
    "--project",
    type=click.Path(path_type=Path),
    help="DeepLabCut's config.yaml, SLEAP's .slp, or a folder.",
)
@json_option
@click.pass_context
def export(
    context: click.Context, queue_id: int, to: str | None, project: Path | None, as_json: bool
) -> None:
    """Put QUEUE where a labelling tool opens it (default: the exports of the settings)."""
    if (to is None) != (project is None):
        raise click.UsageError("--to and --project go together.")
    app = app_of(context)
    made = app.get_queue(queue_id)
    if to is not None and project is not None:
        exports: Iterable[tuple[str, Exported]] = [
            (to, app.export(made, to, Path(os.path.abspath(project))))
        ]
    elif app.settings.exports:
        exports = app.export_as_set(made)
    else:
        raise click.UsageError("the settings name no exports; give --to and --project.")
    for tool, exported in exports:
        if as_json:
            print_json(
                {
                    "queue": queue_id,
                    "to": tool,
                    "project": str(exported.project),
                    "written": exported.written,
                    "kept": exported.kept,
                }
            )
        else:
            click.echo(_export_sentence(tool, exported))


@alwatch.group()
def labels() -> None:
    """Labels that come back from the labelling tools."""


@labels.command("conflicts")
@json_option
@click.pass_context
def labels_conflicts(context: click.Context, as_json: bool) -> None:
    """List the frames on which two labels do not agree; they count for no error until they do.

    Exits with 1 where there are any.
    """
    store = app_of(context).store
    conflicts = store.labels.conflicts()
    videos = store.videos.by_id(conflict.video_id for conflict in conflicts)
    rows = [
        {
            "video": str(videos[conflict.video_id].path),
            "frame": conflict.frame,
            "one": conflict.who[0],
            "other": conflict.who[1],
            "bodypart": conflict.bodypart,
            "distance_px": conflict.distance_px,
        }
        for conflict in conflicts
    ]
    if as_json:
        print_json({"conflicts": rows})
    elif rows:
        print_table(rows, ["frame", "bodypart", "distance_px", "one", "other", "video"])
    else:
        click.echo("No two labels disagree.")
    context.exit(int(bool(rows)))


@labels.command("sync")
@json_option
@click.pass_context
def labels_sync(context: click.Context, as_json: bool) -> None:
    """Read which frames are labelled by now; they leave the pool."""
    syncs = app_of(context).sync_labels()
    rows = [sync.row() for sync in syncs]
    if as_json:
        print_json({"projects": rows})
    elif rows:
        print_table(rows, ["to", "labelled", "new", "changed", "gone", "unknown", "project"])
    else:
        click.echo("The settings name no exports and no queue was exported: nothing to read.")
    problems = [sync.problem for sync in syncs if sync.problem]
    for problem in problems:
        click.echo(f"alwatch: {shown(problem)}", err=True)
    context.exit(3 if problems else 0)


_project_path = click.Path(path_type=Path)
_tool_option = click.option(
    "--to", metavar="TOOL", help="Needed where several tools are known there."
)


@labels.command("move")
@click.argument("old", type=_project_path)
@click.argument("new", type=_project_path)
@_tool_option
@json_option
@click.pass_context
def labels_move(
    context: click.Context, old: Path, new: Path, to: str | None, as_json: bool
) -> None:
    """A project was moved from OLD to NEW: its queues and labels are known there from now on."""
    old, new = Path(os.path.abspath(old)), Path(os.path.abspath(new))
    sync = app_of(context).move_project(old, new, to)
    if as_json:
        print_json({"old": str(old)} | sync.row())
    else:
        click.echo(
            f"{shown(old)} is known as {shown(new)} ({sync.to}) from now on: {sync.labelled} "
            f"labels, of which {sync.new} are new and {sync.changed} changed."
        )


@labels.command("forget")
@click.argument("project", type=_project_path)
@_tool_option
@click.option(
    "--labels",
    "labels_are",
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="What becomes of the labels that were read from it.",
)
@click.option("--yes", is_flag=True, help="Labels may be dropped.")
@json_option
@click.pass_context
def labels_forget(
    context: click.Context, project: Path, to: str | None, labels_are: str, yes: bool, as_json: bool
) -> None:
    """PROJECT is gone: it is no longer read, and its queues can be withdrawn without it."""
    project = Path(os.path.abspath(project))
    drops = labels_are == "drop"
    to, known = app_of(context).forget_project(project, to, drops_labels=drops, is_sure=yes)
    if as_json:
        print_json(
            {
                "to": to,
                "project": str(project),
                "queues": known.queues,
                "labels": known.labels,
                "dropped": drops,
            }
        )
    else:
        click.echo(
            f"{shown(project)} ({to}) is no longer read. {known.queues} queues lay in it; the "
            f"{known.labels} labels that were read from it are {'dropped' if drops else 'kept'}."
        )


def _write_page(app: App, made: Queue, file: Path, *, err: bool) -> None:
    from alwatch.pages import queue_page
    from alwatch.web.queue_page import write_queue_page

    if not file.absolute().parent.is_dir():
        raise SettingsError(f"--page is {shown(file)}; its folder is not there. Make it first.")
    command = f"alwatch queue {made.season} --budget {made.budget} --seed {made.seed}"
    page = queue_page(app, made, command=f"{command} --strategy {made.strategy}")
    write_queue_page(file, page)
    click.echo(f"Wrote {shown(file)}.", err=err)
    if len(page.frames) < len(made.frames):
        gone = len(made.frames) - len(page.frames)
        click.echo(f"{gone} frames are not on it: their videos are not there.", err=True)


def _queue_as_json(made: Queue) -> dict[str, Any]:
    """A queue as `alwatch queue --json` prints it."""
    return {
        "queue": made.id,
        "season": made.season,
        "strategy": made.strategy,
        "seed": made.seed,
        "policy": made.manifest.get("policy"),
        "frames": [
            {
                "video": str(frame.video),
                "frame": frame.frame,
                "rank": frame.rank,
                "score": frame.score,
                "reason": frame.reason,
            }
            for frame in made.frames
        ],
        "review": [
            {"video": str(frame.video), "frame": frame.frame, "reason": frame.reason}
            for frame in made.review
        ],
    }


def _print_queue(made: Queue) -> None:
    click.echo(
        f"Queue {made.id}: {len(made.frames)} frames of season {shown(made.season)} "
        f"({made.strategy}, seed {made.seed})"
    )
    if policy := made.manifest.get("policy"):
        click.echo(policy["why"])
    if len(made.frames) < made.budget:
        click.echo(f"{made.budget} were asked for; no other frame is left that the limits allow.")
    rows = [
        {"rank": f.rank, "frame": f.frame, "video": f.video.name, "reason": f.reason}
        for f in made.frames
    ]
    print_table(rows, ["rank", "frame", "video", "reason"])
    if made.review:
        click.echo("\nLeft out, the most outlying first, to be looked at:")
        left_out = [
            {"frame": f.frame, "video": f.video.name, "reason": f.reason} for f in made.review
        ]
        print_table(left_out, ["frame", "video", "reason"])


def _export_sentence(to: str, exported: Exported) -> str:
    kept = f", {exported.kept} were there already" if exported.kept else ""
    return f"Exported {exported.written} frames to {to}: {shown(exported.project)}{kept}."
