"""The units: what systemd's own tools say of them, and alwatch under their filter."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from ctypes.util import find_library
from pathlib import Path

import pytest

from alwatch.config import settings_table
from tests.test_readme import README
from tests.videos import make_video, write_settings

UNITS = README.parent / "systemd"
SYSTEM = ["alwatch.service", "alwatch@.service"]
ALL = [*SYSTEM, "user/alwatch.service"]

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(*arguments: object, environ: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """Exit code of systemd-analyze, and all that it says."""
    run = subprocess.run(
        ["systemd-analyze", "--no-pager", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=dict(environ),
    )
    return run.returncode, run.stdout


def exposure(unit: Path) -> float:
    _, said = analyze("security", "--offline=true", unit)
    found = re.search(r"Overall exposure level for .*: ([\d.]+)", said)
    assert found, said
    return float(found[1])


def with_cuda(folder: Path, name: str) -> Path:
    """A copy of a unit that has the drop-in."""
    shutil.copy(UNITS / name, folder)
    (folder / f"{name}.d").mkdir()
    shutil.copy(UNITS / "cuda.conf", folder / f"{name}.d")
    return folder / name


def told_in_the_readme() -> tuple[int, list[float]]:
    """The version of systemd whose figures they are, and these, without and with the drop-in."""
    section = README.read_text("utf-8").split("## As a service")[1].split("\n## ")[0]
    found = re.search(
        r"exposure of (\d\.\d), with `cuda.conf` of (\d\.\d)\s\(.*, by systemd (\d+)\)", section
    )
    assert found
    return int(found[3]), [float(found[1]), float(found[2])]


@needs_systemd
@pytest.mark.parametrize("name", SYSTEM)
def test_the_exposure_is_what_the_readme_says_and_at_most_2(tmp_path: Path, name: str) -> None:
    found = [exposure(UNITS / name), exposure(with_cuda(tmp_path, name))]
    assert max(found) <= 2.0
    version, told = told_in_the_readme()
    if analyze("--version")[1].startswith(f"systemd {version} "):  # another one weighs otherwise
        assert found == told


@needs_systemd
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("cuda", [False, True])
def test_systemd_finds_nothing_wrong(tmp_path: Path, name: str, cuda: bool) -> None:
    target = tmp_path / Path(name).name
    text = (UNITS / name).read_text()
    target.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.M))
    if cuda:
        (tmp_path / f"{target.name}.d").mkdir()
        shutil.copy(UNITS / "cuda.conf", tmp_path / f"{target.name}.d")
    scope = "--user" if name.startswith("user") else "--system"
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    code, said = analyze(scope, "verify", "--man=no", target, environ=environ)
    assert (code, said) == (0, "")


@needs_systemd
def test_a_mistake_in_a_unit_would_be_seen(tmp_path: Path) -> None:
    target = tmp_path / "alwatch.service"
    target.write_text((UNITS / "alwatch.service").read_text() + "[Service]\nProtectSistem=strict\n")
    assert re.search("Unknown key.*ProtectSistem", analyze("verify", "--man=no", target)[1])


def test_the_template_differs_from_the_unit_only_where_an_archive_is_named() -> None:
    one, many = ((UNITS / name).read_text().splitlines() for name in SYSTEM)
    changed = [line[2:] for line in difflib.ndiff(one, many) if line.startswith("+ ")]
    assert [line for line in changed if not line.startswith("#")] == [
        "Description=alwatch: queues of video frames worth labelling (%i)",
        "ExecStart=/opt/alwatch/bin/alwatch --config /etc/alwatch/%i.yaml run",
        "StateDirectory=alwatch/%i",
        "Environment=HOME=/var/lib/alwatch/%i XDG_CACHE_HOME=/var/cache/alwatch",
    ]


def test_the_units_of_a_person_and_of_the_system_behave_alike() -> None:
    def lines(name: str) -> list[str]:
        return [line for line in (UNITS / name).read_text().splitlines() if line[:1].isupper()]

    system, person = lines("alwatch.service"), lines("user/alwatch.service")
    assert [line for line in person if line not in system] == [
        "ExecStart=%h/.local/share/alwatch/bin/alwatch --config %E/alwatch/alwatch.yaml run",
        "WantedBy=default.target",
    ]
    for what in ("Type", "NotifyAccess", "WatchdogSec", "Restart", "KillMode", "OOMPolicy"):
        assert [line for line in person if line.startswith(f"{what}=")], what


@pytest.mark.parametrize("name", [*ALL, "cuda.conf"])
def test_settings_and_files_that_a_unit_speaks_of_exist(name: str) -> None:
    text = (UNITS / name).read_text()
    known = {setting for setting, _, _ in settings_table()}
    known |= {setting.rpartition(".")[2] for setting in known}
    for told in re.findall(r"`([a-z_.]+?)(?:: [^`]*)?`", text):
        assert told in known, told
    for file in re.findall(r"\b\w+\.conf\b", text):
        assert (UNITS / file).exists(), file


def test_the_readme_installs_files_that_are_there() -> None:
    section = README.read_text("utf-8").split("## As a service")[1].split("\n## ")[0]
    named = set(re.findall(r"systemd/(?:user/)?[\w@.]+\.(?:service|conf)", section))
    shipped = {f"systemd/{path.relative_to(UNITS)}" for path in UNITS.rglob("*.*")}
    assert {name for name in named if (README.parent / name).exists()} == shipped


@needs_systemd
@pytest.mark.skipif(find_library("seccomp") is None, reason="libseccomp is not installed")
@pytest.mark.parametrize("name", ["alwatch.service", "user/alwatch.service"])
def test_alwatch_and_its_children_work_under_the_filter_of_the_unit(
    tmp_path: Path, name: str
) -> None:
    settings = write_settings(tmp_path)
    make_video(tmp_path / "archive" / "s" / "a.mp4")
    program = (
        "import os, subprocess, sys, torch\n"
        "try:\n"
        "    os.setuid(os.getuid())\n"
        "    sys.exit('there is no filter')\n"
        "except PermissionError:\n"
        "    pass\n"
        "os.nice(1)\n"
        "torch.nn.Conv2d(3, 8, 3)(torch.zeros(1, 3, 64, 64)).sum().backward()\n"
        "for line in ('ingest', 'backup', 'reindex', 'verify', 'queue s --budget 2'):\n"
        "    command = [sys.executable, '-m', 'alwatch', '--config', sys.argv[1], *line.split()]\n"
        "    subprocess.run(command, check=True)\n"
    )
    filtered = [sys.executable, "-m", "tests.under_filter", str(UNITS / name)]
    run = subprocess.run(
        [*filtered, sys.executable, "-c", program, str(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=README.parent,
    )
    assert run.returncode == 0, run.stdout
