"""Time and peak memory of a training step with every balancer, ours and other projects', against the plain loop.

    python benchmarks/balancers.py [--quick] [--only gradnorm peer.libmtl] [--device cuda --backbone resnet50 --bf16]

`plain` is the base: sum of the losses, one backward pass. Ours go through the step that train.py takes; peers (extra
`peers`) through their own. All start from the same weights, take turns in one process on the same batch, each with a
network and an AdamW of its own; forward, backward and AdamW are in the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.common import Step, finish
from benchmarks.gradnorm_step import double_backward
from benchmarks.peers import PEERS
from benchmarks.setup import Setup, compare, from_arguments, ours, parser, plain
from mtl_vision.balancers import BALANCERS

Factory = Callable[[Setup], Step]


def own(name: str, **settings: Any) -> Factory:
    """A method of ours; those that need a value a task get 1."""

    def make(setup: Setup) -> Step:
        ones = dict.fromkeys(setup.tasks, 1.0)
        arguments: dict[str, dict[str, Any]] = {"Fixed": {"weights": ones}, "ConvergedGradients": {"norms": ones}}
        return ours(setup, BALANCERS[name](list(setup.tasks), **arguments.get(name, {}), **settings))

    return make


FACTORIES: dict[str, Factory] = {
    "plain": plain,
    **{name.lower(): own(name) for name in BALANCERS},
    "gradnorm_backbone": own("GradNorm", place="backbone"),
    "gradnorm_encoder": own("GradNorm", place="encoder"),
    "double_backward": double_backward,
    **PEERS,
}


def make_steps(setup: Setup, names: Iterable[str]) -> dict[str, Step]:
    """The steps of these names; a missing package, or a peer that cannot do this setup, is left out and said."""
    steps: dict[str, Step] = {}
    for name in names:
        try:
            step = FACTORIES[name](setup.twin())
            for _ in range(2 if name in PEERS else 0):
                step()
        except (ImportError, ValueError, RuntimeError) as error:  # ours say a missing package as a ValueError
            print(f"{name} left out: {str(error).splitlines()[0]}")
        else:
            steps[name] = step
    return steps


def main() -> None:
    """Print the table and the JSON line."""
    p = parser(__doc__)
    p.add_argument("--only", nargs="+", choices=list(FACTORIES), metavar="NAME", help=f"of {', '.join(FACTORIES)}")
    args = p.parse_args()
    wanted = FACTORIES if args.only is None else ["plain", *args.only]
    steps = make_steps(from_arguments(args), dict.fromkeys(wanted))
    finish(compare(steps, "plain", 3 if args.quick else args.rounds, args))


if __name__ == "__main__":
    main()
