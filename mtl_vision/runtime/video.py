"""Video files and cameras, read and written through OpenCV."""

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

from mtl_vision.runtime.files import atomic_path, partial_name

SUFFIXES = frozenset(
    [".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ogv", ".3gp", ".ts", ".mts", ".m2ts"]
)
CODECS = (("mp4v", ".mp4"), ("MJPG", ".avi"))  # the first that this OpenCV can write
WHOLE = 0.95  # of the frames that a file says it has: some formats' count is an estimate
_CAMERA = re.compile(r"camera:(\d{1,3})")


class VideoError(ValueError):
    """The video cannot be read, or no further; the message says why."""


def is_video(path: str | Path) -> bool:
    """Whether a path is that of a video file, by its suffix, or `camera:N`."""
    return is_camera(path) or (Path(path).suffix.lower() in SUFFIXES and not os.path.isdir(path))  # noqa: PTH112


def is_camera(path: str | Path) -> bool:
    """Whether it is `camera:N`."""
    return bool(_CAMERA.fullmatch(str(path)))


class Reader:
    """A video file, or a camera. size: (h, w) of its frames; fps: 0 where it is not known; count: of frames, as said.

    Raises VideoError when it cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self._live = is_camera(path)
        if found := _CAMERA.fullmatch(str(path)):
            self._capture = cv2.VideoCapture(int(found[1]))
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one of a second ago
            wrong = "OpenCV cannot open this camera: is it there, and may you use it?"
        else:
            path = Path(path)
            if not path.is_file():
                found = "a folder" if path.is_dir() else "a device or a pipe" if path.exists() else "no such file"
                raise VideoError(f"expected a video, found {found}")
            # its absolute path: no name of a file is taken for a protocol, and no other backend for a file of its own
            self._capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
            if not self._capture.isOpened():
                self._capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_OPENCV_MJPEG)
            wrong = "OpenCV cannot open it: no video, damaged, or of a codec that is not here"
        if not self._capture.isOpened():
            raise VideoError(wrong)
        width, height = (int(self._get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self.size, self.fps = (height, width), self._get(cv2.CAP_PROP_FPS)
        self.count = 0 if self._live else int(self._get(cv2.CAP_PROP_FRAME_COUNT))

    def _get(self, key: int) -> float:
        """A property; 0 where it makes no sense."""
        value = self._capture.get(key)
        return value if 0 < value < 1e9 else 0.0

    def close(self) -> None:
        """End reading."""
        self._capture.release()

    def frames(self, every: int = 1) -> Iterator[tuple[int, float, np.ndarray]]:
        """Each frame whose number, from 0, is a multiple of `every`: number, seconds, (h, w, 3) uint8 RGB.

        Raises VideoError, after the frames before it, where there are none, fewer than the file says, or of several
        sizes.
        """
        number, size, began = 0, None, time.monotonic()
        while self._capture.grab():
            if number % every == 0:
                done, bgr = self._capture.retrieve()
                if not done or bgr is None:
                    break
                if size not in (None, bgr.shape):
                    raise VideoError(
                        f"frame {number} has {bgr.shape[1]} x {bgr.shape[0]} pixels, those before it {size[1]} x "
                        f"{size[0]}: expected one size; cut the video there"
                    )
                size = bgr.shape
                seconds = time.monotonic() - began if self._live else number / (self.fps or 25.0)
                yield number, seconds, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            number += 1
        if self._live:
            raise VideoError("the camera gives no more frames: is it still connected?")
        if number == 0:
            raise VideoError("it has no frames that OpenCV can decode")
        if number < WHOLE * self.count:
            raise VideoError(f"it ends after {number} of {self.count} frames: truncated or damaged; copy it again")


class Writer:
    """Frames on their way to a file. path: what it will be called."""

    def __init__(self, temporary: Path, path: Path, codec: str, fps: float) -> None:
        self.path, self.count = path, 0
        self._temporary, self._codec, self._fps = temporary, codec, fps
        self._size = (0, 0)
        self._writer: cv2.VideoWriter | None = None

    def write(self, rgb: np.ndarray) -> None:
        """Add a frame (H, W, 3) uint8 RGB, of the first one's size."""
        if self._writer is None:
            self._size = rgb.shape[0] + rgb.shape[0] % 2, rgb.shape[1] + rgb.shape[1] % 2  # codecs take even sizes
            fourcc = cv2.VideoWriter.fourcc(*self._codec)
            self._writer = cv2.VideoWriter(str(self._temporary), fourcc, self._fps, self._size[::-1])
        bottom, right = self._size[0] - rgb.shape[0], self._size[1] - rgb.shape[1]
        even = cv2.copyMakeBorder(rgb, 0, bottom, 0, right, cv2.BORDER_REPLICATE) if bottom or right else rgb
        self._writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))
        self.count += 1

    def close(self) -> None:
        """Complete the file. OpenCV says nothing of a disk that is full."""
        if self._writer is not None:
            self._writer.release()

    def check(self) -> None:
        """Raise OSError unless the file has all its frames."""
        written = cv2.VideoCapture(str(self._temporary))
        found = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
        written.release()
        if found < self.count:
            what = f"only {max(found, 0)} of {self.count} frames of the video could be written; is the disk full?"
            raise OSError(errno.ENOSPC, what, str(self.path))


class _NothingError(Exception):
    """No frame was written."""


@contextmanager
def writing(stem: Path, fps: float) -> Iterator[Writer]:
    """A video that appears under its name, `stem` with the codec's suffix, when the block ends and it is complete.

    Without a frame there will be no file. Raises OSError where no video can be written; the folder must exist.
    """
    codec, suffix = usable_codec(stem.parent)
    path = stem.with_name(stem.name + suffix)
    with suppress(_NothingError), atomic_path(path) as temporary:
        writer = Writer(temporary, path, codec, fps)
        try:
            yield writer
        finally:
            writer.close()
        if not writer.count:
            raise _NothingError
        writer.check()


def usable_codec(folder: Path) -> tuple[str, str]:
    """The first of CODECS that this OpenCV writes. Raises OSError where it writes none."""
    for codec, suffix in CODECS:
        trial = folder / partial_name(suffix)
        writer = cv2.VideoWriter(str(trial), cv2.VideoWriter.fourcc(*codec), 25.0, (64, 64))
        opened = writer.isOpened()
        writer.release()
        trial.unlink(missing_ok=True)
        if opened:
            return codec, suffix
    tried = ", ".join(codec for codec, _ in CODECS)
    raise OSError(errno.EIO, f"OpenCV can write no video here (tried {tried}), or the disk is full", str(folder))
