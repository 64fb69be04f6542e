"""The commands. No logic: each calls the app or the service, prints, and picks the exit code.

Exit codes: 0 done; 1 the answer is no (nothing to queue, a check failed); 2 wrong usage or
settings; 3 something outside failed and may be tried again; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from alwatch import __version__
from alwatch.errors import AlwatchError, NothingToDoError, SettingsError, shown

if TYPE_CHECKING:
    from alwatch.app import App
    from alwatch.config import Settings
    from alwatch.records import Exported, Queue
    from alwatch.scored import ScoredFrame

_SEASON_COLUMNS = ["season", "videos", "frames", "labelled", "queued"]
_QUEUE_COLUMNS = ["queue", "season", "strategy", "frames", "labelled", "exported_to"]

_RANKINGS = ["mpe", "mpe_softmax", "confidence", "flip", "change", "ensemble", "learned_loss",
             "novelty", "influence"]  # fmt: skip

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def main() -> NoReturn:
    """Run a command; every foreseen failure is one clear message and an exit code."""
    try:
        code = alwatch.main(prog_name="alwatch", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except AlwatchError as error:
        for line in str(error).splitlines():
            click.echo(f"alwatch: {shown(line)}", err=True)
        sys.exit(_exit_code(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo("alwatch: interrupted; what was finished is kept.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        where = f" ({shown(os.fsdecode(error.filename))})" if error.filename else ""
        click.echo(f"alwatch: {error.strerror or error}{where}; mend that and repeat.", err=True)
        sys.exit(3)
    sys.exit(code or 0)


def _exit_code(error: AlwatchError) -> int:
    if isinstance(error, SettingsError):
        return 2
    return 1 if isinstance(error, NothingToDoError) else 3


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, package_name="alwatch")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Settings; by default ./alwatch.yaml, ~/.config/alwatch/alwatch.yaml or "
    "/etc/alwatch/alwatch.yaml, whichever is found first.",
)
@click.pass_context
def alwatch(context: click.Context, config: Path | None) -> None:
    """Watch folders of animal videos and queue the few frames worth labelling."""
    context.obj = config


def _settings(context: click.Context) -> Settings:
    from alwatch.config import find_settings, load_settings

    return load_settings(
        find_settings(context.obj, cwd=Path.cwd(), home=Path.home(), environ=os.environ)
    )


def _app(context: click.Context) -> App:
    from alwatch.app import App

    app = App(_settings(context))
    context.call_on_close(app.close)
    return app


# --- setting up --------------------------------------------------------------------------------


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

    settings = _settings(context)
    findings = []
    for finding in check_machine(settings):
        findings.append(finding)
        if not as_json:
            mark = {"ok": "ok  ", "warning": "warn", "fault": "FAIL"}[finding.level]
            click.echo(f"{mark}  {finding.subject}: {shown(finding.found)}")
            if finding.remedy:
                click.echo(f"      -> {shown(finding.remedy)}")
    if as_json:
        _print_json({"findings": [finding.as_dict() for finding in findings]})
    context.exit(int(any(finding.level == "fault" for finding in findings)))


# --- working -----------------------------------------------------------------------------------


@alwatch.command()
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.pass_context
def run(context: click.Context, verbose: bool) -> None:
    """Run the daemon: ingest and score what arrives, notice labels, until it is stopped."""
    from alwatch.app import App
    from alwatch.service import Daemon, Notifier, set_up_logging

    set_up_logging(verbose=verbose, under_journald="JOURNAL_STREAM" in os.environ)
    app = App(_settings(context), is_daemon=True)
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
    app = _app(context)
    with reporter(sys.stderr) as report:
        summary = Backfill(app, report).run([Path(os.path.abspath(path)) for path in paths])
    if as_json:
        _print_json(summary.as_dict())
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
    app = _app(context)
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
        _print_json({"scoring": summary.as_dict() if summary else None, "frames": rows})
    elif rows:
        _print_table(rows, ["score", "bodypart", "presence", "frame", "video"])
    context.exit(int(summary is not None and bool(summary.failed)))


# --- what there is -----------------------------------------------------------------------------


@alwatch.command()
@json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show what is ingested, what waits, what is wrong, and what is queued."""
    from alwatch.status import archive_status

    report = archive_status(_app(context))
    if as_json:
        _print_json(report)
        return
    videos = report["videos"]
    click.echo(f"videos    {', '.join(f'{n} {state}' for state, n in videos.items())}")
    click.echo(f"frames    {report['frames']}, vectors {report['vectors']} ({report['embedder']})")
    click.echo(f"daemon    {report['daemon']}")
    if report["pose_model"] is not None:
        _print_pose_model(report["pose_model"])
    for root in report["roots"]:
        click.echo(f"root      {shown(root['root'])}: {shown(root['problem'])}")
    if report["seasons"]:
        _print_table(report["seasons"], [*_SEASON_COLUMNS, "state"])
    if report["queues"]:
        _print_table(report["queues"], _QUEUE_COLUMNS)
    for video in report["quarantined"]:
        click.echo(f"quarantined  {shown(video['video'])}\n    {shown(video['reason'])}")


@alwatch.command()
@json_option
@click.pass_context
def seasons(context: click.Context, as_json: bool) -> None:
    """Show every season: counts, how much the labelled set covers, and how snapshots do on it."""
    from alwatch.status import season_row

    app = _app(context)
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
        _print_json({"seasons": rows, "snapshots": by_snapshot})
        return
    _print_table(rows, [*_SEASON_COLUMNS, "coverage", "state"])
    if by_snapshot:
        click.echo()
        columns = ["season", "snapshot", "frames", "uncertainty", "error_px", "labelled_frames"]
        _print_table(by_snapshot, columns)


@alwatch.command()
@click.argument("video", type=click.Path(path_type=Path))
@click.argument("frame", type=click.IntRange(min=0))
@click.option("-k", "count", type=click.IntRange(min=1), default=10, help="How many (10).")
@json_option
@click.pass_context
def similar(context: click.Context, video: Path, frame: int, count: int, as_json: bool) -> None:
    """List the frames of the archive that are most like FRAME of VIDEO."""
    used, found = _app(context).similar(video, frame, count)
    rows = [
        {
            "video": str(path),
            "frame": neighbour.frame,
            "similarity": round(neighbour.similarity, 4),
        }
        for path, neighbour in found
    ]
    if as_json:
        _print_json({"video": str(video.absolute()), "frame": used, "similar": rows})
        return
    if used != frame:
        click.echo(f"Frame {frame} was not looked at; frame {used}, the nearest, stands in for it.")
    _print_table(rows, ["similarity", "frame", "video"])


@alwatch.command()
@click.pass_context
def reindex(context: click.Context) -> None:
    """Rebuild the similarity index from the store."""
    _, state = _app(context).refresh_index(rebuild=True)
    click.echo(f"Indexed {state.n_frames} frames ({state.kind}, recall {state.recall:.3f}).")


# --- experiments -------------------------------------------------------------------------------


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
@click.argument("project", type=click.Path(path_type=Path, dir_okay=False))
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
    default="(.*)",
    show_default=True,
    metavar="PATTERN",
    help="Its first group, in a video's name, is the individual.",
)
@click.option(
    "--session",
    default="(.*)",
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
    """Would a strategy have saved labels? Try it on the labelled frames of PROJECT.

    PROJECT is the config.yaml of a DeepLabCut project. A small network is trained on what is
    labelled at the start; each strategy chooses, the truth answers, and the network is trained
    anew and tested on animals that it has never seen. An interrupted run goes on where it was.
    """
    from alwatch.simulate.command import run_simulation

    summary = run_simulation(
        options, on_row=lambda row: click.echo(_experiment_line(row), err=True)
    )
    if as_json:
        _print_json(summary.as_dict())
        return
    _print_table(summary.table(), ["strategy", *summary.curves[0].budgets, *_CURVE])
    click.echo(f"See {shown(options['out'] / 'report.html')}.")


_CURVE = ["area", "difference", "p_holm", "labels"]


def _experiment_line(row: dict[str, Any]) -> str:
    labels = f"{row['labels']} labels of {row['individuals']} animals"
    return f"seed {row['seed']}  {row['strategy']}  {labels}: {row['mean_px']:.2f} px"


# --- rounds ------------------------------------------------------------------------------------


@alwatch.command()
@click.argument("season")
@click.option("--budget", type=click.IntRange(min=1), help="Number of frames.")
@click.option("--strategy", metavar="NAME", help="How to choose: see the README.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Same seed, same queue.")
@json_option
@click.pass_context
def queue(
    context: click.Context,
    season: str,
    budget: int | None,
    strategy: str | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Choose frames of SEASON for labelling, and export them as the settings say."""
    app = _app(context)
    made = app.make_queue(season, budget=budget, strategy=strategy, seed=seed)
    if as_json:
        _print_json(queue_as_json(made))
    else:
        _print_queue(made)
    for to, exported in app.export_as_set(made):
        click.echo(_export_sentence(to, exported), err=as_json)


@alwatch.command()
@click.argument("queue_id", metavar="QUEUE", type=click.IntRange(1, 2**63 - 1))
@click.option("--to", metavar="TOOL", help="deeplabcut or folder.")
@click.option(
    "--project", type=click.Path(path_type=Path), help="config.yaml of DeepLabCut, or a folder."
)
@json_option
@click.pass_context
def export(
    context: click.Context, queue_id: int, to: str | None, project: Path | None, as_json: bool
) -> None:
    """Put QUEUE where a labelling tool opens it (default: the exports of the settings)."""
    if (to is None) != (project is None):
        raise click.UsageError("--to and --project go together.")
    app = _app(context)
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
            _print_json(
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


@labels.command("sync")
@json_option
@click.pass_context
def labels_sync(context: click.Context, as_json: bool) -> None:
    """Read which frames are labelled by now; they leave the pool."""
    syncs = _app(context).sync_labels()
    rows = [
        {
            "to": sync.to,
            "project": str(sync.project),
            "labelled": sync.labelled,
            "new": sync.new,
            "gone": sync.gone,
            "unknown": sync.unknown,
            "problem": sync.problem,
        }
        for sync in syncs
    ]
    if as_json:
        _print_json({"projects": rows})
    elif rows:
        _print_table(rows, ["to", "labelled", "new", "gone", "unknown", "project"])
    else:
        click.echo("The settings name no exports and no queue was exported: nothing to read.")
    problems = [sync.problem for sync in syncs if sync.problem]
    for problem in problems:
        click.echo(f"alwatch: {shown(problem)}", err=True)
    context.exit(3 if problems else 0)


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
    """Draw a two-season archive, let the daemon ingest it, and show the queue it leads to."""
    from alwatch.demo.run import run_demo

    page = run_demo(into.absolute(), seed=seed, say=click.echo)
    click.echo(f"Open {page} in a browser.")


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


# --- printing ----------------------------------------------------------------------------------


def queue_as_json(made: Queue) -> dict[str, Any]:
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
    }


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
    _print_table(rows, ["rank", "frame", "video", "reason"])


def _export_sentence(to: str, exported: Exported) -> str:
    kept = f", {exported.kept} were there already" if exported.kept else ""
    return f"Exported {exported.written} frames to {to}: {shown(exported.project)}{kept}."


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=1))


def _print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in [columns, *cells]:
        click.echo("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    return shown(value)
