"""`mtl-data check`: read every split, run every test, fix the description on request, write what was found."""

import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mtl_vision.check import depth, labels, normals, overlap
from mtl_vision.check.camera import camera, other_shape
from mtl_vision.check.mirrored import mirrored_maps, mirrored_samples, mirrored_set
from mtl_vision.check.mixed import mixed
from mtl_vision.check.pairs import wrong_pairs
from mtl_vision.check.reading import collect, missing_files, open_split
from mtl_vision.check.registered import registration
from mtl_vision.check.report import Fault, Report, scenes, summarise, to_json, to_text
from mtl_vision.check.sheet import contact_sheet
from mtl_vision.check.statistics import SplitStatistics, Verdict
from mtl_vision.datasets.description import FILE_NAME, DataError, Description
from mtl_vision.datasets.files import expect_splits
from mtl_vision.datasets.layouts import layouts
from mtl_vision.datasets.recognise import recognise
from mtl_vision.datasets.unread import differences
from mtl_vision.runtime.files import atomic_write, png

ROUNDS = 3  # a fault may hide another: normals in another frame hide that the set is mirrored
NO_TARGETS = (
    "the description has no targets, only images, so there is nothing to train on: expected one of depth, normals and "
    "segmentation at least; describe those that there are, such as `depth: {folder: depth}`"
)
Test = Callable[[SplitStatistics], Verdict]

# Each by its name in the JSON.
TESTS: dict[str, Test] = {
    "camera": camera,
    "depth_reach": depth.reach,
    "depth_wraps": depth.wraps,
    "depth_mixed": mixed,
    "depth_unit": depth.unit,
    "label_ids": labels.ids,
    "normals_frame": normals.frame,
    "normals_length": normals.length,
    "mirrored_maps": mirrored_maps,
    "wrong_pairs": wrong_pairs,
    "mirrored_samples": mirrored_samples,
    "registration": registration,
    "mirrored_set": mirrored_set,
}
# What a fault leaves unknown: maps that are mirrored against each other are not registered, and fit no image; one unit
# for maps of several is right for some of them.
HIDDEN_BY = {
    "depth_mixed": {"depth_wraps"},
    "depth_unit": {"depth_mixed"},
    "wrong_pairs": {"mirrored_maps"},
    "mirrored_samples": {"wrong_pairs"},
    "registration": {"mirrored_maps", "mirrored_samples", "wrong_pairs"},
    "mirrored_set": {"mirrored_maps", "mirrored_samples"},
}


def check(
    folder: Path | str,
    description: Path | str | None = None,
    *,
    classes: str | None = None,
    most: int | None = None,
    fix: bool = False,
    out: Path | str = "out/check",
) -> Report:
    """Check a data set; print the report, and write check.png and check.json to `out`.

    description: a file, or the name of a known layout; None: `dataset.yaml` in the folder, or the layout that it has;
    classes: `nyu13` or `nyu40` to show the labels in that class set; most: samples to read of each split; None: all;
    fix: write the fixed description to that file, or to `dataset.yaml` in the folder, and check again.
    Raises DataError where the folder cannot be checked, OSError where a file cannot be written.
    """
    root, out = Path(folder), Path(out)
    named = None if description is None else str(description)
    found = recognise(root, named)

    def checked(description: Description) -> Report:
        report = check_folder(root, description, classes, most)
        report.notes += differences(root, replace(found, description=description))
        if named in layouts():  # so the user says
            report.faults += [Fault("files", _lacks(named, *missing)) for missing in found.missing.items()]
        print(to_text(report))
        return report

    report = checked(found.description)
    path = root / FILE_NAME if named is None or named in layouts() else Path(named).resolve()
    for _ in range(ROUNDS):
        fixed = report.fixed()
        if not fix or fixed == report.description:
            break
        print(write_fixed(path, report.description, fixed))
        report = checked(fixed)
    if fix and report.faults:
        print("no change of the description fixes the faults that are left")
    out.mkdir(parents=True, exist_ok=True)
    sheet, statistics = out / "check.png", out / "check.json"
    atomic_write(statistics, json.dumps(to_json(report), indent=1).encode())
    atomic_write(sheet, png(contact_sheet(report)))
    print(f"contact sheet: {sheet}  statistics: {statistics}")
    return report


def _lacks(layout: str, name: str, folder: str) -> str:
    return (
        f"no file of {name}: expected it in {folder}, as '{layout}' has it; name the folder that holds it in a "
        f"{FILE_NAME} (layout: {layout}, {name}: {{folder: ..}}), or leave it out there ({name}: null)"
    )


def write_fixed(path: Path, before: Description, after: Description) -> str:
    """Write `after` to `path` and return what changed; an old file, with its comments, is kept beside it."""
    kept = ""
    if path.exists():
        names = (path.with_name(f"{path.name}.before{number}") for number in itertools.chain([""], itertools.count(2)))
        copy = shutil.copy2(path, next(name for name in names if not name.exists()))
        kept = f" (the file as it was, with its comments: {copy})"
    atomic_write(path, after.to_yaml().encode())
    return f"fixed: {', '.join(changes(before, after))} in {path}{kept}"


def changes(before: Description, after: Description) -> list[str]:
    """key old -> new, for every key that differs."""
    old, new = (dict(_flat(asdict(one))) for one in (before, after))
    return [f"{key} {old.get(key, 'null')} -> {value}" for key, value in new.items() if old.get(key) != value]


def _flat(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each key with its section, and its value as in YAML."""
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, json.dumps(value, default=str).replace('"', "")


def check_folder(root: Path, description: Description, classes: str | None = None, most: int | None = None) -> Report:
    """Read up to `most` samples of each split (None: all). Raises DataError where no split can be opened."""
    present = expect_splits(root, description)
    report = Report(root, description, absent=[name for name in description.splits if name not in present])
    for name in present:
        dataset, problems = open_split(root, name, description, classes)
        report.faults += [Fault("files", problem, name) for problem in problems]
        if dataset is not None:
            report.opened[name] = dataset
    if not report.opened:
        raise DataError(report.faults[0].text)
    statistics = {name: collect(dataset, most) for name, dataset in report.opened.items()}
    if found := depth.unlisted(statistics):
        report.faults += [Fault("depth_sentinel", text, None, fix) for text, fix in found]
        for dataset in report.opened.values():  # read again without them, so that no other test is misled
            for _, fix in found:
                dataset.description = fix(dataset.description)
        statistics = {name: collect(dataset, most) for name, dataset in report.opened.items()}
    if not description.targets():
        report.faults.append(Fault("targets", NO_TARGETS))
    for name, dataset in report.opened.items():
        report.summaries[name] = summarise(dataset, statistics[name])
        unreadable = [problem for sample in statistics[name].samples for problem in sample.problems]
        report.faults += [Fault("files", problem, name) for problem in missing_files(dataset) + unreadable]
    report.notes += [text for text in [other_shape(statistics)] if text]
    report.faults += [Fault("label_ids", text) for text in [labels.one_class(statistics)] if text]
    report.faults += [Fault("overlap", text) for text in overlap.shared(statistics)]
    known = {name: found for name, dataset in report.opened.items() if (found := scenes(dataset))}
    # no fault: some sets are split that way
    report.shared_scenes = {f"{a}/{b}": len(known[a] & known[b]) for a, b in itertools.combinations(known, 2)}
    for name, test in TESTS.items():
        if HIDDEN_BY.get(name, set()) & {fault.test for fault in report.faults}:
            continue
        faults, unknown = run_test(name, test, statistics)
        report.faults += faults
        report.unknown += unknown
    if any(fault.test == "mirrored_samples" for fault in report.faults):  # to mirror all would break the others
        report.faults = [fault for fault in report.faults if fault.test != "mirrored_maps"]
    return report


def run_test(name: str, test: Test, splits: Mapping[str, SplitStatistics]) -> tuple[list[Fault], list[str]]:
    """The faults that a test finds, and what it could not find out.

    A description holds for all splits: a fault is one of the set, and its fix applies, where no split is ok. Splits
    that are too small to show anything are tested together.
    """
    verdicts = {split: test(statistics) for split, statistics in splits.items()}
    faults = {split: verdict for split, verdict in verdicts.items() if verdict.state == "fault"}
    if any(verdict.state == "ok" for verdict in verdicts.values()):
        only = "in this split only, so no change of the description fixes it: "
        return [Fault(name, only + verdict.text, split) for split, verdict in faults.items()], []
    first, *others = splits.values()
    pooled = replace(first, samples=tuple(sample for split in splits.values() for sample in split.samples))
    verdict = test(pooled) if others else next(iter(verdicts.values()))
    if verdict.state != "fault":
        verdict = next(iter(faults.values()), verdict)
    if verdict.state == "fault":
        return [Fault(name, verdict.text, None, verdict.fix)], []
    return [], [verdict.text] if verdict.state == "unknown" and verdict.text else []
