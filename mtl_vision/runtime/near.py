"""What a misspelt word was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: object, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> str:
    """`, did you mean 'gradnorm'?` where a known word is near, else nothing: the end of an error's first sentence."""
    near = difflib.get_close_matches(str(word), list(known), count, cutoff)
    return f", did you mean {' or '.join(map(repr, near))}?" if near else ""
