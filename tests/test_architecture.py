"""The table of rooms in the README is what the code does."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "alwatch"

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "records": {"errors"},
    "protocols": {"records"},
    "config": {"errors"},
    "season_rules": set(),
    "scores": set(),
    "strategies": {"scores"},
    "child": {"records"},
    "video": {"records", "errors", "child"},
    "embedders": {"records", "errors"},
    "pose_models": {"records", "errors", "scores", "child"},
    "labelling": {"records", "errors"},
    "watch": {"records", "errors"},
    "actions": {"records", "errors", "child", "pose_models"},
    "store": {"records", "errors"},
    "index": {"errors"},
    "seasons": {"records", "store", "scores", "scored"},
    "ingest": {"records", "errors", "store", "protocols"},
    "scoring": {"records", "errors", "store", "protocols", "scores"},
    "scored": {"records", "errors", "store", "scores"},
    "gate": {"records", "store", "scores", "scored"},
    "promotion": {"records", "errors", "store", "protocols", "gate", "scoring"},
    "policy": {"records", "errors", "store", "scored", "strategies"},
    "backups": {"errors", "store"},
    "rounds": {"records", "errors", "store", "protocols", "strategies", "scored", "policy"},
    "loop": {"records", "errors", "store", "seasons", "gate"},
    "delivery": {"records", "errors", "store", "protocols"},
    "web": {"records", "errors"},
    "app": {
        "records", "errors", "config", "protocols", "store", "index", "seasons", "season_rules",
        "ingest", "backups", "scoring", "scored", "gate", "promotion", "policy", "rounds", "loop",
        "delivery", "actions", "strategies", "video", "embedders", "pose_models", "labelling",
        "watch",
    },
    "service": {"app", "errors", "records", "ingest", "watch"},
    "status": {"app", "records", "store", "gate", "actions", "delivery", "seasons"},
    "snapshots": {"app", "errors", "promotion", "records", "store"},
    "season_report": {"records", "store", "scores", "scored", "seasons"},
    "check": {"app", "config", "errors", "watch", "strategies", "actions"},
    "pages": {"app", "records", "scores", "web"},
    "sheet": {"app", "errors", "records", "scored", "scores", "pose_models", "web"},
    "progress": {"errors", "records", "service"},
    "demo": {
        "app", "config", "errors", "records", "store", "scores", "status", "web", "pose_models",
        "sheet", "pages", "season_report", "seasons",
    },
    "simulate": {
        "errors", "records", "protocols", "strategies", "scores", "pose_models", "labelling",
        "embedders", "video",
    },
    "cli": {
        "app", "service", "status", "check", "sheet", "pages", "progress", "demo", "config",
        "errors", "records", "scored", "seasons", "season_report", "simulate", "snapshots", "web",
        "store",
    },
}  # fmt: skip

ONLY_IN: dict[str, set[str]] = {
    "torch": {
        "embedders",
        "pose_models",
        "scores",
        "sheet",
        "check",
        "simulate",
        "demo",
        "actions",
    },
    "torchvision": {"embedders"},
    "timm": {"embedders"},
    "safetensors": {"embedders", "simulate"},
    "faiss": {"index"},
    "sqlite3": {"store"},
    "sqlite_utils": {"store"},
    "pandas": {"labelling", "actions"},
    "h5py": {"labelling"},
    "httpx": {"labelling", "actions"},
    "av": {"video", "demo", "check"},
    "decord": {"video"},
    "watchdog": {"watch"},
    "sklearn": {"strategies", "scores", "simulate"},
    "click": {"cli"},
    "rich": {"progress"},
    "pydantic": {"config"},
    "jinja2": {"web", "simulate"},
    "deeplabcut": {"pose_models", "simulate", "actions"},
    "onnxruntime": {"pose_models"},
    "sleap_io": {"labelling", "simulate"},
    "sleap_nn": {"pose_models"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    """Every module a file imports, those in functions and under TYPE_CHECKING included."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            # `from alwatch import x` may name a module.
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or room_of(path)[0] != "_"
)


def test_every_room_is_in_the_table() -> None:
    assert {room_of(path) for path in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_the_table_allows(path: Path) -> None:
    room = room_of(path)
    used = {name.split(".")[1] for name in imports(path) if name.startswith("alwatch.")}
    used -= {room, "__version__"}
    assert used <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_third_party_package_stays_in_its_rooms(path: Path) -> None:
    room = room_of(path)
    for name in {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names):
        assert room in ONLY_IN.get(name, {room}), f"{name} is imported in {room}"
    if room != "store":
        assert "sqlite3" not in {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_command_line_prints_and_exits(path: Path) -> None:
    allowed = {"cli", "progress"} | ({"video"} if path.name == "worker.py" else set())
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "exit", "quit"} or room_of(path) in allowed
