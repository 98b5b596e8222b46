"""The code blocks of the documentation, and the commands that stand in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).parents[2]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md")), REPO / "data/README.md", REPO / "CONTRIBUTING.md"]
LANGUAGES = ("", "python", "yaml", "json", "text")  # "" is a shell's
# What a page says where the tests do not run a command: what that takes
NOT_RUN = re.compile(
    r"\b(minutes?|half an hour|days?|GPUs?|torchrun|npm|pip|hook|cluster|device|another machine|other machines)\b"
)
NOT_RUN_PAGE = "the tests check their options and do not run them"


@dataclass(frozen=True)
class Block:
    """Text between two fences. line: where it begins."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """For messages, and for the names of tests."""
        return f"{self.page.relative_to(REPO)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One call in a shell block. note: why the tests do not run it; '' where they do."""

    block: Block
    words: tuple[str, ...]
    note: str

    def __str__(self) -> str:
        return shlex.join(self.words)


def blocks(*languages: str) -> list[Block]:
    """All blocks of these languages, page by page."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```([^\n`]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1], match[2]))
    return [block for block in found if block.language in languages]


def commands() -> list[Command]:
    """All calls of all shell blocks."""
    return [command for block in blocks("") for command in commands_of(block)]


def commands_of(block: Block) -> list[Command]:
    """The calls of one block. A comment on a line of its own holds for those below it."""
    page_note = NOT_RUN_PAGE if NOT_RUN_PAGE in " ".join(block.page.read_text(encoding="utf-8").split()) else ""
    found, above = [], ""
    for line in re.sub(r"\\?\n\s+", " ", block.text).splitlines():  # a line that is set in goes on
        call, _, comment = line.partition("#") if line.startswith("#") else line.partition(" #")
        if not call.strip():
            above = comment
            continue
        for part in call.split(" && "):
            words = shlex.split(part.rpartition(" | ")[2] if "[" not in part else part)
            reason = NOT_RUN.search(f"{comment} {above} {words[0]} {words[2] if words[1:2] == ['-m'] else ''}")
            camera = "camera" if any(word.startswith("camera:") for word in words) else ""
            usage = "usage" if " [--" in part else ""
            note = page_note or camera or usage or (reason[0] if reason else "")
            words = [word.replace("$SLURM_ARRAY_TASK_ID", "3") for word in words if word != "..."]
            found.append(Command(block, tuple(words), note))
    return found
