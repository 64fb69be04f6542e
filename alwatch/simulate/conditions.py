"""Under which conditions strategies are compared, and which ones."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Literal

from alwatch.errors import SettingsError
from alwatch.strategies.bandit import BANDIT
from alwatch.strategies.pool import Limits
from alwatch.strategies.registry import fault_of, lacking_scores

BASE = "base"
"""No strategy: only what is labelled at the start."""

WHOLE_POOL = "whole pool"
"""No strategy: all of the pool is labelled."""

ORACLE = "oracle"
"""Herding by the true error, which only an experiment knows: how much there is to win."""

BANDIT_AUDIT_SHARE = 0.2
"""What the bandit audits of every round, where its limits do not say."""

SCORES = ("mpe", "mpe_softmax", "confidence", "presence")
"""What the trained networks say of a frame, for a strategy to choose by."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What all strategies of an experiment share.

    Parameters
    ----------
    size_px : (height, width)
        Of the network's input.
    steps, batch_size : int
        Of a training.
    width : int
        Channels of the U-Net.
    more_steps : int
        Steps by which the base model is trained on once labels have come; with 0 the network is
        trained anew, `steps` long.
    base_frames, base_individuals : int
        What is labelled at the start; with 0 frames, all of these individuals.
    test_sessions : float
        How many are held out; below 1, which share of them.
    test_frames : int
        Of these, 0 for all.
    rounds : int
        In how many rounds a budget is labelled, with a training after each.
    features, features_weights : str
        By which frames are compared, see `simulate.features`; and a file of its weights.
    reference : (str, str)
        The bodyparts whose distance is the length of the animal.
    pck_share : float
        Of that length.
    individual, session : str
        Patterns whose first group in a video's name is the individual's, and the session's.
    trainer : {"unet", "deeplabcut"}
        The network: alwatch's own small U-Net, or one of DeepLabCut's.
    network, backbone_weights : str
        Of DeepLabCut's training: which network, and the file that its backbone starts from
        (random weights without).
    device : str
        "cpu", "cuda", "cuda:N" or "auto", for DeepLabCut's training and the features.
    """

    size_px: tuple[int, int]
    steps: int
    batch_size: int
    width: int
    more_steps: int
    base_frames: int
    base_individuals: int
    test_sessions: float
    test_frames: int
    rounds: int
    features: str
    reference: tuple[str, str]
    pck_share: float
    individual: str
    session: str
    trainer: Literal["unet", "deeplabcut"] = "unet"
    network: str = "resnet_50"
    backbone_weights: str | None = None
    device: str = "auto"
    features_weights: str | None = None


@dataclass(frozen=True, slots=True)
class Contender:
    """A strategy and its limits, spelled `name` or `name@limit=value+limit=value`.

    `bandit` draws one of `ARMS` for every round, by what the rounds before have paid.
    """

    spelled: str
    strategy: str
    limits: Limits

    @classmethod
    def read(cls, spelled: str) -> Contender:
        """Read a contender.

        Raises
        ------
        SettingsError
            No such strategy or limit.
        """
        if spelled in (BASE, WHOLE_POOL):
            return cls(spelled, spelled, Limits())
        name, _, rest = spelled.partition("@")
        fault = fault_of(name, beside=(BANDIT, ORACLE))
        if fault is not None:
            raise SettingsError(fault)
        lacking = lacking_scores(name, SCORES) if name not in (BANDIT, ORACLE) else ()
        if lacking:
            raise SettingsError(
                f"The strategy {name} needs the scores {', '.join(lacking)}, which a trained "
                f"network does not give; it gives {', '.join(SCORES)}. Leave it out."
            )
        limits: dict[str, float | str] = {}
        if name == BANDIT:
            limits["audit_share"] = BANDIT_AUDIT_SHARE
        known = asdict(Limits())
        for part in filter(None, rest.split("+")):
            match = re.fullmatch(r"(\w+)=(?:(\d+)|(\d*\.\d+)|([a-z]+))", part)
            if match is None or match[1] not in known or bool(match[4]) != (match[1] == "share_by"):
                raise SettingsError(
                    f"{spelled!r} has the limit {part!r}; limits are {', '.join(known)}, each "
                    "with a number (share_by with video, individual or session), as in "
                    "minmax@equal_share_max=1.3."
                )
            limits[match[1]] = int(match[2]) if match[2] else match[4] or float(match[3])
        try:
            return cls(spelled, name, Limits(**limits))  # type: ignore[arg-type]
        except ValueError as error:
            raise SettingsError(f"{spelled!r}: {error}") from None
