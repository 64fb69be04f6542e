"""DeepLabCut itself, imported once: it takes about 20 s."""

from __future__ import annotations

import importlib
import os
import warnings
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def deeplabcut() -> ModuleType:
    os.environ.setdefault("DLClight", "True")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("deeplabcut")
