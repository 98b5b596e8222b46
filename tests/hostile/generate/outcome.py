"""What may come of an input: a result, or an error of a documented type that says in one line what is wrong."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LONGEST = 1000  # characters of an error


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


def check_words(code: object, expected: tuple[int, ...], out: str, err: str) -> None:
    """What a command line left: an exit code of the documented ones, no traceback, and a word where it failed."""
    assert code in expected, f"exit code {code}, expected one of {expected}: {err[-300:]!r}"
    assert "Traceback (most recent call last)" not in out + err, f"a traceback: {err[-1000:]!r}"
    odd = {character for character in out + err if not character.isprintable() and character not in "\n\r\t"}
    assert not odd, f"{odd} went to the terminal: {(out + err)[:300]!r}"
    assert code == 0 or err.strip() or out.strip(), f"exit code {code} without a word"
