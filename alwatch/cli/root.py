"""The root command, and what its commands share: settings, the app, `--json`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alwatch import __version__

if TYPE_CHECKING:
    from alwatch.app import App
    from alwatch.config import Settings

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


class ShortGroup(click.Group):
    """A group one of whose commands need not be named.

    Parameters
    ----------
    short_for : str
        The command that is meant where none is named.
    alone : bool
        Whether it is meant where nothing at all is given, too.
    """

    def __init__(self, *args: Any, short_for: str, alone: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._short_for, self._alone = short_for, alone

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command in front that is not named."""
        is_named = bool(args) and args[0] in (*self.commands, *ctx.help_option_names)
        if not is_named and (args or self._alone):
            args = [self._short_for, *args]
        return super().parse_args(ctx, args)


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


def settings_of(context: click.Context) -> Settings:
    """Read the settings that `--config` names, or that are found."""
    from alwatch.config import find_settings, load_settings

    return load_settings(
        find_settings(context.obj, cwd=Path.cwd(), home=Path.home(), environ=os.environ)
    )


def app_of(context: click.Context) -> App:
    """Wire the app by these settings; it is closed when the command ends."""
    from alwatch.app import App

    app = App(settings_of(context))
    context.call_on_close(app.close)
    return app
