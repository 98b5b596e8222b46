"""The page: everything is put into one file, which fetches nothing."""

import base64
import hashlib
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import mtl_vision
from mtl_vision.report.compare import (
    baseline_of,
    delta_rows,
    figures_of,
    metric_rows,
    protocol_differences,
    recipe_differences,
)
from mtl_vision.report.curves import charts, measured, tables
from mtl_vision.report.facts import facts, headline
from mtl_vision.report.reading import EVALUATION, Recorded, json_text, read_run
from mtl_vision.report.stills import DAMAGE, stills
from mtl_vision.report.story import story
from mtl_vision.runtime.files import atomic_write

REPORT = "report.html"
ASSETS = Path(__file__).parent / "assets"
PICTURES = 3_000_000  # characters of the gallery's pictures, of all runs together
BASE64 = frozenset(string.ascii_letters + string.digits + "+/=")


def write_report(folders: Sequence[Path], out: Path, against: Sequence[Path] = ()) -> None:
    """Write the report of these runs. against: what they are compared with (default: the first one).

    Raises ValueError, which names the file, where one is no run, and OSError.
    """
    runs = [read_run(folder) for folder in folders]
    baseline = [read_run(folder) for folder in against]
    try:
        text = page(runs, baseline)
    except ValueError:
        raise
    except DAMAGE as error:  # what a file has is of another type than what was written
        where = ", ".join(str(run.folder) for run in runs)
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(f"a file of {where} is damaged ({told}): remove {EVALUATION} to do without it") from error
    atomic_write(out, text.encode("utf-8", "replace"))


def page(runs: Sequence[Recorded], against: Sequence[Recorded] = ()) -> str:
    """The report as HTML."""
    recorded = [tables([*run.history, *_measured_last(run)]) for run in runs]
    galleries = _galleries(runs)
    figures = figures_of(runs)
    base = list(against) or list(runs[:1])
    baseline = baseline_of(base) if len(runs) > 1 or against else {}
    tasks = list(dict.fromkeys(task for run in runs for task in run.tasks))
    data = {
        "runs": [run.name for run in runs],
        "tasks": tasks,
        "charts": charts(recorded),
        "measured": measured(recorded, figures),
        "galleries": galleries,
    }
    script = "\n".join(_asset(name) for name in ("uplot/uPlot.iife.min.js", "page.js"))
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        title=" · ".join(run.name for run in runs),
        runs=[
            {
                "name": run.name,
                "facts": facts(run),
                "headline": headline(run),
                "notes": _notes(run),
                "story": story(t, run.section("balancer")),
            }
            for run, t in zip(runs, recorded, strict=True)
        ],
        tasks=tasks,
        rows=metric_rows(runs, baseline),
        deltas=delta_rows(runs, baseline) if baseline else [],
        base=[run.name for run in base] if baseline else [],
        base_is_first=not against,
        recipe=recipe_differences(runs) if len(runs) > 1 else [],
        protocol=protocol_differences([*runs, *against]) if baseline else [],
        stills=stills(runs, tasks),
        data=Markup(safe_json(data)),
        has_gallery=any(gallery["samples"] for gallery in galleries),
        has_curves=bool(data["charts"]),
        css=Markup(_asset("uplot/uPlot.min.css") + _asset("page.css")),
        script=Markup(script),
        policy=_policy(script),
        version=mtl_vision.__version__,
    )


def safe_json(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends or opens one, or is a line end to JavaScript."""
    text = json_text(value)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """What the page may do: run this one script, show pictures that are in it, and fetch nothing, whoever wrote it."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    pictures = "img-src data:; style-src 'unsafe-inline'"
    return f"default-src 'none'; {pictures}; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _measured_last(run: Recorded) -> list[dict[str, Any]]:
    """The record of the last measurement; that of the end is not in the history."""
    step = run.evaluation.get("step")
    return [{"step": step - 1, "metrics": dict(run.metrics)}] if isinstance(step, int) and 0 < step < 2**53 else []


def _notes(run: Recorded) -> list[str]:
    notes = run.evaluation.get("notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []


def _galleries(runs: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Each run's samples, as many as fit."""
    found = []
    for run in runs:
        gallery = run.evaluation.get("gallery")
        gallery = gallery if isinstance(gallery, dict) else {}
        samples = gallery.get("samples")
        left, kept = PICTURES // len(runs), []
        for sample in samples if isinstance(samples, list) else ():
            left -= _check_sample(run, sample)
            if left < 0 and kept:
                break
            kept.append(sample)
        found.append(
            {
                "of": gallery.get("of"),
                "worst": gallery.get("worst"),
                "outputs": gallery.get("outputs") or {},
                "samples": kept,
            }
        )
    return found


def _check_sample(run: Recorded, sample: Any) -> int:
    """The characters of a sample's pictures. Raises ValueError where one is no picture."""
    try:
        pictures = [sample["photo"]]
        pictures += [maps[key] for maps in sample["maps"].values() for key in ("truth", "prediction", "error")]
        good = all(picture is None or set(picture) <= BASE64 for picture in pictures)
    except (KeyError, TypeError, AttributeError):
        good, pictures = False, []
    if not good:
        raise ValueError(
            f"{run.folder / EVALUATION} is damaged: expected pictures in base64; remove it to do without it"
        )
    return sum(len(picture) for picture in pictures if picture)
