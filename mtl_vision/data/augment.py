"""Augmentation: geometry-correct albumentations transforms, and presets by name.

The whole Sample travels through the pipeline as the target `sample`; transforms of colour see its picture alone.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mtl_vision.data import geometry
from mtl_vision.data.sample import Sample
from mtl_vision.runtime.kinds import Size

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer release at import
import albumentations as A


class _SampleTransform(A.DualTransform):
    """A transform of the whole sample; subclasses say how in `move`."""

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

    def move(self, sample: Sample, s: float = 1.0, at: tuple[float, float] = (0, 0), **params: Any) -> Sample:
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
    """Brightness, contrast, saturation and hue of the picture alone."""

    def __init__(self, strength: float = 0.3, p: float = 0.8) -> None:
        super().__init__(p=p)
        self.jitter = A.ColorJitter(
            (1 - strength, 1 + strength),
            (1 - strength, 1 + strength),
            (1 - strength, 1 + strength),
            (-strength / 8, strength / 8),
            p=1.0,
        )

    def set_random_state(self, random_generator: np.random.Generator, py_random: Any) -> None:
        super().set_random_state(random_generator, py_random)
        self.jitter.set_random_state(random_generator, py_random)

    def move(self, sample: Sample, **params: Any) -> Sample:
        return replace(sample, image=self.jitter(image=np.ascontiguousarray(sample.image))["image"])


PRESETS: dict[str, Callable[[Size], list[A.BasicTransform | A.BaseCompose]]] = {
    "none": lambda size: [],
    "flip": lambda size: [Flip(p=0.5)],
    "standard": lambda size: [ZoomCrop(size, (1.0, 1.5)), Flip(p=0.5), Colour()],
    "strong": lambda size: [ZoomCrop(size, (1.0, 2.0)), Flip(p=0.5), Rotate(5.0, p=0.3), Colour(0.4)],
}


class Augmentation:
    """A preset as a function (sample, seed) -> sample at `size` (H, W); the same seed gives the same in any process."""

    def __init__(self, preset: str, size: Size) -> None:
        if preset not in PRESETS:
            raise ValueError(f"unknown augmentation '{preset}': expected {', '.join(PRESETS)}")
        self.size = size
        self.chain = A.Compose(PRESETS[preset](size))

    def __call__(self, sample: Sample, seed: int) -> Sample:
        # one stream for the whole chain: set_random_seed would give every transform the same draws
        self.chain.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return geometry.resize(self.chain(sample=sample)["sample"], self.size)
