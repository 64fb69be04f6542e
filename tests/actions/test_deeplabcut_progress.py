from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

from alwatch.actions.deeplabcut_progress import Progress, progress_of


def test_nothing_is_known_of_a_training_that_has_not_begun(tmp_path: Path) -> None:
    assert progress_of(tmp_path) is None


def test_the_end_is_foretold_from_the_epochs_of_this_attempt(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    progress.note("preparing")
    progress.note("training", epoch=40, epochs=50)
    found = progress_of(tmp_path)
    assert found is not None
    assert found["eta"] is None
    progress.note("training", epoch=41, loss=0.5)
    found = progress_of(tmp_path)
    assert found is not None
    assert (found["step"], found["epoch"], found["epochs"], found["loss"]) == (
        "training", 41, 50, 0.5,
    )  # fmt: skip
    eta, updated, started = (
        datetime.fromisoformat(found[name]) for name in ("eta", "updated_at", "started_at")
    )
    assert eta >= updated >= started
    progress.note("evaluating")
    found = progress_of(tmp_path)
    assert found is not None
    assert (found["eta"], found["epoch"]) == (None, 41)


def test_asking_imports_nothing_heavy() -> None:
    code = (
        "import sys; import alwatch.actions.deeplabcut_progress; "
        "assert not {'numpy', 'torch', 'pandas', 'yaml'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
