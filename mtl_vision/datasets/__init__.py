"""Data sets on disk: what a folder holds, how its files are read, and the samples that they make."""

from mtl_vision.runtime.terminal import printable


class DataError(Exception):
    """The data are not as expected; the message names the file, what was expected and what to do, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))  # files may be called anything
