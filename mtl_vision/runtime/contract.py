"""The contract between exporter and runtime: a JSON manifest inside the ONNX file.

It is kept under `metadata_props[MANIFEST_KEY]`. The graph gives one output a name listed here, each of a kind in
`kinds.KINDS`. Of the form "full" it takes `image` (N, H, W, 3) uint8 RGB, unnormalised, and gives maps. Of the form
"core" it takes `image` (1, 3, H', W') float32 RGB as (values - mean) / std, H' and W' the multiples of the stride from
height and width upwards, the edge repeated below and to the right, and gives (1, C, height, width) float32: numbers,
vectors of any length, or logits. Format version 2 brought the file's checksum, 3 what is said of form, precision and
verification.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any, Self

from mtl_vision.runtime import checksum
from mtl_vision.runtime.kinds import IGNORE, KINDS, Output

MANIFEST_KEY = "mtl_vision"
FORMAT_VERSION, READABLE = 3, (1, 2, 3)  # 1 has no checksum
MAX_SIDE, MAX_CHARACTERS = 2**13, 2**20  # of an input; of a manifest
FORMS, PRECISIONS = ("full", "core"), ("", "float32", "float16", "int8")  # of the graph; of its weights, "": not said
RESERVED = ("overview", "points", "file", "allow_pickle")  # no outputs' names: results', and two arguments of np.savez


class ModelError(Exception):
    """This runtime cannot run the file, or the network failed; the message says why and what to do."""


def one_line(error: Exception) -> str:
    """What an error says, in one line of printable characters."""
    text = " ".join((str(error) or repr(error)).split())[:1000]
    return "".join(c if c.isprintable() else "?" for c in text)


@dataclass(frozen=True)
class Manifest:
    """What the file says about itself. What an older file does not say is None or empty.

    Attributes:
        outputs: in the graph's order
        height: that the network takes, pixels; the only one unless `dynamic_size`
        width: the same
        stride: a dynamic size must be a multiple of it
        dynamic_size: whether the graph takes other sizes
        resize: how an image is brought to size; "letterbox": scaled to fit, aspect kept, the rest filled with `fill`
        fill: RGB
        intrinsics: (fx, fy, cx, cy) in pixels at height x width, where known
        metrics: of the network, by their keys, measured at `trained_size`
        versions: of what made the file
        trained_size: (H, W) that the network was trained and its metrics were measured at
        form: "full" or "core"
        mean: of RGB in 0..255, which a full graph normalises by and a core one is to be fed by
        std: the same
        precision: of weights and computation
        opset: of the graph (0: not said)
        verification: what the file was compared with, and how far it was off
        format_version: of the manifest
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
    trained_size: tuple[int, int] | None = None
    form: str = "full"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    precision: str = ""
    opset: int = 0
    verification: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The manifest of a new file, with room for the file's checksum."""
        return json.dumps(asdict(self) | {"format_version": FORMAT_VERSION, checksum.KEY: checksum.ROOM})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a manifest. Raises ModelError on anything that this runtime does not understand."""
        try:
            if len(text) > MAX_CHARACTERS:
                raise ValueError(f"it has {len(text)} characters, expected at most {MAX_CHARACTERS}")
            data = json.loads(text)
            if "format_version" not in data:
                raise ValueError("it has no format_version")
            version = data["format_version"]
            if version not in READABLE:
                raise ModelError(
                    f"the model's manifest has format version {version!r:.80}, this runtime reads "
                    f"{READABLE[0]} to {READABLE[-1]}: upgrade mtl-vision, or export the model again with this one"
                )
            _check(data, cls, _MANIFEST)
            for i, output in enumerate(data["outputs"]):
                _check(output, Output, _OUTPUT, f"outputs[{i}].")
            data["outputs"] = [Output(**_tuples(output)) for output in data["outputs"]]
            manifest = cls(**_tuples({f.name: data[f.name] for f in fields(cls) if f.name in data}))
        except (TypeError, ValueError, RecursionError) as error:
            raise ModelError(
                f"the model's manifest is not readable or incomplete ({one_line(error)}); export the model again"
            ) from error
        manifest._check_names()
        return manifest

    def only(self, names: Collection[str]) -> Self:
        """The manifest of these outputs, or of one, alone, in its own order. Raises ValueError for others."""
        names = [names] if isinstance(names, str) else names
        known = [output.name for output in self.outputs]
        if not names or set(names) - set(known):
            wrong = ", ".join(sorted(set(names) - set(known))) or "none"
            raise ValueError(f"expected tasks of the model, which has {', '.join(known)}; found {wrong}")
        return replace(self, outputs=[output for output in self.outputs if output.name in names])

    @property
    def padded_size(self) -> tuple[int, int]:
        """What a core graph takes: height and width, each raised to a multiple of the stride."""
        return -(-self.height // self.stride) * self.stride, -(-self.width // self.stride) * self.stride

    def _check_names(self) -> None:
        found = [("the resize rule is", self.resize, ("letterbox",)), ("the graph's form is", self.form, FORMS)]
        found += [("the precision is", self.precision, PRECISIONS)]
        found += [(f"output '{output.name}' is of kind", output.kind, KINDS) for output in self.outputs]
        for what, word, known in found:
            if word not in known:
                raise ModelError(f"{what} {word!r}, this runtime knows {', '.join(known)}: upgrade mtl-vision")
        names = [output.name for output in self.outputs]
        if len({name.casefold() for name in names}) < len(names):  # a disk may not tell A from a
            raise ModelError(f"expected outputs of different names, found {names}; export the model again")
        if self.form == "core" and (self.mean is None or self.std is None or self.dynamic_size):
            raise ModelError("a core graph has a mean, a std and one size, this manifest lacks one; export it again")


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _list(fits: Callable[[Any], bool], low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and low <= len(value) <= high and all(map(fits, value))


def _number(value: Any) -> bool:
    return type(value) in (int, float) and -math.inf < value < math.inf


def _above_0(value: Any) -> bool:
    return _number(value) and 1e-6 <= value <= 1e6


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 1000


def _name(value: Any) -> bool:
    return _text(value) and bool(re.fullmatch(r"\w[\w-]{,63}", value)) and value.casefold() not in RESERVED


_COLOUR = _list(_whole(0, 255), 3, 3)
_SIDE = (_whole(1, MAX_SIDE), f"a whole number from 1 to {MAX_SIDE}")
_TEXT = (_text, "a text of at most 1000 characters")

# What the values must be, and that in words
_MANIFEST = {
    "outputs": (_list(lambda value: isinstance(value, dict), 1, 64), "a list of 1 to 64 outputs"),
    "height": _SIDE,
    "width": _SIDE,
    "stride": _SIDE,
    "dynamic_size": (lambda value: isinstance(value, bool), "true or false"),
    "resize": _TEXT,
    "fill": (_COLOUR, "[red, green, blue], each 0 to 255"),
    "intrinsics": (lambda value: value is None or _list(_number, 4, 4)(value), "[fx, fy, cx, cy] or null"),
    "metrics": (lambda value: isinstance(value, dict), "a mapping"),
    "versions": (lambda value: isinstance(value, dict), "a mapping"),
    "trained_size": (lambda value: value is None or _list(_SIDE[0], 2, 2)(value), "[height, width] or null"),
    "form": _TEXT,
    "mean": (lambda value: value is None or _list(_number, 3, 3)(value), "[red, green, blue] or null"),
    "std": (lambda value: value is None or _list(_above_0, 3, 3)(value), "[red, green, blue] above 0, or null"),
    "precision": _TEXT,
    "opset": (_whole(0, 10**4), "a whole number"),
    "verification": (lambda value: isinstance(value, dict), "a mapping"),
    "format_version": (_whole(1, FORMAT_VERSION), "a whole number"),
}
_OUTPUT = {
    "name": (_name, f"a file name's part of at most 64 letters, digits, '_' and '-', and none of {RESERVED}"),
    "kind": _TEXT,
    "unit": _TEXT,
    "frame": _TEXT,
    "range": (lambda value: value is None or _list(_number, 2, 2)(value), "[low, high] or null"),
    "classes": (_list(_text, 0, IGNORE), f"a list of at most {IGNORE} names"),
    "palette": (_list(_COLOUR, 0, IGNORE + 1), f"a list of at most {IGNORE + 1} [red, green, blue], each 0 to 255"),
}


def _check(data: Any, cls: type, values: Mapping[str, tuple[Callable[[Any], bool], str]], where: str = "") -> None:
    """Raise ValueError for the first value that is not as `values` says, or is missing."""
    for f in fields(cls):
        fits, words = values[f.name]
        if f.name in data and not fits(data[f.name]):
            raise ValueError(f"{where}{f.name} is {data[f.name]!r:.80}, expected {words}")
        if f.name not in data and f.default is f.default_factory is MISSING:
            raise ValueError(f"it has no {where}{f.name}")


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples: give the fields that hold them their type back."""
    tuples = ("range", "fill", "intrinsics", "trained_size", "mean", "std")
    data = {key: tuple(v) if key in tuples and v else v for key, v in data.items()}
    if "palette" in data:
        data["palette"] = [tuple(colour) for colour in data["palette"]]
    return data
