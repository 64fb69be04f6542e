"""What `alwatch simulate` may be told by one word: networks, and experiments of others."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from types import MappingProxyType

INDIVIDUAL, VIDEO = "^(.*?)(/#.*)?$", "^([^/]*)"
"""Patterns of a video's name: all but the number of an animal that no track names; the file's."""

NETWORKS = (
    "resnet_50", "resnet_101", "hrnet_w18", "hrnet_w32", "hrnet_w48", "cspnext_s", "cspnext_m",
    "cspnext_x",
)  # fmt: skip
"""DeepLabCut's networks that give heat maps of one animal in the whole frame."""

HORSE10: Mapping[str, str] = MappingProxyType(
    {
        "seeds": "3",
        "test_sessions": "66.7%",
        "test_frames": "0",
        "base_individuals": "1",
        "base_frames": "0",
        "budgets": "2%,5%,10%,15%,25%,50%,75%",
        "strategies": (
            "uniform,stride,mpe_softmax,influence_published,kmeans_alternate,"
            "herding@equal_share_max=1"
        ),
        "error": "normalised",
    }
)
"""The DeepLabCut study of active learning on Horse-10: of 30 horses one is labelled, 9 are the
pool and 20 the test, three times over; with the budgets below 25 % that it left out, the
baseline that has to be beaten, and the herding that is the default here."""

PRESETS: Mapping[str, Mapping[str, str]] = MappingProxyType({"horse10": HORSE10})
"""Values of options by name of the option, in the command line's spelling."""


def spelled(name: str) -> list[str]:
    """A preset as one would type it, option by option."""
    return [
        f"--{option.replace('_', '-')} {quote(value)}" for option, value in PRESETS[name].items()
    ]
