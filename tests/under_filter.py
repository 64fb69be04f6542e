"""Run a program under the system call filter of a unit: `… UNIT PROGRAM ARGUMENTS`.

The lists of names come from systemd itself, the filter is put up by the same library.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # of seccomp.h


def members(name: str) -> set[str]:
    """The system calls that a name of `SystemCallFilter=` stands for."""
    if not name.startswith("@"):
        return {name}
    run = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
    )
    lines = [line.strip() for line in run.stdout.splitlines()[1:]]
    return set().union(*(members(line) for line in lines if line and not line.startswith("#")))


def allowed_by(unit: Path) -> set[str]:
    """What the `SystemCallFilter=` lines of a unit allow, read one after the other."""
    allowed: set[str] = set()
    for line in unit.read_text().splitlines():
        if line.startswith("SystemCallFilter="):
            value = line.partition("=")[2]
            names = set().union(*map(members, value.removeprefix("~").split()))
            allowed = allowed - names if value.startswith("~") else allowed | names
    return allowed


def put_up(allowed: set[str]) -> None:
    """Refuse all but these to this process and its children: EPERM, and ENOSYS where unknown."""
    library = ctypes.CDLL(find_library("seccomp"), use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(_ERRNO | errno.ENOSYS))
    for name in sorted(members("@known") | allowed):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            action = _ALLOW if name in allowed else _ERRNO | errno.EPERM
            assert library.seccomp_rule_add(context, action, number, 0) == 0, name
    assert library.seccomp_load(context) == 0


if __name__ == "__main__":
    put_up(allowed_by(Path(sys.argv[1])))
    os.execvp(sys.argv[2], sys.argv[2:])
