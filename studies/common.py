"""What the studies share: their command line, the balancers' specs, and reading what runs left."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mtl_vision.balancers.previous_runs import read_history
from mtl_vision.config import Config, flat
from mtl_vision.datasets.classes import class_set
from mtl_vision.datasets.layouts import layouts
from mtl_vision.engine import build
from mtl_vision.engine.folder import CONFIG, METRICS, write_json
from mtl_vision.engine.parse import parse
from mtl_vision.tasks import TASKS, figures
from studies.delta_m import delta_m
from studies.schedule import Run, run_all

FIGURES = {key: figure for key, figure in figures(TASKS.values()).items() if figure.main or figure.nine}  # compared
RECIPE = "study.json"
OWN = {
    "run.name": "the study names its runs",
    "run.dir": "give --out",
    "run.seed": "give the study's own option",
    "run.resume": "the same command goes on by itself",
}
FREE = ("run.", "data.workers", "data.cache")  # may differ between the runs of a folder
FREE_BUT = ("run.precision",)


@dataclass(frozen=True)
class Study:
    """One recipe, trained several times in one folder.

    config: the recipe's file. extra: options of train.py for all runs. recipe: what both give. out: the runs' folder.
    jobs: trainings at a time. command: what was typed.
    """

    config: Path
    extra: tuple[str, ...]
    recipe: Config
    out: Path
    jobs: int
    command: str

    @property
    def tasks(self) -> list[str]:
        """The recipe's tasks."""
        return self.recipe.tasks.names

    @property
    def main_metrics(self) -> dict[str, str]:
        """Task -> the one metric that stands for it."""
        return {name: key for name in self.tasks for key, figure in figures([TASKS[name]]).items() if figure.main}


# the command line


def make_parser(doc: str | None) -> argparse.ArgumentParser:
    """The options that every study has."""
    p = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    p.add_argument("config", type=Path, help="a recipe, such as configs/nyuv2_mobile.yaml")
    p.add_argument("--jobs", type=int, default=1, help="trainings at a time, which share the cores (default 1)")
    p.add_argument("--out", type=Path, help="folder of the runs and of what is found (default runs/study-RECIPE)")
    p.add_argument("--quick", action="store_true", help="one epoch of few runs, for trying")
    return p


def call(
    study: Callable[[argparse.Namespace, Study], Mapping[str, float]],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
) -> int:
    """Run a study from its command line and print its figures, JSON with flat keys, as the last line.

    Returns the exit code: 0 done, 1 with a message where something is wrong, 130 when interrupted.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        mine, extra = split_options(given)
        args = parser.parse_args(mine)
        figures = study(args, open_study(args, extra, shlex.join(["python", f"studies/{parser.prog}", *given])))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"\n{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on", file=sys.stderr)
        return 130
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
    return 0


def split_options(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """A study's own options, and train.py's: those of the form --group.key VALUE or --group.key=VALUE."""
    mine: list[str] = []
    extra: list[str] = []
    words = iter(given)
    for word in words:
        key, equals, _ = word.partition("=")
        if not (key.startswith("--") and "." in key):
            mine.append(word)
            continue
        if not equals:
            value = next(words, None)
            if value is None:
                raise ValueError(f"{key} has no value: expected {key}=VALUE")
            word = f"{key}={value}"
        if key[2:] in OWN:
            raise ValueError(f"{key} is no option here: {OWN[key[2:]]}")
        extra.append(word)
    return mine, extra


def open_study(args: argparse.Namespace, extra: Sequence[str], command: str) -> Study:
    """The study that the options ask for, in a folder that holds no other recipe's runs. Raises ValueError."""
    if not args.config.is_file():
        raise ValueError(f"no recipe at {args.config}: expected a file such as configs/nyuv2_mobile.yaml")
    if args.jobs < 1:
        raise ValueError(f"--jobs is {args.jobs}: expected at least 1")
    options = (*extra, *(["--train.epochs=1"] if args.quick else []))
    config = args.config.resolve()
    recipe = parse([f"--config={config}", *options])
    options = tuple(option for option in options if not option.startswith("--balancer"))  # each run has its own
    out = args.out or Path("runs") / f"study-{config.stem}{'-quick' if args.quick else ''}"
    claim(out.resolve(), recipe)
    return Study(config, options, recipe, out.resolve(), args.jobs, command)


def is_place(value: str | None) -> bool:
    """Whether it is a path; a description may be the name of a known layout."""
    return value is not None and value not in layouts()


def claim(out: Path, recipe: Config) -> None:
    """Write down whose runs a folder holds, or compare. Raises ValueError where they are another recipe's."""
    values = {key: value for key, value in flat(recipe).items() if key in FREE_BUT or not key.startswith(FREE)}
    given = [key for key in ("data.root", "data.description") if is_place(values[key])]
    places = {key: str(Path(values[key]).resolve()) for key in given}
    asked = json.loads(json.dumps(values | places))
    begun = any(out.glob(f"*/{CONFIG}"))
    if begun and not (out / RECIPE).exists():
        raise ValueError(f"{out} holds runs that no study made: give another --out")
    for key, value in json.loads((out / RECIPE).read_text(encoding="utf-8")).items() if begun else ():
        if asked.get(key, value) != value:
            raise ValueError(
                f"{out} holds runs with {key} = {value}, now {asked[key]} is asked for: they do not compare; give "
                "another --out, or remove that folder"
            )
    if not begun:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / RECIPE, asked)


# runs


def train(study: Study, runs: Sequence[Run]) -> None:
    """Train what is not finished. What train.py would not take ends the study here, not hours later."""
    for run in runs:
        asked = parse([f"--config={study.config}", *study.extra, *run.arguments])
        if not run.needs:  # what is read from them may not be there yet
            build.make_balancer(asked.balancer, build.make_tasks(asked.tasks, class_set("nyu13")))
    run_all(runs, study.config, study.out, study.extra, study.jobs)


def read_spec(spec: str) -> tuple[str, str, dict[str, str]]:
    """GradNorm:alpha=0.5,lr=0.01 -> its label gradnorm_alpha0.5_lr0.01, the balancer's name, and its settings."""
    name, _, rest = spec.partition(":")
    pairs = [pair.partition("=") for pair in rest.split(",") if rest]
    if not name or not all(key and value for key, _, value in pairs):
        raise ValueError(f"'{spec}' is no method: expected NAME or NAME:SETTING=VALUE,SETTING=VALUE")
    label = "_".join([name.lower(), *(f"{key}{value}" for key, _, value in pairs)])
    return re.sub(r"[^\w.-]+", "_", label), name, {key: value for key, _, value in pairs}


def balancer_options(recipe: Config, name: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """A balancer as options of train.py. The recipe's own settings are for the recipe's own balancer only."""
    own = recipe.balancer.init_args if name == recipe.balancer.name else {}
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in (own | dict(settings)).items()}
    return (f"--balancer={name}", *(f"--balancer.{key}={text}" for key, text in texts.items()))


def balancer_run(
    study: Study, label: str, seed: int, name: str, settings: Mapping[str, Any] | None = None, needs: Sequence[str] = ()
) -> Run:
    """The run LABEL-sSEED of a balancer with these settings."""
    options = balancer_options(study.recipe, name, settings or {})
    return Run(f"{label}-s{seed}", (f"--run.seed={seed}", *options), tuple(needs))


def metrics(out: Path, name: str) -> dict[str, Any]:
    """A finished run's metrics and protocol."""
    return json.loads((out / name / METRICS).read_text(encoding="utf-8"))


def step_seconds(out: Path, name: str) -> float:
    """Median seconds of a run's steps, those of its first tenth left out."""
    seconds = [record["seconds"] for record in read_history(out / name) if "seconds" in record]
    return median(seconds[len(seconds) // 10 :])


def comparable(base: Collection[Mapping[str, Any]], others: Collection[Mapping[str, Any]]) -> list[str]:
    """The metrics that all these runs have, and that are 0 in none of `base`: a gain over 0 is no figure."""
    return [name for name in FIGURES if all(m.get(name) for m in base) and all(name in m for m in others)]


def gain(values: Mapping[str, Any], base: Mapping[str, Any], names: Collection[str]) -> float:
    """Mean relative gain over `base` in percent, over these metrics; positive is better."""
    return delta_m(values, base, {name: FIGURES[name].higher_is_better for name in names})


def protocol(values: Mapping[str, Any]) -> str:
    """How metrics were measured, in a sentence."""
    p = {key.removeprefix("protocol."): value for key, value in values.items() if key.startswith("protocol.")}
    size = "x".join(map(str, p["size"]))
    return (
        f"Measured on {p['samples']} images of '{p['split']}' at {size}, crop: {p['crop']}; ground truth: "
        f"{p['ground_truth']}; normals {p['normals']}; {p['epochs']} epochs, of which the last one counts."
    )
