"""Weights from a file or a hub, checked before they are believed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from alwatch.errors import WeightsError

_NO_WEIGHTS_NEEDED = "or set embedding.model: hog, which needs no weights"
_NAMES_SHOWN = 3


def load_weights_file(
    network: nn.Module, path: Path, *, model: str, sha256: str | None, origin: str
) -> None:
    """Load a weight file into a network that it must fit exactly.

    Accepted are `.safetensors`, `.pth` and `.pt` as torchvision, timm and the releases of DINO
    and DINOv2 publish them; a prefix `module.` or `backbone.`, nesting under `teacher`,
    `state_dict` or `model`, and the `mask_token` of training are stripped.

    Parameters
    ----------
    network : Module
    path : Path
    model : str
        The model's name in the settings.
    sha256 : str, optional
        What the file's sha256 must be, in hexadecimal.
    origin : str
        Where such a file is to be had, for the messages.

    Raises
    ------
    WeightsError
        The file is missing, unreadable, not the one that was named, holds code, or does not fit.
    """
    content = _read(path, origin)
    if sha256 is not None:
        _check_sha256(path, content, sha256, origin)
    load_state_dict(
        network,
        _unwrap(_parse(path, content, origin)),
        model=model,
        source=str(path),
        origin=origin,
    )


def load_state_dict(
    network: nn.Module, state_dict: Mapping[str, Any], *, model: str, source: str, origin: str
) -> None:
    """Load tensors into a network if names and shapes are exactly the network's.

    Raises
    ------
    WeightsError
        Names what is missing, what is unknown and what has another shape.
    """
    expected = network.state_dict()
    misfits = _misfits(state_dict, expected)
    if misfits:
        raise WeightsError(
            f"the weights in {source} do not fit {model}: found {len(state_dict)} tensors, "
            f"expected {len(expected)}; {'; '.join(misfits)}. "
            f"Point embedding.weights to a file from {origin}, or set embedding.model to the "
            "network that this file belongs to."
        )
    network.load_state_dict(dict(state_dict))


def hash_weights(network: nn.Module) -> str:
    """Compute the sha256 over names, types, shapes and bytes of a network's state, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextlib.contextmanager
def downloading(model: str, origin: str) -> Iterator[None]:
    """Turn a failed download into a WeightsError, and keep the hubs off standard output.

    torch.hub announces its downloads there, but it belongs to the answer of a command.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (OSError, RuntimeError) as fault:
        raise WeightsError(
            f"the weights of {model} were to come from {origin}, which failed: "
            f"{_first_line(fault)}. Run once with a connection, put the file on this machine and "
            f"set embedding.weights, {_NO_WEIGHTS_NEEDED}."
        ) from fault


def _read(path: Path, origin: str) -> bytes:
    """Read the whole file, so that the bytes that are hashed are the bytes that are loaded."""
    remedy = (
        f"get it from {origin}, correct embedding.weights, leave embedding.weights out to have "
        f"them downloaded, {_NO_WEIGHTS_NEEDED}."
    )
    try:
        return path.read_bytes()
    except FileNotFoundError as fault:
        raise WeightsError(f"embedding.weights is {path}, which is not there; {remedy}") from fault
    except OSError as fault:
        raise WeightsError(
            f"embedding.weights is {path}, which cannot be read ({fault.strerror}); {remedy}"
        ) from fault


def _check_sha256(path: Path, content: bytes, sha256: str, origin: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.strip().lower():
        raise WeightsError(
            f"embedding.weights_sha256 is {sha256}, but {path} has {found}; get the file again "
            f"from {origin}, or correct the setting if this is the file you mean."
        )


def _parse(path: Path, content: bytes, origin: str) -> Any:
    """Parse the file's bytes without ever running code that they may hold."""
    suffix = path.suffix.lower()
    if suffix not in (".safetensors", ".pth", ".pt"):
        raise WeightsError(
            f"embedding.weights is {path}; the name must end in .safetensors, .pth or .pt."
        )
    try:
        if suffix == ".safetensors":
            return safetensors.torch.load(content)
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as fault:
        raise WeightsError(
            f"{path} holds more than tensors, or is no weight file; it was not loaded, because "
            f"that could run code from it. Get a file from {origin}."
        ) from fault
    except Exception as fault:  # damaged bytes make both parsers fail in any way
        raise WeightsError(
            f"{path} cannot be read as weights ({_first_line(fault)}); get it again from {origin}."
        ) from fault


def _unwrap(loaded: Any) -> dict[str, Any]:
    """Bare tensors by bare name, whichever way the file was saved."""
    for key in ("teacher", "state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping):
        return {}
    bare = {str(name).removeprefix("module."): value for name, value in loaded.items()}
    if any(name.startswith("backbone.") for name in bare):  # the rest are heads for training
        bare = {
            name.removeprefix("backbone."): value
            for name, value in bare.items()
            if name.startswith("backbone.")
        }
    bare.pop("mask_token", None)
    return bare


def _misfits(found: Mapping[str, Any], expected: Mapping[str, Tensor]) -> list[str]:
    """Say in which ways the tensors found are not the tensors expected."""
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    reshaped = [
        f"{name} is {_shape(found[name])}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and _shape(found[name]) != tuple(tensor.shape)
    ]
    kinds = {"missing": missing, "unknown": unknown, "of another shape": reshaped}
    return [f"{kind}: {_some(names)}" for kind, names in kinds.items() if names]


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _some(names: list[str]) -> str:
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _first_line(fault: BaseException) -> str:
    text = str(fault).strip().splitlines()
    return text[0].rstrip(".") if text else type(fault).__name__
