"""The contract that every backbone keeps inside the network, and the network's own promises."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn

from mtl_vision.models import Backbone, ConvHead, Decoder, Fusion, Head, LinearHead, Network
from mtl_vision.models.backbone import input_multiple
from mtl_vision.tasks import Depth, Normals, Segmentation, Task

CLASSES = ["bed", "books", "ceiling"]
# name -> multiple of its input sides: convolutional, hybrid, windowed and plain transformers
BACKBONES = {
    "resnet18": 32,
    "mobilenetv4_conv_small": 32,
    "convnextv2_atto": 32,
    "efficientvit_b0": 32,
    "swin_tiny_patch4_window7_224": 32,
    "vit_small_patch14_dinov2": 28,
}
SMALL = "mobilenetv4_conv_small"


def tasks() -> dict[str, Task]:
    return {"depth": Depth(), "normals": Normals(), "segmentation": Segmentation(CLASSES)}


def image(B: int, H: int, W: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (B, 3, H, W), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("size", [(64, 96), (65, 90)])
def test_backbone_contract(backbone: str, size: tuple[int, int]) -> None:
    """Maps at the image's size, also an odd one; every parameter is trained through z."""
    torch.manual_seed(0)
    model = Network(tasks(), backbone, Fusion(32), size=size)
    H, W = size
    assert model.multiple == BACKBONES[backbone] == input_multiple(backbone)
    z = model.encode(image(2, H, W))
    padded = (-(-H // model.multiple) * model.multiple, -(-W // model.multiple) * model.multiple)
    assert z.shape == (2, 32, padded[0] // 4, padded[1] // 4)
    maps = model.decode(z, size)
    assert {name: tuple(m.shape) for name, m in maps.items()} == {
        "depth": (2, 1, H, W),
        "normals": (2, 3, H, W),
        "segmentation": (2, 3, H, W),
    }
    sum(m.square().mean() for m in maps.values()).backward()  # type: ignore[union-attr]
    grads = [p.grad is not None and bool(p.grad.isfinite().all()) for p in model.backbone.parameters()]
    assert sum(grads) > 0.9 * len(grads)  # timm keeps a last norm that no level uses
    for name, parameter in [*model.decoder.named_parameters(), *model.heads.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_z_is_the_last_shared_layers_output() -> None:
    """dL/dz through the last shared layer alone gives the whole dL/dW: nothing bypasses it."""
    model = Network(tasks(), SMALL, Fusion(32), size=(32, 32))
    seen = []
    model.last_shared.register_forward_hook(lambda *args: seen.append(args[2]))
    z = model.encode(image(2, 32, 32))
    assert z is seen[0]


def test_decode_some_tasks() -> None:
    model = Network(tasks(), SMALL, Fusion(32), size=(32, 64))
    z = model.encode(image(1, 32, 64))
    assert list(model.decode(z, (32, 64), ["normals"])) == ["normals"]


def test_padding_repeats_the_edge_and_changes_little() -> None:
    """An image of one colour gives the same map with and without padding, but for the border's convolutions."""
    torch.manual_seed(0)
    model = Network(tasks(), SMALL, Fusion(32), size=(64, 64)).eval()
    flat = torch.full((1, 3, 96, 96), 90, dtype=torch.uint8)
    with torch.inference_mode():
        whole, cut = model(flat)["depth"], model(flat[..., :65, :66])["depth"]
    assert cut.shape == (1, 1, 65, 66)
    torch.testing.assert_close(whole[..., :32, :32], cut[..., :32, :32], rtol=0.02, atol=0.02)


def test_uint8_and_float_images_agree() -> None:
    model = Network(tasks(), SMALL, Fusion(32), size=(32, 32)).eval()
    x = image(1, 32, 32)
    torch.testing.assert_close(model(x)["depth"], model(x.float())["depth"])


def test_normalisation_is_timms() -> None:
    model = Network(tasks(), "vit_small_patch14_dinov2", Fusion(32), size=(28, 28))
    assert (model.mean / 255).flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert (model.std / 255).flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])


def test_fixed_size_backbone_says_so() -> None:
    model = Network(tasks(), "vit_small_patch14_dinov2", Fusion(32), size=(28, 56))
    with pytest.raises(ValueError, match=r"built for \(28, 56\).*found \(56, 56\).*the size you want"):
        model(image(1, 56, 56))


def test_channels_last_features_as_high_as_they_are_deep() -> None:
    """Swin gives (B, h, w, C); at 384 rows its first level has h = C = 96, which no shape can tell apart."""
    model = Network(tasks(), "swin_tiny_patch4_window7_224", Fusion(32), size=(384, 64))
    with torch.inference_mode():
        levels = model.backbone(torch.zeros(1, 3, 384, 64))
    assert [tuple(level.shape[1:]) for level in levels] == [(96, 96, 16), (192, 48, 8), (384, 24, 4), (768, 12, 2)]


def test_a_backbone_that_does_not_work_is_named() -> None:
    with pytest.raises(ValueError, match="crossvit_9_240.*choose another backbone"):
        Network(tasks(), "crossvit_9_240", Fusion(32), size=(64, 64))


def test_unknown_backbone_names_near_ones() -> None:
    with pytest.raises(ValueError, match="timm has no backbone 'resnet81', did you mean 'resnet"):
        Network(tasks(), "resnet81")


@pytest.mark.parametrize("width", [50, 0])
def test_odd_width(width: int) -> None:
    with pytest.raises(ValueError, match=f"width is {width}: expected a multiple of 16"):
        Fusion(width)


def test_pretrained_weights_from_a_local_file(tmp_path) -> None:
    """A file in timm's own layout is loaded; a missing one is named."""
    import timm

    donor = timm.create_model("resnet18", pretrained=False)
    torch.save(donor.state_dict(), tmp_path / "weights.pth")
    model = Network(tasks(), "resnet18", Fusion(32), pretrained=str(tmp_path / "weights.pth"), size=(32, 32))
    assert torch.equal(model.backbone.net.conv1.weight, donor.conv1.weight)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="no weights file at"):
        Network(tasks(), "resnet18", pretrained=str(tmp_path / "none.pth"))


def test_pretrained_weights_offline_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def offline(*args: object, **kwargs: object) -> None:
        if kwargs.get("pretrained"):
            raise OSError("no route to host")
        return real(*args, **kwargs)  # type: ignore[arg-type]

    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ValueError, match=r"(?s)could not be loaded.*no route.*give it as `pretrained`.*False"):
        Network(tasks(), SMALL, pretrained=True)


class Steps(Backbone):
    """Two strided convolutions."""

    channels = (8, 16)
    strides = (4, 8)
    mean = std = (0.5, 0.5, 0.5)

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 16, 2, stride)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        first = self.first(image)
        return [first, self.second(first)]


class Finest(Decoder):
    """The finest level only."""

    def build(self, channels: Sequence[int]) -> None:
        self.last_shared = nn.Conv2d(channels[0], self.width, 1)

    def forward(self, levels: list[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        return self.last_shared(levels[0])


class Linear(Head):
    """One 1x1 convolution."""

    def build(self, width: int, channels: int, bias: list[float] | None) -> None:
        self.last = nn.Conv2d(width, channels, 1)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.last(z)


@pytest.mark.parametrize(("decoder", "head"), [(Finest(16), Linear()), ("Finest", "Linear")])
def test_parts_of_ones_own(decoder: str | Decoder, head: str | Head) -> None:
    """A backbone, a decoder and a head that are none of the package's, at a size that is padded to the stride of 8."""
    model = Network(tasks(), Steps(), decoder, head, size=(20, 28))
    assert model.multiple == 8 and model.mean.flatten().tolist() == [127.5] * 3
    z = model.encode(image(2, 20, 28))
    assert z.shape == (2, model.decoder.width, 6, 8)
    assert {name: m.shape[1:] for name, m in model(image(2, 20, 28)).items()}.keys() == model.heads.keys()
    assert model.shared_weight("last_shared").shape == (model.decoder.width, 8, 1, 1)
    with pytest.raises(ValueError, match="Finest does not define `deepest`"):
        model.shared_weight("backbone")


def test_linear_head() -> None:
    """One layer, whose map is nearly the task's first prediction."""
    model = Network(tasks(), Steps(), Fusion(16), "LinearHead", size=(32, 32))
    for name, head in model.heads.items():
        assert isinstance(head, LinearHead)
        assert [tuple(p.shape) for p in head.parameters()] == [
            (tasks()[name].channels, 16, 1, 1),
            (tasks()[name].channels,),
        ]
    raw = model.heads["depth"](torch.zeros(1, 16, 8, 8)).detach()
    assert torch.sigmoid(raw) == pytest.approx(0.25)  # 2.5 m of 10


def test_networks_share_no_layers() -> None:
    """Decoder and head are built in copies: of one instance, and of the defaults."""
    decoder = Fusion(16)
    one, other = (Network(tasks(), Steps(), decoder, size=(32, 32)) for _ in range(2))
    assert one.last_shared is not other.last_shared
    assert len({id(p) for head in one.heads.values() for p in head.parameters()}) == 3 * 5
    assert not list(decoder.parameters()) and not list(ConvHead().parameters())


def test_parts_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"backbone 'Steps' gives features.*expected \[\(8, 8, 8\), \(16, 4, 4\)\]"):
        Network(tasks(), Steps(stride=1), size=(32, 32))
    with pytest.raises(ValueError, match="unknown Decoder 'Fusoin', did you mean 'Fusion'"):
        Network(tasks(), Steps(), "Fusoin")
    with pytest.raises(ValueError, match="pretrained is True: expected a timm model's name"):
        Network(tasks(), Steps(), pretrained=True)


def test_network_from_a_command_line() -> None:
    """The parts are chosen by name, with their own settings; what is dumped is read again the same."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Network, "model", skip={"tasks", "size"}, instantiate=False)
    assert parser.instantiate(parser.parse_args([])).model.decoder.width == 64
    assert parser.instantiate(parser.parse_args(["--model.decoder.width=96"])).model.decoder.width == 96
    given = parser.parse_args(["--model.decoder=Fusion", "--model.decoder.width=32", "--model.backbone=resnet18"])
    assert parser.parse_string(parser.dump(given)) == given
    made = parser.instantiate(given).model
    assert type(made.decoder) is Fusion and made.decoder.width == 32 and made.backbone == "resnet18"
    assert type(made.head) is ConvHead
