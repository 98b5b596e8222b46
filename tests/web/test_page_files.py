"""What the page is made of, without a browser: its files, onnxruntime-web as pinned, the options of mtl-export."""

from __future__ import annotations

import gzip
import json
import re
import tarfile
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from tiny_model import build_model, manifest

from mtl_vision.export.cli import main
from mtl_vision.export.web import ort, page
from mtl_vision.export.web.ort import ort_files
from mtl_vision.export.web.page import write_page

CONTENTS = {name: f"the contents of {name}".encode() for name in ort.WASM | ort.WEBGPU}


@pytest.fixture
def dist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that passes for the package's: these files are pinned."""
    (folder := tmp_path / "package" / "dist").mkdir(parents=True)
    for name, data in CONTENTS.items():
        (folder / name).write_bytes(data)
        monkeypatch.setitem(ort.WASM if name in ort.WASM else ort.WEBGPU, name, sha256(data).hexdigest())
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return build_model(tmp_path / "model.onnx", manifest(), (48, 64))


# onnxruntime-web


@pytest.mark.parametrize("given", ["dist", "package", "archive"])
def test_its_files_from_a_folder_or_an_archive(dist: Path, tmp_path: Path, given: str) -> None:
    with tarfile.open(tmp_path / "ort.tgz", "w:gz") as tar:
        tar.add(dist.parent, "package")
    found = ort_files({"dist": dist, "package": dist.parent, "archive": tmp_path / "ort.tgz"}[given])
    whole = {name: gzip.decompress(data) if name[-3:] == ".gz" else data for name, data in found.items()}
    shown = {name: re.sub(r"\.wasm$", ".wasm.gz", re.sub(r"\.mjs$", ".js", name)) for name in CONTENTS}
    assert whole == {shown[name]: data for name, data in CONTENTS.items()}
    assert found == ort_files(dist)


def test_other_files_are_refused(dist: Path, tmp_path: Path) -> None:
    name = next(iter(ort.WASM))
    (dist / name).write_bytes(b"another version")
    with pytest.raises(ValueError, match=rf"{name}' is not that of onnxruntime-web {ort.VERSION}.*--ort-web"):
        ort_files(dist)
    (dist / name).unlink()
    with pytest.raises(ValueError, match=rf"found no '{name}'; .*npm pack onnxruntime-web@{ort.VERSION}"):
        ort_files(dist)
    (tmp_path / "no.tgz").write_bytes(b"none")
    with pytest.raises(ValueError, match="is not npm's archive of onnxruntime-web"):
        ort_files(tmp_path / "no.tgz")


def test_without_npm_or_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="npm, which fetches it, is not installed: .* --ort-web"):
        ort_files()
    (npm := tmp_path / "npm").write_text("#!/bin/sh\necho 'ENOTFOUND registry' >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(ValueError, match=r"npm did not fetch .*it says: ENOTFOUND registry\): .* --ort-web"):
        ort_files()
    npm.write_text(f"#!/bin/sh\n: > onnxruntime-web-{ort.VERSION}.tgz\n")
    with pytest.raises(ValueError, match="what npm fetched is not onnxruntime-web"):
        ort_files()


# The folder and the file


def test_the_folder(model: Path, dist: Path, tmp_path: Path) -> None:
    """Sources as they stand, the model, both runtimes, samples; the service worker names every small file."""
    said = write_page(model, web := tmp_path / "web", ort_files(dist))
    assert re.search(r": \d+ files, .* MB; serve it", said)
    names = {str(path.relative_to(web)) for path in web.rglob("*") if path.is_file()}
    assert {"index.html", "page.css", "sw.js", "early.js", "app/main.js", "model.onnx", "samples/room2.jpg"} <= names
    assert (web / "model.onnx").read_bytes() == model.read_bytes()
    source = Path(page.__file__).parent / "page"
    assert (web / "app/main.js").read_bytes() == (source / "app/main.js").read_bytes()
    worker = (web / "sw.js").read_text()
    listed = re.search(r'FILES = "(.*)"\.split', worker)
    large = {"model.onnx", *(name for name in names if name.endswith(".gz"))}
    assert listed and set(listed[1].split()) == {"./"} | names - large - {"index.html", "sw.js"}
    facts = json.loads(_block((web / "index.html").read_text(), "facts"))
    assert facts["version"] in worker
    assert {name for name, _ in facts["samples"]} == {name for name in names if name.startswith("samples/")}


def test_another_model_is_another_version(model: Path, dist: Path, tmp_path: Path) -> None:
    write_page(model, web := tmp_path / "web", ort_files(dist))
    first = (web / "sw.js").read_bytes()
    write_page(model, web, ort_files(dist))
    assert (web / "sw.js").read_bytes() == first
    write_page(build_model(tmp_path / "other.onnx", manifest(height=64), (64, 64)), web, ort_files(dist))
    assert (web / "sw.js").read_bytes() != first


def test_the_single_file(model: Path, dist: Path, tmp_path: Path) -> None:
    """Everything is inside, and nothing is asked for."""
    write_page(model, web := tmp_path / "web", ort_files(dist), single=True)
    assert [path.name for path in web.iterdir()] == ["index.html"]
    html = (web / "index.html").read_text()
    addresses = Addresses(html).found
    assert all(address.startswith(("data:", "#")) for address in addresses), addresses
    assert "'self'" not in html
    imports = json.loads(_block(html, None, "importmap"))["imports"]
    source = Path(page.__file__).parent / "page"
    assert set(imports) == {f"app/{path.name}" for path in (source / "app").iterdir()}
    assert 'id="file:model.onnx"' in html and "webgpu" not in " ".join(re.findall(r'id="file:([^"]*)"', html))


class Addresses(HTMLParser):
    """What a page's tags point to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def _block(html: str, name: str | None, kind: str = "application/json") -> str:
    named = f' id="{name}"' if name else ""
    found = re.search(rf'<script type="{kind}"{named}>(.*?)</script>', html, re.DOTALL)
    assert found
    return found[1]


def test_modules_name_each_other_and_no_others() -> None:
    """Bare names only, which the import map of either form resolves; none is left over."""
    folder = Path(page.__file__).parent / "page"
    imported = {"app/worker.js"}
    for path in [folder / "index.html", *(folder / "app").iterdir()]:
        imported |= set(re.findall(r'(?:from|import) "([^"]+)"', path.read_text()))
    assert imported == {f"app/{path.name}" for path in (folder / "app").iterdir()}


def test_the_colours_are_the_runtimes() -> None:
    hexes = "".join(re.findall(r'"([0-9a-f]+)"', (Path(page.__file__).parent / "page/app/inferno.js").read_text()))
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_INFERNO)[0, :, ::-1]
    assert bytes.fromhex(hexes) == table.tobytes()


def test_a_folder_of_other_things_is_left_alone(model: Path, dist: Path, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    (other / "index.html").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no page made by mtl-export: give a new folder"):
        write_page(model, other, ort_files(dist))
    assert (other / "index.html").read_text() == "mine"
    with pytest.raises(ValueError, match="expected a folder, found a file"):
        write_page(model, other / "index.html", ort_files(dist))


# The command


def test_the_command_takes_a_file_that_is_there(
    model: Path, dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(model), "--web", str(tmp_path / "web"), "--ort-web", str(dist)]) == 0
    assert "serve it" in capsys.readouterr().out
    assert main([str(model), "--web", str(tmp_path / "one"), "--single-file", "--ort-web", str(dist)]) == 0
    assert "double click" in capsys.readouterr().out
    assert (tmp_path / "one/index.html").is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--single-file"], "give --web DIR as well"),
        (["--web", "web", "--fp16"], "--fp16 is of an export: give the run's directory"),
        (["--web", "web", "--tasks", "depth"], "--tasks is of an export"),
    ],
)
def test_options_that_do_not_fit(
    model: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(model), *options])
    assert words in capsys.readouterr().err


def test_files_that_the_page_does_not_run(
    model: Path, dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--web", str(web := tmp_path / "web"), "--ort-web", str(dist)]
    (none := tmp_path / "none.onnx").write_bytes(b"no model")
    assert main([str(none), *command]) == 1
    assert "is not an ONNX model" in capsys.readouterr().err
    core = manifest(form="core", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    monkeypatch.setattr(page, "Model", lambda path, threads: SimpleNamespace(manifest=core))
    assert main([str(model), *command]) == 1
    assert "of the form 'core': the page takes the full one" in capsys.readouterr().err
    assert not web.exists()
