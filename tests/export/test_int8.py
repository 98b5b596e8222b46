"""8-bit files: which convolutions stay in float, whether the file is worth it, and its first layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from benchmarks.random_export import random_run
from mtl_vision.export.deployed import Deployed
from mtl_vision.export.graph import make_manifest, trace
from mtl_vision.export.int8 import AIM, MOST, Judged, described, keep_in_float, relative_losses
from mtl_vision.export.pixels import CENTRED, with_raw_pixels
from mtl_vision.export.quantize import Quantizer
from mtl_vision.export.verify import smooth_noise

SIZE = (40, 64)  # of 64 x 64 after padding
IMAGES = smooth_noise(8, SIZE)


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    run = random_run("test_efficientnet", SIZE, ["depth", "normals"])
    return trace(run, Deployed(run))


def outputs(model: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})


def test_relative_losses_are_positive_where_it_got_worse() -> None:
    main = {"depth.rmse": False, "segmentation.miou": True, "edges.f": True}
    before = {"depth.rmse": 0.5, "segmentation.miou": 40.0}
    losses = relative_losses(main, before, {"depth.rmse": 0.52, "segmentation.miou": 42.0})
    assert losses == pytest.approx({"depth.rmse": 0.04, "segmentation.miou": -0.05})
    assert np.isnan(relative_losses(main, before, {"depth.rmse": 0.5})["segmentation.miou"])


def search(costs: dict[str, float]) -> tuple[list[str], int]:
    """What stays in float where each convolution in 8 bits adds its cost to a loss, and how many models were tried."""
    tried = []

    def losses(kept: Sequence[str]) -> dict[str, float]:
        tried.append(tuple(kept))
        return {"depth.rmse": sum(cost for name, cost in costs.items() if name not in kept), "normals.mean": -1.0}

    return keep_in_float(list(costs), losses, 0.005), len(tried)


def test_all_in_8_bits_where_they_cost_little() -> None:
    assert search({"a": 0.001, "b": 0.002, "c": -0.1}) == ([], 1)


def test_the_worst_convolutions_stay_in_float_and_no_more_than_needed() -> None:
    small = dict.fromkeys("efgh", 0.0)
    assert search({"a": 0.004, "b": 0.03, "c": 0.0, "d": 0.02} | small) == (["b", "d"], 1 + 8 + 2)  # 2 fit, 1 does not
    assert search({"a": 0.004, "b": 0.03, "c": 0.01, "d": 0.02} | small) == (["b", "d", "c"], 1 + 8 + 2)
    assert search({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})[0] == ["d", "c"]  # half at most
    assert search({"a": 1.0})[0] == ["a"]


def test_a_loss_that_is_no_number_does_not_fit() -> None:
    assert search({"a": 0.0, "b": float("nan")})[0] == ["b"]


def test_without_a_metric_to_choose_by_all_is_in_8_bits() -> None:
    assert keep_in_float(["a"], lambda kept: {}, 0.005) == []


def judged(loss: float, times: float) -> Judged:
    before, after = {"depth.rmse": 0.5}, {"depth.rmse": 0.5 * (1 + loss)}
    return Judged(["x"], 9, "test", before, after, {"depth.rmse": loss}, times)


def test_the_advice() -> None:
    assert judged(MOST, 1.1).advice() == "" and judged(-0.1, 1.1).advice() == ""
    assert judged(0.02, 1.1).advice() == "do not use it: it loses 2.0 % of depth.rmse; take the float file"
    assert "not faster on this machine; take" in judged(0, 1.0).advice()
    both = judged(float("nan"), 0.9)
    assert "not faster on this machine, and it loses nan % of depth.rmse" in both.advice()
    assert both.lines()[0] == (
        "8 bits: 1 of 9 convolutions stay in float; 0.90 times as fast as float32 here; on test: depth.rmse 0.5 -> nan "
        "(+nan %)"
    )
    assert both.lines()[1] == both.advice() == both.as_json()["advice"]
    assert AIM < MOST


def test_the_normalisation_goes_into_the_first_convolution(graph: onnx.ModelProto) -> None:
    """Exactly, but for the padding's few grey levels."""
    raw = with_raw_pixels(graph)
    kinds = [node.op_type for node in raw.graph.node]
    assert kinds.count("Div") < [node.op_type for node in graph.graph.node].count("Div")
    conv = next(node for node in raw.graph.node if CENTRED in node.input)
    assert conv.op_type == "Conv"
    for plain, other in zip(outputs(graph, IMAGES), outputs(raw, IMAGES), strict=True):
        assert np.abs(plain - other).mean() < 0.01 * np.abs(plain).mean()
    # the convolution alone, inside: the same to rounding
    before = next(node for node in graph.graph.node if node.op_type == "Conv")
    firsts = []
    for model, node in ((graph, before), (raw, conv)):
        taken = onnx.ModelProto()
        taken.CopyFrom(model)
        taken.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
        firsts.append(outputs(taken, IMAGES)[-1][:, :, 1:-1, 1:-1])
    np.testing.assert_allclose(firsts[0], firsts[1], rtol=1e-4, atol=1e-4)


def test_a_graph_without_such_a_beginning_stays_as_it_is(graph: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(graph)
    next(node for node in other.graph.node if node.op_type == "Sub").op_type = "Add"
    assert with_raw_pixels(other) == other


def test_8_bit_graphs_take_bytes_and_keep_what_they_are_told(graph: onnx.ModelProto, tmp_path: Path) -> None:
    quantizer = Quantizer(graph, IMAGES)
    assert set(quantizer.last).isdisjoint(quantizer.convolutions) and len(quantizer.last) == 2
    truth = outputs(graph, IMAGES)
    small = quantizer.quantized()
    onnx.checker.check_model(small)
    kinds = [node.op_type for node in small.graph.node]
    assert kinds[: kinds.index("DequantizeLinear")].count("Cast") == 0 and kinds.count("Sub") == 0
    quantised = [np.abs(a - b).mean() for a, b in zip(outputs(small, IMAGES), truth, strict=True)]
    kept = quantizer.quantized(quantizer.convolutions)
    exact = [np.abs(a - b).mean() for a, b in zip(outputs(kept, IMAGES), truth, strict=True)]
    assert all(e < q for e, q in zip(exact, quantised, strict=True))
    assert torch.tensor(quantised).isfinite().all()
    weights = {tensor.name: tensor.data_type for tensor in small.graph.initializer}
    origin = {node.output[0]: node.input[0] for node in small.graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in small.graph.node if node.op_type == "Conv"]
    eight = [node.name for node in convolutions if weights.get(origin.get(node.input[1], "")) == onnx.TensorProto.INT8]
    assert sorted(eight) == sorted(quantizer.convolutions)
    kinds = [node.op_type for node in kept.graph.node]
    assert "QuantizeLinear" not in kinds  # nor is anything else in 8 bits


def test_its_own_metrics_are_those_of_the_trained_size() -> None:
    m = make_manifest(random_run("test_efficientnet", SIZE, ["depth"]))
    m = replace(m, metrics={"depth.rmse": 0.4, "protocol.seed": 0})
    assert m.trained_size == SIZE
    assert described(m, judged(0.0, 2.0)).metrics == {"depth.rmse": 0.5, "protocol.seed": 0}
    assert described(replace(m, dynamic_size=True), judged(0.0, 2.0)).metrics == m.metrics  # it takes 32 x 64
