"""What a moving average of the weights costs: time of a training step with it to without, and memory.

    python benchmarks/ema.py [--quick] [--device cuda --backbone resnet50 --size 288x384 --batch 16 --bf16]

Both steps take turns in one process on the same batch; forward, backward and AdamW are in the time. update_share: the
time of the update by itself, as a share of the step's. megabytes: of the averages, beside the network.
"""

from __future__ import annotations

import statistics
import time

from benchmarks.common import finish, synchronise
from benchmarks.setup import compare, from_arguments, ours, parser
from mtl_vision.balancers import GradNorm
from mtl_vision.engine.ema import Ema


def main() -> None:
    """Print the table and the JSON line."""
    p = parser(__doc__)
    p.set_defaults(backbone="mobilenetv4_conv_small", size="120x160", batch=8)
    args = p.parse_args()
    setup, rounds = from_arguments(args), 5 if args.quick else args.rounds
    twin = setup.twin()
    ema, step = Ema(twin.model, 0.999), ours(twin, GradNorm(list(setup.tasks)))

    def averaged() -> None:
        step()
        ema.update()

    figures = compare({"plain": ours(setup, GradNorm(list(setup.tasks))), "ema": averaged}, "plain", rounds, args)
    shares = []
    for _ in range(rounds):
        times = []
        for timed in (step, ema.update):
            synchronise(args.device)
            start = time.perf_counter()
            timed()
            synchronise(args.device)
            times.append(time.perf_counter() - start)
        shares.append(times[1] / times[0])
    megabytes = sum(average.nbytes for average in ema.named_averages().values()) / 1e6
    print(f"update {statistics.median(shares):.2%} of a step, averages {megabytes:.1f} MB")
    finish(figures | {"update_share": statistics.median(shares), "megabytes": megabytes})


if __name__ == "__main__":
    main()
