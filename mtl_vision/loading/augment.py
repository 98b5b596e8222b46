"""Augmentation: geometry-correct albumentations transforms, and presets by name.

The Sample travels through the pipeline as the target `sample`, in a chain of one's own as well:

    A.Compose([ZoomCrop((288, 384)), Flip(), OnImage(A.RandomGamma(p=0.3))])(sample=sample)["sample"]
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np

from mtl_vision.datasets.sample import Sample
from mtl_vision.loading import geometry
from mtl_vision.runtime.kinds import Size
from mtl_vision.runtime.near import did_you_mean

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # at import it would look for a newer release on the network
import albumentations as A

GREY = np.array((0.299, 0.587, 0.114))  # what red, green and blue add to the brightness that is seen


class _SampleTransform(A.DualTransform):
    """A transform of image, targets and camera together, by `move`."""

    @property
    def targets(self) -> dict[str, Callable[..., Any]]:
        return {"sample": self.move}

    def update_transform_params(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        return params  # albumentations would add the shape of a target called `image`: ours travels in the sample

    def move(self, sample: Sample, **params: Any) -> Sample:
        raise NotImplementedError


class ZoomCrop(_SampleTransform):
    """Zoom by s, uniform in `zoom`, into a random window; then bring it to `size` (H, W). Depth is divided by s."""

    def __init__(self, size: Size, zoom: tuple[float, float] = (1.0, 1.5), p: float = 1.0) -> None:
        super().__init__(p=p)
        self.size = size
        self.zoom = zoom

    def get_params(self) -> dict[str, Any]:
        r = self.py_random
        return {"s": r.uniform(*self.zoom), "at": (r.random(), r.random())}

    def move(self, sample: Sample, s: float, at: tuple[float, float], **params: Any) -> Sample:
        H, W = sample.size
        height = round(H / s)
        width = round(height * W / H)
        return geometry.zoom_crop(sample, round(at[0] * (H - height)), round(at[1] * (W - width)), height, self.size)


class Flip(_SampleTransform):
    """Mirror left to right."""

    def move(self, sample: Sample, **params: Any) -> Sample:
        return geometry.flip(sample)


class Rotate(_SampleTransform):
    """Turn about the optical axis by up to `degrees` either way."""

    def __init__(self, degrees: float = 5.0, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.degrees = degrees

    def get_params(self) -> dict[str, Any]:
        return {"degrees": self.py_random.uniform(-self.degrees, self.degrees)}

    def move(self, sample: Sample, degrees: float = 0.0, **params: Any) -> Sample:
        return geometry.rotate(sample, degrees)


class Colour(_SampleTransform):
    """Brightness, contrast, saturation (each a factor) and hue (by up to an eighth of `strength` of a turn).

    As albumentations' ColorJitter, but all four in one affine map of (R, G, B), which takes a tenth of its time: hue
    turns about the grey axis, and values are clipped once, at the end.
    """

    def __init__(self, strength: float = 0.3, p: float = 0.8) -> None:
        super().__init__(p=p)
        self.strength = strength

    def get_params(self) -> dict[str, Any]:
        r, strength = self.py_random, self.strength
        turn = r.uniform(-strength / 8, strength / 8)
        factors = {name: r.uniform(1 - strength, 1 + strength) for name in ("brightness", "contrast", "saturation")}
        return factors | {"turn": turn}

    def move(self, sample: Sample, **params: Any) -> Sample:
        brightness, contrast, saturation = (params.get(name, 1.0) for name in ("brightness", "contrast", "saturation"))
        # the rotation about the grey axis by a share of a turn; a third takes red to green to blue
        hue, _ = cv2.Rodrigues(np.full(3, 2 * np.pi * params.get("turn", 0.0) / np.sqrt(3)))
        matrix = saturation * hue + (1 - saturation) * np.tile(GREY, (3, 1))
        mean = GREY @ cv2.mean(sample.image)[:3]
        offset = np.full((3, 1), (1 - contrast) * brightness * mean)
        return replace(sample, image=cv2.transform(sample.image, np.hstack([contrast * brightness * matrix, offset])))


class Noise(_SampleTransform):
    """Normal noise on every value of the image, its deviation uniform in `sigma` (grey levels of 255)."""

    QUANTILES = np.array([NormalDist().inv_cdf((k + 0.5) / 256) for k in range(256)], np.float32)

    def __init__(self, sigma: tuple[float, float] = (2.0, 12.0), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.sigma = sigma

    def get_params(self) -> dict[str, Any]:
        return {"sigma": self.py_random.uniform(*self.sigma), "seed": self.py_random.getrandbits(32)}

    def move(self, sample: Sample, sigma: float = 0.0, seed: int = 0, **params: Any) -> Sample:
        # 256 equally likely values of the normal distribution: a random byte each is many times faster than a float
        ranks = np.random.default_rng(seed).integers(0, 256, sample.image.shape, np.uint8)
        noise = cv2.LUT(ranks, np.float32(sigma) * self.QUANTILES)
        return replace(sample, image=cv2.add(sample.image, noise, dtype=cv2.CV_8U))


class Cutout(_SampleTransform):
    """One to `count` rectangles in a random colour; their sides are uniform in `side`, shares of the image's."""

    def __init__(self, count: int = 4, side: tuple[float, float] = (0.08, 0.25), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.count = count
        self.side = side

    def get_params(self) -> dict[str, Any]:
        r = self.py_random
        count = r.randint(1, self.count)
        shares = [(r.uniform(*self.side), r.uniform(*self.side), r.random(), r.random()) for _ in range(count)]
        return {"shares": shares, "colours": [r.choices(range(256), k=3) for _ in shares]}

    def move(self, sample: Sample, shares: Any = (), colours: Any = (), **params: Any) -> Sample:
        H, W = sample.size
        windows = []
        for height, width, down, right in shares:
            h, w = round(height * H), round(width * W)
            top, left = round(down * (H - h)), round(right * (W - w))
            windows.append((slice(top, top + h), slice(left, left + w)))
        return geometry.cut(sample, windows, colours)


class OnImage(_SampleTransform):
    """A transform of albumentations' own, on the image only: one that leaves every pixel at its place.

    p: how often it is applied; the transform's own p then decides again. Raises TypeError for one that moves pixels.
    """

    def __init__(self, transform: A.ImageOnlyTransform | A.BaseCompose, p: float = 1.0) -> None:
        if not _leaves_pixels(transform):
            name = type(transform).__name__
            raise TypeError(f"{name} may move pixels: expected an ImageOnlyTransform of albumentations")
        self.transform = transform
        super().__init__(p=p)

    def set_random_state(self, random_generator: np.random.Generator, py_random: random.Random) -> None:
        super().set_random_state(random_generator, py_random)
        self.transform.set_random_state(random_generator, py_random)

    def set_random_seed(self, seed: int | None) -> None:
        super().set_random_seed(seed)
        self.transform.set_random_seed(seed)

    def move(self, sample: Sample, **params: Any) -> Sample:
        return replace(sample, image=self.transform(image=np.ascontiguousarray(sample.image))["image"])


def _leaves_pixels(transform: object) -> bool:
    if isinstance(transform, A.BaseCompose):
        return all(map(_leaves_pixels, transform.transforms))
    return isinstance(transform, A.ImageOnlyTransform)


class Blur(OnImage):
    """Gaussian blur, its deviation uniform in `sigma` (pixels)."""

    def __init__(self, sigma: tuple[float, float] = (0.3, 1.5), p: float = 0.5) -> None:
        super().__init__(A.GaussianBlur(blur_limit=0, sigma_limit=sigma, p=1.0), p=p)
        self.sigma = sigma


PRESETS: dict[str, Callable[[Size], Sequence[A.BasicTransform]]] = {
    "none": lambda size: [],
    "flip": lambda size: [Flip(p=0.5)],
    "standard": lambda size: [ZoomCrop(size, (1.0, 1.5)), Flip(p=0.5), Colour()],
    "strong": lambda size: [ZoomCrop(size, (1.0, 2.0)), Flip(p=0.5), Rotate(5.0, p=0.3), Colour(0.4)],
    "heavy": lambda size: [*PRESETS["strong"](size), Blur(p=0.2), Noise(p=0.2), Cutout(p=0.3)],
}


class Augmentation:
    """A preset as a function (sample, seed) -> sample at `size` (H, W); the same seed gives the same in any process."""

    def __init__(self, preset: str, size: Size) -> None:
        if preset not in PRESETS:
            near = did_you_mean(preset, PRESETS)
            raise ValueError(f"unknown augmentation '{preset}'{near}; expected {', '.join(PRESETS)}")
        self.size = size
        self.chain = A.Compose(list(PRESETS[preset](size)))

    def __call__(self, sample: Sample, seed: int) -> Sample:
        # one stream for all of the chain: set_random_seed would give every transform the same draws
        self.chain.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return self.chain(sample=sample)["sample"].resized(self.size)
