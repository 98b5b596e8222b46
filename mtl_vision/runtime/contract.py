"""The contract between whoever exports a model and whoever runs it: a JSON manifest inside the ONNX file.

It stands under `metadata_props[MANIFEST_KEY]`. The graph takes `image` (N, H, W, 3) uint8 RGB, unnormalised, and gives
one output a name listed here, each of a kind in `kinds.KINDS`.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mtl_vision.runtime.kinds import KINDS

MANIFEST_KEY = "mtl_vision"
FORMAT_VERSION = 1
RESIZE_RULES = ("letterbox",)


class ModelError(Exception):
    """The file is no model that this runtime can run; the message says why and what to do."""


@dataclass(frozen=True)
class Output:
    """One output of the graph. `range` is (low, high) in `unit`; classes, palette and ignore are for label maps."""

    name: str
    kind: str
    unit: str = ""
    frame: str = ""
    range: tuple[float, float] | None = None
    classes: list[str] = field(default_factory=list)
    palette: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Manifest:
    """What the file says of itself.

    height, width: the size that the network was trained at, and the only one it takes unless `dynamic_size`.
    stride: a dynamic size must be a multiple of it. resize: how an image is brought to size ("letterbox": scaled to
    fit, aspect kept, the rest filled with `fill`). intrinsics: (fx, fy, cx, cy) at height x width, where known.
    """

    outputs: list[Output]
    height: int
    width: int
    stride: int = 32
    dynamic_size: bool = False
    resize: str = "letterbox"
    fill: tuple[int, int, int] = (124, 116, 104)
    intrinsics: tuple[float, float, float, float] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The manifest as it stands in the file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest. Raises ModelError on anything that this runtime does not understand."""
        try:
            data = json.loads(text)
            version = data["format_version"]
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"the model's manifest is not readable ({error!r}); export the model again") from error
        if version != FORMAT_VERSION:
            raise ModelError(
                f"the model's manifest has format version {version}, this runtime reads {FORMAT_VERSION}: "
                + ("upgrade mtl-vision" if _newer(version) else "export the model again with this mtl-vision")
            )
        try:
            known = {f.name for f in fields(cls)}
            data = {key: value for key, value in data.items() if key in known}
            data["outputs"] = [Output(**_tuples(output)) for output in data["outputs"]]
            manifest = cls(**_tuples(data))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ModelError(f"the model's manifest is incomplete ({error}); export the model again") from error
        manifest._check()
        return manifest

    def _check(self) -> None:
        if self.resize not in RESIZE_RULES:
            raise ModelError(
                f"the resize rule is '{self.resize}', this runtime knows {', '.join(RESIZE_RULES)}: upgrade mtl-vision"
            )
        for output in self.outputs:
            if output.kind not in KINDS:
                raise ModelError(
                    f"output '{output.name}' is of kind '{output.kind}', this runtime knows {', '.join(KINDS)}: "
                    "upgrade mtl-vision"
                )
            if not re.fullmatch(r"\w[\w-]*", output.name) or output.name == "overview":
                raise ModelError(
                    f"output '{output.name}' cannot name a file: expected letters, digits, '_' and '-', and not "
                    "'overview'; export the model again with another name"
                )
        names = [output.name for output in self.outputs]
        if not names or len(set(names)) < len(names):
            raise ModelError(f"expected outputs of different names, found {names}; export the model again")


def _newer(version: Any) -> bool:
    return isinstance(version, int) and version > FORMAT_VERSION


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples: give the fields that hold them their type back."""
    tuple_fields = ("range", "fill", "intrinsics")
    data = {key: tuple(v) if key in tuple_fields and v is not None else v for key, v in data.items()}
    if "palette" in data:
        data["palette"] = [tuple(colour) for colour in data["palette"]]
    return data
