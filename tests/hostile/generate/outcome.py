"""What may come of an input: a result, or an error of a documented type that says in one line what is wrong."""

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, TypeVar

T = TypeVar("T")
LONGEST = 1500  # characters of an error


def outcome(call: Callable[[], T], *errors: type[Exception]) -> T | None:
    """The result of a call, or None where it raised one of these errors, itself and no subclass (but of OSError)."""
    try:
        return call()
    except Exception as error:
        if type(error) not in errors and not (OSError in errors and isinstance(error, OSError)):
            raise
        check_message(str(error))
        return None


def check_message(text: str) -> None:
    """An error's words: one printable line that says something, and not that memory ran out."""
    assert text.strip(), "an error without a word"
    assert len(text) <= LONGEST, f"an error of {len(text)} characters: {text[:300]!r}"
    odd = {character for character in text if not character.isprintable()}
    assert not odd, f"an error with {odd}: {text[:300]!r}"
    assert "allocate" not in text and "MemoryError" not in text and "bad_alloc" not in text, f"out of memory: {text!r}"


def door(main: Callable[[list[str]], object], words: list[str], *codes: int) -> int:
    """Run a command line: its exit code, one of `codes`. Its words are printable, no traceback, and say what failed.

    Both streams are UTF-8, as a terminal's are; Python escapes on stderr what that cannot hold.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code: Any = main(words)
        except SystemExit as end:
            code = end.code
    for stream in (out, err):
        stream.flush()
    said, complained = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    assert code in codes, f"exit code {code!r}, expected one of {codes}: {complained[-300:]!r}"
    assert "Traceback (most recent call last)" not in complained, f"a traceback: {complained[-1000:]!r}"
    odd = {character for character in said + complained if not character.isprintable() and character not in "\n\r\t"}
    assert not odd, f"{odd} went to the terminal: {(said + complained)[-300:]!r}"
    long = max(map(len, complained.splitlines()), default=0)
    assert long <= LONGEST, f"a line of {long} characters: {complained[:300]!r}"
    assert code == 0 or complained.strip() or said.strip(), f"exit code {code} without a word"
    return code
