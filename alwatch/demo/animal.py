"""What the animal looks like: its coat, and its picture from above in a given pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from alwatch.demo.motion import N_HEAD, N_SPINE, Motion
from alwatch.demo.scene import (
    Camera,
    Colour,
    Floats,
    Image,
    Scene,
    cast_shadow,
    fill,
)

BODYPARTS = ("snout", "left_ear", "right_ear", "back", "tail_base")


class _Place(NamedTuple):
    """Where a paired part sits: at which node of the spine, how far to the side and above it."""

    node: int
    side_cm: float
    above_cm: float


_EAR = _Place(5, 0.72, 0.35)
_EYE = _Place(3, 0.42, 0.15)
_EYE_COLOUR = (18, 14, 14)
_BACK_NODE = N_HEAD + 9
_PAWS = (
    (N_HEAD + 1, (0.46, 0.25)),
    (N_HEAD + 1, (0.46, 0.25)),
    (N_HEAD + 11, (0.72, 0.29)),
    (N_HEAD + 11, (0.72, 0.29)),
)
"""The node of the spine that each paw turns with, and its half length and half width in cm."""

_TEXTURE = (48, 160)
"""Rows across the body from left to right, columns along it from the snout to the tail base."""

_ALONG = np.array([0, 0.03, 0.1, 0.2, 0.28, 0.36, 0.46, 0.6, 0.74, 0.86, 0.95, 1], np.float32)
_HALF_CM = np.array([0.1, 0.24, 0.5, 0.86, 0.95, 0.93, 1.08, 1.36, 1.5, 1.32, 0.8, 0.2], np.float32)


@dataclass(frozen=True, slots=True)
class Coat:
    """One animal's looks.

    Parameters
    ----------
    texture : RGB uint8 array of shape (48, 160, 3)
        The coat laid flat: across the body from left to right, along it from the snout.
    fur, skin : Colour
        Of the ears' backs, and of paws, nose, tail and the ears' insides.
    size : float
        Relative to an adult mouse.
    girth : float
        Relative to a lean one.
    """

    texture: Image
    fur: Colour
    skin: Colour
    size: float
    girth: float


def grow_coat(
    fur: Colour, skin: Colour, *, rng: np.random.Generator, spots: int = 0, spot: Colour = (0, 0, 0)
) -> Coat:
    """Draw an animal of its own: shade, size, girth, and where its spots are."""
    red, green, blue = (int(part) for part in np.clip(np.array(fur) * rng.normal(1, 0.08), 0, 255))
    flat: Floats = np.full((*_TEXTURE, 3), (red, green, blue), np.float32)
    for _ in range(spots):
        middle = (int(rng.uniform(0.1, 0.95) * _TEXTURE[1]), int(rng.uniform(0, 1) * _TEXTURE[0]))
        radii = (int(rng.uniform(7, 19)), int(rng.uniform(5, 12)))
        cv2.ellipse(flat, middle, radii, rng.uniform(0, 180), 0, 360, spot, -1, cv2.LINE_AA)
    saddle = 1 - 0.16 * np.exp(-((np.linspace(-1, 1, _TEXTURE[0]) / 0.35) ** 2))
    hairs = cv2.GaussianBlur(rng.normal(0, 1, _TEXTURE).astype(np.float32), (9, 1), 3, sigmaY=0.5)
    coat = (
        cv2.GaussianBlur(flat, (0, 0), 1.3) * saddle[:, None, None] * (1 + 0.22 * hairs[..., None])
    )
    return Coat(
        texture=np.clip(coat, 0, 255).astype(np.uint8),
        fur=(red, green, blue),
        skin=skin,
        size=float(rng.uniform(0.9, 1.1)),
        girth=float(rng.uniform(0.92, 1.12)),
    )


class AnimalPicture:
    """An animal in motion as a scene's camera sees it, ready to be painted frame by frame.

    Everything that does not need pixels is worked out for all frames at once.
    """

    def __init__(self, scene: Scene, motion: Motion, coat: Coat) -> None:
        self._coat, self._camera = coat, scene.camera
        spine = motion.spine
        nodes = np.linspace(0, 1, N_SPINE, dtype=np.float32)
        plump = 1 + (coat.girth - 1) * np.clip((nodes - 0.35) / 0.2, 0, 1)
        half_cm = (coat.size * plump * np.interp(nodes, _ALONG, _HALF_CM)).astype(np.float32)
        left = _to_the_left(spine)  # (n, N_SPINE, 3)
        ears = [_beside(spine, left, _EAR, side * coat.size) for side in (1, -1)]
        eyes = [_beside(spine, left, _EYE, side * coat.size) for side in (1, -1)]

        self._spine_px, scale = scene.camera.project(spine)
        self._half_px = half_cm * scale
        self._light_px = _direction_to_light(scene)
        self._shadow_px = _shadow_outline(scene, spine, left * half_cm[:, None])
        tail_px = _tail_outline(scene.camera, motion.tail, base_cm=0.24 * coat.size)
        paws = enumerate(_PAWS)
        self._under = [
            (tail_px, coat.skin),
            *((self._blob(motion.paws[:, i], left[:, n], r), coat.skin) for i, (n, r) in paws),
        ]
        self._over = [
            *((self._blob(at, left[:, _EAR.node], (0.40, 0.52)), coat.fur) for at in ears),
            *((self._blob(at, left[:, _EAR.node], (0.22, 0.34)), coat.skin) for at in ears),
            *((self._blob(at, left[:, _EYE.node], (0.15, 0.13)), _EYE_COLOUR) for at in eyes),
            (self._blob(spine[:, 0], left[:, 0], (0.17, 0.15)), coat.skin),
        ]
        marks = [spine[:, 0], *ears, spine[:, _BACK_NODE], spine[:, -1]]
        self.keypoints = scene.camera.project(np.stack(marks, axis=1))[0]
        """float32 array of shape (n_frames, len(BODYPARTS), 2): x and y in pixels."""

    def paint(self, image: Image, t: int) -> None:
        """Paint frame `t` of the animal into an image of the empty scene, in place."""
        blur_px = 0.19 * float(self._half_px[t].max())
        cast_shadow(image, [self._shadow_px[t]], strength=0.42, blur_px=blur_px)
        for outlines, colour in self._under:
            fill(image, outlines[t], colour)
        self._paint_body(image, t)
        for outlines, colour in self._over:
            fill(image, outlines[t], colour)

    def _blob(self, middle: Floats, left: Floats, radii_cm: tuple[float, float]) -> Floats:
        """Level ellipses, their middles (n, 3), as outlines in pixels of shape (n, 16, 2).

        The radii are along the animal and across it.
        """
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)[:, None]
        along, across = (self._coat.size * radius for radius in radii_cm)
        forward = np.stack([left[:, 1], -left[:, 0], left[:, 2]], axis=-1)
        ring = along * np.cos(angle) * forward[:, None] + across * np.sin(angle) * left[:, None]
        return self._camera.project((middle[:, None] + ring).astype(np.float32))[0]

    def _paint_body(self, image: Image, t: int) -> None:
        """Paint the furry body: each pixel finds its place on the bent spine."""
        spine, half = self._spine_px[t], self._half_px[t]
        margin = float(half.max()) + 2
        limit = np.array(image.shape[1::-1])
        low = np.clip(np.floor(spine.min(axis=0) - margin), 0, limit).astype(int)
        high = np.clip(np.ceil(spine.max(axis=0) + margin), 0, limit).astype(int)
        x, y = np.meshgrid(
            np.arange(low[0], high[0], dtype=np.float32),
            np.arange(low[1], high[1], dtype=np.float32),
        )
        place, offset_x, offset_y = _places_on_spine(x, y, spine)
        width = np.interp(place, np.arange(N_SPINE), half).astype(np.float32)
        distance = np.hypot(offset_x, offset_y)
        cover = np.clip(width - distance + 0.5, 0, 1)[..., None]

        lean_x, lean_y = offset_x / width, offset_y / width
        roundness = np.sqrt(np.clip(1 - lean_x**2 - lean_y**2, 0, 1))
        to_light = lean_x * self._light_px[0] + lean_y * self._light_px[1]
        shade = 0.66 + 0.36 * roundness + 0.22 * to_light
        fur = self._fur_at(place, offset_x, offset_y, width, t) * shade[..., None]
        patch = image[low[1] : high[1], low[0] : high[0]]
        patch[:] = np.clip(patch + (fur - patch) * cover, 0, 255).astype(np.uint8)

    def _fur_at(
        self, place: Floats, offset_x: Floats, offset_y: Floats, width: Floats, t: int
    ) -> Image:
        forward = -np.gradient(self._spine_px[t], axis=0)
        node = np.clip(np.round(place), 0, N_SPINE - 1).astype(int)
        ahead_x, ahead_y = forward[node, 0], forward[node, 1]
        to_right = (ahead_x * offset_y - ahead_y * offset_x) / np.hypot(ahead_x, ahead_y) / width
        rows, columns = _TEXTURE
        coat = cv2.remap(
            self._coat.texture,
            place / (N_SPINE - 1) * (columns - 1),
            ((to_right + 1) / 2 * (rows - 1)).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(coat, np.uint8)


def _beside(spine: Floats, left: Floats, place: _Place, size: float) -> Floats:
    """The place at the animal's left, or at its right for a negative size: (n, 3) in cm."""
    lift = np.array([0, 0, abs(size) * place.above_cm], np.float32)
    beside: Floats = spine[:, place.node] + size * place.side_cm * left[:, place.node] + lift
    return beside


def _to_the_left(line: Floats) -> Floats:
    """Horizontal unit vectors to the left of a line that is given from its front to its back."""
    forward = -np.gradient(line, axis=1)
    left = np.stack([-forward[..., 1], forward[..., 0], np.zeros(line.shape[:2])], axis=-1)
    unit: Floats = (left / (np.linalg.norm(left, axis=-1, keepdims=True) + 1e-9)).astype(np.float32)
    return unit


def _shadow_outline(scene: Scene, spine: Floats, half_cm: Floats) -> Floats:
    """The body's outline as its shadow on the floor, in pixels: (n, 2 * N_SPINE, 2)."""
    outline = np.concatenate([spine + half_cm, (spine - half_cm)[:, ::-1]], axis=1)
    height = outline[..., 2:]
    plane = outline[..., :2] + height * np.array(scene.light, np.float32)
    return scene.camera.project(np.concatenate([plane, 0 * height], axis=-1))[0]


def _tail_outline(camera: Camera, tail: Floats, *, base_cm: float) -> Floats:
    taper = base_cm * np.linspace(1, 0.3, tail.shape[1], dtype=np.float32)[:, None]
    side = _to_the_left(tail) * taper
    return camera.project(np.concatenate([tail + side, (tail - side)[:, ::-1]], axis=1))[0]


def _direction_to_light(scene: Scene) -> Floats:
    """The unit vector toward the light in the image."""
    ends = np.array([[0, 0, 0], [-scene.light[0], -scene.light[1], 0]], np.float32)
    start, end = scene.camera.project(ends)[0]
    toward: Floats = (end - start) / (np.linalg.norm(end - start) + 1e-9)
    return toward


def _places_on_spine(x: Floats, y: Floats, spine: Floats) -> tuple[Floats, Floats, Floats]:
    """Where on the spine each pixel belongs, in nodes, and its x and y offset from there."""
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    near = ((spine**2).sum(axis=1) - 2 * pixels @ spine.T).argmin(axis=1)  # (h * w,)
    tangent = np.gradient(spine, axis=0)
    length = np.maximum(np.linalg.norm(tangent, axis=1), 0.3)
    tangent = tangent / length[:, None]
    away = pixels - spine[near]
    along = (away * tangent[near]).sum(axis=1)
    steps = along / length[near]
    place = np.clip(near + steps, 0, N_SPINE - 1).astype(np.float32)
    walked = (place - near.astype(np.float32)) * length[near]
    offset = away - walked[:, None] * tangent[near]
    shape = x.shape
    return place.reshape(shape), offset[:, 0].reshape(shape), offset[:, 1].reshape(shape)
