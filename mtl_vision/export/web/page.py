"""Writes the page of an exported model: a folder for any static host, or one HTML file that opens by double click."""

import gzip
import json
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import cv2

from mtl_vision.export.web.ort import is_wasm
from mtl_vision.runtime.contract import ModelError
from mtl_vision.runtime.files import atomic_write
from mtl_vision.runtime.model import Model
from mtl_vision.synthetic import render_room

ROOMS = {2: "a rendered room", 5: "another rendered room", 11: "a third rendered room", 17: "a fourth rendered room"}
ROOM_SIZE, QUALITY = (480, 640), 90
MAP, FACTS = '{"imports": {"app/": "./app/"}}', '{"single": false, "samples": []}'  # as they stand in index.html
MARK = b'<meta name="generator" content="mtl_vision">'
TYPES = {".js": "text/javascript", ".jpg": "image/jpeg"}

Files = dict[str, bytes]


def write_page(model: Path, folder: Path, ort: Mapping[str, bytes], single: bool = False) -> str:
    """Write the page of the model at `model` into `folder`. Returns a sentence that says what is there.

    ort: what `ort_files` gives. single: one file, index.html, that holds everything; it leaves WebGPU out. Raises
    ModelError for a file that the runtime or the page does not run, ValueError where the folder holds something else,
    OSError.
    """
    if (form := Model(model, threads=1).manifest.form) != "full":
        raise ModelError(f"'{model}' is of the form '{form}': the page takes the full one, OUT.onnx or OUT.fp16.onnx")
    check_folder(folder)
    source = _source()
    large = {"model.onnx": model.read_bytes()} | {f"ort/{name}": data for name, data in ort.items()}
    made = _single(source, large, _rooms()) if single else _folder(source, large, _rooms())
    for name, data in sorted(made.items(), key=lambda item: item[0] == "index.html"):  # last: it names the others
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, data)
    size = f"{sum(map(len, made.values())) / 1e6:.1f} MB"
    if single:
        return f"{folder / 'index.html'}: {size}; open it by double click"
    return f"{folder}: {len(made)} files, {size}; serve it, for example by `python -m http.server --directory {folder}`"


def check_folder(folder: Path) -> None:
    """Raise ValueError where the folder holds what is no page of ours: nothing of it is overwritten."""
    index = folder / "index.html"
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--web '{folder}': expected a folder, found a file")
    if folder.is_dir() and any(folder.iterdir()) and not (index.is_file() and MARK in index.read_bytes()):
        raise ValueError(f"--web '{folder}' is not empty and holds no page made by mtl-export: give a new folder")


def _folder(source: Files, large: Files, rooms: Files) -> Files:
    made = source | large | rooms
    version = sha256(b"".join(sha256(made[name]).digest() for name in sorted(made))).hexdigest()[:16]
    made["index.html"] = _put(made["index.html"], FACTS, _facts(single=False, version=version, rooms=rooms))
    kept = sorted(name for name in made if name not in ("index.html", "sw.js", "model.onnx") and name[-3:] != ".gz")
    made["sw.js"] = _put(_put(made["sw.js"], "{{version}}", version), "{{files}}", " ".join(["./", *kept]))
    return made


def _facts(single: bool, version: str, rooms: Files) -> str:
    """What the page is told."""
    samples = [[name, words] for name, words in zip(rooms, ROOMS.values(), strict=True)]
    return json.dumps({"single": single, "version": version, "samples": samples})


def _single(source: Files, large: Files, rooms: Files) -> Files:
    """Everything in index.html: modules by an import map of data URIs, the rest as texts in base64."""
    modules = {name: _data_uri(name, data) for name, data in source.items() if name.startswith("app/")}
    needed = {name: data for name, data in large.items() if is_wasm(name.removeprefix("ort/"))}
    inside = {"model.onnx": gzip.compress(large["model.onnx"], mtime=0)} | needed | rooms
    blocks = "\n".join(
        f'<script type="{_type(name)}" id="file:{name}">{b64encode(data).decode()}</script>'
        for name, data in inside.items()
    )
    html = source["index.html"]
    for old, new in (
        ('<html lang="en">', '<html lang="en" data-single>'),
        ("'self' ", ""),  # nothing beside the page may be asked for
        ('<link rel="stylesheet" href="page.css">', f"<style>\n{source['page.css'].decode()}</style>"),
        ('<script src="early.js"></script>', f"<script>\n{source['early.js'].decode()}</script>"),
        (MAP, json.dumps({"imports": modules})),
        (FACTS, _facts(single=True, version="", rooms=rooms)),
        ("</body>", f"{blocks}\n</body>"),
    ):
        html = _put(html, old, new)
    return {"index.html": html}


def _put(text: bytes, old: str, new: str) -> bytes:
    assert old.encode() in text, f"the page's source has no {old}"
    return text.replace(old.encode(), new.encode())


def _type(name: str) -> str:
    """What a data block is; none that a browser would run by itself."""
    return TYPES.get(Path(name).suffix, "application/octet-stream") + ";x=inside"


def _data_uri(name: str, data: bytes) -> str:
    return f"data:{TYPES[Path(name).suffix]};base64,{b64encode(data).decode()}"


def _source() -> Files:
    """The page's own files, by their path in the folder."""
    found: Files = {}

    def add(folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                add(entry, f"{prefix}{entry.name}/")
            elif Path(entry.name).suffix in (".html", ".css", ".js"):
                found[prefix + entry.name] = entry.read_bytes()

    add(files("mtl_vision.export.web") / "page", "")
    return dict(sorted(found.items()))


@cache
def _rooms() -> Files:
    """The sample pictures, as JPEG."""
    found: Files = {}
    for seed in ROOMS:
        bgr = cv2.cvtColor(render_room(seed, ROOM_SIZE).image, cv2.COLOR_RGB2BGR)
        found[f"samples/room{seed}.jpg"] = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    return found
