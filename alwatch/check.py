"""What is wrong on this machine, and what to do about it: one finding after the other."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from alwatch.app import App
from alwatch.config import Settings
from alwatch.errors import AlwatchError
from alwatch.watch import WatchedRoot, file_system_kind, scan_root

if TYPE_CHECKING:
    from alwatch.config.triggers import Action

ENOUGH_DISK_BYTES = 5 * 2**30
FULL_DISK_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; a `fault` keeps alwatch from working, a `warning` does not."""

    subject: str
    level: Literal["ok", "warning", "fault"]
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Look at everything that alwatch needs, the cheap things first.

    Nothing is left behind, and nothing is written in an archive folder.
    """
    app = App(settings)
    yield Finding("settings", "ok", f"{settings.source} is valid")
    yield _state_dir(settings.state_dir)
    yield _backups(app)
    yield from (_root(root) for root in app.watched_roots())
    yield from _inotify(app.watched_roots())
    yield _parts("queue.strategy", lambda: _strategy(app))
    for number, export in enumerate(settings.exports):
        look = partial(_export, app, export.to, export.project)
        yield _parts(f"exports[{number}]", look)
    yield from check_actions(settings)
    yield _parts("decoding", lambda: _decoding(app))
    yield _parts("embedding", lambda: _embedding(app))
    if settings.pose_model.kind != "none":
        yield _parts("pose_model", lambda: _pose_model(app))
    yield _parts("device", lambda: _device(settings.embedding.device))


def _parts(subject: str, look: Callable[[], str]) -> Finding:
    """A check that raises what is wrong, in words that already name the remedy."""
    try:
        return Finding(subject, "ok", look())
    except AlwatchError as error:
        return Finding(subject, "fault", str(error))


def _state_dir(path: Path) -> Finding:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"0")
    except OSError as error:
        return Finding(
            "state_dir",
            "fault",
            f"{path} cannot be written: {error.strerror}",
            f"make it writable for uid {os.getuid()}, or name another folder",
        )
    if file_system_kind(path) == "network":
        return Finding(
            "state_dir",
            "fault",
            f"{path} is on a network drive, where SQLite is not safe",
            "name a folder on a local disk",
        )
    free_bytes = shutil.disk_usage(path).free
    found = f"{path} is writable, {free_bytes / 2**30:.1f} GiB free"
    if free_bytes < FULL_DISK_BYTES:
        return Finding("state_dir", "fault", found, "make room on that disk")
    if free_bytes < ENOUGH_DISK_BYTES:
        return Finding("state_dir", "warning", found, "make room on that disk before long")
    return Finding("state_dir", "ok", found)


def _backups(app: App) -> Finding:
    folder, newest = app.backup_folder, app.newest_backup()
    named = app.settings.backup.folder
    if named is not None and not (named.is_dir() and os.access(named, os.W_OK)):
        problem = "cannot be written" if named.is_dir() else "is not there"
        remedy = "make it, or mount its drive, so that this user can write there"
        return Finding("backup.folder", "fault", f"{named} {problem}", remedy)
    if not app.settings.backup.every_h:
        return Finding("backup.folder", "ok", f"{folder}; none is made by itself")
    told = f"the newest is of {newest.made_at:%Y-%m-%d %H:%M} UTC" if newest else "none yet"
    return Finding("backup.folder", "ok", f"{folder}; {told}")


def _root(root: WatchedRoot) -> Finding:
    scan = scan_root(root)
    if not scan.online:
        return Finding("archive", "fault", scan.problem or f"{root.path} cannot be scanned")
    if scan.problem:
        return Finding("archive", "warning", scan.problem)
    kind = file_system_kind(root.path)
    how = "watched by inotify" if root.wants_events(kind) else "polled"
    return Finding("archive", "ok", f"{root.path}: {len(scan.files)} videos, {kind}, {how}")


def _inotify(roots: list[WatchedRoot]) -> Iterator[Finding]:
    watched = [r for r in roots if r.wants_events(file_system_kind(r.path))]
    try:
        limit = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    except (OSError, ValueError):
        return
    folders = sum(1 for root in watched for _ in os.walk(root.path))
    found = f"{folders} folders to watch, {limit} allowed (fs.inotify.max_user_watches)"
    if folders > limit // 2:
        remedy = f"sysctl fs.inotify.max_user_watches={max(524288, 4 * folders)}"
        yield Finding("inotify", "warning", found, remedy)
    elif watched:
        yield Finding("inotify", "ok", found)


def _strategy(app: App) -> str:
    from alwatch.strategies.bandit import BANDIT, fault_of_bandit
    from alwatch.strategies.registry import fault_of

    rules = app.settings.queue
    fault = fault_of(rules.strategy, beside=(BANDIT,))
    if rules.strategy == BANDIT:
        fault = fault_of_bandit(rules.bandit_arms, app.queue_limits(), rules.budget)
    if fault is not None:
        raise AlwatchError(f"queue.{fault}")
    return rules.strategy


def _export(app: App, to: str, project: Path) -> str:
    app.labelling_tool(to, project).read_labels()
    return f"{to}: {project}"


def check_actions(settings: Settings) -> Iterator[Finding]:
    """Look at what the actions of the trigger rules need; nothing is sent."""
    for n, trigger in enumerate(settings.triggers):
        for m, action in enumerate(trigger.actions):
            subject = f"triggers[{n}].actions[{m}]"
            yield _parts(subject, partial(_action, action))
            if action.secret_file is not None and action.secret_file.is_file():
                yield _secret(f"{subject}.secret_file", action.secret_file)


def _action(action: Action) -> str:
    """What an action works with, if it is there."""
    if action.folder is not None:
        return _folder(action.folder)
    if action.do == "slurm" and action.command is not None:
        _batch_script(action.command[0])
        return "slurm: " + ", ".join(map(_program, ("sbatch", "squeue")))
    if action.command is not None:
        return f"command: {_program(action.command[0])}"
    if action.url is not None:
        from alwatch.actions.webhook import addresses_of, parsed, server_of_url

        url = parsed(action.url)
        addresses_of(url, allow_private=action.allow_private)
        found = f"webhook: {server_of_url(url)}"
    elif action.do == "mail":
        found = f"mail: by {_mail_goes_by(action)}"
    else:
        return action.do
    if action.secret_file is not None:
        from alwatch.actions.disk import read_secret

        read_secret(action.secret_file)
    return found


def _mail_goes_by(action: Action) -> str:
    from alwatch.actions.mail import find_sendmail, server_of

    if action.smtp is None:
        return find_sendmail()
    return "{}:{}".format(*server_of(action.smtp))


def _folder(folder: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        raise AlwatchError(
            f"{folder} cannot be written: {error.strerror}; make it, writable for uid "
            f"{os.getuid()}, or name another folder."
        ) from error
    return f"file: {folder} is writable"


def _batch_script(name: str) -> None:
    if not (name.startswith("-") or (os.path.isabs(name) and os.path.isfile(name))):
        raise AlwatchError(f"{name} is no file; name the batch script by its full path.")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise AlwatchError(
            f"{name} is no program that can be run here; install it, make it executable, or name "
            "it by its full path."
        )
    if not os.path.isabs(name) and os.sep in name:
        raise AlwatchError(f"{name} is looked for in another folder then; name its full path.")
    return found


def _secret(subject: str, file: Path) -> Finding:
    mode = file.stat().st_mode
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        found = f"{file} can be read or changed by every user ({stat.filemode(mode)})"
        return Finding(subject, "warning", found, f"chmod o= {file}")
    return Finding(subject, "ok", f"{file} is for its owner and group")


def _decoding(app: App) -> str:
    """Encode a few frames and read them back through the decoding child, limits and all."""
    import av
    import numpy as np

    wanted = ["h264", "hevc", "mpeg4", "mjpeg", "vp9", "av1", "wmv2"]
    missing = [name for name in wanted if name not in av.codecs_available]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for value in range(0, 250, 25):
                image = np.full((48, 64, 3), value, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
            container.mux(stream.encode())
        with app.open_video()(path) as video:
            _, timeline = video.probe()
            frames = list(video.read(np.arange(timeline.n_frames)))
    if len(frames) != 10:
        raise AlwatchError(f"a test video of 10 frames gave {len(frames)}; reinstall PyAV.")
    codecs = ", ".join(name for name in wanted if name not in missing)
    return f"the decoding process works; codecs: {codecs}" + (
        f"; missing: {', '.join(missing)}" if missing else ""
    )


def _embedding(app: App) -> str:
    identity = app.embedder.identity
    return f"{identity.name} ({identity.dim} values a frame, weights {identity.weights[:12]})"


def _pose_model(app: App) -> str:
    """Find the snapshot, load it in its worker, and score one grey frame."""
    import numpy as np

    located = app.find_snapshot()
    with app.pose_process(located) as scorer:
        scored = scorer.score(np.full((1, 240, 320, 3), 127, np.uint8))
    snapshot = located.snapshot
    return (
        f"{snapshot.name} of {app.settings.pose_model.project} scores "
        f"({len(snapshot.bodyparts)} bodyparts: {', '.join(snapshot.bodyparts)}; "
        f"{scored['mpe'].shape[1]} score maps; sha256 {snapshot.sha256[:12]})"
    )


def _device(device: str) -> str:
    import torch

    cuda = torch.cuda.is_available()
    if device.startswith("cuda") and not cuda:
        raise AlwatchError(
            f"embedding.device is {device}, but no CUDA device can be used here; install a "
            "driver, or set it to auto or cpu."
        )
    if device.startswith("cuda") or (device == "auto" and cuda):
        return f"{device}: {torch.cuda.get_device_name(None if device == 'auto' else device)}"
    return f"{device}: CPU, {torch.get_num_threads()} threads"
