from __future__ import annotations

import numpy as np
import pytest

from alwatch.demo.scene import Arena, Camera, Cylinder


def test_clearance_is_the_distance_to_the_nearest_wall_or_object() -> None:
    arena = Arena((10.0, 5.0), 2.0, 4.0, (Cylinder(complex(4, 0), 1.0, 2.0, (0, 0, 0)),))
    assert arena.clearance_cm(complex(-5, 0)) == pytest.approx(5)
    assert arena.clearance_cm(complex(-9, 0)) == pytest.approx(1)
    assert arena.clearance_cm(complex(0, 4.5)) == pytest.approx(0.5)
    assert arena.clearance_cm(complex(2, 0)) == pytest.approx(1)
    # The corner's arc: 2 cm around (8, 3).
    assert arena.clearance_cm(complex(8, 3) + np.exp(0.25j * np.pi)) == pytest.approx(1)
    assert arena.clearance_cm(complex(11, 0)) == pytest.approx(-1)


def test_the_way_out_leads_away_from_the_nearest_wall() -> None:
    arena = Arena((10.0, 5.0), 2.0, 4.0)
    assert arena.way_out(complex(9, 0)) == pytest.approx(-1)
    assert arena.way_out(complex(0, -4)) == pytest.approx(1j)


def test_a_camera_straight_above_maps_centimetres_to_pixels() -> None:
    camera = Camera.above((200, 100), view_cm=20.0, distance_cm=80.0)
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 40]], np.float32)
    pixels, scale = camera.project(points)
    # 10 px per cm on the floor, twice that at half the distance; y turns downward.
    np.testing.assert_allclose(
        pixels, [[99.5, 49.5], [109.5, 49.5], [99.5, 39.5], [119.5, 49.5]], atol=1e-4
    )
    np.testing.assert_allclose(scale, [10, 10, 10, 20], rtol=1e-5)


def test_what_is_nearer_to_a_tilted_camera_is_larger() -> None:
    camera = Camera.above((200, 100), view_cm=20.0, tilt_deg=30.0)
    _, (far, near) = camera.project(np.array([[0, 5, 0], [0, -5, 0]], np.float32))
    assert near > far
