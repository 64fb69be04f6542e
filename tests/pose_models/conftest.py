from __future__ import annotations

from pathlib import Path

import pytest

from tests.pose_models.projects import copy_openfield


@pytest.fixture(scope="session")
def openfield(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.yaml of the trained openfield project; not to be written in."""
    return copy_openfield(data_dir, tmp_path_factory.mktemp("deeplabcut") / "openfield")
