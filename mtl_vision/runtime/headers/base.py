"""What is read from every format."""

from dataclasses import dataclass


class ImageError(ValueError):
    """The image cannot be read or used; the message says why."""


class NotAPhotoError(ImageError):
    """The image is a map of one number a pixel, such as depth."""


@dataclass(frozen=True)
class Header:
    """width, height: as stored, in pixels. channels (1, 3 or 4), bits (8 to 64): of the decoded array, at most.

    working: bytes of the decoder's own. maximum: the brightest decoded value, where it is less than the bits allow.
    opaque: a fourth channel is no opacity. end: of the image's own bytes, where others may follow.
    """

    format: str
    width: int
    height: int
    channels: int
    bits: int
    working: int = 0
    maximum: int | None = None
    opaque: bool = False
    end: int | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise damaged(f"it says that it has {self.width} x {self.height} pixels")

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def is_map(self) -> bool:
        """Whether it has one channel of more bits than photos have: a map, such as of depth."""
        return self.channels == 1 and self.bits > 8

    @property
    def reading(self) -> int:
        """Bytes of memory that reading the image takes at most, beside those of the file.

        OpenCV copies the decoded array when its decoder has finished; turning an RGB image upright takes two as well.
        """
        decoded = self.pixels * self.channels * self.bits // 8
        return max(decoded + max(decoded, self.working), 6 * self.pixels)


def damaged(what: str) -> ImageError:
    return ImageError(f"the file is damaged: {what}; copy it again from its source")


def truncated(what: str = "its end is missing") -> ImageError:
    return ImageError(f"the file is truncated: {what}; copy it again from its source")
