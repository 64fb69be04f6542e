"""`backup`, `restore` and `verify`."""

from __future__ import annotations

from pathlib import Path

import click

from alwatch.cli.printing import print_json
from alwatch.cli.root import alwatch, app_of, json_option
from alwatch.errors import shown


@alwatch.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@json_option
@click.pass_context
def backup(context: click.Context, file: Path | None, as_json: bool) -> None:
    """Copy the database into FILE, or a folder, while the daemon goes on (default: backup.folder).

    An older backup of that name is replaced; any other file is left as it is.
    """
    made = app_of(context).back_up(file and file.absolute())
    size_bytes = made.path.stat().st_size
    if as_json:
        print_json({**made.as_dict(), "bytes": size_bytes})
    else:
        click.echo(f"Backed up {size_bytes / 1e6:.1f} MB to {shown(made.path)}.")


@alwatch.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def restore(context: click.Context, file: Path, as_json: bool) -> None:
    """Put the backup FILE in the database's place; the former one stays beside it.

    The daemon must not run meanwhile.
    """
    from alwatch.service import Lock

    app = app_of(context)
    with Lock(app.settings.state_dir):
        done = app.restore(file.absolute())
    if as_json:
        kept = str(done.kept) if done.kept else None
        print_json({"restored": str(file.absolute()), "schema": done.schema, "kept": kept})
        return
    click.echo(f"Restored {shown(file)}.")
    if done.kept:
        click.echo(f"The former database is {shown(done.kept)}; remove it when all is well.")
    click.echo("The daemon finds again what has arrived since, and what has been labelled.")


@alwatch.command()
@json_option
@click.pass_context
def verify(context: click.Context, as_json: bool) -> None:
    """Look through the whole database, and the similarity index, for anything that is wrong.

    Reads all of it, also beside the daemon; changes nothing. Exits with 1 where it finds anything.
    """
    app = app_of(context)
    faults = []
    for fault in app.verify():
        faults.append(fault)
        if not as_json:
            click.echo(f"FAIL  {shown(fault)}")
    newest = app.newest_backup()
    if as_json:
        kept = newest and newest.as_dict()
        print_json({"database": str(app.database), "faults": faults, "newest_backup": kept})
    elif not faults:
        click.echo(f"ok    {shown(app.database)}")
    elif newest:
        click.echo(f"      -> the newest backup: `alwatch restore {shown(newest.path)}`")
    context.exit(int(bool(faults)))
