"""Local weights files: each family's own, loaded as timm itself loads them, whole and to the last tensor."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from mtl_vision.models import Network, TimmBackbone
from mtl_vision.tasks import Depth

# convolutional, hybrid, windowed and plain transformers; size: another than the one in the file, where it is fixed
FAMILIES = {
    "resnet10t": (64, 96),
    "mobilenetv4_conv_small": (64, 96),
    "efficientnet_b0": (64, 96),
    "convnext_atto": (64, 96),
    "hgnetv2_b0": (64, 96),
    "efficientvit_b0": (64, 96),
    "vit_tiny_patch16_224": (64, 96),
}
LARGE = {"resnet18": (64, 96), "vit_small_patch14_dinov2": (70, 98), "swin_tiny_patch4_window7_224": (96, 64)}


def trained(name: str) -> dict[str, Tensor]:
    """A whole model's tensors, all of them unlike those of a new one."""
    torch.manual_seed(1)
    state = timm.create_model(name).state_dict()
    return {key: t + torch.rand_like(t) if t.is_floating_point() else t + 7 for key, t in state.items()}


def by_timm(backbone: TimmBackbone, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The features' tensors, as timm loads them."""
    with warnings.catch_warnings(action="ignore"):  # where it resizes tables of windows
        model = timm.create_model(
            backbone.name,
            features_only=True,
            pretrained=True,
            pretrained_cfg_overlay={"state_dict": state},
            **backbone.arguments,
        )
    return model.state_dict()


@pytest.mark.parametrize(
    ("name", "size"), [*FAMILIES.items(), *(pytest.param(*item, marks=pytest.mark.slow) for item in LARGE.items())]
)
def test_a_family_is_loaded_as_timm_loads_it(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    """From both formats, from a trainer's checkpoint, and from a network of which it was the backbone."""
    state = trained(name)
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pth")
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "b.pth")
    for file in ("a.safetensors", "a.pth", "b.pth"):
        backbone = TimmBackbone(name, str(tmp_path / file), size)
        expected = by_timm(backbone, state)
        found = backbone.net.state_dict()
        assert found.keys() == expected.keys()
        for key, tensor in found.items():
            assert torch.equal(tensor, expected[key]), key
        counted = [key for key in found if not key.endswith("num_batches_tracked")]
        assert f"{file}: backbone {len(counted)} of {len(counted)} tensors" in str(backbone.loaded)
    save_file(
        {f"backbone.{key}": tensor for key, tensor in backbone.state_dict().items()}, tmp_path / "run.safetensors"
    )
    network = Network({"depth": Depth()}, name, size=size, pretrained=str(tmp_path / "run.safetensors"))
    for key, tensor in network.backbone.state_dict().items():
        assert torch.equal(tensor, backbone.state_dict()[key]), key


def test_layouts_of_other_authors_are_converted_as_timm_does(tmp_path: Path) -> None:
    """Open CLIP has a vision transformer's tensors among others, under names of its own."""
    state = {f"visual.trunk.{key}": tensor for key, tensor in trained("vit_tiny_patch16_224").items()}
    save_file(state | {"logit_scale": torch.ones(1)}, tmp_path / "clip.safetensors")
    backbone = TimmBackbone("vit_tiny_patch16_224", str(tmp_path / "clip.safetensors"), (224, 224))
    for key, tensor in backbone.net.state_dict().items():
        assert torch.equal(tensor, state[f"visual.trunk.{key.removeprefix('model.')}"]), key


def test_averages_go_before_the_weights_of_the_last_step(tmp_path: Path) -> None:
    state = trained("resnet10t")
    averages = {key: tensor + 1 for key, tensor in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": averages}, tmp_path / "a.pth")
    backbone = TimmBackbone("resnet10t", str(tmp_path / "a.pth"))
    assert torch.equal(backbone.net.state_dict()["conv1.0.weight"], averages["conv1.0.weight"])


def test_a_file_without_a_few_tensors_is_a_start_and_they_are_named(tmp_path: Path) -> None:
    state = trained("resnet10t")
    del state["layer1.0.bn1.weight"], state["fc.weight"], state["fc.bias"]
    state["conv1.0.weight"] = state["conv1.0.weight"][:, :1].contiguous()  # of grey images
    save_file(state, tmp_path / "a.safetensors")
    backbone = TimmBackbone("resnet10t", str(tmp_path / "a.safetensors"))
    assert str(backbone.loaded).endswith(
        "tensors (conv1.0.weight is (24, 1, 3, 3) in it, (24, 3, 3, 3) here, layer1.0.bn1.weight is not in it)"
    )
