"""Any timm backbone as a pyramid of features (B, C, H / stride, W / stride), by what timm says, not by its name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mtl_vision.runtime.near import did_you_mean

MIN_STRIDE = 4


class Backbone(nn.Module):
    """`channels` and `strides` of its levels, finest first; `multiple`: input sides must be multiples of it.

    name: any timm model with features_only. pretrained: True (timm's weights), False, or a local weights file. size:
    the padded input (H, W); models with position tables of a fixed size are built for it and take no other.
    Levels finer than stride 4 are left out, since nothing below works at a finer scale.
    """

    def __init__(self, name: str, pretrained: bool | str = False, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        check_name(name)
        config = timm.get_pretrained_cfg(name)
        self.fixed_size = size if config is not None and config.fixed_input_size else None
        arguments: dict[str, Any] = {"img_size": self.fixed_size} if self.fixed_size else {}
        self.net = _create(name, pretrained, arguments)
        info: Any = self.net.feature_info
        levels = list(zip(info.channels(), info.reduction(), strict=True))
        kept = [i for i, (_, stride) in enumerate(levels) if stride >= MIN_STRIDE]
        self.kept = kept
        self.channels = [levels[i][0] for i in kept]
        self.strides = [levels[i][1] for i in kept]
        self.multiple = multiple_of(self.strides)
        self.mean = tuple(config.mean) if config is not None else (0.485, 0.456, 0.406)
        self.std = tuple(config.std) if config is not None else (0.229, 0.224, 0.225)
        # some transformers give (B, h, w, C)
        self.channels_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        self._try_out(name, size or (self.multiple, self.multiple))

    @torch.no_grad()
    def _try_out(self, name: str, size: tuple[int, int]) -> None:
        """One black picture: a backbone whose features are not what timm says of them fails here, by name."""
        training = self.training
        expected = [
            (C, size[0] // stride, size[1] // stride) for C, stride in zip(self.channels, self.strides, strict=True)
        ]
        try:
            found = [tuple(level.shape[1:]) for level in self.eval()(torch.zeros(1, 3, *size))]
        except Exception as error:
            raise ValueError(
                f"backbone '{name}' does not take {size} (H, W) ({error}); choose another backbone"
            ) from error
        if found != expected:
            raise ValueError(f"backbone '{name}' gives features {found}, expected {expected}; choose another backbone")
        self.train(training)

    def forward(self, image: Tensor) -> list[Tensor]:
        """image: normalised (B, 3, H, W). Returns the levels (B, C, h, w), finest first."""
        if self.fixed_size and tuple(image.shape[-2:]) != self.fixed_size:
            raise ValueError(
                f"this backbone was built for {self.fixed_size} (H, W), found {tuple(image.shape[-2:])}: "
                "set data.size to the size you want, and train again"
            )
        levels = self.net(image)
        levels = [levels[i] for i in self.kept]
        return [level.permute(0, 3, 1, 2) for level in levels] if self.channels_last else levels


def multiple_of(strides: list[int]) -> int:
    """The smallest number that all strides, and the output's stride of 4, divide."""
    return math.lcm(MIN_STRIDE, *strides)


def input_multiple(name: str) -> int:
    """The multiple that a backbone's input sides must have, known without building its weights."""
    check_name(name)
    with torch.device("meta"):
        info: Any = timm.create_model(name, features_only=True, pretrained=False).feature_info
    return multiple_of([stride for stride in info.reduction() if stride >= MIN_STRIDE])


def check_name(name: str) -> None:
    """Raises ValueError that names near ones for a backbone that timm does not have."""
    known = timm.list_models()
    if name.split(".")[0] not in known:
        raise ValueError(f"timm has no backbone '{name}'{did_you_mean(name, known, 3)}")


def _create(name: str, pretrained: bool | str, arguments: dict[str, Any]) -> nn.Module:
    if isinstance(pretrained, str):
        if not Path(pretrained).is_file():
            raise ValueError(f"model.pretrained: no weights file at {pretrained}; give a local file, true or false")
        arguments = arguments | {"pretrained_cfg_overlay": {"file": pretrained}}
    try:
        return timm.create_model(name, features_only=True, pretrained=bool(pretrained), **arguments)
    except Exception as error:
        if not pretrained:
            raise ValueError(f"timm can not give features of '{name}' ({error}); choose another backbone") from error
        raise ValueError(
            f"the pretrained weights of '{name}' could not be had ({type(error).__name__}: {str(error)[:200]}). "
            "Without a network: fetch the file elsewhere and give --model.pretrained FILE (safetensors or pth), or "
            "train from scratch with --model.pretrained false"
        ) from error
