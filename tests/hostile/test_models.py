"""Models that lie: about their outputs, in their manifests, in their bytes; and a runtime that is to be silent."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_model import build_model, manifest

from mtl_vision.runtime.checksum import with_checksum
from mtl_vision.runtime.cli import main
from mtl_vision.runtime.contract import Manifest, ModelError
from mtl_vision.runtime.kinds import KINDS
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.predictor import Prepared

ROOT = Path(__file__).parents[2]
BLACK, GRAY, WHITE = 0, 100, 255

Change = Callable[[onnx.ModelProto], object]


def node(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.output[0] == output)


def becomes(output: str, op: str, *inputs: str, **attributes: Any) -> Change:
    """A change of the graph: `output` is computed otherwise."""
    return lambda model: node(model, output).CopyFrom(helper.make_node(op, inputs, [output], **attributes))


def logits(channels: int) -> Change:
    """The segmentation as that many channels: each 0, the last the mean of the image's three values."""

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        graph.initializer.append(numpy_helper.from_array(np.array([1, channels - 1, 1, 1], np.int64), "others"))
        graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "one"))
        graph.node.remove(node(model, "segmentation"))
        graph.node.append(helper.make_node("Unsqueeze", ["mean", "one"], ["channel"]))
        graph.node.append(helper.make_node("Sub", ["channel", "channel"], ["nothing"]))
        graph.node.append(helper.make_node("Tile", ["nothing", "others"], ["rest"]))
        graph.node.append(helper.make_node("Concat", ["rest", "channel"], ["segmentation"], axis=1))
        shape = ["N", channels, 48, 64]
        graph.output[2].CopyFrom(helper.make_tensor_value_info("segmentation", TensorProto.FLOAT, shape))

    return change


def nan_logits(model: onnx.ModelProto) -> None:
    """Two channels, the first NaN where the image is black."""
    logits(2)(model)
    becomes("nothing", "Div", "channel", "channel")(model)


@pytest.fixture
def altered(tmp_path: Path) -> Callable[..., Path]:
    """The tiny model after a change of its graph, with its checksum; another manifest if one is given."""

    def make(change: Change, says: Manifest | str | None = None) -> Path:
        path = build_model(tmp_path / "altered.onnx", says or manifest(), (48, 64))
        model = onnx.load(path)
        text = says if isinstance(says, str) else (says or manifest()).to_json()
        model.metadata_props[0].value = text
        change(model)
        path.write_bytes(with_checksum(model.SerializeToString()))
        return path

    return make


def changed(**changes: object) -> str:
    return json.dumps(json.loads(manifest().to_json()) | changes)


def output_changed(**changes: object) -> str:
    """A manifest whose last output, the label map, has other values."""
    *others, last = json.loads(manifest().to_json())["outputs"]
    return changed(outputs=[*others, last | changes])


def plain(level: int) -> np.ndarray:
    return np.full((48, 64, 3), level, np.uint8)


# What a network gives: an image's failure, and its own


LIES = {
    "depth is NaN": (becomes("depth", "Div", "scaled", "scaled"), BLACK, WHITE, "'depth' is wrong at 3072 .*found nan"),
    "depth is infinite": (becomes("depth", "Div", "half", "scaled"), BLACK, WHITE, "a finite number, found inf"),
    "normals are long": (becomes("normals", "Identity", "vectors"), WHITE, BLACK, "length 1, or of 0, found .255"),
    "ids beyond the classes": (
        becomes("segmentation", "Cast", "mean", to=TensorProto.UINT8), GRAY, BLACK, "an id of 2 classes, .* found 100",
    ),
    "logits are NaN": (nan_logits, BLACK, WHITE, "'segmentation' is wrong at 3072 of 3072 .* largest is finite"),
}  # fmt: skip


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("lie", LIES)
def test_values_that_no_map_can_have_are_that_images_failure(
    altered: Callable[..., Path], tmp_path: Path, lie: str, batch: int
) -> None:
    change, bad, good, message = LIES[lie]
    model, folder, out = altered(change), tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for i, level in enumerate((good, good, bad, good)):
        cv2.imwrite(str(folder / f"{i}.png"), plain(level))
    assert main([str(model), str(folder), "--out", str(out), "--batch", str(batch), "--quiet"]) == 2
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["ok", "ok", "failed", "ok"]
    assert lines[2]["error"].startswith("the network failed: output '") and not lines[2]["files"]
    with pytest.raises(ModelError, match=rf"^image\[1\]: the network failed: .*{message}"):
        Model(model).predict([plain(good), plain(bad)])


def test_depth_below_0_is_none(altered: Callable[..., Path]) -> None:
    """A network without an activation may give it; such a pixel is invalid, as one of 0 is."""
    maps = Model(altered(becomes("depth", "Sub", "scaled", "half"))).predict(plain(BLACK))
    assert not KINDS["scalar_map"].valid(maps["depth"]).any()


def test_a_shape_that_only_some_images_get_is_their_failure(altered: Callable[..., Path]) -> None:
    """The map of an image that is not black has fewer rows than the image."""

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        for name, value in {"zero": [0], "row": [1], "minus": [-1]}.items():
            graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
        node(model, "depth").output[0] = "whole"
        graph.node.append(helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0))
        graph.node.append(helper.make_node("Cast", ["most"], ["whole_number"], to=TensorProto.INT64))
        graph.node.append(helper.make_node("Reshape", ["whole_number", "row"], ["start"]))
        graph.initializer.append(numpy_helper.from_array(np.array([999], np.int64), "end"))
        graph.node.append(helper.make_node("Slice", ["whole", "start", "end", "row"], ["depth"]))

    model = Model(altered(change))
    ready = [Prepared(plain(level), plain(level), (0, 0, 48, 64)) for level in (0, 5, 0)]
    found = model.run_prepared(ready)
    assert isinstance(found[1], ModelError) and "as (1, 48, 64) of float32, found (1, 43, 64)" in str(found[1])
    assert [isinstance(maps, dict) for maps in found] == [True, False, True]


def test_a_graph_for_one_image_at_a_time_takes_many(altered: Callable[..., Path]) -> None:
    def change(model: onnx.ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1

    assert len(Model(altered(change)).predict([plain(WHITE)] * 3)) == 3


@pytest.mark.parametrize(("channels", "classes"), [(300, 2), (3, 2), (300, 0), (256, 0)])
def test_logits_that_are_not_of_the_classes_are_refused_at_the_start(
    altered: Callable[..., Path], channels: int, classes: int
) -> None:
    names = [f"class {i}" for i in range(classes)]
    path = altered(logits(channels), output_changed(classes=names, palette=[]))
    expected = rf"as logits \(N, C, H, W\) of {classes or 'at most 255'} classes, found \(1, {channels}, 48, 64\)"
    with pytest.raises(ModelError, match=expected):
        Model(path)


def test_logits_of_255_classes_are_the_most(altered: Callable[..., Path]) -> None:
    model = Model(altered(logits(255), output_changed(classes=[], palette=[])))
    assert (model.predict(plain(WHITE))["segmentation"] == 254).all()


# What a manifest says


ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    10**400,
    1e308,
    float("nan"),
    "",
    "x" * 2000,
    [],
    ["a"],
    [[]],
    [-1, 256, 0],
    {},
]
WRONG = [
    (output_changed(kind=["label_map"]), r"outputs\[2\].kind is \['label_map'\], expected a text"),
    (output_changed(name=5), r"outputs\[2\].name is 5, expected a file name's part"),
    (output_changed(name="file"), "none of .*'file'"),  # an argument of np.savez
    (output_changed(name="a" * 300), "at most 64 letters"),
    (output_changed(name="Depth"), "expected outputs of different names"),  # Depth and depth are one file on some disks
    (output_changed(name="a\x00b"), r"name is 'a\\x00b'"),
    (output_changed(kind="\x1b[31m"), r"of kind '\\x1b\[31m'"),
    (output_changed(range=[0, float("nan")]), "range is .0, nan., expected .low, high. or null"),
    (output_changed(range=[1]), "range is"),
    (output_changed(classes=["a", 5]), "classes is .*a list of at most 255 names"),
    (output_changed(classes=[f"{i}" for i in range(256)]), "at most 255 names"),
    (output_changed(palette=[[0, 0, 256]]), "palette is .*each 0 to 255"),
    (output_changed(palette=[[0, 0]]), "palette is"),
    (output_changed(palette=[[0, 0, 0]] * 257), "at most 256"),
    (output_changed(colour="red"), "unexpected keyword argument 'colour'"),
    (changed(outputs={"depth": {}}), "outputs is .*expected a list of 1 to 64 outputs"),
    (changed(outputs=json.loads(manifest().to_json())["outputs"] * 30), "a list of 1 to 64 outputs"),
    (changed(height="48"), "height is '48', expected a whole number from 1 to 8192"),
    (changed(height=-48), "height is -48"),
    (changed(height=10**9), "height is 1000000000"),
    (changed(width=64.0), "width is 64.0"),
    (changed(stride=0), "stride is 0"),
    (changed(dynamic_size="no"), "dynamic_size is 'no', expected true or false"),
    (changed(resize=[]), "resize is .., expected a text"),
    (changed(fill=[0, 0, -1]), r"fill is .*expected \[red, green, blue\]"),
    (changed(fill=0), "fill is 0"),
    (changed(intrinsics=[1, 2, 3]), "intrinsics is .*expected .fx, fy, cx, cy. or null"),
    (changed(metrics=[]), "metrics is .., expected a mapping"),
    (changed(format_version=[2]), "format version .2., this runtime reads 1 to 3"),
    (changed(format_version=True), "format_version is True"),
    ("5", "not readable"),
    ("null", "not readable"),
    ('{"format_version": 2}', "it has no outputs"),
    ("[" * 100_000 + "]" * 100_000, "not readable"),
    ('{"format_version": ' + "1" * 5000 + "}", "not readable"),
]


@pytest.mark.parametrize(("says", "reason"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_value_in_a_manifest_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], says: str, reason: str
) -> None:
    path = build_model(tmp_path / "model.onnx", says, (48, 64))
    with pytest.raises(ModelError, match=reason):
        Model(path)
    assert main([str(path), str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and len(said) < 500 and said.strip().isprintable()


def test_no_odd_value_in_a_manifest_brings_another_error() -> None:
    """Every value of the manifest and of an output, in turn, replaced by things of all types."""
    refused = 0
    says = json.loads(manifest().to_json())
    texts = [changed(**{key: odd}) for key in says for odd in ODD]
    texts += [output_changed(**{key: odd}) for key in says["outputs"][2] for odd in ODD]
    for text in texts:
        try:
            read = Manifest.from_json(text)
        except ModelError:
            refused += 1
        else:
            assert Manifest.from_json(read.to_json()).to_json() == read.to_json()
    assert 0.7 * len(texts) < refused < len(texts)


def test_metrics_may_be_no_numbers() -> None:
    """A class that is nowhere in the data has none."""
    assert np.isnan(
        Manifest.from_json(changed(metrics={"segmentation.miou": float("nan")})).metrics["segmentation.miou"]
    )


def test_a_manifest_of_many_megabytes_is_refused_at_once(tmp_path: Path) -> None:
    path = build_model(tmp_path / "model.onnx", changed(metrics={"a": "x" * 50_000_000}), (48, 64))
    started = time.perf_counter()
    with pytest.raises(ModelError, match="has 50.* characters, expected at most 1048576"):
        Model(path)
    assert time.perf_counter() - started < 5


def test_metadata_that_are_no_text(tmp_path: Path) -> None:
    path = build_model(tmp_path / "model.onnx", changed(format_version=1, checksum=0), (48, 64))
    path.write_bytes(path.read_bytes().replace(b'"camera"', b'"cam\xffra"'))
    with pytest.raises(ModelError, match="metadata that are no text"):
        Model(path)


# What the file is


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("intact") / "model.onnx", manifest(), (48, 64))


def test_every_flipped_bit_is_noticed(intact: Path, tmp_path: Path) -> None:
    Model(intact)
    data, path = intact.read_bytes(), tmp_path / "flipped.onnx"
    bits = np.random.default_rng(0).choice(8 * len(data), 300, replace=False).tolist()
    words = b'"checksum": "', b'"format_version": 3', b"mtl_vision", data[-70:]
    bits += [8 * data.rindex(word) + i for word in words for i in range(8 * len(word))]
    for bit in bits:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ModelError):
            Model(path)
    for damaged in (data[:-1], data[:1000], data + b"\n", data + data, data[:999] + data[1000:]):
        path.write_bytes(damaged)
        with pytest.raises(ModelError):
            Model(path)
    path.write_bytes(data.replace(b"tiny", b"tinY"))
    with pytest.raises(ModelError, match="is damaged: .* copy or export it again"):
        Model(path)


def test_a_file_of_before_checksums_loads(tmp_path: Path) -> None:
    says = {key: value for key, value in json.loads(manifest().to_json()).items() if key != "checksum"}
    old = build_model(tmp_path / "old.onnx", json.dumps(says | {"format_version": 1}), (48, 64))
    assert Model(old).manifest == manifest(format_version=1)
    new = build_model(tmp_path / "new.onnx", json.dumps(says), (48, 64))
    with pytest.raises(ModelError, match="is damaged"):
        Model(new)


def test_what_is_no_model_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("no model at all")
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 2**32)  # takes no space
    for name, reason in {
        "fifo": "expected an ONNX file, found no regular file",
        "/dev/zero": "found no regular file",
        "empty": "not an ONNX model|no manifest",
        "text": "not an ONNX model",
        "huge": "has 4294967296 bytes",
        "a" * 300: "File name too long",
    }.items():
        with pytest.raises(ModelError, match=reason):
            Model(tmp_path / name)
    assert main([str(tmp_path / "fifo"), str(tmp_path), "--out", str(tmp_path / "out")]) == 1


def external(location: str) -> Change:
    """The constant 0.5 is kept in another file."""

    def change(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "half")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": "0", "length": "4"}.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return change


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def of_floats(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (external("nothing.bin"), "not an ONNX model that onnxruntime can load"),
        (lambda model: setattr(model.graph.node[0], "domain", "ops.of.my.own"), "onnxruntime can load"),
        (lambda model: setattr(model.graph.node[0], "op_type", "No\x1b[31m\nSuch"), r"No\?\[31m Such"),
        (lambda model: setattr(model.opset_import[0], "version", 9999), "onnxruntime can load"),
        (lambda model: node(model, "x").input.__setitem__(0, "depth"), "onnxruntime can load"),  # a circle
        (becomes("depth", "ReduceMean", "x", "last"), r"expected output 'depth' .* found \(1, 48, 64, 1\)"),
        (becomes("depth", "Cast", "scaled", to=TensorProto.DOUBLE), "onnxruntime can load"),
        (second_input, "expected a graph of one input, 'image' .*'more'"),
        (of_floats, r"expected a graph of one input, 'image' .* 'tensor\(float\)'"),
    ],
)
def test_a_graph_that_is_not_ours_is_said_in_one_line(
    altered: Callable[..., Path], capfd: pytest.CaptureFixture[str], change: Change, reason: str
) -> None:
    with pytest.raises(ModelError, match=reason) as error:
        Model(altered(change))
    assert str(error.value).isprintable()
    assert capfd.readouterr().err == ""  # onnxruntime's own words come as exceptions


# The runtime itself


@pytest.mark.parametrize("threads", [10_000, 257, 0, -1])
def test_threads_without_end_are_refused(
    intact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], threads: int
) -> None:
    with pytest.raises(ValueError, match=f"threads is {threads}: expected 1 to 256"):
        Model(intact, threads=threads)
    if threads > 0:
        assert main([str(intact), str(tmp_path), "--out", str(tmp_path / "out"), f"--threads={threads}"]) == 1
        assert f"threads is {threads}: expected 1 to 256" in capsys.readouterr().err


def test_the_most_threads_are_taken(intact: Path) -> None:
    assert Model(intact, threads=256).predict(plain(GRAY))["depth"].shape == (48, 64)


SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # Linux's numbers of the machine and of socket()
SILENT = """
import ctypes, runpy, struct, sys, time
arch, number, seconds = map(int, sys.argv[1:4])
load, same, give, kill, allow = 0x20, 0x15, 0x06, 0x80000000, 0x7FFF0000
steps = [(load, 0, 0, 4), (same, 0, 3, arch), (load, 0, 0, 0), (same, 0, 1, number), (give, 0, 0, kill)]
steps = b"".join(struct.pack("HBBI", *step) for step in [*steps, (give, 0, 0, allow)])
class Filter(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("steps", ctypes.c_char_p)]
prctl = ctypes.CDLL(None, use_errno=True).prctl
# no new privileges, then the filter
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, ctypes.byref(Filter(len(steps) // 8, steps)), 0, 0):
    sys.exit(f"no seccomp here: {ctypes.get_errno()}")
sys.argv = sys.argv[4:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    code = end.code
time.sleep(max(seconds, 0))  # onnxruntime 1.31 speaks to the network after nine
if seconds < 0:
    import socket
    socket.socket()
sys.exit(code)
"""


def run_without_sockets(where: Path, model: Path, seconds: int) -> tuple[int, list[str]]:
    """infer.py in a process that a call of socket() kills: its exit code, and the files that it left in `where`."""
    if sys.platform != "linux" or platform.machine() not in SOCKET:
        pytest.skip("seccomp's filter is written for Linux on x86_64 and aarch64")
    folders = {name: where / name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    for folder in (*folders.values(), where / "cwd", where / "in"):
        folder.mkdir()
    cv2.imwrite(str(where / "in" / "a.png"), plain(GRAY))
    keep = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "CI")}
    environment = keep | {key: str(folder) for key, folder in folders.items()}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    numbers = map(str, (*SOCKET[platform.machine()], seconds))
    arguments = [*numbers, str(ROOT / "infer.py"), str(model), "../in", "--out", "../out", "--raw"]
    done = subprocess.run(
        [sys.executable, "-c", SILENT, *arguments], cwd=where / "cwd", env=environment, capture_output=True, timeout=60
    )
    left = [path.relative_to(where).as_posix() for path in where.rglob("*") if path.is_file()]
    return done.returncode, sorted(left)


@pytest.mark.parametrize("seconds", [0, pytest.param(15, marks=pytest.mark.slow)])
def test_the_runtime_opens_no_socket_and_writes_nothing_but_its_results(
    intact: Path, tmp_path: Path, seconds: int
) -> None:
    results = ["a.depth.png", "a.normals.png", "a.npz", "a.overview.jpg", "a.segmentation.png", "results.jsonl"]
    expected = ["in/a.png", *(f"out/{name}" for name in results)]
    assert run_without_sockets(tmp_path, intact, seconds) == (0, expected)


def test_a_socket_would_be_seen(intact: Path, tmp_path: Path) -> None:
    assert run_without_sockets(tmp_path, intact, -1)[0] < 0


def test_telemetry_is_off_unless_the_user_says_otherwise() -> None:
    code = "import os, mtl_vision; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, expected in {None: "1", "0": "0"}.items():
        environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
        environment |= {"PYTHONPATH": str(ROOT)} | ({"ORT_DISABLE_TELEMETRY": given} if given else {})
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
