"""The few kinds of failure a person may meet.

Every message is one sentence or two: what was asked; what was found, with
values; what to do. Anything else that is raised is a defect of alwatch.
"""


def shown(value: object) -> str:
    """Text as it may stand in a message, a log or a database: one line of valid Unicode.

    File names may hold line breaks, terminal commands, and bytes that are no text at all; these
    are escaped.
    """
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class AlwatchError(Exception):
    """Base of every failure that is explained to the person in front of it."""


class SettingsError(AlwatchError):
    """The settings, or the way a command was called, are wrong.

    Parameters
    ----------
    faults : str
        One line for each fault; all faults of a file are reported at once.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class VideoError(AlwatchError):
    """A video cannot be used, and trying again will not help."""


class VideoIncompleteError(VideoError):
    """A video looks unfinished; it may become readable when its writer is done."""


class DecoderDiedError(AlwatchError):
    """The decoding child crashed, hung or went over a limit; another attempt may help."""


class WeightsError(AlwatchError):
    """A network's weights are missing, unreadable or not the ones that were named."""


class PoseModelError(AlwatchError):
    """The pose model cannot be found, loaded or used at this moment."""


class UnscorableError(PoseModelError):
    """A loaded pose model cannot score these frames, though smaller batches were tried."""


class StoreError(AlwatchError):
    """The state folder cannot be used: locked, too new, not writable, or damaged."""


class DamagedStoreError(StoreError):
    """The database is damaged: nothing mends it but a backup, and nothing may be written to it."""


class ExportError(AlwatchError):
    """A labelling project cannot take a queue as it is."""


class NothingToDoError(AlwatchError):
    """The answer is no: nothing to queue, nothing found. Not a malfunction."""


class StopRequestedError(AlwatchError):
    """Whoever runs the work wants it to end now; what was begun is given back untried."""


class ActionError(AlwatchError):
    """What a trigger asked for could not be done.

    Parameters
    ----------
    message : str
    again : bool
        Whether another attempt may help.
    counts : bool
        Whether it is one of the attempts that the settings allow; not so where whoever was asked
        is busy and wants to be asked later.
    retry_after_s : float, optional
        How long another attempt is to wait, if that was said.
    """

    def __init__(
        self,
        message: str,
        *,
        again: bool = True,
        counts: bool = True,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.again = again
        self.counts = counts
        self.retry_after_s = retry_after_s
