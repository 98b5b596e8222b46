"""Do a step that was not finite again, and say where it begins: `python -m mtl_vision.engine.reproduce RUN`."""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from mtl_vision.datasets import DataError
from mtl_vision.engine import build, checkpoint, nonfinite
from mtl_vision.engine.device import pick_precision
from mtl_vision.engine.load import make_parts
from mtl_vision.loading.loader import Batch


def reproduce(path: Path) -> list[str]:
    """What is not finite in the kept step, in the order of the computation, on the CPU; one sentence each.

    path: the run directory, or a file of a kept step in one. Raises ValueError where there is none.
    """
    path = path / nonfinite.FILE if path.is_dir() else path
    state = checkpoint.load(path)
    parts = make_parts(path.parent)
    build.freeze(parts.model, parts.config)
    model = parts.model.train()
    model.load_state_dict(state["model"])
    found = [name for name, p in model.named_parameters() if not p.isfinite().all()]
    said = [f"parameter {name} is not finite" for name in found]
    precision = pick_precision(parts.config.run.precision, torch.device("cpu"))
    for data in state["batches"]:
        batch, modules = Batch(**data | {"present": frozenset(data["present"])}), []
        hooks = [m.register_forward_hook(partial(_note, modules, name)) for name, m in model.named_modules() if name]
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            predictions = model(batch.image)
            losses = {name: t.loss(predictions[name], batch.targets[name]) for name, t in parts.tasks.items()}
        for hook in hooks:
            hook.remove()
        said += [f"the output of {modules[0]} is not finite (images {', '.join(batch.names)})"] if modules else []
        for name, loss in losses.items():
            if not loss.isfinite():
                said.append(f"the loss of task '{name}' is {loss.item()} (images {', '.join(batch.names)})")
        torch.stack(list(losses.values())).sum().backward()
    wrong = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return said + [f"the gradient of {name} is not finite" for name in reversed(wrong)]


def _note(found: list[str], name: str, module: nn.Module, inputs: object, output: object) -> None:
    if isinstance(output, Tensor) and not output.isfinite().all():
        found.append(name)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mtl_vision.engine.reproduce", description=__doc__)
    parser.add_argument("run", type=Path, help=f"the run directory that has {nonfinite.FILE}, or such a file")
    try:
        said = reproduce(parser.parse_args(arguments).run)
    except (ValueError, DataError, OSError) as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 1
    print("\n".join(said) or "everything is finite on this machine's CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
