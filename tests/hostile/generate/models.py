"""Models: damaged ONNX files, manifests that lie, graphs whose outputs are not what the manifest says."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_model import OUTPUTS, build_model

from mtl_vision.runtime.contract import MANIFEST_KEY, Manifest, ModelError
from mtl_vision.runtime.images import ImageError
from mtl_vision.runtime.kinds import KINDS
from mtl_vision.runtime.model import Model

from .damage import damaged, damaged_tree
from .outcome import outcome

SIZE = (24, 32)


@dataclass(frozen=True)
class Base:
    """Whole models, and the tree of their manifest."""

    files: list[bytes]
    graphs: list[onnx.ModelProto]
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A model's file, or the text of a manifest alone."""

    data: bytes | str
    whole: bool = False


def make_base(folder: Path) -> Base:
    """Tiny models: of one size and of any, with ids and with logits."""
    says = Manifest(OUTPUTS, *SIZE, stride=8)
    paths = [
        build_model(folder / "ids.onnx", says, axes=SIZE),
        build_model(folder / "logits.onnx", says, axes=SIZE, logits=2),
        build_model(folder / "any.onnx", Manifest(OUTPUTS, *SIZE, stride=8, dynamic_size=True)),
    ]
    files = [path.read_bytes() for path in paths]
    graphs = [onnx.load_from_string(data) for data in files]
    for graph in graphs:  # as of the first format, which has no checksum: what is changed is not refused for that alone
        dynamic = graph is graphs[-1]
        text = json.dumps(asdict(says) | {"dynamic_size": dynamic, "format_version": 1})
        helper.set_model_props(graph, {MANIFEST_KEY: text})
    return Base([*files, *(graph.SerializeToString() for graph in graphs)], graphs, asdict(says))


def generate(random: Random, base: Base, folder: Path) -> Case:
    """Mostly manifests, which are quick to try; then damaged files, and graphs with other outputs."""
    way, cwd = random.random(), str(folder.absolute())
    if way < 0.02:
        return Case(random.choice(base.files), whole=True)
    if way < 0.6:
        text = _text(random, damaged_tree(random, base.manifest, cwd))
        if way < 0.1:
            text = damaged(random, text.encode(errors="surrogatepass")).decode(errors="surrogateescape")
        return Case(text)
    if way < 0.75:
        return Case(damaged(random, random.choice(base.files), base.files))
    graph = onnx.ModelProto()
    graph.CopyFrom(random.choice(base.graphs))
    if way < 0.85:
        tree = damaged_tree(random, base.manifest | {"format_version": 1}, cwd)
        text = _text(random, tree).encode(errors="replace").decode()
        helper.set_model_props(graph, {MANIFEST_KEY: text})
    else:
        _other_output(random, graph)
    return Case(graph.SerializeToString())


def _text(random: Random, tree: Any) -> str:
    try:
        return json.dumps(tree, ensure_ascii=random.random() < 0.5)
    except (TypeError, ValueError):  # a tree that JSON cannot hold
        return repr(tree)


def _other_output(random: Random, model: onnx.ModelProto) -> None:
    """The last step of one output is followed by one more, that makes it what the manifest does not say."""
    graph = model.graph
    at = random.randrange(len(graph.output))
    name = graph.output[at].name
    for node in graph.node:
        node.output[:] = [f"{name}_before" if out == name else out for out in node.output]
    way = random.choice(("times", "cast", "cast", "unsqueeze", "flat", "reduce", "shape", "missing"))
    if way == "missing":
        del graph.output[at]
        return
    steps = [f"{name}_before"]
    if way == "times":
        factor = random.choice((float("nan"), float("inf"), -1.0, 0.0, 300.0, 1e38, 1e-45))
        graph.initializer.append(numpy_helper.from_array(np.float32(factor), "factor"))
        graph.node.append(helper.make_node("Cast", steps, ["float"], to=TensorProto.FLOAT))
        graph.node.append(helper.make_node("Mul", ["float", "factor"], [name]))
        dtype = TensorProto.FLOAT
        if random.random() < 0.5:  # as the manifest's type, with values that it cannot mean
            dtype = graph.output[at].type.tensor_type.elem_type
            graph.node[-1].output[0] = "product"
            graph.node.append(helper.make_node("Cast", ["product"], [name], to=dtype))
    elif way == "cast":
        types = ("FLOAT", "DOUBLE", "FLOAT16", "INT64", "INT32", "INT8", "UINT8", "BOOL", "STRING", "UINT16")
        dtype = getattr(TensorProto, random.choice(types))
        graph.node.append(helper.make_node("Cast", steps, [name], to=dtype))
    else:
        dtype = graph.output[at].type.tensor_type.elem_type
        axis = numpy_helper.from_array(np.array([random.choice((0, 1, -1))]), "axis")
        graph.initializer.append(axis)
        if way == "unsqueeze":
            graph.node.append(helper.make_node("Unsqueeze", [*steps, "axis"], [name]))
        elif way == "flat":
            graph.node.append(helper.make_node("Flatten", steps, [name], axis=random.choice((0, 1, 2))))
        elif way == "reduce":
            graph.node.append(helper.make_node("ReduceMax", [*steps, "axis"], [name], keepdims=random.choice((0, 1))))
        else:
            dtype = TensorProto.INT64
            graph.node.append(helper.make_node("Shape", steps, [name]))
    graph.output[at].CopyFrom(helper.make_tensor_value_info(name, dtype, None))


def feed(case: Case, folder: Path) -> None:
    """A manifest or model that is as it says, whose maps are what they must be; or a ModelError."""
    if isinstance(case.data, str):
        text = case.data
        manifest = outcome(lambda: Manifest.from_json(text), ModelError)
        if manifest is not None:
            check_manifest(manifest)
        return
    path = folder / "out" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(case.data)
    model = outcome(lambda: Model(path, threads=1), ModelError)
    assert model or not case.whole, "a whole model was refused"
    if model is not None:
        check_manifest(model.manifest)
        image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
        maps = outcome(lambda: model.predict(image), ModelError, ImageError, ValueError)
        assert maps or not case.whole, "a whole model did not run"
        if maps is not None:
            check_maps(maps, model.manifest, (20, 30))


def check_manifest(manifest: Manifest) -> None:
    """What is read is of the types that the fields have."""
    m = manifest
    for number in (m.height, m.width, m.stride):
        assert type(number) is int and number > 0, f"a side or stride of {number!r}"
    assert type(m.dynamic_size) is bool, f"dynamic_size {m.dynamic_size!r}"
    assert isinstance(m.metrics, dict) and isinstance(m.versions, dict), f"metrics {m.metrics!r}, {m.versions!r}"
    assert len(m.fill) == 3 and all(type(part) is int and 0 <= part <= 255 for part in m.fill), f"fill {m.fill!r}"
    camera = m.intrinsics
    assert camera is None or (len(camera) == 4 and all(np.isfinite(camera))), f"intrinsics {camera!r}"
    for output in m.outputs:
        assert isinstance(output.name, str) and output.kind in KINDS, f"{output.name!r} of kind {output.kind!r}"
        assert isinstance(output.unit, str) and isinstance(output.frame, str), f"{output.unit!r} {output.frame!r}"
        assert all(isinstance(name, str) for name in output.classes), f"classes {output.classes!r}"
        colours = [tuple(colour) for colour in output.palette]
        assert all(len(c) == 3 and all(type(part) is int and 0 <= part <= 255 for part in c) for c in colours)


def check_maps(maps: dict[str, np.ndarray], manifest: Manifest, size: tuple[int, int]) -> None:
    """Each map has its kind's type and shape, no value that is none, and no class that there is not."""
    assert list(maps) == [output.name for output in manifest.outputs]
    for output in manifest.outputs:
        kind, array = KINDS[output.kind], maps[output.name]
        assert array.shape == size + kind.tail and array.dtype == kind.dtype, f"{output.name} {array.shape}"
        assert np.isfinite(array).all(), f"{output.name} has values that are no numbers"
        if output.kind == "label_map" and output.classes:
            assert set(np.unique(array).tolist()) <= {*range(len(output.classes)), 255}, "ids beyond the classes"
