from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from alwatch.store import Store
from tests.test_cli import Cli, cli  # noqa: F401 (fixture)
from tests.videos import write_settings

FIRED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
URL = "https://ana:pa55word@hooks.lab.example/T0ken"


@pytest.fixture
def fired(cli: Cli) -> Cli:  # noqa: F811
    """A rule has fired; its mail is delivered, and its webhook waits for another attempt."""
    write_settings(cli.folder)
    with Store(cli.folder / "state") as store:
        store.triggers.fire(
            "retrain",
            seasons=["2026", "two\nlines"],
            reason="60 labels are new",
            evidence={"figures": {"2026": {"new_labels": 60}}},
            actions=[("mail", {"to": ["a@b"]}), ("webhook", {"url": URL})],
            now=FIRED_AT,
        )
        for state, outcome, wait in (("delivered", "sent", None), ("waiting", "503", 60)):
            delivery = store.triggers.claim(FIRED_AT)
            assert delivery is not None
            retry_at = FIRED_AT + timedelta(days=9999) if wait else None
            store.triggers.end(delivery, state, outcome, FIRED_AT, retry_at=retry_at)  # type: ignore[arg-type]
    return cli


def key_of(fired: Cli) -> str:
    return str(fired.json("triggers")["firings"][0]["key"])


def states(fired: Cli) -> list[str]:
    (firing,) = fired.json("triggers")["firings"]
    return [delivery["state"] for delivery in firing["deliveries"]]


def test_before_anything_fires_that_is_said(cli: Cli) -> None:  # noqa: F811
    write_settings(cli.folder)
    assert cli("triggers") == 0
    assert cli.out == "No trigger rule has fired yet.\n"
    assert cli.json("triggers", "list") == {"firings": []}


def test_firings_and_their_deliveries_have_the_promised_shape(fired: Cli) -> None:
    (firing,) = fired.json("triggers")["firings"]
    assert fired.json("triggers", "list")["firings"] == [firing]
    assert firing["key"].startswith("retrain-1-")
    assert {name: firing[name] for name in ("rule", "seasons", "reason", "closed_at")} == {
        "rule": "retrain",
        "seasons": ["2026", "two\nlines"],
        "reason": "60 labels are new",
        "closed_at": None,
    }
    assert firing["fired_at"] == "2026-03-01T12:00:00+00:00"
    mail, webhook = firing["deliveries"]
    assert mail == {
        "delivery": 1,
        "key": f"{firing['key']}.1-mail",
        "kind": "mail",
        "state": "delivered",
        "attempts": 1,
        "retry_at": None,
        "outcome": "sent",
        "changed_at": "2026-03-01T12:00:00+00:00",
    }
    assert (webhook["state"], webhook["outcome"]) == ("waiting", "503")
    assert webhook["retry_at"] is not None


def test_a_person_sees_both_tables(fired: Cli) -> None:
    assert fired("triggers") == 0
    lines = fired.out.splitlines()
    assert lines[0].split() == ["key", "seasons", "fired_at", "closed_by", "reason"]
    assert lines[3].split() == ["delivery", "key", "state", "attempts", "retry_at", "outcome"]
    assert len(lines) == 6  # a line break in a season's name breaks no line here


@pytest.mark.parametrize("arguments", [["list"], ["show"]])
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_addresses_are_not_shown(fired: Cli, arguments: list[str], as_json: list[str]) -> None:
    key = [key_of(fired)] if arguments == ["show"] else []
    assert fired("triggers", *arguments, *key, *as_json) == 0
    assert "pa55word" not in fired.out and "T0ken" not in fired.out


def test_a_firing_is_shown_with_its_evidence(fired: Cli) -> None:
    key = key_of(fired)
    assert fired("triggers", "show", key) == 0
    assert "60 labels are new" in fired.out
    assert '"new_labels": 60' in fired.out
    assert "open: no snapshot has been judged since." in fired.out
    shown = fired.json("triggers", "show", key)
    assert shown["evidence"] == {"figures": {"2026": {"new_labels": 60}}}
    assert len(shown["deliveries"]) == 2


def test_a_delivery_is_retried_at_once(fired: Cli) -> None:
    assert fired("triggers", "retry", 2) == 0
    (firing,) = fired.json("triggers")["firings"]
    delivery = firing["deliveries"][1]
    assert (delivery["state"], delivery["retry_at"], delivery["attempts"]) == ("waiting", None, 0)


def test_one_that_is_being_made_is_not_retried(fired: Cli) -> None:
    fired("triggers", "retry", 2)
    with Store(fired.folder / "state") as store:
        store.triggers.claim(FIRED_AT + timedelta(days=1))
    assert fired("triggers", "retry", 2) == 1
    assert fired.err == (
        "alwatch: Delivery 2 is being made; wait for its end, or cancel it first.\n"
    )


def test_a_delivery_is_cancelled_once(fired: Cli) -> None:
    assert fired("triggers", "cancel", 2) == 0
    assert states(fired) == ["delivered", "cancelled"]
    assert fired("triggers", "cancel", 2) == 1
    assert "Delivery 2 is cancelled; there is nothing to cancel." in fired.err
    assert fired("triggers", "cancel", 1) == 1
    assert "Delivery 1 is delivered" in fired.err


def test_a_firing_is_closed_once(fired: Cli) -> None:
    key = key_of(fired)
    assert fired("triggers", "close", key) == 0
    (firing,) = fired.json("triggers")["firings"]
    assert firing["closed_by"] == "by hand"
    assert fired("triggers", "show", key) == 0
    assert "by hand." in fired.out
    assert fired("triggers", "close", key) == 1
    assert "closed before: by hand" in fired.err


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_an_unknown_delivery_names_those_that_exist(fired: Cli, command: str) -> None:
    assert fired("triggers", command, 9) == 2
    assert fired.err == "alwatch: DELIVERY is 9; deliveries that exist: 1, 2.\n"


@pytest.mark.parametrize("command", ["show", "close"])
def test_an_unknown_key_names_those_that_exist(fired: Cli, command: str) -> None:
    key = key_of(fired)
    assert fired("triggers", command, "retrain\n") == 2
    assert fired.err == f"alwatch: KEY is retrain\\n; keys that exist: {key}.\n"


@pytest.mark.parametrize("command", [["retry", "1"], ["show", "x"]])
def test_where_none_exists_that_is_said(cli: Cli, command: list[str]) -> None:  # noqa: F811
    write_settings(cli.folder)
    assert cli("triggers", *command) == 2
    assert len(cli.err.splitlines()) == 1


def test_json_is_whole(fired: Cli) -> None:
    fired("triggers", "--json")
    assert json.loads(fired.out)["firings"]
