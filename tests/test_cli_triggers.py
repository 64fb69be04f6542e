from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from alwatch.seasons import SeasonFigures
from alwatch.store import Store
from tests.store.helpers import add_video
from tests.test_cli import Cli, cli  # noqa: F401 (fixture)
from tests.videos import SETTINGS, write_settings

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


# --- rules and status --------------------------------------------------------------------------

RULE = """\
triggers:
  - name: retrain
    new_labels: 50
    actions:
      - {do: file, folder: /elsewhere}
"""


def season_of(new_labels: int) -> dict[str, object]:
    return SeasonFigures(
        videos=1, frames=9, labelled=new_labels, queued=0, new_labels=new_labels, coverage=0.5
    ).as_dict()


@pytest.fixture
def looked_at(cli: Cli) -> Cli:  # noqa: F811
    """The daemon has looked at a season three times."""
    write_settings(cli.folder, SETTINGS + RULE)
    with Store(cli.folder / "state") as store:
        add_video(store, "2026/a.mp4", [0, 5], season="2026")
        for hour, new_labels in enumerate((0, 50, 70)):
            at = FIRED_AT + timedelta(hours=hour)
            store.seasons.assess("2026", str(new_labels), season_of(new_labels), at)
    return cli


def test_a_dry_run_says_when_rules_would_have_fired_and_fires_nothing(looked_at: Cli) -> None:
    assert looked_at.json("triggers", "dry-run") == {
        "would_have_fired": [
            {
                "at": "2026-03-01T13:00:00+00:00",
                "rule": "retrain",
                "seasons": ["2026"],
                "reason": "2026: 50 new labels (of 50)",
            }
        ]
    }
    assert looked_at.json("triggers")["firings"] == []
    assert looked_at("triggers", "dry-run") == 0
    assert "50 new labels" in looked_at.out


def test_without_a_rule_a_dry_run_says_what_to_do(cli: Cli) -> None:  # noqa: F811
    write_settings(cli.folder)
    assert cli("triggers", "dry-run") == 1
    assert "has no rule" in cli.err


def test_a_rule_is_fired_by_hand_with_all_that_it_asks_for(looked_at: Cli) -> None:
    assert looked_at("triggers", "fire", "retrain", "2026") == 0
    (firing,) = looked_at.json("triggers")["firings"]
    assert firing["reason"] == "2026: by hand"
    assert [each["kind"] for each in firing["deliveries"]] == ["file"]
    (shown_firing,) = looked_at.json("status")["retraining"]
    assert shown_firing["key"] == firing["key"]
    assert looked_at("status") == 0
    assert "retraining  retrain-1-" in looked_at.out
    assert "1 file: waiting" in looked_at.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["retrian", "2026"], "rules of the settings: retrain"),
        (["retrain", "2062"], "seasons that exist: 2026"),
    ],
)
def test_a_wrong_rule_or_season_is_refused(
    looked_at: Cli, arguments: list[str], words: str
) -> None:
    assert looked_at("triggers", "fire", *arguments) == 2
    assert words in looked_at.err
    assert looked_at.json("triggers")["firings"] == []


def test_how_far_a_training_is_stands_in_the_status(looked_at: Cli) -> None:
    assert looked_at("triggers", "fire", "retrain", "2026") == 0
    (firing,) = looked_at.json("triggers")["firings"]
    workdir = looked_at.folder / "state" / "deliveries" / firing["deliveries"][0]["key"]
    workdir.mkdir(parents=True)
    progress = {"step": "training", "epoch": 12, "epochs": 200, "eta": "2026-03-02T08:00:00+00:00"}
    (workdir / "progress.json").write_text(json.dumps(progress))
    (row,) = looked_at.json("status")["retraining"]
    assert row["deliveries"][0]["progress"] == progress
    assert looked_at("status") == 0
    assert "training, epoch 12 of 200, until 2026-03-02T08:00:00+00:00" in looked_at.out
