"""report.html as a file: everything is in it, nothing is fetched, names are no markup; damaged files are told."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mtl_vision.report.cli import main
from mtl_vision.report.page import ASSETS, safe_json, write_report

from .conftest import MakeRun, evaluation, records

HOSTILE = ("</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "\u2028<!--", "a&b")


class Parsed(HTMLParser):
    """Elements, and the addresses that they name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "action", "data", "srcset")]
        self.handlers += [key for key, _ in attrs if key.startswith("on")]


def report(*folders: Path, **options: list[Path]) -> str:
    out = folders[0] / "report.html"
    write_report(folders, out, **options)
    return out.read_text(encoding="utf-8")


def embedded(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_one_file_that_fetches_nothing(make_run: MakeRun) -> None:
    page = report(make_run())
    parsed = Parsed(page)
    assert set(parsed.addresses) <= {"data:,", "#summary", "#metrics", "#curves", "#errors", "#gallery"}
    assert parsed.tags.count("script") == 2 and not parsed.handlers
    assert 'http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;' in page
    script = re.search(r"<script>(.*?)</script>", page, re.S)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"sha256-{digest}" in page.replace("&#43;", "+"), "the page would not run its own script"
    assert "@import" not in page and "url(" not in page
    for text in ("Task weights", "depth&#39;s weight fell", "Error over distance", "0.5000", "resnet10t, 48x64"):
        assert text in page or text in json.dumps(embedded(page)), text


def test_names_are_text(make_run: MakeRun) -> None:
    page = report(make_run("run", classes=HOSTILE))
    tags = Parsed(page).tags
    assert tags.count("script") == 2 and tags.count("img") == 0
    assert "49" not in re.findall(r"<text[^>]*>([^<]*)</text>", page)
    assert embedded(page)["galleries"][0]["outputs"]["segmentation"]["classes"] == list(HOSTILE)


def test_json_in_a_script_element_ends_no_element() -> None:
    text = safe_json({"a": [*HOSTILE, float("nan"), float("inf"), 1.5]})
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == {"a": [*HOSTILE, None, None, 1.5]}


def test_forty_classes_and_a_long_history_stay_small(make_run: MakeRun) -> None:
    names = tuple(f"class of things number {k}" for k in range(40))
    history = [r | {"step": k} for k, r in zip(range(20_000), records(100) * 200, strict=True)]
    folder = make_run("big", classes=names, history=history)
    page = report(folder)
    assert len(page) < 1_500_000 and page.count("class of things number 3") > 1


def test_before_the_first_measurement_and_of_one_task(make_run: MakeRun) -> None:
    page = report(make_run("begun", measured=False))
    assert "Nothing is measured yet" in page and "Task weights" in page and 'id="gallery"' not in page
    assert "under way or interrupted, in epoch 1 of 1" in page
    assert "Nothing is measured yet" in report(make_run("empty", measured=False, history=[]))
    single = report(make_run("single", tasks=("depth",)))
    assert "there is nothing to balance" in single and "normals" not in single.partition("<script")[0]


def test_runs_compared(make_run: MakeRun) -> None:
    a, b = make_run("a"), make_run("b", balancer="Equal", classes=("wall", "floor", "lamp"))
    page = report(a, b)
    assert "2 runs compared" in page and "delta_m" in page and "Where the recipes differ" in page
    assert {s["run"] for chart in embedded(page)["charts"] for t in chart["tables"] for s in t["series"]} == {0, 1}
    assert page.count("<h3>Confusion") == 2
    against = report(a, against=[b])
    assert "against <bdi>b</bdi>" in against and "delta_m" in against


def test_the_last_measurement_ends_the_curves_of_metrics(make_run: MakeRun) -> None:
    history = [*records(300), {"step": 149, "metrics": {"depth.rmse": 0.8}}]
    charts = {chart["key"]: chart for chart in embedded(report(make_run(history=history)))["measured"]}
    assert charts["depth.rmse"]["tables"] == [
        {"x": [149, 299], "series": [{"run": 0, "task": "depth", "kind": "measured", "y": [0.8, 0.5]}]}
    ]


def test_a_run_of_before_evaluation_json_has_units(make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "evaluation.json").unlink()
    page = report(folder)
    assert "0.5000" in page and "↓" in page and 'id="errors"' not in page


@pytest.mark.parametrize(
    "text",
    [
        "{", "[1]", '{"format": 99}',
        json.dumps(evaluation(["a", "b"]) | {"charts": {"depth": [{"kind": "bars", "title": "x"}]}}),
        json.dumps(evaluation(["a", "b"]) | {"gallery": {"samples": [{"photo": "http://x/", "maps": {}}]}}),
        json.dumps(evaluation(["a", "b"]) | {"gallery": {"samples": [7]}}),
    ],
)  # fmt: skip
def test_damaged_files_are_told_in_a_line(make_run: MakeRun, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run()
    (folder / "evaluation.json").write_text(text)
    assert main([str(folder)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("mtl-report: ") and error.count("\n") == 1 and "evaluation.json" in error
    assert not (folder / "report.html").exists()


def test_command_line(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = make_run("a"), make_run("b")
    monkeypatch.chdir(tmp_path)
    assert main(["a"]) == 0 and (a / "report.html").exists()
    assert main(["a", "b", "--against", "a"]) == 0 and (tmp_path / "report.html").exists()
    assert main([str(b), "--out", "x.html"]) == 0 and (tmp_path / "x.html").exists()
    assert main(["nowhere"]) == 1
    assert "nowhere is no run directory: expected config.yaml and history.jsonl in it" in capsys.readouterr().err


def test_without_torch(make_run: MakeRun) -> None:
    folder = make_run()
    code = (
        "import sys; from mtl_vision.report.cli import main; assert main(sys.argv[1:]) == 0; "
        "assert not {'torch', 'matplotlib', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(folder)], check=True, timeout=60)


def test_uplot_is_vendored_whole_with_its_licence() -> None:
    folder = ASSETS / "uplot"
    assert "(v1.6.32)" in (folder / "uPlot.iife.min.js").read_text(encoding="utf-8")[:200]
    assert "MIT" in (folder / "LICENSE").read_text(encoding="utf-8")
