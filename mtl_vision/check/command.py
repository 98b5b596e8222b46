"""`prepare.py check`: look, mend if asked to, say it, write the sheet and the figures."""

from __future__ import annotations

import json
from pathlib import Path

from mtl_vision.check.mend import write_mended
from mtl_vision.check.report import Report, check_folder, to_json, to_text
from mtl_vision.check.sheet import contact_sheet
from mtl_vision.datasets.description import FILE_NAME
from mtl_vision.datasets.layouts import formats
from mtl_vision.datasets.recognise import describe
from mtl_vision.runtime.encode import png
from mtl_vision.runtime.files import write_whole

ROUNDS = 3  # a fault may hide another: normals of another frame hide that the set is mirrored


def check(
    root: Path, named: str | None, out: Path, classes: str | None = None, most: int | None = None, fix: bool = False
) -> int:
    """Check a folder, by a description's file or a known form's name, if one is named; 0: fine, 2: faults.

    fix: write the mended description to that file, or to dataset.yaml in the folder. Raises DataError, OSError.
    """
    report = check_folder(root, describe(root, named), classes, most)
    print(to_text(report))
    if fix:
        path = root / FILE_NAME if named is None or named in formats() else Path(named).resolve()
        report = _mend(report, path, classes, most)
    out.mkdir(parents=True, exist_ok=True)
    sheet, figures = out / "check.png", out / "check.json"
    write_whole(figures, json.dumps(to_json(report), indent=1).encode())
    write_whole(sheet, png(contact_sheet(report)))
    print(f"pictures: {sheet}  figures: {figures}")
    return 2 if report.faults else 0


def _mend(report: Report, path: Path, classes: str | None, most: int | None) -> Report:
    """Mend and look again, until no fault is left that a description mends."""
    for _ in range(ROUNDS):
        mended = report.mended()
        if mended == report.description:
            break
        print(write_mended(path, report.description, mended))
        report = check_folder(report.root, mended, classes, most)
        print(to_text(report))
    if report.faults:
        print("what is left, no change of the description mends")
    return report
