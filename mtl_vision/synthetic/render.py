"""Renders the image of a scene, with exact depth, normals and labels from the same rays."""

import cv2
import numpy as np

from mtl_vision.datasets.sample import Intrinsics, Sample
from mtl_vision.synthetic.cast import Hits, cast, groups_of, in_sight
from mtl_vision.synthetic.rooms import random_scene
from mtl_vision.synthetic.scene import CLASS_ID, Light, Piece, Point, Scene
from mtl_vision.synthetic.textures import TEXTURES

GAMMA = 2.2
NYU_SIZE = (480, 640)
NYU_CAMERA = Intrinsics(fx=518.857901, fy=519.469611, cx=325.582449, cy=253.736166)


def render_room(seed: int, size: tuple[int, int] = (240, 320)) -> Sample:
    """The room of this seed, seen by an NYU-like camera of this size (H, W): always the same bytes.

    Targets: `depth` float32 metres along z, `normals` float32 in the camera frame, `segmentation` uint8 of CLASSES;
    no pixel is invalid.
    """
    return render_scene(random_scene(seed), NYU_CAMERA.resized(NYU_SIZE, size), size, seed)


def render_scene(scene: Scene, intrinsics: Intrinsics, size: tuple[int, int], seed: int = 0) -> Sample:
    """A Sample of the scene; the seed decides the exposure and the sensor's noise."""
    camera = scene.camera
    rays = camera.rotation @ intrinsics.rays(size).reshape(-1, 3).T
    hits = cast(camera.position, rays, scene.solids)  # rays have z = 1, so distances along them are depths
    depth = hits.distance.reshape(size)
    points = camera.position[:, None] + hits.distance * rays
    normals = (camera.rotation.T @ hits.normals).T.reshape(*size, 3)
    labels = np.array([CLASS_ID[solid.label] for solid in scene.solids], dtype=np.uint8)[hits.index]
    linear = radiance(scene, hits, points, depth).T.reshape(*size, 3)
    rng = np.random.default_rng([seed, 1])
    exposure = rng.uniform(0.15, 0.36)
    targets = {
        "depth": depth.astype(np.float32),
        "normals": normals.astype(np.float32),
        "segmentation": labels.reshape(size),
    }
    return Sample(f"{seed:06d}", sensor_image(linear, rng, exposure), targets, intrinsics)


def surface(hits: Hits, solids: Piece) -> tuple[np.ndarray, np.ndarray]:
    """Linear albedo (3, N) and glow (N,) where the rays hit."""
    paints = [solid.paint for solid in solids]
    colour, accent = (np.array([getattr(p, k) for p in paints]).T for k in ("colour", "accent"))
    colour, change = (values.take(hits.index, axis=1) for values in (colour, accent - colour))
    places = hits.local + np.array([p.shift for p in paints])[hits.index]
    names = list(TEXTURES)
    weight = np.empty(len(hits.index))
    for k, at in groups_of(np.array([names.index(p.texture) for p in paints])[hits.index]):
        weight[at] = TEXTURES[names[k]](places[:, at], hits.unit[:, at])
    blend = colour + change * weight.clip(0.0, 1.0)
    return blend**GAMMA, np.array([p.glow for p in paints])[hits.index]


def point_light(
    light: Light, points: np.ndarray, normals: np.ndarray, solids: Piece, size: tuple[int, int]
) -> np.ndarray:
    """Lambert's light (3, N) from one point light, with the shadows softened a little."""
    to_point = points - light.position[:, None]
    distance = np.linalg.norm(to_point, axis=0)
    facing = np.maximum(-(normals * to_point).sum(axis=0) / distance, 0.0)
    clear = in_sight(light.position, points, solids).astype(np.float32).reshape(size)
    clear = cv2.GaussianBlur(clear, (0, 0), size[0] / 120).reshape(-1)
    return light.colour[:, None] * (facing * clear / (1 + (distance / light.reach) ** 2))


def corner_shading(points: np.ndarray, normals: np.ndarray, room: Point) -> np.ndarray:
    """The share of ambient light (N,), less near the room's other walls: corners are darker."""
    left = np.ones(points.shape[1])
    for axis, length in enumerate(room):
        for distance, away in ((points[axis], normals[axis]), (length - points[axis], -normals[axis])):
            left *= 1.0 - 0.35 * np.exp(-np.maximum(distance, 0.0) / 0.25) * (1.0 - np.maximum(away, 0.0))
    return left


def ambient_occlusion(depth: np.ndarray) -> np.ndarray:
    """The share of ambient light (H, W), less where the surroundings are nearer to the camera."""
    around = cv2.GaussianBlur(depth, (0, 0), depth.shape[0] / 30)
    return np.exp(-2.5 * np.clip((depth - around) / depth - 0.01, 0.0, 0.15))


def radiance(scene: Scene, hits: Hits, points: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Linear colour (3, N) towards the camera, of surfaces met at world points (3, N) with depth (H, W)."""
    albedo, glow = surface(hits, scene.solids)
    bounced = 0.95 - 0.15 * hits.normals[2]  # what faces down sees the lit floor
    closed = corner_shading(points, hits.normals, scene.room) * ambient_occlusion(depth.astype(np.float32)).reshape(-1)
    light = scene.ambient[:, None] * (bounced * closed)
    for lamp in scene.lights:
        light += point_light(lamp, points, hits.normals, scene.solids, depth.shape) * np.sqrt(closed)
    return albedo * (light + glow)


def sensor_image(linear: np.ndarray, rng: np.random.Generator, exposure: float) -> np.ndarray:
    """Linear colour (H, W, 3) as a sensor records it: exposure, lens blur, vignette, noise, gamma; uint8."""
    h, w = linear.shape[:2]
    image = linear.astype(np.float32) * np.float32(exposure / linear.mean())
    image = cv2.GaussianBlur(image, (0, 0), 0.45)
    v, u = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    image *= (1.0 - 0.12 * (u * u + v * v))[..., None]
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image += noise * np.sqrt(2e-5 + 4e-4 * image)  # read-out noise and photon noise
    shown = np.clip(image, 0.0, None) ** np.float32(1 / GAMMA)
    # A soft shoulder in place of hard clipping, as cameras have.
    shown = np.where(shown > 0.8, 0.8 + 0.2 * np.tanh((shown - 0.8) / 0.2), shown)
    return np.rint(shown * 255).astype(np.uint8)
