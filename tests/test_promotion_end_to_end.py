"""Real networks, the real daemon: a worse one is set aside, and a better one takes over."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from alwatch.pose_models.unet import export_unet, train_unet
from alwatch.records import LabelledFrame, LabelledPoint, Queue
from alwatch.store import Store
from tests.test_service import daemon, until
from tests.videos import SETTINGS, make_app, make_video

SIZE = (48, 64)
WITH_MODEL = SETTINGS.replace("min_gap_s: 0", "min_gap_s: 0, audit_share: 1") + (
    "pose_model: {kind: exported, project: model/current.yaml, scan_s: 0.5, settle_s: 0.5, "
    "device: cpu}\n"
)


def middles(seed: int, n_frames: int = 50) -> np.ndarray:
    """Where `make_video` draws the middle of its square, in each frame: (n, 1, 2)."""
    rng = np.random.default_rng(seed)
    rng.integers(0, 120, (48, 64, 3), np.uint8)
    place, places = np.array(rng.integers(0, 40, 2)), []
    for _ in range(n_frames):
        place = np.clip(place + rng.integers(-4, 5, 2), 0, 36)
        places.append(place + 5.5)
    return np.array(places)[:, None]


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


class Models:
    """Networks that are trained on one video for so many steps, and the link to the newest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "model"
        self._folder.mkdir()
        self._frames = frames_of(make_video(folder / "drawn.mp4", seed=99))
        self._points = middles(99)

    def export(self, name: str, *, steps: int) -> None:
        network = train_unet(
            self._frames, self._points, input_size_px=SIZE, steps=steps, width=8, seed=1
        )
        path = self._folder / f"{name}.yaml"
        export_unet(network, path, bodyparts=["square"], input_size_px=SIZE)

    def publish(self, name: str) -> None:
        link = self._folder / "next"
        link.symlink_to(f"{name}.yaml")
        link.replace(self._folder / "current.yaml")


def label(store: Store, queue: Queue, seeds: dict[str, int]) -> None:
    """Do what a person does: put the point in the middle of the square."""
    labels = []
    for frame in queue.frames:
        x, y = middles(seeds[frame.video.name])[frame.frame, 0]
        point = LabelledPoint("", "square", float(x), float(y))
        where = (Path("/p"), frame.video.stem, frame.frame, Path("/p/labels.csv"))
        labels.append((frame.video_id, LabelledFrame(*where, (point,))))
    store.labels.set("deeplabcut", Path("/p"), labels, queue.created_at)


def test_a_worse_network_is_set_aside_and_a_better_one_promoted(tmp_path: Path) -> None:
    models = Models(tmp_path)
    for name, steps in (("some", 40), ("none", 1), ("much", 160)):
        models.export(name, steps=steps)
    models.publish("some")
    app = make_app(tmp_path, WITH_MODEL)
    seeds = {f"{seed}.mp4": seed for seed in range(4)}
    for name, seed in list(seeds.items())[:3]:
        make_video(tmp_path / "archive/2026" / name, seed=seed)

    def scored_by() -> dict[str, int]:
        return {s.name: len(store.scores.scored_videos(s)) for s in store.snapshots.scored()}

    def judged(name: str) -> bool:
        last = store.snapshots.last_judgement()
        return last is not None and last.snapshot.name == name

    def current() -> str:
        found = store.snapshots.current().snapshot
        assert found is not None
        return found.name

    settings = tmp_path / "alwatch.yaml"
    with Store(tmp_path / "state") as store:
        with daemon(settings) as process:
            until(lambda: scored_by() == {"some": 3}, "scoring")
            queue = app.make_queue("2026", budget=12, strategy="random")
            assert queue.manifest["audit_frames"] == 12
            label(store, queue, seeds)
            models.publish("none")
            until(lambda: judged("none"), "judging the worse one")
            assert current() == "some"
            judgement = store.snapshots.last_judgement()
            assert judgement is not None
            assert (judgement.verdict, judgement.judge) == ("aside", "gate")
            assert judgement.reason.startswith("worse than some over all: ")
            process.kill()
            process.wait()
        make_video(tmp_path / "archive/2026/3.mp4", seed=3)
        with daemon(settings):  # the newest is still the one that was set aside
            until(lambda: scored_by().get("some") == 4, "scoring by the one from before")
            models.publish("much")
            until(lambda: scored_by().get("much") == 4, "promoting the better one")
            assert current() == "much"
            newest = store.snapshots.current().snapshot
            assert newest is not None
            until(lambda: store.scores.n_waiting(newest) == 0, "scoring all of it")
        for video_id, _ in store.scores.scored_videos(newest):
            assert len(store.scores.scored_frames(video_id, newest)) == 10
        assert store.snapshots.current().problem is None
        verdicts = [(j.snapshot.name, j.verdict) for j in store.snapshots.judgements()]
        assert verdicts == [("some", "promoted"), ("none", "aside"), ("much", "promoted")]
