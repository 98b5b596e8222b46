"""The network: encode(x) -> z, decode(z) -> {task: map}. Normalisation and padding happen inside.

Shape legend: B batch, C channels, H height, W width.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_vision.models import weights
from mtl_vision.models.backbone import Backbone, TimmBackbone, padded
from mtl_vision.models.decoder import ConvHead, Decoder, Fusion, Head, upsample
from mtl_vision.models.parts import last_weight, parts_of
from mtl_vision.runtime.near import did_you_mean

Place = Literal["last_shared", "backbone", "encoder"]


class TaskHead(Protocol):
    """What the network needs of a task."""

    channels: int

    def activate(self, raw: Tensor) -> Tensor: ...
    def initial_bias(self) -> list[float] | None: ...


class Network(nn.Module):
    """A backbone, a decoder to stride 4 with the last shared layer, and a head per task.

    tasks: name -> task. Image sides that are no multiple of the backbone's `multiple` are padded at the right and
    bottom by repeating the edge, and the maps are cut back. loaded: where the weights are from, in words; None: random.
    frozen: the names of modules that stay in evaluation mode.

    Args:
        backbone: any timm model that gives features, or a backbone of your own
        decoder: from the backbone's features to the shared map; the name of a class gives its default settings
        head: from the shared map to a task's; likewise
        size: height and width of the images it will see; others work too, unless the backbone's size is fixed
        pretrained: true (timm's weights, fetched), false, or a local file: the backbone's, or the model.safetensors of
            a run, of which decoder and heads are taken where they fit; nine tenths of the backbone must
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskHead],
        backbone: Backbone | str = "mobilenetv4_conv_small",
        decoder: Decoder | str = Fusion(),  # noqa: B008 (a copy of it is built)
        head: Head | str = ConvHead(),  # noqa: B008
        *,
        size: tuple[int, int] = (144, 192),
        pretrained: bool | str = False,
    ) -> None:
        super().__init__()
        self.tasks = dict(tasks)
        self.frozen: list[str] = []
        found = weights.read(pretrained) if isinstance(pretrained, str) else {}
        of_network = any(name.startswith("backbone.") for name in found)
        if isinstance(backbone, str):
            backbone = TimmBackbone(backbone, pretrained is True, size)
        elif pretrained and not of_network:
            raise ValueError(f"pretrained is {pretrained}: expected a timm model's name as backbone, found a module")
        backbone.check(size)
        self.backbone = backbone
        self.multiple, self.size = backbone.multiple, size
        self.decoder: Decoder = unbuilt(Decoder, decoder)
        self.decoder.build(backbone.channels)
        heads = {name: unbuilt(Head, head) for name in tasks}
        for name, task in tasks.items():
            heads[name].build(self.decoder.width, task.channels, task.initial_bias())
        self.heads = nn.ModuleDict(heads)
        self.register_buffer("mean", 255 * torch.tensor(self.backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(self.backbone.std).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.loaded = self.backbone.loaded
        if found:
            try:
                fitted = self._start_from(found) if of_network else self.backbone.load_weights(found)
            except ValueError as error:
                raise ValueError(f"{pretrained}: {error}") from error
            self.loaded = f"from {pretrained}: {fitted}"

    def _start_from(self, found: Mapping[str, Tensor]) -> str:
        """Take what fits of another network's tensors; a head only whole. What that was, in words."""
        backbone = self.backbone.load_weights(weights.part(found, "backbone."))
        decoder = weights.load(self.decoder, weights.part(found, "decoder."), "decoder")
        taken, anew = [], []
        for name, head in self.heads.items():
            tensors = weights.part(found, f"heads.{name}.")
            if amiss := list(weights.misfits(head, tensors).values()):
                anew.append(f"{name} ({amiss[0]})")
            else:
                head.load_state_dict(tensors, strict=False)
                taken.append(name)
        heads = [f"heads {', '.join(taken)}"] if taken else []
        return "; ".join([backbone, decoder, *heads, *([f"anew: {', '.join(anew)}"] if anew else [])])

    def freeze(self, count: int, size: tuple[int, int]) -> None:
        """Keep the backbone's first `count` parts as they are: no gradients, and evaluation mode from now on.

        The parts are those of `parts_of`, for an image of `size`. Raises ValueError where there are fewer.
        """
        parts = parts_of(self.backbone, size)
        if not 0 <= count <= len(parts):
            ends = " to ".join(dict.fromkeys(name for part in (parts[0], parts[-1]) for name in part.modules[:1]))
            raise ValueError(f"freeze is {count}: expected 0 to {len(parts)}, the parts of this backbone ({ends})")
        for part in parts[:count]:
            for p in part.parameters:
                p.requires_grad_(False)
            self.frozen += [f"backbone.{name}" for name in part.modules]
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As any module, but for what is frozen."""
        super().train(mode)
        for name in self.frozen if mode else ():
            self.get_submodule(name).eval()
        return self

    @property
    def last_shared(self) -> nn.Conv2d:
        """The layer whose output is z; by default its weight is GradNorm's W."""
        return self.decoder.last_shared

    def shared_weight(self, place: Place) -> Tensor:
        """W, where gradient norms are taken: of the `last_shared` layer, of the first after the `backbone`'s deepest
        level, or of the `encoder`'s own last layer, which is the backbone's. Raises ValueError if that is frozen.
        """
        if place == "encoder":
            if not self._encoder_weight.requires_grad:
                raise ValueError(
                    "the encoder's last layer is frozen: expected place 'last_shared', or fewer frozen parts"
                )
            return self._encoder_weight
        return (self.last_shared if place == "last_shared" else self.decoder.deepest).weight

    @cached_property
    def _encoder_weight(self) -> Tensor:
        return last_weight(self.backbone, self.size)

    def encode(self, image: Tensor) -> Tensor:
        """image: (B, 3, H, W), uint8 or float in 0..255, RGB. Returns z (B, width, H' / 4, W' / 4), H' padded."""
        return self.fuse(self.levels(image), image)

    def levels(self, image: Tensor) -> list[Tensor]:
        """The backbone's levels of an image (B, 3, H, W), normalised and padded."""
        x = (image.to(self.mean.dtype) - self.mean) / self.std
        H, W = x.shape[-2:]
        bottom, right = -H % self.multiple, -W % self.multiple
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        return self.backbone(x)

    def fuse(self, levels: list[Tensor], image: Tensor) -> Tensor:
        """z, from the levels of `image`."""
        H, W = padded((image.shape[-2], image.shape[-1]), self.multiple)
        return self.decoder(levels, (H // 4, W // 4))

    def decode(self, z: Tensor, size: tuple[int, int], tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Predictions (B, C, H, W) of `tasks` (default: all) for images of size (H, W), in physical units."""
        names = self.heads if tasks is None else tasks
        return {name: self.tasks[name].activate(enlarged(self.raw(name, z, size), size)) for name in names}

    def raw(self, task: str, z: Tensor, size: tuple[int, int]) -> Tensor:
        """The map of a task's head (B, C, H / 4, W / 4) for images of size (H, W), without the padding's cells."""
        H, W = size
        return self.heads[task](z)[..., : -(-H // 4), : -(-W // 4)]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """decode(encode(image))."""
        return self.decode(self.encode(image), (image.shape[-2], image.shape[-1]))


def enlarged(raw: Tensor, size: tuple[int, int]) -> Tensor:
    """A head's map (B, C, H / 4, W / 4) at the images' size (H, W)."""
    H, W = size
    return upsample(raw, (raw.shape[-2] * 4, raw.shape[-1] * 4))[..., :H, :W]


def unbuilt(base: type, part: Any) -> Any:
    """A copy of a decoder or head; by the name of its class, one with default settings."""
    if not isinstance(part, str):
        return deepcopy(part)
    known = {cls.__name__: cls for cls in base.__subclasses__()}
    if part not in known:
        raise ValueError(f"unknown {base.__name__} '{part}'{did_you_mean(part, known)}: expected {', '.join(known)}")
    return known[part]()
