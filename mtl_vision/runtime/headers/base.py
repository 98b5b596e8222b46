"""What is read from every format."""

from dataclasses import dataclass


class ImageError(ValueError):
    """The image cannot be read or used; the message says why."""


@dataclass(frozen=True)
class Header:
    """width, height: as stored, in pixels. channels (1, 3 or 4), bits (8 to 64): of the decoded array, at most.

    working: bytes of the decoder's own.
    """

    format: str
    width: int
    height: int
    channels: int
    bits: int
    working: int = 0

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise damaged(f"it says that it has {self.width} x {self.height} pixels")

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def decoded(self) -> int:
        """Bytes of the array that decoding gives."""
        return self.pixels * self.channels * self.bits // 8

    @property
    def decoding(self) -> int:
        """Bytes of memory that decoding takes at most: OpenCV copies the array when the decoder has finished."""
        return self.decoded + max(self.decoded, self.working)


def damaged(what: str) -> ImageError:
    return ImageError(f"the file is damaged: {what}; copy it again from its source")


def truncated(what: str = "its end is missing") -> ImageError:
    return ImageError(f"the file is truncated: {what}; copy it again from its source")
