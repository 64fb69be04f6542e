"""A DeepLabCut project whose model trains in seconds: a bright blob with a tail, 64 px wide."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import yaml

from tests.pose_models.deeplabcut_models import BODYPARTS, build_model

SIZE_PX = 64
VIDEOS = {"one": 6, "two": 5, "three": 4, "four": 3}


def labels(folder: str, n_frames: int, *, animals: tuple[str, ...] = ()) -> pd.DataFrame:
    """Where the bodyparts are in the frames 0, 10, 20, … of a video.

    Of one animal; or of several, whose names there are, then.
    """
    rng = np.random.default_rng(len(folder) + n_frames)
    n_animals = max(1, len(animals))
    middle = rng.uniform(16, SIZE_PX - 16, (n_frames, n_animals, 1, 2))
    around = rng.uniform(-10, 10, (n_frames, n_animals, len(BODYPARTS), 2))
    rows = [("labeled-data", folder, f"img{10 * i:03}.png") for i in range(n_frames)]
    levels = {"scorer": ["someone"], "individuals": list(animals)}
    levels |= {"bodyparts": BODYPARTS, "coords": ["x", "y"]}
    used = {name: values for name, values in levels.items() if values}
    columns = pd.MultiIndex.from_product(list(used.values()), names=list(used))
    values = (middle + around).reshape(n_frames, -1)
    return pd.DataFrame(values, index=pd.MultiIndex.from_tuples(rows), columns=columns)


def save(project: Path, table: pd.DataFrame) -> None:
    """A folder of labelled frames as the labelling GUI leaves it."""
    folder = project / "labeled-data" / table.index[0][1]
    folder.mkdir(parents=True)
    for (_, _, image), points in zip(table.index, table.to_numpy(), strict=True):
        picture = np.full((SIZE_PX, SIZE_PX, 3), 40, np.uint8)
        for number, (x, y) in enumerate(np.nan_to_num(points).reshape(-1, 2)):
            cv2.circle(picture, (int(x), int(y)), 3, (60 * number, 255 - 60 * number, 200), -1)
        cv2.imwrite(str(folder / image), picture)
    table.to_hdf(folder / "CollectedData_someone.h5", key="df_with_missing", mode="w")
    table.to_csv(folder / "CollectedData_someone.csv")


def build(project: Path, net_type: str = "cspnext_s", *, animals: tuple[str, ...] = ()) -> Path:
    """Build it; returns its config.yaml.

    Beside its labelled videos it has what must not keep anybody from training: a folder that
    nobody has labelled, rows without a point, and a label whose image is gone.
    """
    config = build_model(project, net_type, multi=bool(animals))
    for folder, n_frames in VIDEOS.items():
        save(project, labels(folder, n_frames, animals=animals))
    without = labels("five", 3, animals=animals).iloc[2:] * np.nan
    gone = pd.concat([labels("five", 2, animals=animals), without])
    save(project, gone)
    (project / "labeled-data/five/img000.png").unlink()
    (project / "labeled-data/unlabelled").mkdir()
    (project / "labeled-data/unlabelled/img0.png").write_bytes(b"")
    settings = yaml.safe_load(config.read_text())
    settings["TrainingFraction"] = [0.8]
    settings["video_sets"] = {
        f"/videos/{name}.mp4": {"crop": "0, 64, 0, 64"} for name in (*VIDEOS, "five", "unlabelled")
    }
    config.write_text("# the lab's own comment\n" + yaml.safe_dump(settings))
    train = next(project.glob("dlc-models-pytorch/*/*/train"))
    model = yaml.safe_load((train / "pytorch_config.yaml").read_text())
    model["train_settings"] |= {"epochs": 5, "batch_size": 4, "dataloader_workers": 0}
    model["runner"]["eval_interval"] = 2
    model["data"]["train"]["crop_sampling"] |= {"width": SIZE_PX, "height": SIZE_PX}
    (train / "pytorch_config.yaml").write_text(yaml.safe_dump(model))
    train.parent.rename(train.parent.with_name("testJan1-trainset80shuffle1"))
    return config
