"""Draws a small archive of two seasons: short videos of a mouse-like animal from above."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from alwatch.demo.animal import BODYPARTS, AnimalPicture, Coat, grow_coat
from alwatch.demo.motion import explore
from alwatch.demo.scene import Arena, Camera, Colour, Cylinder, Floats, Image, Scene, paint_scene


@dataclass(frozen=True, slots=True)
class DemoSeason:
    """One season of the demo's archive: where it was filmed, and what its animals look like.

    `spots` is how many an animal has, from and including to and excluding.
    """

    name: str
    scene: Scene
    fur: Colour
    skin: Colour
    spot: Colour = (0, 0, 0)
    spots: tuple[int, int] = (0, 1)


SPRING = DemoSeason(
    name="2025-spring",
    scene=Scene(
        arena=Arena(half_cm=(16.0, 11.5), corner_cm=2.5, wall_cm=5.0),
        camera=Camera.above((384, 288), view_cm=38.5),
        light=(0.45, -0.3),
        tint=(1.0, 0.985, 0.94),
        floor=(206, 190, 160),
        wall=(214, 214, 208),
        surroundings=(120, 118, 112),
        bedding=1.0,
        noise=2.2,
    ),
    fur=(66, 55, 47),
    skin=(178, 132, 122),
)
AUTUMN = DemoSeason(
    name="2025-autumn",
    scene=Scene(
        arena=Arena(
            half_cm=(14.5, 14.5),
            corner_cm=14.5,
            wall_cm=4.5,
            objects=(
                Cylinder(complex(-4.6, 4.8), 1.7, 2.6, (196, 148, 62)),
                Cylinder(complex(5.4, -4.8), 1.4, 3.2, (92, 132, 150)),
            ),
        ),
        camera=Camera.above((400, 320), view_cm=39.0, tilt_deg=17.0, roll_deg=24.0),
        light=(-0.7, 0.25),
        tint=(0.86, 0.95, 1.06),
        floor=(58, 62, 68),
        wall=(96, 100, 106),
        surroundings=(34, 35, 38),
        bedding=0.0,
        noise=3.6,
    ),
    fur=(216, 206, 190),
    skin=(206, 160, 152),
    spot=(104, 78, 58),
    spots=(3, 8),
)


@dataclass(frozen=True, slots=True)
class DrawnVideo:
    """A drawn video, and where its animal truly is.

    Parameters
    ----------
    keypoints : float32 array of shape (n_frames, len(bodyparts), 2)
        x and y in pixels, 0 at the centre of the first pixel; "left" is the animal's own.
    """

    path: Path
    season: str
    keypoints: Floats
    bodyparts: tuple[str, ...] = BODYPARTS


def draw_archive(
    directory: Path,
    *,
    rng: np.random.Generator,
    seasons: Sequence[DemoSeason] = (SPRING, AUTUMN),
    videos_per_season: int = 4,
    seconds: float = 10.0,
    fps: int = 25,
) -> list[DrawnVideo]:
    """Draw an archive of H.264 videos, one folder for each season, each animal in one video.

    The same `rng` state draws the same archive. Each file is complete when the call returns, so
    a caller who feeds a watched folder draws elsewhere and moves the files in.

    Parameters
    ----------
    directory : Path
        Where the season folders are made; existing videos of the same names are replaced.
    rng : Generator
        Draws the animals and what they do.
    seasons : sequence of DemoSeason
    videos_per_season : int, >= 1
    seconds : float, > 0
        Length of each video.
    fps : int, >= 1

    Returns
    -------
    list of DrawnVideo
        Season by season.

    Raises
    ------
    ValueError
        If a video would be empty.
    """
    n_frames = round(seconds * fps)
    if videos_per_season < 1 or n_frames < 1:
        raise ValueError(
            f"an archive needs videos with frames, got {videos_per_season} videos per season "
            f"and {seconds} s at {fps} frames per second"
        )
    drawn = []
    for season in seasons:
        (directory / season.name).mkdir(parents=True, exist_ok=True)
        for number in range(1, videos_per_season + 1):
            path = directory / season.name / f"mouse-{number:02d}.mp4"
            keypoints = _draw_video(path, season, rng=rng, n_frames=n_frames, fps=fps)
            drawn.append(DrawnVideo(path=path, season=season.name, keypoints=keypoints))
    return drawn


def _draw_video(
    path: Path, season: DemoSeason, *, rng: np.random.Generator, n_frames: int, fps: int
) -> Floats:
    coat = _animal_of(season, rng=rng)
    motion = explore(season.scene.arena, rng=rng, n_frames=n_frames, fps=fps, size=coat.size)
    picture = AnimalPicture(season.scene, motion, coat)
    frames = _frames(season.scene, picture, rng=rng, n_frames=n_frames)
    _encode(path, frames, size_px=season.scene.camera.size_px, fps=fps)
    return picture.keypoints


def _animal_of(season: DemoSeason, *, rng: np.random.Generator) -> Coat:
    spots = int(rng.integers(*season.spots))
    return grow_coat(season.fur, season.skin, rng=rng, spots=spots, spot=season.spot)


def _frames(
    scene: Scene, picture: AnimalPicture, *, rng: np.random.Generator, n_frames: int
) -> Iterator[Image]:
    """RGB frames with the lens's softness and the sensor's noise."""
    empty = paint_scene(scene, rng=rng)
    height, width = empty.shape[:2]
    reach = 32
    # One large field of noise, seen through a window that jumps: far cheaper than new noise.
    field = rng.normal(0, scene.noise, (height + reach, width + reach, 3)).round().astype(np.int8)
    for t in range(n_frames):
        image = empty.copy()
        picture.paint(image, t)
        soft = cv2.GaussianBlur(image, (3, 3), 0.6)
        top, left = rng.integers(0, reach, 2)
        noise = field[top : top + height, left : left + width]
        yield np.asarray(cv2.add(soft, noise, dtype=cv2.CV_8U), np.uint8)


def _encode(path: Path, frames: Iterator[Image], *, size_px: tuple[int, int], fps: int) -> None:
    """Write RGB frames of even size as H.264 in MP4, a keyframe at least every two seconds."""
    # The same frames must make the same file: the encoder's output depends on its number of
    # threads, and its "macroblock tree" was seen to depend on what was in memory before.
    options = {"preset": "veryfast", "crf": "23", "threads": "2", "mbtree": "0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 2 * fps
        stream.width, stream.height = size_px
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
