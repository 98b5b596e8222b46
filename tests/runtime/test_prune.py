"""The part of a graph that some outputs need, cut out without the onnx package, is what that package says it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_model import manifest

from mtl_vision.runtime.model import Model
from mtl_vision.runtime.prune import pruned

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)


@pytest.mark.parametrize("tasks", [["depth"], ["normals"], ["segmentation"], ["segmentation", "depth"]])
def test_a_part_gives_what_the_whole_gives(model_file: Path, tasks: list[str]) -> None:
    whole, part = Model(model_file, 1), Model(model_file, 1, tasks=tasks)
    found, expected = part.run(IMAGES), whole.run(IMAGES)
    assert list(found) == [name for name in expected if name in tasks] and part.checksum == whole.checksum
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])


def test_only_the_nodes_that_are_needed_stay(model_file: Path) -> None:
    data = model_file.read_bytes()
    model = onnx.load_from_string(pruned(data, ["normals"]))
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Cast", "Add", "ReduceL2", "Div"]
    assert [output.name for output in model.graph.output] == ["normals"]
    assert model.metadata_props == onnx.load(model_file).metadata_props
    assert onnx.load_from_string(pruned(data, ["depth", "normals", "segmentation"])) == onnx.load(model_file)


def test_what_a_branch_takes_from_outside_stays() -> None:
    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])

    inner = [helper.make_node("Add", ["outside", "outside"], ["sum"])]
    then = helper.make_graph(inner, "then", [], [value("sum")])
    other = helper.make_graph([helper.make_node("Identity", ["far"], ["same"])], "else", [], [value("same")])
    nodes = [
        helper.make_node("Neg", ["x"], ["outside"]),
        helper.make_node("Abs", ["x"], ["far"]),
        helper.make_node("Exp", ["x"], ["unused"]),
        helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other),
    ]
    inputs = [value("x"), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "g", inputs, [value("y"), value("unused")])
    data = helper.make_model(graph, ir_version=9).SerializeToString()
    found = onnx.load_from_string(pruned(data, ["y"]))
    assert [node.op_type for node in found.graph.node] == ["Neg", "Abs", "If"]


def test_damaged_bytes_are_an_error_or_a_model(model_file: Path) -> None:
    data = model_file.read_bytes()
    for end in range(1, len(data), 97):
        try:
            pruned(data[:end], ["depth"])
        except ValueError as error:
            assert "ONNX file" in str(error)
    with pytest.raises(ValueError, match="truncated"):
        pruned(data[:-1], ["depth"])


def test_unknown_tasks(make_model: Callable[..., Path]) -> None:
    path = make_model(manifest())
    with pytest.raises(ValueError, match="the model, which has depth, normals, segmentation; found albedo"):
        Model(path, tasks=["depth", "albedo"])
    with pytest.raises(ValueError, match="found none"):
        Model(path, tasks=[])
    assert [output.name for output in Model(path, tasks="depth").manifest.outputs] == ["depth"], "one by its name"
