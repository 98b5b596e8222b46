"""What a misspelt word was meant to be."""

import difflib
from collections.abc import Iterable


def nearest(word: object, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Up to `count` known words that are near, the nearest first."""
    return difflib.get_close_matches(str(word), list(known), count, cutoff)


def did_you_mean(word: object, known: Iterable[str], count: int = 1) -> str:
    """`, did you mean 'GradNorm'?` where a known word is near, else nothing: the end of an error's first sentence."""
    near = nearest(word, known, count)
    return f", did you mean {' or '.join(map(repr, near))}?" if near else ""
