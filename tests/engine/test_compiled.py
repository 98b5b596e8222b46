"""torch.compile of the training step: the same losses and weights, and the same names in the state."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import test_distributed as two
import torch
from test_run import arguments
from torch import Tensor

from mtl_vision.engine import compiled
from mtl_vision.engine.cli import main


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler's own code
def test_a_compiled_step_is_the_same() -> None:
    try:
        compiled.expect_compiler(torch.device("cpu"))
    except ValueError as error:
        pytest.skip(str(error))
    plain, made = two.make("GradNorm"), two.make("GradNorm", compile=True)
    for step in range(3):  # with a task missing in the third
        batches = [two.batch(step, micro, 0, 1) for micro in range(two.MICRO)]
        expected, found = plain.step(batches), made.step(batches)
        assert found.keys() == expected.keys()
        for task, loss in expected.items():
            assert found[task].item() == pytest.approx(loss.item(), rel=1e-5)
        torch.testing.assert_close(
            made.balancer.report()["weight"], plain.balancer.report()["weight"], rtol=1e-5, atol=0
        )
    state = made.model.state_dict()
    assert list(state) == list(plain.model.state_dict())
    for key, value in plain.model.state_dict().items():
        torch.testing.assert_close(state[key], value, rtol=1e-4, atol=1e-6)
    made.load_state_dict(plain.state_dict())


def test_several_processes_on_the_cpu_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled.distributed, "world", lambda: 2)
    with pytest.raises(ValueError, match="run.compile is true: expected one process on the CPU"):
        compiled.expect_compiler(torch.device("cpu"))


def test_a_compiler_that_is_missing_is_told(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*args: object, **settings: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", missing)
    assert main(arguments(rooms, tmp_path, "a", "--run.compile=true")) != 0
    said = capsys.readouterr().err
    assert "run.compile: torch.compile does not work here (RuntimeError: no compiler); install" in said
    assert not (tmp_path / "runs/a").exists()


def test_all_of_many_heads_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch compiles the same lines eight times at most."""
    graphs: list[Any] = []

    names = [f"t{i}" for i in range(12)]

    class Twelve:
        heads = names

        def levels(self, image: Tensor) -> Tensor:
            return image

        def decode(self, z: Tensor, size: tuple[int, int], tasks: list[str]) -> dict[str, Tensor]:
            return {name: z * int(name[1:]) + 1 for name in tasks}

    def counted(graph: Any, inputs: object) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counted))
    maps = compiled.Compiled(Twelve()).decode(torch.ones(3), (1, 1), names)
    assert maps["t11"].tolist() == [12.0] * 3
    assert len(graphs) == 12
