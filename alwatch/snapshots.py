"""What a person does with snapshots: promotes one, or goes back to the one before.

Only the store is written; a daemon that runs takes it up at its next look.
"""

from __future__ import annotations

from collections.abc import Sequence

from alwatch.app import App
from alwatch.errors import NothingToDoError, PoseModelError, SettingsError, StoreError
from alwatch.promotion import verified
from alwatch.records import Snapshot
from alwatch.store.snapshots import KnownSnapshot


def promote(app: App, name: str | None) -> Snapshot:
    """Make a snapshot the current one, whatever the gate says of it.

    Parameters
    ----------
    app : App
    name : str or None
        Its name, or the beginning of its sha256; without it the candidate, or the one that was
        set aside last.

    Raises
    ------
    NothingToDoError
        There is none, or it is the current one.
    SettingsError
        No snapshot, or more than one, has that name.
    PoseModelError
        Its files are gone, or hold another snapshot by now.
    StoreError
        Another one became current meanwhile.
    """
    known = app.store.snapshots.known()
    if name is None:
        waiting = [one for one in known if one.state == "candidate"] or _judged(known, "aside")
        if not waiting:
            raise NothingToDoError(
                "No snapshot is a candidate, and none was set aside; `alwatch snapshots` lists "
                "them. Name one to promote it."
            )
        chosen = waiting[-1]
    else:
        chosen = _named(known, name)
    snapshot, current = chosen.snapshot, app.store.snapshots.current().snapshot
    _refuse_current(chosen)
    _check_files(app, snapshot, "promoted")
    is_kept = app.store.snapshots.promote(
        snapshot, judge="hand", reason="promoted by hand", now=app.clock(), against=current
    )
    return _kept(snapshot, is_kept)


def roll_back(app: App, name: str | None) -> Snapshot:
    """Make a former snapshot the current one again, and set aside the one that is current.

    Parameters
    ----------
    app : App
    name : str or None
        Its name, or the beginning of its sha256; without it the one that was current before.

    Raises
    ------
    NothingToDoError, SettingsError, PoseModelError, StoreError
        As `promote`.
    """
    known, current = app.store.snapshots.known(), app.store.snapshots.current().snapshot
    former = _judged(known, "former")
    if current is None or not (former or name):
        now = f"{current.name} is current" if current else "none is current"
        raise NothingToDoError(f"No snapshot was current before: {now}.")
    chosen = former[-1] if name is None else _named(known, name)
    _refuse_current(chosen)
    _check_files(app, chosen.snapshot, "current again")
    is_kept = app.store.snapshots.roll_back(chosen.snapshot, now=app.clock(), against=current)
    return _kept(chosen.snapshot, is_kept)


def _judged(known: Sequence[KnownSnapshot], state: str) -> list[KnownSnapshot]:
    """Those in a state that a judgement has brought them into, the last one last."""
    found = [(one.judgement.id, one) for one in known if one.judgement and one.state == state]
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def _named(known: Sequence[KnownSnapshot], name: str) -> KnownSnapshot:
    found = [
        one
        for one in known
        if one.snapshot.name == name or (len(name) > 3 and one.snapshot.sha256.startswith(name))
    ]
    if len(found) == 1:
        return found[0]
    named = ", ".join(
        f"{one.snapshot.name} ({one.snapshot.sha256[:8]}, {one.state})" for one in found or known
    )
    raise SettingsError(
        f"SNAPSHOT is {name}, which {'several are' if found else 'none is'} called; "
        + (f"give the beginning of its sha256: {named}." if found else f"known: {named or 'none'}.")
    )


def _refuse_current(chosen: KnownSnapshot) -> None:
    if chosen.state == "current":
        raise NothingToDoError(f"{chosen.snapshot.name} is the current snapshot already.")


def _check_files(app: App, snapshot: Snapshot, what: str) -> None:
    if app.snapshot_source is None:
        raise NothingToDoError(f"pose_model.kind is none in {app.settings.source}; set it.")
    try:
        verified(app.store, app.snapshot_source, snapshot)
    except (SettingsError, PoseModelError) as error:
        raise PoseModelError(
            f"{snapshot.name} was to be {what}, but {str(error).rstrip('.')}; put its files back, "
            "or name another one of `alwatch snapshots`."
        ) from error


def _kept(snapshot: Snapshot, is_kept: bool) -> Snapshot:
    if not is_kept:
        raise StoreError("Another snapshot became current at this moment; look, and try again.")
    return snapshot
