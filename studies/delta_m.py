"""delta_m of a multitask run against single-task runs: mean relative gain in percent, positive is better.

    python studies/delta_m.py runs/MULTI runs/DEPTH runs/NORMALS runs/SEGMENTATION

Two figures, named: over one metric a task (`main`), and over the nine of the literature (`nine`). Each single-task run
gives the metrics of its own task.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mtl_vision.report.compare import PROTOCOL, delta_m
from mtl_vision.report.reading import METRICS
from mtl_vision.tasks import TASKS
from mtl_vision.tasks import figures as metric_figures


def read_metrics(folder: Path) -> dict[str, Any]:
    """A run's metrics and protocol. Raises ValueError when it has none."""
    path = folder / METRICS
    if not path.exists():
        raise ValueError(f"{folder} has no {METRICS}: expected a finished run")
    return json.loads(path.read_text(encoding="utf-8"))


def main(argv: list[str] | None = None) -> int:
    """Print both figures; the last line is JSON."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("multi", type=Path, help="run directory of the multitask run")
    p.add_argument("single", type=Path, nargs="+", help="run directories of the single-task runs")
    p.add_argument("--quick", action="store_true", help="no difference here: it is quick")
    args = p.parse_args(argv)
    known = metric_figures(TASKS.values())
    nine = {key: figure.higher_is_better for key, figure in known.items() if figure.nine}
    try:
        multi = read_metrics(args.multi)
        main = {key: figure.higher_is_better for key, figure in known.items() if figure.main and key in multi}
        singles = {folder: read_metrics(folder) for folder in args.single}
        for folder, metrics in singles.items():
            for key in (f"protocol.{name}" for name in PROTOCOL):
                if metrics.get(key) != multi.get(key):
                    raise ValueError(
                        f"{folder} has {key} {metrics.get(key)}, {args.multi} {multi.get(key)}: no comparison"
                    )
        single = {key: value for metrics in singles.values() for key, value in metrics.items()}
        missing = [key for key in {**main, **nine} if key not in multi or key not in single]
        if missing:
            raise ValueError(f"no figure for {', '.join(missing)}: give one single-task run a task")
    except ValueError as error:
        print(f"delta_m.py: {error}", file=sys.stderr)
        return 1
    figures = {"delta_m.main": delta_m(multi, single, main), "delta_m.nine": delta_m(multi, single, nine)}
    print(f"delta_m over {', '.join(main)}: {figures['delta_m.main']:+.2f} %")
    print(f"delta_m over nine metrics: {figures['delta_m.nine']:+.2f} %")
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
