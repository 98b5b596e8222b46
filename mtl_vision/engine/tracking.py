"""What a run records on the way: history.jsonl, a line a step, and TensorBoard events of the same."""

import json
import math
from pathlib import Path
from typing import Any

from mtl_vision.balancers.previous_runs import HISTORY
from mtl_vision.runtime.files import atomic_write


class Tracker:
    """Appends records to `history.jsonl` and, if wanted, to TensorBoard. from_step: the step that comes next."""

    def __init__(self, folder: Path, tensorboard: bool, from_step: int = 0) -> None:
        path = folder / HISTORY
        if again := path.exists():
            _cut(path, from_step)
        self.file = path.open("a", encoding="utf-8", buffering=1)  # on disk line by line
        self.board = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # slow to import: only where it is used

            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=from_step if again else None)

    def step(self, record: dict[str, Any]) -> None:
        """record: `step` and scalars, or {task: value} mappings."""
        self.file.write(json.dumps(_clean(record)) + "\n")
        if self.board is not None:
            for name, value in record.items():
                for task, v in value.items() if isinstance(value, dict) else [("", value)]:
                    if isinstance(v, (int, float)) and name != "step":
                        self.board.add_scalar(f"{name}/{task}" if task else name, v, record["step"])

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        if self.board is not None:
            self.board.close()


def _clean(value: Any) -> Any:
    """JSON has no NaN: a missing value is null."""
    if isinstance(value, dict):
        return {key: _clean(v) for key, v in value.items()}
    if isinstance(value, float):
        return round(value, 7) if math.isfinite(value) else None
    return value


def _cut(path: Path, from_step: int) -> None:
    """Drop records at or after `from_step`, and a last half line: steps after the checkpoint are done again."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] < from_step:
                kept.append(line + "\n")
        except ValueError:
            break
    atomic_write(path, "".join(kept).encode())
