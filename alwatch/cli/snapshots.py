"""`snapshots`, `promote` and `rollback`."""

from __future__ import annotations

import click

from alwatch.cli.printing import print_json, print_table
from alwatch.cli.root import alwatch, app_of, json_option
from alwatch.errors import shown


@alwatch.command("snapshots")
@json_option
@click.pass_context
def list_snapshots(context: click.Context, as_json: bool) -> None:
    """List the snapshots of the pose model: which one scores, and how each was judged."""
    from alwatch.status import snapshot_rows

    rows = snapshot_rows(app_of(context).store)
    if as_json:
        print_json({"snapshots": rows})
        return
    if not rows:
        click.echo("No snapshot of a pose model has been seen yet.")
        return
    told = [row | {"sha256": row["sha256"][:8]} for row in rows]
    print_table(
        told, ["snapshot", "sha256", "state", "first_seen_at", "error_px", "audited_frames"]
    )
    for row in rows:
        if row["judgement"] is not None:
            judgement = row["judgement"]
            click.echo(
                shown(
                    f"{row['snapshot']} ({row['sha256'][:8]}) {judgement['judged_at']} "
                    f"{judgement['verdict']} ({judgement['judge']}): {judgement['reason']}"
                )
            )


_snapshot_argument = click.argument("name", metavar="[SNAPSHOT]", required=False)


@alwatch.command()
@_snapshot_argument
@json_option
@click.pass_context
def promote(context: click.Context, name: str | None, as_json: bool) -> None:
    """Make SNAPSHOT current (default: the candidate, or the one set aside last).

    A name, or the beginning of a sha256. A daemon that runs takes it up at its next look.
    """
    from alwatch.snapshots import promote
    from alwatch.status import snapshot_row

    snapshot = promote(app_of(context), name)
    if as_json:
        print_json(snapshot_row(snapshot))
    else:
        click.echo(f"{shown(snapshot.name)} is the current snapshot now.")


@alwatch.command()
@_snapshot_argument
@json_option
@click.pass_context
def rollback(context: click.Context, name: str | None, as_json: bool) -> None:
    """Go back to SNAPSHOT (default: the one that was current before) and set the present one aside.

    A name, or the beginning of a sha256. A daemon that runs takes it up at its next look.
    """
    from alwatch.snapshots import roll_back
    from alwatch.status import snapshot_row

    snapshot = roll_back(app_of(context), name)
    if as_json:
        print_json(snapshot_row(snapshot))
    else:
        click.echo(f"{shown(snapshot.name)} is the current snapshot again.")
