"""A backbone gives an image's pyramid of features (B, C, H / stride, W / stride); timm's by name."""

import math
import re
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mtl_vision.models import weights
from mtl_vision.runtime.near import did_you_mean

MIN_STRIDE = 4


class Backbone(nn.Module, ABC):
    """From an image to its levels, a pyramid of features. Subclasses set `channels` and `strides`.

    Attributes:
        channels: of the levels, finest first
        strides: of the levels, finest first; none is below 4
        mean: of the RGB values in 0..1 that it was trained with
        std: the same
        fixed_size: the only (H, W) that it takes, if there is but one
        loaded: where its weights are from, in words; None if they are random
    """

    channels: Sequence[int]
    strides: Sequence[int]
    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)
    fixed_size: tuple[int, int] | None = None
    loaded: str | None = None

    @abstractmethod
    def forward(self, image: Tensor) -> list[Tensor]:
        """image: normalised (B, 3, H, W). Returns the levels (B, C, H / stride, W / stride), finest first."""

    @property
    def multiple(self) -> int:
        """Input sides must be multiples of it."""
        return math.lcm(MIN_STRIDE, *self.strides)

    @torch.no_grad()
    def check(self, size: tuple[int, int]) -> None:
        """Raises ValueError where the levels of an image of `size`, padded, are not as `channels` and `strides` say."""
        name, training = getattr(self, "name", type(self).__name__), self.training
        size = padded(size, self.multiple)
        expected = [(C, size[0] // s, size[1] // s) for C, s in zip(self.channels, self.strides, strict=True)]
        try:
            found = [tuple(level.shape[1:]) for level in self.eval()(torch.zeros(1, 3, *size))]
        except Exception as error:
            message = f"backbone '{name}' does not take {size} (H, W) ({error}); choose another backbone"
            raise ValueError(message) from error
        if found != expected:
            raise ValueError(f"backbone '{name}' gives features {found}, expected {expected}; choose another backbone")
        self.train(training)

    def load_weights(self, found: Mapping[str, Tensor]) -> str:
        """Load a trained backbone's tensors where they fit; what that was, in words.

        Raises ValueError where they are less than nine tenths of its tensors, or of their elements.
        """
        return weights.load(self, found, "backbone", weights.LEAST)


class TimmBackbone(Backbone):
    """Any timm model with features_only; levels finer than stride 4, the output's, are left out.

    pretrained: True (timm's weights), False, or a local weights file (safetensors, or a PyTorch file; no code in it is
    run), which must fit nine tenths of the tensors. size: of the images (H, W) it will see; models with position tables
    of a fixed size are built for it and take no other.
    """

    def __init__(self, name: str, pretrained: bool | str = False, size: tuple[int, int] = (32, 32)) -> None:
        super().__init__()
        size = padded(size, input_multiple(name))
        self.name = name
        config = timm.get_pretrained_cfg(name)
        self.arguments: dict[str, Any] = {}
        if config is not None:
            self.mean, self.std = tuple(config.mean), tuple(config.std)
            if config.fixed_input_size:
                self.fixed_size = self.arguments["img_size"] = size
        self.net = _create(name, pretrained is True, self.arguments)
        info: Any = self.net.feature_info
        channels, strides = info.channels(), info.reduction()
        self.kept = [i for i, stride in enumerate(strides) if stride >= MIN_STRIDE]
        self.channels, self.strides = [channels[i] for i in self.kept], [strides[i] for i in self.kept]
        # some transformers give (B, h, w, C)
        self.channels_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        if pretrained is True:
            self.loaded = f"timm's {name}"
        elif pretrained:
            self.loaded = f"from {pretrained}: {self.load_weights(weights.read(pretrained))}"

    def forward(self, image: Tensor) -> list[Tensor]:
        if self.fixed_size and tuple(image.shape[-2:]) != self.fixed_size:
            raise ValueError(
                f"this backbone was built for {self.fixed_size} (H, W), found {tuple(image.shape[-2:])}: "
                "make the network with the size you want, and train again"
            )
        levels = self.net(image)
        return [levels[i].permute(0, 3, 1, 2) if self.channels_last else levels[i] for i in self.kept]

    def load_weights(self, found: Mapping[str, Tensor]) -> str:
        """found: by timm's names, or by this module's own."""
        with torch.device("meta"):
            whole = timm.create_model(self.name, **self.arguments)
        names = {flat_name(name): name for name in whole.state_dict()}
        found = _filtered(
            self.name, {names.get(flat_name(name), name): tensor for name, tensor in found.items()}, whole
        )
        names = {flat_name(name): name for name in self.net.state_dict()}
        found = {names.get(flat_name(name), name): tensor for name, tensor in found.items()}
        return weights.load(self.net, found, "backbone", weights.LEAST)


def padded(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """(H, W), each raised to a multiple."""
    return -(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple


def input_multiple(name: str) -> int:
    """The multiple that a timm model's input sides must have, without building its weights."""
    known = timm.list_models()
    architecture, _, tag = name.partition(".")
    if architecture not in known or not re.fullmatch(r"\w*", tag):  # timm takes addresses and folders as names, too
        raise ValueError(f"timm has no backbone '{name}'{did_you_mean(name, known, 3)}")
    with torch.device("meta"):
        info: Any = _create(name, False, {}).feature_info
    return math.lcm(MIN_STRIDE, *info.reduction())


def _create(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    try:
        return timm.create_model(name, features_only=True, pretrained=pretrained, **arguments)
    except Exception as error:
        if not pretrained:
            raise ValueError(f"timm can not give features of '{name}' ({error}); choose another backbone") from error
        raise ValueError(
            f"the pretrained weights of '{name}' could not be loaded ({type(error).__name__}: {str(error)[:200]}). "
            "Offline: fetch the file elsewhere and give it as `pretrained` (safetensors or pth), or train with False"
        ) from error


def flat_name(name: str) -> str:
    """A tensor's name, the same in a whole model and in one for features, which joins or wraps parts."""
    name = name.replace(".", "_")
    for wrapper in ("net_", "model_", "body_"):
        name = name.removeprefix(wrapper)
    return name


def _filtered(name: str, found: dict[str, Tensor], whole: nn.Module) -> dict[str, Tensor]:
    """As timm loads them into the whole model: other layouts converted, position tables of another size resized."""
    module = sys.modules[timm.model_entrypoint(name).__module__]
    convert: Callable[..., dict[str, Tensor]] | None = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return found
    try:
        with warnings.catch_warnings(action="ignore"):
            return convert(dict(found), whole)
    except Exception:  # foreign tensors: what does not fit is said below
        return found
