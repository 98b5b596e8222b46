"""A file's checksum inside the file itself: SHA-256 of all its bytes, taken with zeros where the checksum stands.

It is a value of a JSON text that the file holds uncompressed. It shows damage, not intent.
"""

from hashlib import sha256

KEY, ROOM = "checksum", "0" * 64  # in JSON, before the checksum is known
_START, _ROOM = f'"{KEY}": "'.encode(), ROOM.encode()


def with_checksum(data: bytes) -> bytes:
    """The file's bytes with their checksum in the room for it; as they are where there is none."""
    digest = sha256(data).hexdigest().encode()
    return data.replace(_START + _ROOM, _START + digest)


def is_intact(data: bytes) -> bool | None:
    """Whether the file's bytes are those that the checksum was taken of; None where there is no checksum."""
    start = data.rfind(_START) + len(_START)
    if start < len(_START):
        return None
    view, end = memoryview(data), start + len(_ROOM)
    found = sha256(view[:start])  # not in one piece, which would be a copy
    found.update(_ROOM)
    found.update(view[end:])
    return view[start:end] == found.hexdigest().encode()
