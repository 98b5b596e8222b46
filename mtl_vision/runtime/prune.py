"""The part of an ONNX graph that some of its outputs need, cut out of the file's bytes.

onnxruntime computes every node, whatever outputs it is asked for. A file is a tree of protocol buffers' fields
(https://protobuf.dev/programming-guides/encoding, onnx.proto): fields that stay are copied as they are.
"""

from collections.abc import Collection, Iterator

GRAPH = 7  # of ModelProto
NODE, OUTPUT = 1, 12  # of GraphProto
NODE_INPUT, NODE_OUTPUT, NODE_ATTRIBUTE = 1, 2, 5  # of NodeProto
ATTRIBUTE_GRAPHS = (6, 11)  # of AttributeProto: the branches of an If, the body of a Loop
VALUE_NAME = 1  # of ValueInfoProto
Field = tuple[int, memoryview, memoryview]  # number, what it holds, all its bytes


def pruned(model: bytes, outputs: Collection[str]) -> bytes:
    """The model with these outputs of its graph alone, and the nodes that they need. Raises ValueError when damaged."""
    parts = []
    for number, value, whole in _fields(memoryview(model)):
        if number == GRAPH:
            graph = _graph(value, outputs)
            parts += [bytes([GRAPH << 3 | 2]), _varint(len(graph)), graph]
        else:
            parts.append(whole)
    return b"".join(parts)


def _graph(graph: memoryview, outputs: Collection[str]) -> bytes:
    fields = list(_fields(graph))
    needed = {name.encode() for name in outputs}
    kept: set[int] = set()
    for i in reversed(range(len(fields))):  # nodes stand behind those that they need
        number, value, _ = fields[i]
        if number == NODE and needed & set(_names(value, NODE_OUTPUT)):
            kept.add(i)
            needed |= set(_inputs(value))
    asked = {name.encode() for name in outputs}
    for i, (number, value, _) in enumerate(fields):
        if number != NODE and (number != OUTPUT or set(_names(value, VALUE_NAME)) & asked):
            kept.add(i)
    return b"".join(fields[i][2] for i in sorted(kept))


def _inputs(node: memoryview) -> Iterator[bytes]:
    """What a node needs, with what the graphs within it take from outside."""
    yield from _names(node, NODE_INPUT)
    for number, attribute, _ in _fields(node):
        if number == NODE_ATTRIBUTE:
            for kind, graph, _ in _fields(attribute):
                if kind in ATTRIBUTE_GRAPHS:
                    for part, inner, _ in _fields(graph):
                        if part == NODE:
                            yield from _inputs(inner)
                        elif part == OUTPUT:  # it may be a value from outside
                            yield from _names(inner, VALUE_NAME)


def _names(message: memoryview, wanted: int) -> Iterator[bytes]:
    return (bytes(value) for number, value, _ in _fields(message) if number == wanted)


def _fields(message: memoryview) -> Iterator[Field]:
    place = 0
    while place < len(message):
        start = place
        key, place = _number(message, place)
        wire = key & 7
        if wire == 0:
            _, end = _number(message, place)
        elif wire in (1, 5):
            end = place + (8 if wire == 1 else 4)
        elif wire == 2:
            length, place = _number(message, place)
            end = place + length
        else:
            raise ValueError(f"no ONNX file has a field of type {wire}")
        if end > len(message):
            raise ValueError("the ONNX file is truncated")
        yield key >> 3, message[place:end], message[start:end]
        place = end


def _number(message: memoryview, place: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = shift = 0
    while place < len(message) and shift < 70:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
    raise ValueError("the ONNX file is truncated")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
