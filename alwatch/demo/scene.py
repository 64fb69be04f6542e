"""The arena and the camera above it: geometry in centimetres, the empty scene as a picture.

The floor is the plane z = 0, its centre the origin, x to the right and y up as seen from above.
Plane positions are complex numbers, x + iy, where one point at a time is meant.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

SUBPIXEL_BITS = 4
_FLOOR_PX_PER_CM = 16


@dataclass(frozen=True, slots=True)
class Cylinder:
    """An object that stands on the floor."""

    at_cm: complex
    radius_cm: float
    height_cm: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Arena:
    """A rectangle with rounded corners, a circle in the extreme, with objects on its floor."""

    half_cm: tuple[float, float]
    corner_cm: float
    wall_cm: float
    objects: tuple[Cylinder, ...] = ()

    def clearance_cm(self, at: complex) -> float:
        """Return the distance from a point of the floor to the nearest wall or object."""
        beyond_x = abs(at.real) - self.half_cm[0] + self.corner_cm
        beyond_y = abs(at.imag) - self.half_cm[1] + self.corner_cm
        outside = abs(complex(max(beyond_x, 0.0), max(beyond_y, 0.0)))
        wall = self.corner_cm - outside - min(max(beyond_x, beyond_y), 0.0)
        return min([wall, *(abs(at - thing.at_cm) - thing.radius_cm for thing in self.objects)])

    def way_out(self, at: complex) -> complex:
        """Return the unit direction in which the clearance grows fastest."""
        step = 0.05
        gradient = complex(
            self.clearance_cm(at + step) - self.clearance_cm(at - step),
            self.clearance_cm(at + 1j * step) - self.clearance_cm(at - 1j * step),
        )
        return gradient / (abs(gradient) or 1.0)

    def outline(self, height_cm: float, *, widened_cm: float = 0.0) -> Floats:
        """Return the wall's inner edge at a height, as points of shape (96, 3) in cm."""
        angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        edge = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        middle = np.sign(np.round(edge, 9)) * (np.array(self.half_cm) - self.corner_cm)
        plane = middle + edge * (self.corner_cm + widened_cm)
        return np.column_stack([plane, np.full(len(plane), height_cm)]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera.

    Parameters
    ----------
    matrix : float array of shape (3, 4)
        Homogeneous centimetres to homogeneous pixels.
    size_px : (width, height)
    """

    matrix: NDArray[np.float64]
    size_px: tuple[int, int]

    @classmethod
    def above(
        cls,
        size_px: tuple[int, int],
        *,
        view_cm: float,
        tilt_deg: float = 0.0,
        roll_deg: float = 0.0,
        distance_cm: float = 80.0,
    ) -> Camera:
        """Place a camera that looks at the arena's centre and sees `view_cm` across its width."""
        tilt, roll = np.radians([tilt_deg, roll_deg])
        turn = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
        lean = [[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]]
        to_image = np.diag([1.0, -1.0, -1.0]) @ np.array(lean) @ np.array(turn)
        pose = np.column_stack([to_image, [0, 0, distance_cm]])
        focal_px = size_px[0] * distance_cm / view_cm
        lens = [[focal_px, 0, size_px[0] / 2], [0, focal_px, size_px[1] / 2], [0, 0, 1]]
        return cls(np.array(lens) @ pose, size_px)

    def project(self, points_cm: Floats) -> tuple[Floats, Floats]:
        """Return where points are seen.

        Parameters
        ----------
        points_cm : float array of shape (..., 3)

        Returns
        -------
        pixels : float32 array of shape (..., 2)
            x to the right and y down, 0 at the centre of the first pixel.
        scale : float32 array of shape (...)
            Pixels per centimetre at each point.
        """
        seen = points_cm @ self.matrix[:, :3].T + self.matrix[:, 3]
        depth = seen[..., 2]
        focal_px = np.linalg.norm(self.matrix[0, :3] - self.size_px[0] / 2 * self.matrix[2, :3])
        pixels = seen[..., :2] / depth[..., None] - 0.5
        return pixels.astype(np.float32), (focal_px / depth).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a season's videos share: arena, camera, light and surfaces.

    Parameters
    ----------
    light : (x, y)
        Where a point's shadow falls, in cm per cm of its height.
    tint : (red, green, blue)
        What the light's colour and the exposure multiply the picture by.
    bedding : float
        0 for a bare, scratched floor, 1 for one covered with chips of bedding.
    noise : float
        Standard deviation of the sensor's noise, in grey levels.
    """

    arena: Arena
    camera: Camera
    light: tuple[float, float]
    tint: tuple[float, float, float]
    floor: Colour
    wall: Colour
    surroundings: Colour
    bedding: float
    noise: float


def as_polygon(pixels: Floats) -> NDArray[np.int32]:
    """Pixels of shape (n, 2) in the fixed-point form of OpenCV's drawing calls."""
    return np.round(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32)


def fill(image: Image, pixels: Floats, colour: Colour | int) -> None:
    """Fill a polygon of shape (n, 2) with smooth edges, in place."""
    shade = (colour,) if isinstance(colour, int) else colour
    cv2.fillPoly(image, [as_polygon(pixels)], shade, cv2.LINE_AA, SUBPIXEL_BITS)


def paint_scene(scene: Scene, *, rng: np.random.Generator) -> Image:
    """Draw the scene without an animal: RGB uint8 of shape (height, width, 3)."""
    camera, arena = scene.camera, scene.arena
    width, height = camera.size_px
    image = np.full((height, width, 3), scene.surroundings, np.uint8)
    rim, foot = arena.outline(arena.wall_cm), arena.outline(0)
    fill(
        image,
        camera.project(arena.outline(arena.wall_cm, widened_cm=0.7))[0],
        _lit(scene.wall, 1.12),
    )
    _paint_walls(image, scene, camera.project(rim)[0], camera.project(foot)[0])

    floor, floor_to_image = _floor_picture(scene, rng=rng)
    seen = cv2.warpPerspective(floor, floor_to_image, (width, height), flags=cv2.INTER_AREA)
    inside = np.zeros((height, width), np.uint8)
    fill(inside, camera.project(foot)[0], 255)
    dark = _soft_edge(inside, reach_px=width / 40)
    mix = (inside / 255.0)[..., None]
    image = (image * (1 - mix) + seen * dark[..., None] * mix).astype(np.uint8)
    for thing in arena.objects:
        _paint_object(image, scene, thing)
    return _expose(image, scene)


def cast_shadow(
    image: Image, outlines_px: list[Floats], *, strength: float, blur_px: float
) -> None:
    """Darken the image under outlines of shape (n, 2), softly and in place."""
    mask = np.zeros(image.shape[:2], np.uint8)
    for outline in outlines_px:
        fill(mask, outline, 255)
    left, top, across, down = cv2.boundingRect(np.concatenate(outlines_px).astype(np.int32))
    margin = int(3 * blur_px) + 2
    rows = slice(max(top - margin, 0), max(top + down + margin, 0))
    columns = slice(max(left - margin, 0), max(left + across + margin, 0))
    soft = cv2.GaussianBlur(mask[rows, columns], (0, 0), blur_px)
    keep = 1 - strength / 255 * soft.astype(np.float32)
    image[rows, columns] = (image[rows, columns] * keep[..., None]).astype(np.uint8)


def _lit(colour: Colour, light: float) -> Colour:
    red, green, blue = (min(255, int(part * light)) for part in colour)
    return red, green, blue


def _paint_walls(image: Image, scene: Scene, rim_px: Floats, foot_px: Floats) -> None:
    toward_light = -np.array(scene.light)
    n = len(rim_px)
    for i in range(n):
        j = (i + 1) % n
        inward = np.array([-np.cos(2 * np.pi * i / n), -np.sin(2 * np.pi * i / n)])
        quad = np.array([rim_px[i], rim_px[j], foot_px[j], foot_px[i]])
        fill(image, quad, _lit(scene.wall, 0.84 + 0.25 * float(inward @ toward_light)))


def _floor_picture(scene: Scene, *, rng: np.random.Generator) -> tuple[Image, NDArray[np.float64]]:
    """The floor from straight above, and the homography that puts it into the image."""
    across, along = (2 * half + 2 for half in scene.arena.half_cm)
    size = (int(along * _FLOOR_PX_PER_CM), int(across * _FLOOR_PX_PER_CM))
    picture = _mottled(size, scene.floor, rng=rng)
    _strew(picture, scene, rng=rng)
    to_cm = np.array(
        [
            [1 / _FLOOR_PX_PER_CM, 0, -across / 2],
            [0, -1 / _FLOOR_PX_PER_CM, along / 2],
            [0, 0, 1],
        ]
    )
    return picture, scene.camera.matrix[:, [0, 1, 3]] @ to_cm


def _mottled(size: tuple[int, int], colour: Colour, *, rng: np.random.Generator) -> Image:
    """A surface of one colour with broad and fine irregularities."""
    relief = np.zeros(size, np.float32)
    for cell_px, strength in ((160, 5.0), (40, 3.0), (6, 4.0)):
        coarse = rng.normal(0, 1, (size[0] // cell_px + 2, size[1] // cell_px + 2))
        grown = cv2.resize(
            coarse.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_CUBIC
        )
        relief += strength * grown
    return np.clip(np.array(colour) + relief[..., None], 0, 255).astype(np.uint8)


def _strew(picture: Image, scene: Scene, *, rng: np.random.Generator) -> None:
    """Put chips of bedding, or scratches, on the floor, in place."""
    height, width = picture.shape[:2]
    n = int(2600 * scene.bedding) + 160
    middle = rng.uniform((0, 0), (width, height), (n, 2))
    angle = rng.uniform(0, 2 * np.pi, n)
    reach = rng.uniform(0.15, 0.55, n) if scene.bedding else rng.exponential(0.8, n)
    half = np.stack([np.cos(angle), np.sin(angle)], axis=1) * reach[:, None] * _FLOOR_PX_PER_CM
    ends = as_polygon(np.stack([middle - half, middle + half], axis=1).astype(np.float32))
    tones = rng.normal(0, 15 if scene.bedding else 7, n)
    thick = rng.integers(2, 5, n) if scene.bedding else np.ones(n, int)
    for (start, end), tone, px in zip(ends.tolist(), tones, thick.tolist(), strict=True):
        shade = [float(np.clip(part + tone, 0, 255)) for part in scene.floor]
        cv2.line(picture, start, end, shade, px, cv2.LINE_AA, SUBPIXEL_BITS)


def _soft_edge(inside: Image, *, reach_px: float) -> Floats:
    """Light that fades toward the foot of the wall, as a factor for each pixel."""
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    faded: Floats = 1 - 0.28 * np.exp(-depth / reach_px)
    return faded


def _paint_object(image: Image, scene: Scene, thing: Cylinder) -> None:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ring = thing.at_cm + thing.radius_cm * np.exp(1j * angle)
    foot = np.column_stack([ring.real, ring.imag, np.zeros(48)]).astype(np.float32)
    top = foot + np.array([0, 0, thing.height_cm], np.float32)
    slip = np.array([*scene.light, 0], np.float32) * thing.height_cm
    project = scene.camera.project
    thrown = _hull(project(foot)[0], project(foot + slip)[0])
    cast_shadow(image, [thrown], strength=0.5, blur_px=2.5)
    fill(image, _hull(project(foot)[0], project(top)[0]), _lit(thing.colour, 0.62))
    fill(image, project(top)[0], thing.colour)
    centre = top.mean(axis=0)
    fill(image, project(centre + 0.72 * (top - centre))[0], _lit(thing.colour, 1.16))


def _hull(*outlines_px: Floats) -> Floats:
    return np.asarray(cv2.convexHull(np.concatenate(outlines_px)), np.float32)[:, 0]


def _expose(image: Image, scene: Scene) -> Image:
    """Tint the light, let it fall off from one side, and darken the corners."""
    width, height = scene.camera.size_px
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    vignette = 1 - 0.14 * (x**2 + y**2)
    slope = 1 - 0.10 * (scene.light[0] * x - scene.light[1] * y)
    exposed: NDArray[np.float64] = image * (vignette * slope)[..., None] * np.array(scene.tint)
    return np.clip(exposed, 0, 255).astype(np.uint8)
