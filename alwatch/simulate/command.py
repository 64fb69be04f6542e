"""From the options of `alwatch simulate` to a plan, its experiments and their report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from alwatch.errors import NothingToDoError, SettingsError
from alwatch.simulate.archive import read_bodyparts
from alwatch.simulate.conditions import BASE, WHOLE_POOL, Conditions, Contender
from alwatch.simulate.features import embedder_for
from alwatch.simulate.presets import INDIVIDUAL, VIDEO
from alwatch.simulate.report import Summary, summarise, write_report
from alwatch.simulate.run import Plan, run_plan
from alwatch.simulate.trainers import trainer_for

_BATCH_SIZE = 16
_PCK_SHARE = 0.1
_EYE_NOSE = ("Eye", "Nose")
"""The reference of Horse-10, as its bodyparts are named."""


def run_simulation(
    options: Mapping[str, Any], *, on_row: Callable[[dict[str, Any]], None]
) -> Summary:
    """Run what the options ask for and write its report.

    Parameters
    ----------
    options : mapping
        The command's options by name.
    on_row : callable
        Told every experiment as it ends.

    Raises
    ------
    SettingsError
        An option is wrong, or does not fit the data.
    NothingToDoError
        No seed has run every experiment.
    """
    plan = read_plan(options)
    rows = run_plan(plan, options["out"], jobs=options["jobs"], on_row=on_row)
    summary = summarise(rows, baseline=options["baseline"], error=options["error"])
    if not summary.seeds:
        raise NothingToDoError("No seed has run every experiment yet; run the command again.")
    write_report(options["out"], rows, summary)
    return summary


def read_plan(options: Mapping[str, Any]) -> Plan:
    """Check the options of `alwatch simulate`.

    Raises
    ------
    SettingsError
        An option is wrong.
    """
    projects: tuple[Path, ...] = options["projects"]
    names = [name.strip() for name in options["strategies"].split(",") if name.strip()]
    for name in {BASE, WHOLE_POOL}.intersection(names):
        raise SettingsError(
            f"--strategies names {name}, which is no strategy and always runs; leave it out."
        )
    if options["baseline"] not in names:
        raise SettingsError(
            f"--baseline is {options['baseline']}, which is not among --strategies "
            f"({', '.join(names)}); add it there, or name one of these."
        )
    if options["size_px"] % 16:
        raise SettingsError(f"--size is {options['size_px']}; it must be a multiple of 16.")
    bodyparts = read_bodyparts(projects, predicted=options["predicted"])
    if len(bodyparts) == 1 and options["error"] == "normalised":
        raise SettingsError(
            f"--error is normalised, which is in lengths of the animal, but {bodyparts[0]} is the "
            "only bodypart; name an error in pixels, such as mean_px."
        )
    conditions = Conditions(
        size_px=(options["size_px"], options["size_px"]),
        steps=options["steps"],
        batch_size=_BATCH_SIZE,
        width=options["width"],
        more_steps=options["more_steps"],
        base_frames=options["base_frames"],
        base_individuals=options["base_individuals"],
        test_sessions=options["test_sessions"],
        test_frames=options["test_frames"],
        rounds=options["rounds"],
        features=options["features"],
        reference=_reference(options["reference"], bodyparts),
        pck_share=_PCK_SHARE,
        individual=options["individual"],
        session=options["session"] or _sessions_of(options["individual"]),
        trainer=options["trainer"],
        network=options["network"],
        backbone_weights=options["backbone_weights"],
        device=options["device"],
        features_weights=options["features_weights"],
    )
    trainer_for(conditions, bodyparts)  # what they lack is told before anything is read
    embedder_for(conditions.features, conditions.features_weights, conditions.device)
    return Plan(
        projects=projects,
        predicted=options["predicted"],
        conditions=conditions,
        contenders=tuple(Contender.read(name) for name in dict.fromkeys(names)),
        budgets=options["budgets"],
        seeds=tuple(range(options["seeds"])),
    )


def _sessions_of(individual: str) -> str:
    """Sessions that split no individual, and of one video's animals hold out all or none."""
    return VIDEO if individual == INDIVIDUAL else individual


def _reference(spelled: str | None, bodyparts: tuple[str, ...]) -> tuple[str, str]:
    names = tuple(spelled.split(",")) if spelled is not None else (bodyparts[0], bodyparts[-1])
    if spelled is None and set(_EYE_NOSE) <= set(bodyparts):
        names = _EYE_NOSE
    is_pair = len(names) == 2 and set(names) <= set(bodyparts)
    if not is_pair or (spelled is not None and names[0] == names[1]):
        raise SettingsError(
            f"--reference is {spelled!r}; it must be two of {', '.join(bodyparts)}, such as "
            f"{bodyparts[0]},{bodyparts[-1]}."
        )
    return names[0], names[1]
