"""Weights from a file: read without running what is in it, and loaded where name and shape fit."""

import argparse
import pickle
import re
import stat
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

LEAST = 0.9  # share of a backbone's tensors, and of their elements, that a file must have
LARGEST = 32 << 30  # bytes; the largest of timm's models has 18 GB
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state", "model")  # keys of checkpoints; averages first
PREFIXES = ("_orig_mod.", "module.", "_orig_mod.")  # of torch.compile and of several processes, in either order
SHOWN = 3  # tensors that a message names


def read(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a PyTorch one that holds nothing but tensors and plain values.

    Code in it is not run: such a file is refused. Raises ValueError.
    """
    path = Path(path)
    check_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(9)
        tensors = safetensors.torch.load_file(path) if head[8:] == b"{" else _tensors(read_torch(path))
    except Exception as error:
        raise ValueError(
            f"{path} {fault(error)}: expected safetensors, or a PyTorch file of tensors alone; convert it to "
            "safetensors where you trust it"
        ) from error
    if not tensors:
        raise ValueError(f"{path} holds no tensors: expected a model's weights")
    return tensors


def check_file(path: Path) -> None:
    """Raises ValueError where there is no regular file, or one that is too large for weights."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", error)
        raise ValueError(f"no weights file at {path} ({why}): give a local file, true or false") from error
    if stat.S_ISDIR(status.st_mode):
        raise ValueError(f"{path} is a folder: expected a file of weights, such as the model.safetensors of a run")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is no regular file: expected a file of weights")
    if status.st_size > LARGEST:
        raise ValueError(f"{path} has {status.st_size >> 30} GiB: expected weights, of {LARGEST >> 30} at most")


def read_torch(path: Path) -> Any:
    """What a PyTorch file holds, tensors and plain values alone. Raises errors of many kinds; see `fault`."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:  # torch packs nothing
                raise ValueError("its parts are larger than the file")
    with (
        path.open("rb") as file,  # by a path, torch would go by its suffix
        warnings.catch_warnings(action="ignore"),
        torch.serialization.safe_globals([argparse.Namespace]),  # in timm's own checkpoints; it only holds values
    ):
        return torch.load(file, map_location="cpu", weights_only=True)


def fault(error: Exception) -> str:
    """What is wrong with a file that did not load, without torch's advice to load it all the same."""
    if wants := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"holds code ({wants[1]}), which was not run"
    if isinstance(error, pickle.UnpicklingError):
        return "holds more than tensors or is damaged; nothing in it was run"
    first = re.split(r"[.] |[.]?$", str(error), maxsplit=1, flags=re.M)[0]
    return f"cannot be read ({first or type(error).__name__:.160})"


def load(module: nn.Module, found: Mapping[str, Tensor], what: str, least: float = 0.0) -> str:
    """Load what fits the module in name and shape; what that was, in words, which call the module `what`.

    Raises ValueError, and loads nothing, where it is less than `least` of the module's tensors or of their elements.
    """
    own, amiss = _counted(module.state_dict()), misfits(module, found)
    unused = [f"{name} {tuple(tensor.shape)}" for name, tensor in _counted(found).items() if name not in own]
    fits = own.keys() - amiss.keys()
    elements, needed = (sum(own[name].numel() for name in names) for names in (fits, own))
    if len(fits) < least * len(own) or elements < least * needed:
        has = f"; it has {_few(unused)}" if unused else ""
        raise ValueError(
            f"it fits {len(fits)} of the {what}'s {len(own)} tensors, {elements / needed:.0%} of the weights "
            f"({_few(amiss.values())}{has}): expected at least {least:.0%} of both; give weights of this {what}"
        )
    if wrong := [name for name in sorted(fits) if not torch.isfinite(found[name].float()).all()]:
        raise ValueError(f"it has values that are not finite ({_few(wrong)}): expected trained weights")
    module.load_state_dict({name: tensor for name, tensor in found.items() if name not in amiss}, strict=False)
    notes = [_few(amiss.values()), f"not used: {_few(unused)}" if unused else ""]
    return f"{what} {len(fits)} of {len(own)} tensors" + (f" ({'; '.join(filter(None, notes))})" if any(notes) else "")


def misfits(module: nn.Module, found: Mapping[str, Tensor]) -> dict[str, str]:
    """What is wrong with the tensors of the module that `found` does not have in their shape, by their names."""
    amiss = {}
    for name, own in _counted(module.state_dict()).items():
        if name not in found:
            amiss[name] = f"{name} is not in it"
        elif found[name].shape != own.shape:
            amiss[name] = f"{name} is {tuple(found[name].shape)} in it, {tuple(own.shape)} here"
    return amiss


def part(found: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}


def _tensors(found: Any) -> dict[str, Tensor]:
    """Those of a checkpoint, out of its wrappers."""
    for _ in WRAPPERS:  # a bound: a mapping may hold itself
        if isinstance(found, Mapping):
            found = next((found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)), found)
    if not isinstance(found, Mapping):
        raise ValueError(f"it holds a {type(found).__name__}")
    return {_plain(str(name)): value.detach() for name, value in found.items() if _is_whole(value)}


def _is_whole(value: Any) -> bool:
    """A plain tensor that has as many elements as it says."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return False
    if value.is_quantized or value.is_meta or value.is_complex():
        return False
    return value.untyped_storage().nbytes() >= value.nbytes


def _plain(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _counted(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Without the norms' counters of batches, which older files lack and nothing uses."""
    return {k: v for k, v in tensors.items() if isinstance(v, Tensor) and not k.endswith("num_batches_tracked")}


def _few(words: Collection[str]) -> str:
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(list(words)[:SHOWN]) + more
