"""What alwatch has written into a folder of a project: by this it knows its images again.

An image that is not in the record was there before, and one of another digest was changed since.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from typing import TYPE_CHECKING

from alwatch.labelling.images import write_durably
from alwatch.labelling.project_folders import RECORD_NAME
from alwatch.labelling.staging import staging_folder

if TYPE_CHECKING:
    from pathlib import Path

IMAGES_RECORD = ".alwatch-images.json"


def written_images(folder: Path) -> dict[str, str]:
    """The sha256 of every image that alwatch has written there, by name."""
    try:
        written = json.loads((folder / IMAGES_RECORD).read_bytes())
        return {str(name): str(digest) for name, digest in written.items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def write_images_record(folder: Path, digests: dict[str, str]) -> None:
    """Write a folder's record, which must not exist yet."""
    content = json.dumps(dict(sorted(digests.items())), indent=1) + "\n"
    write_durably(folder / IMAGES_RECORD, content.encode())


def forget_images(folder: Path) -> None:
    """Drop the images that are gone from the record of a folder, if it has one.

    A folder in which nothing but records is left goes with them.
    """
    digests = written_images(folder)
    there = set(os.listdir(folder)) if digests else set()
    kept = {name: digest for name, digest in digests.items() if name in there}
    if kept == digests:
        return
    with staging_folder(folder.parent) as staging:
        if there <= {RECORD_NAME, IMAGES_RECORD}:
            folder.rename(staging / folder.name)
        else:
            write_images_record(staging, kept)
            (staging / IMAGES_RECORD).replace(folder / IMAGES_RECORD)


def digest_of(file: Path) -> str:
    """The sha256 of a file."""
    return sha256(file.read_bytes()).hexdigest()
