"""The small network that comes with the package: the word `demo` in a model's place."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_vision.runtime import Model
from mtl_vision.runtime.cli import main
from mtl_vision.runtime.demo import model_path

CARD = Path(__file__).parents[2] / "docs/model-card.md"


@pytest.fixture(scope="module")
def demo() -> Model:
    return Model("demo", threads=1)


def test_the_word_is_taken_by_mtl_infer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8))
    assert main(["demo", str(photo), "--out", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").glob("photo.*")} == {
        "photo.depth.png", "photo.normals.png", "photo.segmentation.png", "photo.overview.jpg"
    }  # fmt: skip
    with pytest.raises(SystemExit):
        main(["--inspect", "demo"])
    assert "metrics at 144 x 192" in capsys.readouterr().out


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_path("demo").name == "demo.onnx"
    assert model_path("runs/demo") == Path("runs/demo")
    (tmp_path / "demo").mkdir()
    assert model_path("demo") == Path("demo")


def test_the_card_has_the_figures_that_the_file_has(demo: Model) -> None:
    """And the file is small enough to come with the package."""
    text, metrics = CARD.read_text(), demo.manifest.metrics
    assert metrics["protocol.samples"] == 654 and metrics["protocol.split"] == "test"
    of = {"segmentation.miou": "{:.1f} %", "depth.rmse": "{:.3f} m", "normals.mean": "{:.1f} degrees"}
    assert [form for name, form in of.items() if form.format(metrics[name]) not in text] == []
    assert f"{demo.path.stat().st_size / 1e6:.1f} MB" in text and demo.path.stat().st_size < 5e6
