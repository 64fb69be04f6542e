"""How the animal moves: a correlated random walk with pauses, rearing and grooming.

The neck leads, the trunk and the tail follow it like a chain, the head looks where it will turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alwatch.demo.scene import Arena, Floats

Activity = Literal["walk", "pause", "rear", "groom"]
_Series = NDArray[np.float64]
_Track = NDArray[np.complex128]

N_HEAD = 8
N_TRUNK = 17
N_SPINE = N_HEAD + N_TRUNK
N_TAIL = 18

_HEAD_CM = 2.6
_TRUNK_CM = 5.6
_TAIL_CM = 7.2
_BACK_HEIGHT_CM = 1.3
_MARGIN_CM = 2.6
_STRIDE_CM = 4.2


@dataclass(frozen=True, slots=True)
class Motion:
    """The animal's body, frame by frame, in centimetres.

    Parameters
    ----------
    spine : float32 array of shape (n_frames, N_SPINE, 3), from the snout to the tail base
    tail : float32 array of shape (n_frames, N_TAIL, 3), from the tail base to its tip
    paws : float32 array of shape (n_frames, 4, 3): left and right fore, left and right hind
    """

    spine: Floats
    tail: Floats
    paws: Floats


@dataclass(frozen=True, slots=True)
class _Course:
    """Where the neck goes and where the head points, one value per frame."""

    neck: _Track
    facing: _Series
    yaw: _Series
    travelled_cm: _Series


def explore(
    arena: Arena, *, rng: np.random.Generator, n_frames: int, fps: float, size: float = 1.0
) -> Motion:
    """Let an animal explore an arena.

    Parameters
    ----------
    size : float
        Length of the animal relative to an adult mouse of 8 cm without its tail.
    """
    activities = _plan(rng=rng, n_frames=n_frames, fps=fps)
    rear = _eased(activities, "rear", fps=fps)
    groom = _eased(activities, "groom", fps=fps)
    pitch = np.linspace(1.15, 0.35, N_TRUNK - 1) * rear[:, None]  # (n, N_TRUNK - 1)
    segment_cm = size * _TRUNK_CM / (N_TRUNK - 1) * (1 - 0.2 * groom[:, None])
    reach_cm = segment_cm * np.cos(pitch)
    course = _wander(arena, activities, reach_cm.sum(axis=1), rng=rng, fps=fps, size=size)

    tail_reach_cm = np.full((n_frames, N_TAIL - 1), size * _TAIL_CM / (N_TAIL - 1))
    chain = _follow(course, np.concatenate([reach_cm, tail_reach_cm], axis=1))
    rise_cm = (segment_cm * np.sin(pitch))[:, ::-1].cumsum(axis=1)[:, ::-1]
    trunk = _raised(chain[:, :N_TRUNK], size * _BACK_HEIGHT_CM + np.pad(rise_cm, ((0, 0), (0, 1))))
    head = _head(course, trunk, rear=rear, groom=groom, fps=fps, size=size)
    paws = _paws(course, trunk, head, rear=rear, groom=groom, fps=fps, size=size)
    return Motion(
        spine=np.concatenate([head, trunk], axis=1),
        tail=_tail(chain[:, N_TRUNK - 1 :], rng=rng, fps=fps, size=size),
        paws=paws,
    )


def _plan(*, rng: np.random.Generator, n_frames: int, fps: float) -> list[Activity]:
    """One activity per frame; walking fills the time between the others."""
    rests: tuple[Activity, ...] = ("pause", "rear", "groom", "walk")
    longest_s = {"walk": 3.5, "pause": 1.3, "rear": 1.6, "groom": 2.8}
    plan: list[Activity] = []
    now: Activity = "walk"
    while len(plan) < n_frames:
        duration_s = rng.uniform(0.4, 1.0) * longest_s[now]
        plan += [now] * max(1, round(duration_s * fps))
        now = rests[rng.choice(4, p=(0.5, 0.26, 0.14, 0.1))] if now == "walk" else "walk"
    return plan[:n_frames]


def _eased(activities: list[Activity], which: Activity, *, fps: float) -> _Series:
    """How far the animal is in an activity, 0 to 1, with soft transitions."""
    on = np.array([activity == which for activity in activities], float)
    width = max(1, round(0.45 * fps))
    window = np.hanning(width + 2)[1:-1]
    return np.convolve(np.pad(on, width, "edge"), window / window.sum(), "same")[width:-width]


def _wander(
    arena: Arena,
    activities: list[Activity],
    length_cm: _Series,
    *,
    rng: np.random.Generator,
    fps: float,
    size: float,
) -> _Course:
    """Steer the neck through the arena; it yields as the body shortens and lengthens."""
    n, dt = len(activities), 1 / fps
    neck, facing, yaw = np.zeros(n, complex), np.zeros(n), np.zeros(n)
    at, heading = _start(arena, rng=rng, size=size)
    turn, speed, gaze, glance_ends = 0.0, 0.0, 0.0, 0.0
    pace = rng.uniform(8, 16) * size
    speeds = np.zeros(n)
    for t, activity in enumerate(activities):
        if t and activity != activities[t - 1]:
            pace = rng.uniform(8, 16) * size
        if activity == "groom":
            gaze = 0.35 * np.sin(2 * np.pi * 1.6 * t * dt)
        elif t * dt >= glance_ends:
            gaze = float(rng.normal(0, 0.35 if activity == "walk" else 0.55))
            glance_ends = t * dt + rng.uniform(0.25, 0.9)
        aim = gaze
        wanted = pace if activity == "walk" else 0.0
        ahead = arena.clearance_cm(at + 5 * np.exp(1j * (heading + turn)))
        if activity == "walk" and ahead < _MARGIN_CM:
            sides = [arena.clearance_cm(at + 5 * np.exp(1j * (heading + s))) for s in (1, -1)]
            aim = 1.1 if sides[0] > sides[1] else -1.1
            wanted = 0.55 * pace
        turn += (float(np.clip(aim, -1.1, 1.1)) - turn) * min(1.0, dt / 0.14)
        speed += (wanted - speed) * min(1.0, dt / 0.2)
        heading += 0.3 / size * speed * turn * dt
        stretch = float(length_cm[t] - length_cm[t - 1]) if t else 0.0
        at += (speed * dt + stretch) * complex(np.cos(heading), np.sin(heading))
        at += arena.way_out(at) * max(0.0, _MARGIN_CM * size - arena.clearance_cm(at))
        neck[t], facing[t], yaw[t], speeds[t] = at, heading, turn, speed
    return _Course(neck, facing, yaw, np.cumsum(speeds) * dt)


def _start(arena: Arena, *, rng: np.random.Generator, size: float) -> tuple[complex, float]:
    """Return a position and a heading at which the outstretched animal is in the arena."""
    behind_cm = size * np.linspace(0, _TRUNK_CM + _TAIL_CM, 6)
    for _ in range(10_000):
        x, y = (rng.uniform(-half, half) for half in arena.half_cm)
        at, heading = complex(x, y), float(rng.uniform(0, 2 * np.pi))
        body = at - behind_cm * np.exp(1j * heading)
        if min(arena.clearance_cm(complex(point)) for point in body) > size:
            return at, heading
    raise ValueError(f"an arena of {arena.half_cm} cm from its centre is too small for the animal")


def _follow(course: _Course, reach_cm: _Series) -> _Track:
    """Drag a chain behind the neck: (n, segments) lengths to (n, segments + 1) positions."""
    behind = -np.exp(1j * course.facing[0])
    chain = [course.neck[0], *(course.neck[0] + behind * np.cumsum(reach_cm[0]))]
    placed = np.empty((len(reach_cm), len(chain)), complex)
    for t, (neck, lengths) in enumerate(zip(course.neck, reach_cm.tolist(), strict=True)):
        chain[0] = complex(neck)
        for i, length in enumerate(lengths):
            pull = chain[i + 1] - chain[i]
            chain[i + 1] = chain[i] + pull * (length / (abs(pull) or 1.0))
        placed[t] = chain
    return placed


def _raised(plane: _Track, height_cm: _Series) -> Floats:
    return np.stack([plane.real, plane.imag, height_cm], axis=-1).astype(np.float32)


def _head(
    course: _Course, trunk: Floats, *, rear: _Series, groom: _Series, fps: float, size: float
) -> Floats:
    """The head from the snout to just before the neck, bent from the trunk toward the gaze."""
    n = len(trunk)
    front = _plane(trunk[:, 0]) - _plane(trunk[:, 3])
    looking = np.exp(1j * (course.facing + course.yaw))
    bend = np.angle(looking * front.conj())  # (n,)
    share = np.linspace(0.2, 1, N_HEAD)
    bob = 0.12 * np.sin(2 * np.pi * 5 * np.arange(n) / fps) * groom
    pitch = 0.8 * rear - (0.75 + bob) * groom
    step = size * _HEAD_CM / N_HEAD
    direction = front[:, None] / np.abs(front)[:, None] * np.exp(1j * bend[:, None] * share)
    plane = _plane(trunk[:, :1]) + np.cumsum(direction * step * np.cos(pitch)[:, None], axis=1)
    height = trunk[:, :1, 2] + np.arange(1, N_HEAD + 1) * step * np.sin(pitch - 0.12)[:, None]
    return _raised(plane[:, ::-1], height[:, ::-1])


def _tail(plane: _Track, *, rng: np.random.Generator, fps: float, size: float) -> Floats:
    """The tail with a wave that runs along it and grows toward its tip."""
    along = np.linspace(0, 1, N_TAIL)
    time_s = np.arange(len(plane))[:, None] / fps
    phase = 2 * np.pi * (rng.uniform(0.5, 0.9) * time_s - 0.7 * along + rng.uniform())
    forward = plane[:, :1] - plane[:, 4:5]
    sideways = 1j * forward / (np.abs(forward) + 1e-9)
    waved = plane + sideways * size * 0.6 * along**1.5 * np.sin(phase)
    height = np.broadcast_to(size * (0.35 + 0.55 * (1 - along) ** 2), plane.shape)
    return _raised(waved, height)


def _paws(
    course: _Course,
    trunk: Floats,
    head: Floats,
    *,
    rear: _Series,
    groom: _Series,
    fps: float,
    size: float,
) -> Floats:
    """Four paws that stand still on the floor while the body passes, then swing forward."""
    paws = np.empty((len(trunk), 4, 3), np.float32)
    cycle = course.travelled_cm / (_STRIDE_CM * size)
    for paw, (node, side_cm, offset) in enumerate(
        ((1, 0.95, 0.0), (1, -0.95, 0.5), (11, 1.12, 0.5), (11, -1.12, 0.0))
    ):
        phase = (cycle + offset) % 1
        swing = (phase - 0.6) / 0.4
        along = np.where(phase < 0.6, 1 - 2 * phase / 0.6, -np.cos(np.pi * swing))
        forward = _plane(trunk[:, node - 1]) - _plane(trunk[:, node + 2])
        forward /= np.abs(forward)
        place = _plane(trunk[:, node]) + size * forward * (0.26 * _STRIDE_CM * along + 1j * side_cm)
        height = size * (0.2 + 0.5 * np.sin(np.pi * np.clip(swing, 0, 1)))
        if node == 1:
            wash = 0.3 * np.sin(2 * np.pi * 5 * np.arange(len(trunk)) / fps)
            face = _plane(head[:, 1]) + forward * (wash + 0.35j * np.sign(side_cm)) * size
            tucked = _plane(trunk[:, node]) + size * forward * (0.6 + 0.6j * np.sign(side_cm))
            place = place + rear * (tucked - place) + groom * (face - place)
            height = height + rear * (trunk[:, node, 2] - height)
        paws[:, paw] = _raised(place, height)
    return paws


def _plane(points: Floats) -> _Track:
    return points[..., 0] + 1j * points[..., 1].astype(np.float64)
