"""The commands. No logic: each calls the app or the service, prints, and picks the exit code.

Exit codes: 0 done; 1 the answer is no (nothing to queue, a check failed); 2 wrong usage or
settings; 3 something outside failed and may be tried again; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from alwatch.cli import (  # noqa: F401 (commands)
    experiments,
    keeping,
    reports,
    rounds,
    seasons,
    setting_up,
    snapshots,
    triggers,
    working,
)
from alwatch.cli.root import alwatch
from alwatch.errors import AlwatchError, NothingToDoError, SettingsError, shown

__all__ = ["alwatch", "main"]


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
