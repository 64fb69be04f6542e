"""Copies of real pose-model projects that tests may write in."""

from __future__ import annotations

import shutil
from pathlib import Path

PLACEHOLDER = "WILL BE AUTOMATICALLY UPDATED BY DEMO CODE"


def copy_openfield(data_dir: Path, into: Path) -> Path:
    """The openfield project with its trained snapshots; returns its config.yaml."""
    source = data_dir / "dlc-openfield"
    shutil.copytree(source / "openfield-Pranav-2018-10-30", into)
    for name in ("dlc-models-pytorch", "training-datasets"):
        shutil.copytree(source / "trained" / name, into / name)
    for path in [into, *into.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    for path in into.glob("dlc-models-pytorch/**/*.yaml"):
        path.write_text(path.read_text().replace("PROJECT_PATH", str(into)))
    config = into / "config.yaml"
    text = config.read_text()
    text = text.replace(f"project_path: {PLACEHOLDER}", f"project_path: {into}")
    config.write_text(text.replace(PLACEHOLDER, str(into / "videos" / "m3v1mp4.mp4")))
    return config
