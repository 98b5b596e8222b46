"""The contract between exporter and runtime: a JSON manifest inside the ONNX file.

It is kept under `metadata_props[MANIFEST_KEY]`. The graph takes `image` (N, H, W, 3) uint8 RGB, unnormalised, and gives
one output a name listed here, each of a kind in `kinds.KINDS`.
"""

import json
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from mtl_vision.runtime.kinds import KINDS, Output

MANIFEST_KEY = "mtl_vision"
FORMAT_VERSION = 1


class ModelError(Exception):
    """This runtime cannot run the file; the message says why and what to do."""


@dataclass(frozen=True)
class Manifest:
    """What the file says about itself.

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
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a manifest. Raises ModelError on anything that this runtime does not understand."""
        try:
            data = json.loads(text)
            version = data["format_version"]
            if version != FORMAT_VERSION:
                raise ModelError(
                    f"the model's manifest has format version {version}, this runtime reads {FORMAT_VERSION}: "
                    "upgrade mtl-vision, or export the model again with this one"
                )
            data["outputs"] = [Output(**_tuples(output)) for output in data["outputs"]]
            manifest = cls(**_tuples({f.name: data[f.name] for f in fields(cls) if f.name in data}))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ModelError(
                f"the model's manifest is not readable or incomplete ({error!r}); export the model again"
            ) from error
        manifest._check()
        return manifest

    def _check(self) -> None:
        found = [("the resize rule is", self.resize, ("letterbox",))]
        found += [(f"output '{output.name}' is of kind", output.kind, KINDS) for output in self.outputs]
        for what, word, known in found:
            if word not in known:
                raise ModelError(f"{what} '{word}', this runtime knows {', '.join(known)}: upgrade mtl-vision")
        names = [output.name for output in self.outputs]
        if not names or len(set(names)) < len(names):
            raise ModelError(f"expected outputs of different names, found {names}; export the model again")
        for name in names:
            if not re.fullmatch(r"\w[\w-]*", name) or name == "overview":
                raise ModelError(
                    f"output '{name}' cannot name a file: expected letters, digits, '_' and '-', and not 'overview'; "
                    "export the model again with another name"
                )


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples: give the fields that hold them their type back."""
    data = {key: tuple(v) if key in ("range", "fill", "intrinsics") and v else v for key, v in data.items()}
    if "palette" in data:
        data["palette"] = [tuple(colour) for colour in data["palette"]]
    return data
