"""The composition root: settings in, wired parts out. Nothing else knows which part is which.

`App` is put together from one class a subject, each in a file of its own and standing on those
before: `wired`, `archive`, `rounds`, `seasons`, `keeping`. `parts` is the table of what can be
exchanged.
"""

from alwatch.app.keeping import WithKeeping
from alwatch.app.parts import PARTS, SOFTWARE, find_part, locate_part, utc_now

__all__ = ["PARTS", "SOFTWARE", "App", "find_part", "locate_part", "utc_now"]


class App(WithKeeping):
    """Everything that settings describe, made on first use; see `Wired` for what it takes."""
