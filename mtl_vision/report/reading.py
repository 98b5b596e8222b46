"""What a report is made of: the files of a run directory, of a finished run or of one that is under way."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_vision.datasets.text import load_yaml, read_text
from mtl_vision.history import HISTORY, read_history
from mtl_vision.runtime.files import read_regular

CONFIG, METRICS, EVALUATION = "config.yaml", "metrics.json", "evaluation.json"
FORMAT = 1  # of evaluation.json
MOST = 2**25  # bytes of a JSON file


@dataclass(frozen=True)
class Recorded:
    """A run as its files tell it.

    config: its settings, as the recipe nests them. history: its records. metrics: the last ones that were measured, and
    how. figures: unit and direction of each, by key. evaluation: what evaluation.json has; {} without one. finished:
    whether all epochs are done and measured.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    history: list[dict[str, Any]]
    metrics: Mapping[str, Any]
    figures: Mapping[str, Mapping[str, Any]]
    evaluation: Mapping[str, Any]
    finished: bool

    @property
    def tasks(self) -> list[str]:
        """Names of its tasks, which may be chosen by import path."""
        names = self.section("tasks").get("names")
        return [str(name).rpartition(".")[2] for name in names] if isinstance(names, list) else []

    def section(self, name: str) -> Mapping[str, Any]:
        """A section of its config; {} where there is none."""
        found = self.config.get(name)
        return found if isinstance(found, dict) else {}


def read_run(folder: Path) -> Recorded:
    """Raises ValueError, which names the file, for what is no run directory and for a damaged file in it."""
    if not (folder / CONFIG).is_file() or not (folder / HISTORY).is_file():
        raise ValueError(f"{folder} is no run directory: expected {CONFIG} and {HISTORY} in it")
    evaluation = _read_json(folder / EVALUATION)
    if evaluation and evaluation.get("format") != FORMAT:
        raise ValueError(
            f"{folder / EVALUATION} has format {evaluation.get('format')!r:.40}, expected {FORMAT}: make the report by "
            "the version that trained the run, or remove that file to do without it"
        )
    config = _read_config(folder / CONFIG)
    # a finished run has metrics.json; those of a run under way are in evaluation.json
    metrics = _read_json(folder / METRICS)
    epochs = (config.get("train") or {}).get("epochs") if isinstance(config.get("train"), dict) else None
    finished = bool(metrics) or (bool(evaluation) and evaluation.get("epoch") == epochs)
    history = read_history(folder)
    return Recorded(
        folder,
        folder.resolve().name,
        config,
        history,
        metrics or evaluation.get("metrics") or _last_measured(history),
        evaluation.get("figures") or _known_figures(),
        evaluation,
        finished,
    )


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key, a component's by its name and its own settings: balancer, balancer.alpha."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and "class_path" in value:
            found[name] = str(value["class_path"]).rpartition(".")[2]
            value = value.get("init_args") or {}
        if isinstance(value, dict):
            found |= flat(value, f"{name}.")
        else:
            found[name] = value
    return found


def number(value: Any) -> float | None:
    """The value if it is a finite number."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if good else None


def json_text(value: Any) -> str:
    """JSON with null for what is not finite, which JSON does not have."""
    return json.dumps(_finite(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = load_yaml(read_text(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} is damaged: expected settings as a YAML mapping")
    return config


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON mapping; {} where there is no such file."""
    if not path.exists():
        return {}
    try:
        found = json.loads(read_regular(path, MOST))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: expected a JSON mapping; remove it to do without it")
    return found


def _last_measured(history: list[dict[str, Any]]) -> dict[str, Any]:
    measured = [record["metrics"] for record in history if isinstance(record.get("metrics"), dict)]
    return measured[-1] if measured else {}


def _known_figures() -> dict[str, dict[str, Any]]:
    """Of the package's own tasks, for runs of before evaluation.json; {} where torch is not installed."""
    try:
        from mtl_vision.tasks import TASKS, figures
    except ImportError:
        return {}
    return {key: vars(figure) for key, figure in figures(TASKS.values()).items()}
