"""A backbone in parts, from its input to its last level: what its learning rate falls by, and what is frozen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from mtl_vision.models.backbone import Backbone, TimmBackbone, flat_name, padded


@dataclass
class Part:
    """Modules, by their names, and parameters that are used one after the other."""

    modules: list[str] = field(default_factory=list)
    parameters: list[nn.Parameter] = field(default_factory=list)


def parts_of(backbone: Backbone, size: tuple[int, int]) -> list[Part]:
    """The parts in the order in which an image of `size` (H, W) goes through them; every parameter is in one.

    A part is a module that is called as a whole by the backbone, or by what only wraps the others: of a CNN from timm
    the stem and the stages (`conv1`, `layer1`), of a transformer patch embedding and blocks (`patch_embed`,
    `blocks.0`). Those that follow each other are one where timm's `group_matcher` has them as one, such as the layers
    of a stem. What has no weights of two or more dimensions, such as a norm, and parameters outside of such modules,
    such as a position table, are with the part before. What is not used is with the last.
    """
    first = _first_uses(backbone, padded(size, backbone.multiple))
    units = list(_units(backbone, "", first))
    while len(large := [unit for unit in units if unit.begins]) == 1 and (inner := large[0].children()):
        units.remove(large[0])  # it holds all of the others
        units += inner
    return _joined(sorted(units, key=lambda unit: unit.rank), _groups(backbone))


def last_weight(backbone: Backbone, size: tuple[int, int]) -> nn.Parameter:
    """Of the matrices and convolutions that an image of `size` (H, W) goes through, the last one's weight."""
    first = _first_uses(backbone, padded(size, backbone.multiple))
    used = {p: first[p] for p in backbone.parameters() if p in first and sum(length > 1 for length in p.shape) > 1}
    if not used:
        raise ValueError(f"{type(backbone).__name__} uses no weight that is a matrix: expected place 'last_shared'")
    return max(used, key=used.__getitem__)


@dataclass
class _Unit:
    """A module, or a parameter beside modules. rank: when it is used first; inf: never."""

    rank: float
    name: str
    parameters: list[nn.Parameter]
    module: nn.Module | None
    first: Mapping[object, float]

    @property
    def begins(self) -> bool:
        """Whether it is enough for a part."""
        return self.module is not None and math.isfinite(self.rank) and any(p.ndim > 1 for p in self.parameters)

    def children(self) -> list[_Unit]:
        """What the module calls; nothing if it has no others."""
        if self.module is None or not _has_children(self.module):
            return []
        return list(_units(self.module, f"{self.name}.", self.first))


def _units(module: nn.Module, prefix: str, first: Mapping[object, float]) -> Iterator[_Unit]:
    """The modules that `module` calls, also out of containers that are not called themselves, and its parameters."""
    for p in module.parameters(recurse=False):
        yield _Unit(first.get(p, math.inf), "", [p], None, first)
    for name, child in module.named_children():
        if child not in first and _has_children(child):
            yield from _units(child, f"{prefix}{name}.", first)
        else:
            parameters = list(child.parameters())
            rank = min(first.get(used, math.inf) for used in (child, *parameters))
            yield _Unit(rank, prefix + name, parameters, child, first)


def _has_children(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _joined(units: Iterable[_Unit], groups: Mapping[nn.Parameter, int]) -> list[Part]:
    """Parts, each of a unit that begins one, others of its group, and those after it that do not begin one."""
    parts, begun, group, known = [Part()], False, None, set()
    for unit in units:
        unit.parameters = [p for p in unit.parameters if p not in known]  # modules may share some
        known |= set(unit.parameters)
        if unit.begins:
            own = next((groups[p] for p in unit.parameters if p in groups), None)
            if begun and (own is None or own != group):
                parts.append(Part())
            begun, group = True, own
        parts[-1].modules += [unit.name] if unit.module is not None else []
        parts[-1].parameters += unit.parameters
    return parts


def _groups(backbone: Backbone) -> dict[nn.Parameter, int]:
    """timm's own groups of layers, by stages where it has such; none of other backbones, and of a few of timm's."""
    if not isinstance(backbone, TimmBackbone):
        return {}
    with torch.device("meta"):
        whole: Any = timm.create_model(backbone.name, **backbone.arguments)
    try:
        found: Any = group_parameters(whole, whole.group_matcher(coarse=True), reverse=True)
    except (AttributeError, AssertionError):
        return {}
    groups = {flat_name(name): group for name, group in found.items()}
    named = [(flat_name(name), p) for name, p in backbone.net.named_parameters()]
    return {p: groups[name] for name, p in named if name in groups}


@torch.enable_grad()
def _first_uses(backbone: nn.Module, size: tuple[int, int]) -> dict[object, float]:
    """When each module is first called, and each parameter first used, by the numbers that autograd gives its nodes."""
    parameters = [p for p in backbone.parameters() if p.is_floating_point()]
    modes, wanted = [(m, m.training) for m in backbone.modules()], [p.requires_grad for p in parameters]
    like = parameters[0] if parameters else torch.zeros(())
    clock, first = like.new_zeros((), requires_grad=True), {}

    def called(module: nn.Module, *_: object) -> None:
        with torch.enable_grad():  # a backbone may run a part of itself without
            node = clock.clone().grad_fn
        if node is None:
            raise ValueError(f"{type(backbone).__name__} runs its layers in inference mode: expected torch.no_grad()")
        first.setdefault(module, node._sequence_nr())

    hooks = [module.register_forward_pre_hook(called) for module in backbone.modules()]
    try:
        for p in parameters:
            p.requires_grad_(True)
        levels = backbone.eval()(like.new_zeros(1, 3, *size))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
        for p, before in zip(parameters, wanted, strict=True):
            p.requires_grad_(before)
    nodes, seen = [level.grad_fn for level in levels], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            for source, _ in node.next_functions:
                nodes.append(source)
                if isinstance(p := getattr(source, "variable", None), Tensor):
                    first[p] = min(first.get(p, math.inf), node._sequence_nr())
    return first
