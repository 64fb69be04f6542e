"""`triggers`: what fired, and what became of what it asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from alwatch.cli.printing import print_json, print_table
from alwatch.cli.root import alwatch, app_of, json_option
from alwatch.errors import NothingToDoError, shown

if TYPE_CHECKING:
    from alwatch.app import App
    from alwatch.store.triggers import Delivery, Firing


@alwatch.group(invoke_without_command=True)
@json_option
@click.pass_context
def triggers(context: click.Context, as_json: bool) -> None:
    """Firings of the trigger rules and their deliveries; without a command they are listed."""
    if context.invoked_subcommand is None:
        _list(app_of(context), as_json)


_key = click.argument("key", metavar="KEY")
_delivery = click.argument("delivery_id", metavar="DELIVERY", type=click.IntRange(1, 2**63 - 1))


@triggers.command("list")
@json_option
@click.pass_context
def triggers_list(context: click.Context, as_json: bool) -> None:
    """List every firing and the deliveries that it asked for, the newest last."""
    _list(app_of(context), as_json)


@triggers.command("show")
@_key
@json_option
@click.pass_context
def triggers_show(context: click.Context, key: str, as_json: bool) -> None:
    """Show why KEY fired, what became of its deliveries, and all its evidence."""
    app = app_of(context)
    firing = app.get_firing(key)
    deliveries = app.store.triggers.deliveries(firing=firing)
    row = _firing_row(firing, deliveries) | {"evidence": firing.evidence}
    if as_json:
        print_json(row)
        return
    click.echo(f"{firing.key}: rule {firing.rule} for {', '.join(map(shown, firing.seasons))}")
    click.echo(shown(firing.reason))
    click.echo(f"Fired {row['fired_at']}; " + _closing(firing))
    print_table(row["deliveries"], _DELIVERY_COLUMNS)
    print_json(firing.evidence)


@triggers.command("dry-run")
@json_option
@click.pass_context
def triggers_dry_run(context: click.Context, as_json: bool) -> None:
    """Say what the rules of the settings would have fired over the past, and when.

    Nothing is asked for. The past is what the daemon found the seasons to be like.
    """
    rows = [
        {
            "at": due.at.isoformat(timespec="seconds"),
            "rule": due.rule,
            "seasons": list(due.seasons),
            "reason": due.reason,
        }
        for due in app_of(context).dry_run()
    ]
    if as_json:
        print_json({"would_have_fired": rows})
    elif rows:
        print_table(rows, ["at", "rule", "seasons", "reason"])
    else:
        click.echo("No rule would have fired.")


@triggers.command("fire")
@click.argument("rule", metavar="RULE")
@click.argument("seasons", metavar="SEASON...", nargs=-1, required=True)
@click.pass_context
def triggers_fire(context: click.Context, rule: str, seasons: tuple[str, ...]) -> None:
    """Fire RULE of the settings by hand for SEASON, whatever its conditions say."""
    firing = app_of(context).fire_by_hand(rule, seasons)
    click.echo(f"Fired {firing.key}; the daemon makes its deliveries.")


@triggers.command("retry")
@_delivery
@click.pass_context
def triggers_retry(context: click.Context, delivery_id: int) -> None:
    """Let the daemon make DELIVERY again, at once and under the same key."""
    app = app_of(context)
    delivery = app.get_delivery(delivery_id)
    if not app.store.triggers.retry(delivery, app.clock()):
        raise NothingToDoError(
            f"Delivery {delivery_id} is being made; wait for its end, or cancel it first."
        )
    click.echo(f"Delivery {delivery_id} ({delivery.key}) is made at the daemon's next look.")


@triggers.command("cancel")
@_delivery
@click.pass_context
def triggers_cancel(context: click.Context, delivery_id: int) -> None:
    """Give DELIVERY up; what is under way is ended."""
    app = app_of(context)
    delivery = app.get_delivery(delivery_id)
    if not app.store.triggers.cancel(delivery, app.clock()):
        raise NothingToDoError(
            f"Delivery {delivery_id} is {delivery.state}; there is nothing to cancel."
        )
    click.echo(f"Cancelled delivery {delivery_id} ({delivery.key}).")


@triggers.command("close")
@_key
@click.pass_context
def triggers_close(context: click.Context, key: str) -> None:
    """Expect no new snapshot of the pose model from KEY any more."""
    app = app_of(context)
    firing = app.get_firing(key)
    if firing.closed_at is not None:
        raise NothingToDoError(f"{key} was closed before: {shown(firing.closed_by)}.")
    app.store.triggers.close(firing, "by hand", app.clock())
    click.echo(f"Closed {key}.")


_FIRING_COLUMNS = ["key", "seasons", "fired_at", "closed_by", "reason"]
_DELIVERY_COLUMNS = ["delivery", "key", "state", "attempts", "retry_at", "outcome"]


def _list(app: App, as_json: bool) -> None:
    by_firing: dict[int, list[Delivery]] = {}
    for delivery in app.store.triggers.deliveries():
        by_firing.setdefault(delivery.firing_id, []).append(delivery)
    rows = [_firing_row(f, by_firing.get(f.id, [])) for f in app.store.triggers.firings()]
    if as_json:
        print_json({"firings": rows})
    elif rows:
        print_table(rows, _FIRING_COLUMNS)
        click.echo()
        print_table([each for row in rows for each in row["deliveries"]], _DELIVERY_COLUMNS)
    else:
        click.echo("No trigger rule has fired yet.")


def _firing_row(firing: Firing, deliveries: list[Delivery]) -> dict[str, Any]:
    return {
        "key": firing.key,
        "rule": firing.rule,
        "seasons": list(firing.seasons),
        "reason": firing.reason,
        "fired_at": firing.fired_at.isoformat(timespec="seconds"),
        "closed_at": firing.closed_at and firing.closed_at.isoformat(timespec="seconds"),
        "closed_by": firing.closed_by,
        "deliveries": [_delivery_row(delivery) for delivery in deliveries],
    }


def _delivery_row(delivery: Delivery) -> dict[str, Any]:
    """A delivery without its settings: an address may hold a password."""
    return {
        "delivery": delivery.id,
        "key": delivery.key,
        "kind": delivery.kind,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "retry_at": delivery.retry_at and delivery.retry_at.isoformat(timespec="seconds"),
        "outcome": delivery.outcome,
        "changed_at": delivery.changed_at.isoformat(timespec="seconds"),
    }


def _closing(firing: Firing) -> str:
    if firing.closed_at is None:
        return "open: no snapshot has been judged since."
    return f"closed {firing.closed_at.isoformat(timespec='seconds')}: {shown(firing.closed_by)}."
