"""Synthetic rooms: the same from the same seed, and ground truth that is exactly the geometry's."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_vision.datasets.sample import Intrinsics, Sample
from mtl_vision.synthetic import CLASSES, NYU_CAMERA, NYU_SIZE, render_room
from mtl_vision.synthetic.cast import cast, first_hits, in_sight
from mtl_vision.synthetic.render import render_scene
from mtl_vision.synthetic.rooms import random_scene
from mtl_vision.synthetic.scene import CLASS_ID, SHAPES, Camera, Paint, Scene, Solid, bounds, moved, shell
from mtl_vision.synthetic.textures import TEXTURES

SMALL = (48, 64)
SEEDS = st.integers(0, 10**6)
few = settings(max_examples=12, deadline=None)


def same(a: Sample, b: Sample) -> bool:
    targets = all(np.array_equal(a.targets[k], b.targets[k]) for k in a.targets)
    return np.array_equal(a.image, b.image) and targets and a.intrinsics == b.intrinsics and a.name == b.name


def points(sample: Sample) -> np.ndarray:
    assert sample.intrinsics is not None
    return sample.targets["depth"][..., None] * sample.intrinsics.rays(sample.size)


def test_what_a_sample_holds():
    sample = render_room(7, SMALL)
    assert sample.name == "000007"
    assert sample.intrinsics == NYU_CAMERA.resized(NYU_SIZE, SMALL)
    kinds = {name: (target.shape, target.dtype.name) for name, target in sample.targets.items()}
    assert kinds == {
        "depth": (SMALL, "float32"),
        "normals": ((*SMALL, 3), "float32"),
        "segmentation": (SMALL, "uint8"),
    }
    assert sample.image.shape == (*SMALL, 3) and sample.image.dtype == np.uint8
    assert sample.image.std() > 10, "an image, not one flat colour"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_room():
    assert same(render_room(3, SMALL), render_room(3, SMALL))
    assert not np.array_equal(render_room(3, SMALL).targets["depth"], render_room(4, SMALL).targets["depth"])


def test_rooms_do_not_change():
    """The bytes of a few rooms, so that sets made from one seed stay the same."""
    room, other = render_room(7, SMALL), render_room(11, (120, 160))
    maps = {"image": room.image, **room.targets}
    found = {name: hashlib.sha256(array.tobytes()).hexdigest()[:16] for name, array in maps.items()}
    assert found == {
        "image": "a9c321d8058ff84d",
        "depth": "6cf49d4fb0811e5e",
        "normals": "e8376eb7476b9ddd",
        "segmentation": "2f30f8753321a919",
    }
    assert hashlib.sha256(other.image.tobytes()).hexdigest()[:16] == "7b5355a0b44997c1"
    tie = render_room(53, (120, 160))  # shows two skirting boards at one distance: the first one wins
    assert hashlib.sha256(tie.image.tobytes()).hexdigest()[:16] == "a74aba8ab2419db2"


@few
@given(seed=SEEDS)
def test_another_size_shows_the_same_scene(seed: int):
    # Three times the size puts a pixel centre on every one of the small image's.
    small, large = render_room(seed, SMALL), render_room(seed, (3 * SMALL[0], 3 * SMALL[1]))
    for name, target in small.targets.items():
        np.testing.assert_allclose(large.targets[name][1::3, 1::3], target, rtol=0, atol=2e-5, err_msg=name)


@few
@given(seed=SEEDS)
def test_ground_truth_keeps_the_conventions(seed: int):
    sample = render_room(seed, SMALL)
    depth, normals, labels = (sample.targets[k] for k in ("depth", "normals", "segmentation"))
    assert depth.min() > 0.4 and depth.max() < 9.99
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1.0, atol=1e-6)
    assert ((normals * points(sample)).sum(axis=-1) < 0).all(), "every normal faces the viewer"
    assert labels.max() < len(CLASSES)


@few
@given(seed=SEEDS)
def test_the_floor_is_one_plane_with_the_stored_normal(seed: int):
    sample = render_room(seed, SMALL)
    floor = sample.targets["segmentation"] == CLASS_ID["floor"]
    here, normals = points(sample)[floor], sample.targets["normals"][floor]
    if len(here) < 50:
        return
    plane = np.linalg.svd(here - here.mean(axis=0))[2][-1]
    assert np.abs((here - here.mean(axis=0)) @ plane).max() < 1e-4
    assert normals.mean(axis=0)[1] < -0.8, "y is down, so the floor's normal has negative y"
    assert np.abs(normals @ plane).min() > 1 - 1e-6


def handmade(*solids: Solid) -> Scene:
    """A 4 x 6 x 3 m room with these things; the camera at (2, 1, 1.5) looks straight along the world's y."""
    grey = Paint()
    room = shell((4.0, 6.0, 3.0), grey, grey, (grey, grey, grey, grey))
    return Scene((4.0, 6.0, 3.0), [*room, *solids], [], np.ones(3), Camera.at((2.0, 1.0, 1.5), 0.0, 0.0, 0.0))


def test_depth_and_normals_worked_out_by_hand():
    ball = Solid("ball", "objects", (2.0, 4.0, 1.5), (0.5, 0.5, 0.5))  # 3 m straight ahead
    cube = Solid("box", "tv", (3.0, 3.5, 1.5), (0.25, 0.5, 0.5))  # its front 2 m ahead, its left side at x = 0.75
    # One pixel for every tenth of z: the ray of column u, row v is ((u - 20) / 10, (v - 15) / 10, 1).
    sample = render_scene(handmade(ball, cube), Intrinsics(10.0, 10.0, 20.0, 15.0), (31, 41))
    depth, normals, labels = (sample.targets[k] for k in ("depth", "normals", "segmentation"))

    def at(u: int, v: int) -> tuple[float, list[float], str]:
        return float(depth[v, u]), normals[v, u].tolist(), CLASSES[labels[v, u]]

    def expect(u: int, v: int, metres: float, normal: list[float], label: str):
        found = at(u, v)
        assert found[0] == pytest.approx(metres, abs=1e-6) and found[2] == label
        assert found[1] == pytest.approx(normal, abs=1e-6)

    expect(20, 15, 2.5, [0, 0, -1], "objects")  # the ball's nearest point
    # Ray (0.1, 0, 1): 1.01 t^2 - 6 t + 8.75 = 0; the normal is (point - centre) / radius.
    t = (6 - np.sqrt(36 - 4 * 1.01 * 8.75)) / 2.02
    expect(21, 15, t, [0.1 * t / 0.5, 0, (t - 3) / 0.5], "objects")
    expect(25, 15, 2.0, [0, 0, -1], "tv")  # x = 0.5 * 2 = 1, inside the front (0.75..1.25)
    expect(23, 15, 2.5, [-1, 0, 0], "tv")  # passes left of the front, meets the left side where 0.3 t = 0.75
    expect(16, 15, 5.0, [0, 0, -1], "wall")  # the far wall
    expect(0, 15, 1.0, [1, 0, 0], "wall")  # the left wall: -2 t = -2
    expect(20, 30, 1.0, [0, -1, 0], "floor")  # 1.5 t = 1.5 down
    expect(20, 0, 1.0, [0, 1, 0], "ceiling")


def test_pitch_turns_the_floor_normal_and_depth_stays_along_z():
    pitch = np.radians(30)
    scene = handmade()
    camera = Camera.at((2.0, 1.0, 1.5), 0.0, pitch, 0.0)
    sample = render_scene(
        Scene(scene.room, scene.solids, [], scene.ambient, camera), Intrinsics(40.0, 40.0, 20.0, 15.0), (31, 41)
    )
    assert sample.targets["depth"][15, 20] == pytest.approx(1.5 / np.sin(pitch), abs=1e-6)
    assert sample.targets["normals"][15, 20] == pytest.approx([0, -np.cos(pitch), -np.sin(pitch)], abs=1e-6)


@few
@given(
    shape=st.sampled_from(sorted(SHAPES)),
    half=st.tuples(*[st.floats(0.1, 0.6)] * 3),
    yaw=st.floats(-3.0, 3.0),
)
def test_every_hit_lies_on_the_unit_body(shape: str, half: tuple[float, float, float], yaw: float):
    scene = handmade(Solid(shape, "objects", (2.0, 3.0, 1.5), half, Paint(), yaw))
    rays = Intrinsics(40.0, 40.0, 20.0, 15.0).rays((31, 41)).reshape(-1, 3).T
    rays = scene.camera.rotation @ rays
    hits = cast(scene.camera.position, rays, scene.solids)
    at = hits.index == len(scene.solids) - 1
    assert at.any()
    reach = np.stack([np.linalg.norm(hits.unit[list(group)][:, at], axis=0) for group in SHAPES[shape]])
    np.testing.assert_allclose(reach.max(axis=0), 1.0, atol=1e-9)
    assert ((hits.normals * rays).sum(axis=0) < 0).all()


@few
@given(seed=SEEDS)
def test_a_point_is_in_sight_where_nothing_is_met_before_it(seed: int):
    scene = random_scene(seed)
    rays = scene.camera.rotation @ NYU_CAMERA.resized(NYU_SIZE, SMALL).rays(SMALL).reshape(-1, 3).T
    points = scene.camera.position[:, None] + cast(scene.camera.position, rays, scene.solids).distance * rays
    for light in scene.lights:
        offsets = points - light.position[:, None]
        distance = np.linalg.norm(offsets, axis=0)
        met = first_hits(light.position, offsets, scene.solids)[0] * distance
        expected = met > distance - 0.01
        assert 0.1 < expected.mean() < 1
        np.testing.assert_array_equal(in_sight(light.position, points, scene.solids), expected)
        for i in np.random.default_rng(seed).integers(points.shape[1], size=5):  # one by one: nothing is left out
            alone = [first_hits(light.position, offsets[:, [i]], [solid])[0][0] for solid in scene.solids]
            assert min(alone) * distance[i] == pytest.approx(met[i], rel=1e-9)
    assert in_sight(scene.lights[0].position, points, []).all()


def test_rays_that_leave_an_open_room_are_an_error():
    scene = handmade()
    with pytest.raises(ValueError, match="closed room"):
        cast(scene.camera.position, np.array([[0.0], [1.0], [0.0]]), scene.solids[:2])


def test_moving_turns_and_shifts():
    one = [Solid("box", "table", (1.0, 0.0, 0.5), (0.1, 0.2, 0.5))]
    (there,) = moved(one, (5.0, 5.0, 0.0), np.pi / 2)
    assert there.centre == pytest.approx((5.0, 6.0, 0.5)) and there.yaw == pytest.approx(np.pi / 2)


def test_all_classes_occur_often_and_rooms_are_mostly_walls_and_floor():
    counts = sum(
        np.bincount(render_room(s, (24, 32)).targets["segmentation"].ravel(), minlength=13) for s in range(120)
    )
    share = dict(zip(CLASSES, counts / np.sum(counts), strict=True))
    assert min(share.values()) > 0.005, share
    assert 0.4 < share["wall"] + share["floor"] < 0.8, share


@few
@given(seed=SEEDS)
def test_furniture_stays_inside_the_room_and_off_the_camera(seed: int):
    scene = random_scene(seed)
    inside = [solid for solid in scene.solids[6:] if solid.label != "floor"]
    low, high = bounds(inside)
    assert (low > -1e-6).all() and (high < np.array(scene.room) + 1e-6).all()
    near = min(np.abs(s.to_unit @ (scene.camera.position - s.centre)).max() for s in inside)
    assert near > 1.0, "the camera is inside nothing"
    assert {solid.paint.texture for solid in scene.solids} <= set(TEXTURES)
