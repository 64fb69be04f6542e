"""Fixtures that every room's tests share."""

from __future__ import annotations

import importlib
import os
import warnings
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Third-party videos and projects, read-only; see the README's section on testing."""
    path = Path(os.environ.get("ALWATCH_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        message = f"no test data at {path}; set ALWATCH_DATA to the folder that holds it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path.resolve()


@pytest.fixture(scope="session")
def deeplabcut() -> ModuleType:
    """DeepLabCut itself, imported once: it takes about 20 s."""
    os.environ.setdefault("DLClight", "True")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("deeplabcut")
