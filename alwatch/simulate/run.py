"""All experiments of a plan: resumable, in parallel, the same for the same seed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from alwatch.errors import AlwatchError, SettingsError
from alwatch.simulate.archive import LabelledArchive, read_archive
from alwatch.simulate.conditions import Conditions, Contender
from alwatch.simulate.trial import Bench, trials


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be compared.

    Parameters
    ----------
    projects : tuple of Path
        DeepLabCut's config.yaml, SLEAP's .slp.
    predicted : bool
        Whether predictions in SLEAP projects count as truth.
    conditions : Conditions
    contenders : tuple of Contender
    budgets : tuple of str
        Numbers of labels, or shares of the pool, rising: "10", "2.5%".
    seeds : tuple of int
        Each draws a split of its own.
    """

    projects: tuple[Path, ...]
    predicted: bool
    conditions: Conditions
    contenders: tuple[Contender, ...]
    budgets: tuple[str, ...]
    seeds: tuple[int, ...]


def run_plan(
    plan: Plan,
    folder: Path,
    *,
    jobs: int,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """Run what has not been run yet; the rows of all experiments of the plan.

    Every experiment is a file in `folder`/trials, written when it has ended, so that an
    interrupted run goes on where it was, and more seeds, budgets or strategies cost only
    themselves.

    Parameters
    ----------
    plan : Plan
    folder : Path
    jobs : int
        Processes, each on one core: the same number of threads gives the same figures.
    on_row : callable
        Told every row as it comes.

    Raises
    ------
    SettingsError
        The folder holds experiments under other conditions, or the plan does not fit the data.
    """
    trials_folder = folder / "trials"
    trials_folder.mkdir(parents=True, exist_ok=True)
    _check_conditions(plan, folder)
    todo = [seed for seed in plan.seeds if any(_missing(plan, trials_folder, seed))]
    if todo:
        archive = read_archive(
            plan.projects, size_px=plan.conditions.size_px, predicted=plan.predicted
        )
        for row in _run_seeds(plan, archive, trials_folder, todo, jobs):
            on_row(row)
    # From the files, as what a run that was killed has still written since counts too.
    return [row for row in (_kept(trials_folder, *key) for key in _keys(plan)) if row]


def _run_seeds(
    plan: Plan, archive: LabelledArchive, folder: Path, seeds: list[int], jobs: int
) -> Iterator[dict[str, Any]]:
    """Rows as they come, each seed in a process of its own, `jobs` of them at a time."""
    context = get_context("spawn")
    waiting = list(reversed(seeds))
    running: dict[Connection, SpawnProcess] = {}
    with tempfile.TemporaryDirectory(prefix="alwatch-simulate-") as shared:
        archive.save(Path(shared))
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    ours, theirs = context.Pipe(duplex=False)
                    arguments = (plan, Path(shared), folder, waiting.pop(), theirs)
                    process = context.Process(target=_work, args=arguments, daemon=True)
                    process.start()
                    theirs.close()
                    running[ours] = process
                for ready in wait(list(running)):
                    assert isinstance(ready, Connection)
                    try:
                        message = ready.recv()
                    except EOFError:
                        _ended(running.pop(ready))
                        continue
                    if isinstance(message, SettingsError):
                        raise message
                    yield message
        finally:
            for still in running.values():
                still.kill()
                still.join()


def _ended(process: SpawnProcess) -> None:
    process.join()
    if process.exitcode:
        raise AlwatchError(
            f"A process of the experiment ended with status {process.exitcode}, before its work "
            "was done (a negative one is a signal: -9 comes from memory that ran out); what it "
            "said stands above. What had ended is kept: run the same command again."
        )


def _work(plan: Plan, shared: Path, folder: Path, seed: int, to_parent: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    try:
        bench = Bench(LabelledArchive.load(shared), plan.conditions, seed)
        for contender, budget in _missing(plan, folder, seed):
            row = bench.run(contender, budget)
            path = _file(folder, seed, contender.spelled, budget)
            staged = path.with_suffix(f".{os.getpid()}.part")
            staged.write_text(json.dumps(row), encoding="utf-8")
            staged.replace(path)
            to_parent.send(row)
    except SettingsError as error:
        to_parent.send(error)


def _missing(plan: Plan, folder: Path, seed: int) -> Iterator[tuple[Contender, str]]:
    for contender, budget in trials(plan.contenders, plan.budgets):
        if not _file(folder, seed, contender.spelled, budget).exists():
            yield contender, budget


def _keys(plan: Plan) -> Iterator[tuple[int, str, str]]:
    for seed in plan.seeds:
        for contender, budget in trials(plan.contenders, plan.budgets):
            yield seed, contender.spelled, budget


def _kept(folder: Path, seed: int, spelled: str, budget: str) -> dict[str, Any] | None:
    try:
        row = json.loads(_file(folder, seed, spelled, budget).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return dict(row)


def _file(folder: Path, seed: int, spelled: str, budget: str) -> Path:
    name = re.sub(r"[^\w.-]+", "-", f"{spelled}-{budget}")
    return folder / f"{name}-{hashlib.sha256(spelled.encode()).hexdigest()[:6]}-{seed}.json"


def _check_conditions(plan: Plan, folder: Path) -> None:
    """Refuse to mix experiments that cannot be compared."""
    file = folder / "conditions.json"
    truth = {"projects": [str(path) for path in plan.projects], "predicted": plan.predicted}
    now = json.dumps(truth | asdict(plan.conditions), indent=1)
    if not file.exists():
        staged = file.with_suffix(f".{os.getpid()}.part")
        staged.write_text(now, encoding="utf-8")
        staged.replace(file)
        return
    try:
        then = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        then = None
    if then != json.loads(now):
        raise SettingsError(
            f"{folder} holds experiments under other conditions (see {file.name} there); name "
            "another folder with --out, or repeat those conditions."
        )
