"""The bandit over a season's rounds: real queues, labels and scores in a real store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alwatch.errors import NothingToDoError, SettingsError
from alwatch.policy import next_arm, season_rounds
from alwatch.records import FrameScores, LabelledFrame, LabelledPoint, Queue, Snapshot
from alwatch.rounds import make_queue
from alwatch.scored import audited_errors
from alwatch.store import Store
from alwatch.strategies.bandit import Round
from alwatch.strategies.pool import Limits
from tests.store.helpers import EMBEDDER, NOW, add_video, make_current

ARMS = ("herding", "stride")
TRUTH = (10.0, 20.0)


class Lab:
    """A season of three videos, and a person and a trainer who do as they are told."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now: datetime = NOW
        rng = np.random.default_rng(0)
        for name in ("a", "b", "c"):
            frames = list(range(0, 600, 15))
            add_video(store, f"{name}.mp4", frames, vectors=rng.normal(size=(len(frames), 4)))
        self.labels: list[tuple[int, LabelledFrame]] = []

    def later(self) -> datetime:
        self.now += timedelta(hours=1)
        return self.now

    def train(self, number: int, *, error_px: float) -> Snapshot:
        """A snapshot that puts both bodyparts so far beside the truth, on every frame."""
        snapshot = Snapshot("deeplabcut", f"snapshot-{number}", f"{number:064}", ("nose", "tail"))
        make_current(self.store, snapshot, self.later())
        while claim := self.store.scores.claim(snapshot, self.now):
            n = len(claim.frame_indices)
            pose = np.tile(np.array([TRUTH[0] + error_px, TRUTH[1], 0.5], "f4"), (n, 1, 2, 1))
            plain = {name: np.zeros((n, 2), np.float32) for name in ("mpe", "absent")}
            signals = {**plain, "confidence": plain["mpe"] + 0.5, "pose": pose}
            scores = FrameScores(claim.frame_indices, signals)
            self.store.scores.finish(claim, snapshot, scores, elapsed_s=1.0, now=self.now)
        return snapshot

    def queue(self, strategy: str = "bandit", **more: Any) -> Queue:
        given: dict[str, Any] = {
            "season": "s1", "embedder": EMBEDDER, "strategy": strategy, "bandit_arms": ARMS,
            "budget": 10, "seed": 0, "limits": Limits(audit_share=0.3), "software": "alwatch",
            "now": self.later(), "groups_of": lambda _: (None, None),
        }  # fmt: skip
        return make_queue(self.store, **given | more)

    def label(self, queue: Queue, *, frames: slice = slice(None)) -> None:
        points = tuple(LabelledPoint("", part, *TRUTH) for part in ("nose", "tail"))
        self.labels += [
            (f.video_id, LabelledFrame(Path("/p"), str(f.video_id), f.frame, Path("/p"), points))
            for f in queue.frames[frames]
        ]
        self.store.labels.set("deeplabcut", Path("/p"), self.labels, self.later())

    def season(self, rounds: list[tuple[str, float]]) -> None:
        """Rounds of 10 labels, each by a strategy under a snapshot of such an error."""
        for number, (strategy, error_px) in enumerate(rounds):
            self.train(number, error_px=error_px)
            self.label(self.queue(strategy))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Store(tmp_path) as store:
        yield Lab(store)


def test_the_manifest_counts_the_audit_frames_which_come_first(lab: Lab) -> None:
    queue = lab.queue("stride")
    assert queue.manifest["audit_frames"] == 3
    reasons = [frame.reason for frame in queue.frames]
    assert [reason == "random audit sample" for reason in reasons] == [True] * 3 + [False] * 7
    assert queue.manifest["policy"] is None
    assert lab.queue("stride", limits=Limits()).manifest["audit_frames"] == 0


def test_the_audited_error_is_that_of_the_snapshot_which_the_queue_was_made_under(lab: Lab) -> None:
    lab.train(1, error_px=7.0)
    queue = lab.queue("stride")
    assert audited_errors(lab.store, queue) == {}  # nothing is labelled yet
    lab.label(queue, frames=slice(1, None))
    lab.train(2, error_px=1.0)  # trained on these labels: it must not be asked
    audit = [(frame.video_id, frame.frame) for frame in queue.frames[:3]]
    assert audited_errors(lab.store, queue) == dict.fromkeys(audit[1:], 7.0)
    lab.label(queue, frames=slice(1))
    assert audited_errors(lab.store, queue) == dict.fromkeys(audit, 7.0)


def test_no_audit_or_no_pose_model_gives_no_error(lab: Lab) -> None:
    without_model = lab.queue("stride")
    lab.label(without_model)
    lab.train(1, error_px=7.0)
    without_audit = lab.queue("stride", limits=Limits())
    lab.label(without_audit)
    assert audited_errors(lab.store, without_model) == {}
    assert audited_errors(lab.store, without_audit) == {}


def test_rounds_are_replayed_from_queues_labels_and_scores(lab: Lab) -> None:
    lab.season([("herding", 20), ("stride", 15), ("herding", 14)])
    assert season_rounds(lab.store, "s1") == [
        Round("herding", 10, 20.0),
        Round("stride", 10, 15.0),
        Round("herding", 10, 14.0),
    ]
    assert season_rounds(lab.store, "s2") == []


def test_what_a_round_paid_is_known_once_the_next_audit_is_labelled(lab: Lab) -> None:
    lab.season([("herding", 20), ("stride", 15)])
    lab.train(9, error_px=14)
    policy = lab.queue().manifest["policy"]
    # 5 px for 10 labels; the audit of this queue will tell what stride has paid.
    assert policy["rewarded_rounds"] == {"herding": 1, "stride": 0}
    assert policy["mean_reward_px_per_label"] == {"herding": 0.5, "stride": None}


def test_the_queue_has_the_name_of_the_arm_and_the_manifest_says_why(lab: Lab) -> None:
    lab.season([("herding", 20), ("stride", 15), ("stride", 14)])
    lab.train(9, error_px=13)
    queue = lab.queue()
    policy = queue.manifest["policy"]
    assert queue.strategy in ARMS
    assert (policy["name"], policy["arms"]) == ("bandit", ["herding", "stride"])
    assert policy["why"] == (
        f"bandit chose {queue.strategy}; the error fell by, in px for each label: "
        "herding 0.5 (1 round), stride 0.1 (1 round)"
    )


def test_the_strategy_that_pays_is_chosen_most(lab: Lab) -> None:
    lab.season(
        [("herding", 20), ("stride", 15), ("herding", 14.9), ("stride", 10), ("herding", 9.9)]
    )
    lab.train(9, error_px=5)
    snapshot = lab.store.snapshots.current().snapshot
    chosen = [
        next_arm(lab.store, season="s1", snapshot=snapshot, arms=ARMS, scores=(), seed=seed)[0]
        for seed in range(30)
    ]
    assert chosen.count("herding") == 30  # 0.5 px for each label, twice; of stride 0.01


def test_every_arm_is_used_once_before_any_is_used_twice(lab: Lab) -> None:
    arms = ("herding", "stride", "kmeans", "random")
    used = []
    for number in range(4):
        lab.train(number, error_px=20 - number)
        queue = lab.queue(bandit_arms=arms, seed=number)
        lab.label(queue)
        used.append(queue.strategy)
    assert sorted(used) == sorted(arms)


def test_while_the_snapshot_stays_so_does_the_strategy(lab: Lab) -> None:
    lab.train(1, error_px=20)
    queues = [lab.queue(seed=seed) for seed in range(6)]
    assert len({queue.strategy for queue in queues}) == 1
    assert "keeps, until the pose model is trained on," in queues[1].manifest["policy"]["why"]
    for queue in queues:
        lab.label(queue)
    lab.train(2, error_px=8)
    lab.label(lab.queue())
    lab.train(3, error_px=7)
    first = queues[0].strategy
    policy = lab.queue().manifest["policy"]
    assert policy["mean_reward_px_per_label"][first] == pytest.approx(12 / 60)


def test_a_round_of_several_strategies_does_not_tell_which_has_paid(lab: Lab) -> None:
    lab.train(1, error_px=20)
    for strategy in ("herding", "stride"):
        lab.label(lab.queue(strategy))
    lab.train(2, error_px=8)
    lab.label(lab.queue("kmeans"))
    assert [one.arm for one in season_rounds(lab.store, "s1")] == [None, "kmeans"]
    assert lab.queue().manifest["policy"]["rewarded_rounds"] == {"herding": 0, "stride": 0}


def test_the_same_store_and_seed_give_the_same_choice(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        with Store(tmp_path / name) as store:
            lab = Lab(store)
            for number in range(5):
                lab.train(number, error_px=20 - 3 * number)
                queue = lab.queue(seed=3)
                lab.label(queue)
                frames = [(frame.video_id, frame.frame) for frame in queue.frames]
                made.append((queue.strategy, queue.manifest["policy"], frames))
    assert made[:5] == made[5:]


def test_an_arm_that_lacks_its_scores_is_left_out(lab: Lab) -> None:
    queue = lab.queue(bandit_arms=("mpe", "stride"))
    assert queue.strategy == "stride"
    assert queue.manifest["policy"]["arms"] == ["stride"]
    with pytest.raises(NothingToDoError, match=r"queue.bandit_arms \(mpe needs mpe\); set pose_m"):
        lab.queue(bandit_arms=("mpe",))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bandit_arms": ()}, r"^queue\.bandit_arms is empty; it must name at least one"),
        ({"bandit_arms": ("stride", "bandit")}, "and not bandit itself"),
        ({"bandit_arms": ("stride", "stride")}, "each once"),
        ({"bandit_arms": ("stride", "minmx")}, "bandit_arms has 'minmx'; did you mean minmax"),
        ({"limits": Limits()}, r"^queue\.audit_share is 0, which of 10 frames is none"),
        ({"limits": Limits(audit_share=0.04)}, r"audit_share is 0.04, .* set it to 0.2, say"),
        ({"strategy": "bandti"}, "did you mean bandit"),
    ],
)
def test_settings_by_which_the_bandit_cannot_work_are_refused(
    lab: Lab, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        lab.queue(**wrong)
    assert lab.store.queues.summaries() == []
