"""Do a step that was not finite again, and say where it begins: `python -m mtl_vision.engine.reproduce RUN`.

Of several processes each keeps its part in a file of its own; the whole step is done again by one.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtl_vision.datasets import DataError
from mtl_vision.engine import build, checkpoint, nonfinite
from mtl_vision.engine.device import pick_precision
from mtl_vision.engine.load import Trained, make_parts
from mtl_vision.loading.loader import Batch


def reproduce(path: Path) -> list[str]:
    """What is not finite in the kept step, in the order of the computation, on the CPU; one sentence each.

    path: the run directory, for the parts of all processes; or the file of one part, for that alone. Parts are one
    batch where batch norm was over all of them, and else come one after the other, each with its own. Raises ValueError
    where there is none.
    """
    states, note = _parts(path)
    run = make_parts(path if path.is_dir() else path.parent)
    build.freeze(run.model, run.config)
    found: list[str] = []
    for group in [states] if run.config.train.sync_norm else [[state] for state in states]:
        run.model.train().load_state_dict(group[0]["model"])
        run.model.zero_grad()
        wrong = [name for name, p in run.model.named_parameters() if not p.isfinite().all()]
        found += [f"parameter {name} is not finite" for name in wrong]
        for batches in zip(*(state["batches"] for state in group), strict=True):
            found += _run(run, _joined(batches))
        wrong = [name for name, p in run.model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        found += [f"the gradient of {name} is not finite" for name in reversed(wrong)]
    return note + (list(dict.fromkeys(found)) or ["everything is finite on this machine's CPU"])


def _parts(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The processes' parts of the step, and what is missing. The first one's random numbers go on."""
    file = path / nonfinite.FILE if path.is_dir() else path
    if not file.exists():
        raise ValueError(f"no {file}: expected a run that stopped at a step that was not finite, and kept it there")
    first = checkpoint.load(file)
    count = first.get("processes", 1)
    if not path.is_dir():
        return [first], [f"{path.name} is the part of one of {count} processes"] if count > 1 else []
    rng, names = torch.get_rng_state(), [nonfinite.file_name(rank) for rank in range(1, count)]
    states = {name: checkpoint.load(path / name) for name in names if (path / name).exists()}
    states = {name: s for name, s in states.items() if all(s.get(key) == first[key] for key in ("step", "processes"))}
    torch.set_rng_state(rng)  # loading sets it
    missing = ", ".join(name for name in names if name not in states)
    note = [f"of this step of {count} processes {missing} is missing"] if missing else []
    return [first, *states.values()], note


def _joined(parts: Sequence[Mapping[str, Any]]) -> Batch:
    """The whole micro-batch."""
    targets = {name: torch.cat([part["targets"][name] for part in parts]) for name in parts[0]["targets"]}
    names, present = ([name for part in parts for name in part[key]] for key in ("names", "present"))
    return Batch(names, torch.cat([part["image"] for part in parts]), targets, frozenset(present))


def _run(run: Trained, batch: Batch) -> list[str]:
    """Add the gradients of a batch to the network's. Returns what is not finite in the forward pass."""
    modules: list[str] = []
    precision = pick_precision(run.config.run.precision, torch.device("cpu"), run.model.backbone)
    hooks = [m.register_forward_hook(partial(_note, modules, name)) for name, m in run.model.named_modules() if name]
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        predictions = run.model(batch.image)
        losses = {name: t.loss(predictions[name], batch.targets[name]) for name, t in run.tasks.items()}
    for hook in hooks:
        hook.remove()
    torch.stack(list(losses.values())).sum().backward()
    images = f"(images {', '.join(batch.names)})"
    said = [f"the output of {modules[0]} is not finite {images}"] if modules else []
    bad = {name: loss.item() for name, loss in losses.items() if not loss.isfinite()}
    return said + [f"the loss of task '{name}' is {value} {images}" for name, value in bad.items()]


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
    print("\n".join(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
