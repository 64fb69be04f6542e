"""How a page is filled in and written: one file that needs nothing but itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2


def write_page(path: Path, template: str, view: Mapping[str, Any]) -> None:
    """Fill a template of this folder and write it as one HTML file.

    All values are escaped. The file appears complete or not at all; an older one at the same
    path is replaced.

    Parameters
    ----------
    path : Path
        The file to write, in a folder that exists.
    template : str
        Its file name.
    view : mapping
        What the template shows.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(
            lambda name: files("alwatch.web").joinpath(name).read_text("utf-8")
        ),
    )
    text = environment.get_template(template).render(view)
    staged = path.with_name(f".{path.name}.part")
    try:
        # A file name that is not UTF-8 carries lone surrogates; they are shown, not refused.
        staged.write_bytes(text.encode("utf-8", "backslashreplace"))
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)
