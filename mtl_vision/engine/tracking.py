"""What a run records on the way: history.jsonl, a line a step, and TensorBoard events of the same."""

import json
import math
import os
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import IO, Any

from mtl_vision.history import HISTORY, parse_record
from mtl_vision.runtime.lock import LockedError, lock, unlock

EVENTS = "tensorboard"
BUSY = "{} is being trained by another process: wait for it, or end it"


class Tracker:
    """Appends records to `history.jsonl`, which it locks, and if wanted to TensorBoard. from_step: that comes next.

    Raises ValueError where another process is training the run.
    """

    def __init__(self, folder: Path, tensorboard: bool, from_step: int = 0) -> None:
        with ExitStack() as opened:
            self.file = opened.enter_context((folder / HISTORY).open("a+b"))
            try:
                lock(self.file)
            except LockedError as error:
                raise ValueError(BUSY.format(folder)) from error
            opened.callback(unlock, self.file)  # loading processes may have it open for longer
            again = _cut(self.file, from_step)
            self.events = None
            if tensorboard:
                self.events = opened.enter_context(closing(_Events(folder / EVENTS, from_step, again)))
            self._opened = opened.pop_all()

    def step(self, record: dict[str, Any]) -> None:
        """record: `step` and scalars, or {task: value} mappings."""
        self.file.write(json.dumps(_clean(record)).encode() + b"\n")
        self.file.flush()  # on disk line by line
        if self.events is not None:
            self.events.add(record)

    def close(self) -> None:
        """Close the files."""
        self._opened.close()


def is_being_trained(folder: Path) -> bool:
    """Whether a process is training this run now."""
    with suppress(OSError), (folder / HISTORY).open("r+b") as file:
        try:
            lock(file, shared=True)  # processes that ask at once are not in each other's way
        except LockedError:
            return True
    return False


class _Events:
    """A TensorBoard file. Its own writer works in a thread, which says what a full disk is in a traceback."""

    def __init__(self, folder: Path, from_step: int, again: bool) -> None:
        # slow to import: only where it is used
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[attr-defined]
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[attr-defined]
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.event, self.summary = Event, Summary
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self.writer = RecordWriter((folder / name).open("wb"))
        self._write(step=from_step, file_version="brain.Event:2")
        if again:  # what earlier files have from here on is left out
            self._write(step=from_step, session_log=SessionLog(status=SessionLog.START))

    def add(self, record: Mapping[str, Any]) -> None:
        """The scalars of a record."""
        values = []
        for name, value in record.items():
            for task, v in value.items() if isinstance(value, dict) else [("", value)]:
                if isinstance(v, (int, float)) and name != "step":
                    tag = f"{name}/{task}" if task else name
                    values.append(self.summary.Value(tag=tag, simple_value=float(v)))
        self._write(step=record["step"], summary=self.summary(value=values))

    def close(self) -> None:
        self.writer.close()

    def _write(self, **content: Any) -> None:
        self.writer.write(self.event(wall_time=time.time(), **content).SerializeToString())
        self.writer.flush()


def _clean(value: Any) -> Any:
    """JSON has no NaN: a missing value is null."""
    if isinstance(value, dict):
        return {key: _clean(v) for key, v in value.items()}
    if isinstance(value, float):
        return round(value, 7) if math.isfinite(value) else None
    return value


def _cut(file: IO[bytes], from_step: int) -> bool:
    """Cut behind the last record before `from_step`: steps after the checkpoint are done again. Was there any line?

    In place: a full disk does not matter, and the lock stays. Damaged lines in between stay, readers leave them out.
    """
    end = at = 0
    file.seek(0)
    for line in file:
        at += len(line)
        record = parse_record(line)
        if record is not None and record["step"] < from_step and line.endswith(b"\n"):
            end = at
    file.truncate(end)
    return at > 0
