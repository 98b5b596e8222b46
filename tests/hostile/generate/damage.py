"""Damage to bytes and to trees of values, of whatever format they are."""

import copy
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, -1)
HEADER = 64  # bytes: where most formats keep their sizes


def damaged(random: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The bytes after one to four kinds of damage; others: valid ones to take parts of."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        data = random.choice(WAYS)(random, data, others or (data,))
    return data


def _flipped(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    found = bytearray(data)
    for _ in range(min(len(found), random.choice((1, 1, 3, 20)))):
        found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def _overwritten(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, stop = _range(random, data)
    what = random.choice((b"\0", b"\xff", b"A", None))
    return data[:start] + (random.randbytes(stop - start) if what is None else what * (stop - start)) + data[stop:]


def _field(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A number of 2, 4 or 8 bytes becomes an extreme one, mostly in the header."""
    size = random.choice((2, 4, 4, 8))
    at = random.randrange(max(1, min(len(data), random.choice((HEADER, HEADER, len(data))))))
    return data[:at] + extreme(random, size, random.choice("<>")) + data[at + size :]


def extreme(random: Random, size: int, order: str = ">") -> bytes:
    """An extreme number of 2, 4 or 8 bytes."""
    return struct.pack(order + {2: "H", 4: "I", 8: "Q"}[size], random.choice(EXTREMES) % 2 ** (8 * size))


def _cut(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _removed(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, stop = _range(random, data)
    return data[:start] + data[stop:]


def _repeated(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, stop = _range(random, data)
    return data[:stop] + data[start:stop] * random.choice((1, 2, 30)) + data[stop:]


def _inserted(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.choice((1, 2, 4, 100))) + data[at:]


def _spliced(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """The beginning of one, the end of another."""
    other = random.choice(others)
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def _joined(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data + random.choice(others)


def _range(random: Random, data: bytes) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice((1, 2, 4, 8, 64, 1000)))


WAYS: tuple[Callable[[Random, bytes, Sequence[bytes]], bytes], ...] = (
    _flipped, _flipped, _overwritten, _field, _field, _cut, _removed, _repeated, _inserted, _spliced, _joined,
)  # fmt: skip

# {cwd}: the folder of the input
ELSEWHERE = ("../../../escaped", "../escaped", "a/../../escaped", "{cwd}/escaped", "..", "../../../escaped/..")
NAMES = (
    *ELSEWHERE, ".", "/", "", "nul\0l", "new\nline", "\x1b[31mred", "n" * 243, "n" * 300, "ä\u202etxt", "\udcff", "-rf",
    "~", "CON", "a\\b", "*", "[", "{split}", "$HOME", "%s%n",
)  # fmt: skip


def hostile_name(random: Random, cwd: str) -> str:
    """A name that leads elsewhere, is too long, or cannot be printed or be a name at all."""
    return random.choice((random.choice(ELSEWHERE), random.choice(NAMES), random.choice(NAMES))).replace("{cwd}", cwd)


def wrong_value(random: Random, cwd: str) -> Any:
    """A value of any type that JSON or YAML can hold."""
    numbers = (0, 1, -1, 2, 255, 256, 65536, 10**9, 2**63, -(2**63), 10**40, 0.5, -0.5, 1e-300, 1e308)
    odd = (float("nan"), float("inf"), -float("inf"), None, True, False, "", "x", "1", "true", "x" * 5000, "1e400")
    nested = ([], {}, [[]], [{}], {"a": 1}, [None], [1, "x", None], {"class_path": "os.system"}, {"": {}}, deep(random))
    return random.choice((random.choice(numbers), random.choice(odd), random.choice(nested), hostile_name(random, cwd)))


def deep(random: Random) -> Any:
    """Lists within lists."""
    value: Any = []
    for _ in range(random.choice((3, 50, 200))):
        value = [value]
    return value


def damaged_tree(random: Random, tree: Any, cwd: str) -> Any:
    """The tree with one to three of its values, keys or branches changed."""
    tree = copy.deepcopy(tree)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return wrong_value(random, cwd)
        branch, key = random.choice(places)
        _change(random, branch, key, cwd)
    return tree if random.random() < 0.98 else wrong_value(random, cwd)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (mapping or list, key or index) in the tree."""
    here = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    return [(tree, key) for key, _ in here] + [place for _, value in here for place in _places(value)]


def _change(random: Random, branch: Any, key: Any, cwd: str) -> None:
    way = random.randrange(8)
    if way == 0:
        del branch[key]
    elif way == 1 and isinstance(branch, dict):
        branch[random.choice((f"{key}x", str(key)[:-1], hostile_name(random, cwd), 1, None))] = branch.pop(key)
    elif way == 2:
        branch[key] = [branch[key]] * random.choice((1, 2, 300))
    elif way == 3:
        other, place = random.choice(_places(branch))
        branch[key] = copy.deepcopy(other[place])
    else:
        branch[key] = wrong_value(random, cwd)
