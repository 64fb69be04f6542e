"""`python -m alwatch.actions`: the process that does one action.

It reads one line of JSON: `kind`, `part` (module:attribute of the action), `settings`, `key`,
`evidence`, `workdir`. It writes one line of JSON, the fields of `records.ActionEnd`; whatever else
prints goes to standard error. With `ends_with_input` it ends, and all that it has started,
when its input does: so nothing goes on when the daemon has died, however it died.
"""

from __future__ import annotations

import fcntl
import inspect
import json
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from importlib.metadata import EntryPoint
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, cast

from alwatch.errors import ActionError, AlwatchError

_CHUNK_BYTES = 2**16


def main() -> NoReturn:
    """Do the one action that is asked for."""
    out = os.dup(1)
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGTERM, _leave)
    request = _read_request()
    if request.get("ends_with_input"):
        threading.Thread(target=_end_with_input, daemon=True).start()
    os.write(out, json.dumps(attempt(request)).encode() + b"\n")
    sys.exit(0)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _read_request() -> dict[str, Any]:
    text = b""
    while not text.endswith(b"\n") and (chunk := os.read(0, _CHUNK_BYTES)):
        text += chunk
    return cast("dict[str, Any]", json.loads(text))


def _end_with_input() -> None:
    while os.read(0, _CHUNK_BYTES):
        pass
    with suppress(ProcessLookupError):  # it leads no group of its own
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def attempt(request: dict[str, Any]) -> dict[str, Any]:
    """Do it, alone in its folder; what is not foreseen is raised."""
    workdir = Path(request["workdir"])
    try:
        action = make_action(request["kind"], request["part"], request["settings"])
        # An attempt that is about to die with a daemon may still be at it.
        with open(workdir / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            outcome = action.deliver(request["key"], request["evidence"], workdir)
        return {"delivered": True, "outcome": outcome}
    except ActionError as error:
        return {
            "delivered": False,
            "outcome": str(error),
            "again": error.again,
            "counts": error.counts,
            "retry_after_s": error.retry_after_s,
        }
    except AlwatchError as error:
        return {"delivered": False, "outcome": str(error)}


def make_action(kind: str, part: str, settings: dict[str, Any]) -> Any:
    """Make an action of those of the settings that it takes.

    Raises
    ------
    ActionError
        Its package is not installed, or a setting that it needs is lacking.
    """
    try:
        made_by = EntryPoint(kind, part, "alwatch.action").load()
    except ModuleNotFoundError as error:
        raise ActionError(
            f"do is {kind}, which needs the package {error.name}; install it with "
            f"`pip install 'alwatch[{kind}]'`."
        ) from error
    takes = inspect.signature(made_by).parameters
    given = {name: settings[name] for name in takes if settings.get(name) is not None}
    if lacking := [n for n, p in takes.items() if p.default is p.empty and n not in given]:
        raise ActionError(f"do is {kind}, which needs {', '.join(lacking)}; set it.", again=False)
    return made_by(**given)


if __name__ == "__main__":
    main()
