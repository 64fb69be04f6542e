import hashlib
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from alwatch.watch import content_hash, has_zero_tail

MIB = 2**20
KIB = 2**10


def noise(size_bytes: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size_bytes)


def digest(size_bytes: int, content: bytes) -> str:
    return hashlib.blake2b(size_bytes.to_bytes(8, "little") + content, digest_size=16).hexdigest()


@pytest.mark.parametrize("size_bytes", [0, 1, MIB - 1, MIB, MIB + 1, 16 * MIB])
def test_small_files_count_with_every_byte(tmp_path: Path, size_bytes: int) -> None:
    content = noise(size_bytes)
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    assert content_hash(path) == content_hash(path, full=True) == digest(size_bytes, content)


@pytest.mark.parametrize("size_bytes", [16 * MIB + 1, 34 * MIB])
def test_large_files_count_with_their_ends_and_64_blocks_between(
    tmp_path: Path, size_bytes: int
) -> None:
    content = noise(size_bytes)
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    between = size_bytes - 2 * MIB
    centres = [MIB + (2 * i + 1) * between // 128 for i in range(64)]
    blocks = b"".join(content[c - 32 * KIB : c + 32 * KIB] for c in centres)
    sampled = content[:MIB] + blocks + content[-MIB:]
    assert len(sampled) == 6 * MIB
    assert content_hash(path) == digest(size_bytes, sampled)
    assert content_hash(path, full=True) == digest(size_bytes, content)


def test_a_terabyte_takes_no_longer_than_its_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.touch()
    os.truncate(path, 2**40)
    assert content_hash(path) == digest(2**40, bytes(6 * MIB))


def test_a_name_or_a_place_does_not_change_the_identity(tmp_path: Path) -> None:
    path, link = tmp_path / "a.mp4", tmp_path / "b.avi"
    path.write_bytes(noise(1000))
    before = content_hash(path)
    link.symlink_to(path)
    assert content_hash(link) == before
    os.utime(path, ns=(1, 1))
    assert content_hash(path.rename(tmp_path / "c.mp4")) == before


def test_files_that_differ_only_in_length_differ(tmp_path: Path) -> None:
    hashes = set()
    for size_bytes in (0, 1, 2, 64 * KIB, MIB, 20 * MIB, 20 * MIB + 1):
        path = tmp_path / "zeros.mp4"
        path.write_bytes(b"")
        os.truncate(path, size_bytes)
        hashes.add(content_hash(path))
    assert len(hashes) == 7


def test_an_edit_between_the_samples_shows_only_in_the_full_hash(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(34 * MIB))
    sampled, full = content_hash(path), content_hash(path, full=True)
    with path.open("r+b") as file:
        file.seek(MIB)  # the first block is centred 256 KiB further on
        file.write(b"edited")
    assert content_hash(path) == sampled
    assert content_hash(path, full=True) != full


def test_nothing_but_a_regular_file_is_read_and_nothing_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s.mp4"))
        for name in ("fifo.mp4", "folder.mp4", "zero.mp4", "s.mp4", "missing.mp4"):
            for look in (content_hash, has_zero_tail):
                with pytest.raises(OSError, match=name):
                    look(tmp_path / name)


def test_a_file_that_is_shorter_than_it_says_is_an_error() -> None:
    # Files of sysfs claim a page and hold a line, as one does that shrinks while it is read.
    path = Path("/sys/kernel/uevent_seqnum")
    if not path.exists():
        pytest.skip("no sysfs here")
    with pytest.raises(OSError, match="shorter"):
        content_hash(path)


# --- the tail ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "zeros"),
    [
        (b"", False),
        (b"\0", True),
        (b"\1", False),
        (bytes(1000), True),
        (b"\1" + bytes(64 * KIB - 1), False),
        (b"\1" + bytes(64 * KIB), True),
        (bytes(MIB) + b"\1", False),
        (noise(MIB), False),
    ],
)
def test_a_tail_of_zeros_is_told_from_a_written_one(
    tmp_path: Path, content: bytes, zeros: bool
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    assert has_zero_tail(path) is zeros


def test_reserved_space_has_a_zero_tail_until_it_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with path.open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, 10 * MIB)
        file.write(noise(5 * MIB))
        assert has_zero_tail(path)
        file.write(noise(5 * MIB))
        assert not has_zero_tail(path)
