"""mtl-report: make a run's report.html again, or compare several runs in one."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mtl_vision.report.page import REPORT, write_report
from mtl_vision.runtime.terminal import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 with a message where something is wrong, 2 for a wrong command line."""
    p = argparse.ArgumentParser("mtl-report", description=__doc__)
    p.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directories, finished or under way")
    p.add_argument(
        "--against",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="what differences and delta_m are against: a run, or single-task runs, one a task (default: the first)",
    )
    p.add_argument("--out", type=Path, help=f"the file (default: {REPORT} in the run directory; of several, here)")
    args = p.parse_args(arguments)
    out = args.out or (args.runs[0] / REPORT if len(args.runs) == 1 else Path(REPORT))
    try:
        write_report(args.runs, out, args.against)
    except (ValueError, OSError) as error:
        print(f"mtl-report: {printable(error)}", file=sys.stderr)
        return 1
    print(f"{printable(out)}, {out.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
