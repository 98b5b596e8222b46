"""What the documentation says fits the project: commands their parsers, links their pages, tables the code."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_blocks import LANGUAGES, PAGES, REPO, Block, Command, blocks, commands, commands_of

from mtl_vision.balancers import BALANCERS
from mtl_vision.datasets.description import read_description
from mtl_vision.engine.parse import parse

MODULES = {
    "mtl-export": "mtl_vision.export.cli",
    "mtl-data": "mtl_vision.prepare",
    "mtl-infer": "mtl_vision.runtime.cli",
    "mtl-report": "mtl_vision.report.cli",
    "infer.py": "mtl_vision.runtime.cli",
    "data/prepare.py": "mtl_vision.prepare",
    "export": "mtl_vision.export.cli",
    "mtl_vision.engine.reproduce": "mtl_vision.engine.reproduce",
}
TRAIN = ("mtl-train", "train.py")


class Parsed(BaseException):
    """The command line was understood. Nothing else catches it."""


@pytest.fixture
def parses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command ends once its command line is read."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)


def program_of(words: tuple[str, ...]) -> tuple[str, list[str]]:
    """What is called, and with what."""
    program, *rest = words
    if re.fullmatch(r"\w+=.*", program):  # of its environment
        return program_of(tuple(rest))
    if program == "torchrun":
        at = rest.index("train.py")
        return "train.py", rest[at + 1 :]
    if program == "timeout":
        return program_of(tuple(rest[1:]))
    if program == "python":
        return (rest[1], rest[2:]) if rest[0] == "-m" else (rest[0], rest[1:])
    return program, rest


def is_ours(program: str) -> bool:
    """Whether it is a command or a script of this project."""
    return program in (*TRAIN, *MODULES) or (REPO / program).is_file()


def main_of(program: str) -> Callable[..., object]:
    """The function behind a script's name."""
    return importlib.import_module(MODULES.get(program) or program.removesuffix(".py").replace("/", ".")).main


@contextlib.contextmanager
def said() -> Iterator[io.StringIO]:
    """What is printed."""
    with io.StringIO() as text, contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        yield text


def understand(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise what a program says of a wrong command line."""
    program, arguments = program_of(words)
    if program == "pip":
        extras = re.findall(r"\[(.*?)\]", " ".join(arguments))
        known = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert all(extra in known for names in extras for extra in names.split(","))
    elif program == "pytest":
        assert all((REPO / word).exists() for word in arguments if word.startswith("tests/"))
    elif program in TRAIN:
        with contextlib.suppress(SystemExit):  # --help
            parse(arguments)
    elif is_ours(program):
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        with pytest.raises(Parsed):
            main_of(program)()


def test_a_block_is_read_as_a_shell_would(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a page")
    text = """\
# minutes each
python train.py --data.size "[96, 128]" \\
    --train.epochs 2
mtl-infer a.onnx b && mtl-report c  # what it is

"""
    first, second, third = commands_of(Block(page, 1, "", text))
    assert first.words == ("python", "train.py", "--data.size", "[96, 128]", "--train.epochs", "2")
    assert second.words == ("mtl-infer", "a.onnx", "b") and third.words == ("mtl-report", "c")
    assert {first.note, second.note, third.note} == {"minutes"}
    (plain,) = commands_of(Block(page, 1, "", "find . | mtl-infer a.onnx - --out DIR"))
    assert plain.words == ("mtl-infer", "a.onnx", "-", "--out", "DIR") and plain.note == ""


def test_what_is_not_run_says_so() -> None:
    """Programs that are not ours are never run."""
    silent = [f"{c.block.name}: {c}" for c in commands() if not c.note and not is_ours(program_of(c.words)[0])]
    assert not silent, "say in a comment beside each what it takes, in words that doc_blocks.NOT_RUN knows"


def test_there_are_commands_of_every_kind() -> None:
    """Else nothing would be held below."""
    programs = {program_of(command.words)[0] for command in commands()}
    assert programs >= {"train.py", "export", "mtl-export", "mtl-infer", "mtl-report", "mtl-data", "pip"}
    assert programs >= {"studies/compare.py", "benchmarks/balancers.py"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
@pytest.mark.usefixtures("parses_only")
def test_every_command_is_understood(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPO)
    for command in commands():
        if command.block.page != page or "--inspect" in command.words:  # which wants its file
            continue
        with said() as text:
            try:
                if command.note == "usage":
                    knows_its_options(command)
                else:
                    understand(command.words, monkeypatch)
            except (SystemExit, ValueError, AssertionError, ImportError) as error:
                pytest.fail(f"{command.block.name}: {command}: {error} {text.getvalue()[-500:]}")


def knows_its_options(command: Command) -> None:
    """Of a line that lists what there is, in brackets: each option is one."""
    with said() as text:
        with contextlib.suppress(SystemExit):
            main_of(program_of(command.words)[0])(["--help"])
        options = re.findall(r"--[a-z][\w-]*", " ".join(command.words))
        assert options and not [option for option in options if option not in text.getvalue()]


@pytest.mark.parametrize("block", blocks("yaml", "json"), ids=lambda block: block.name)
def test_data_are_what_they_say(block: Block, tmp_path: Path) -> None:
    """YAML is a dataset.yaml here; JSON a part of a line of results.jsonl."""
    if block.language == "json":
        assert json.loads("{" + block.text + "}")
        return
    path = tmp_path / "dataset.yaml"
    path.write_text(block.text)
    assert yaml.safe_load(block.text)
    read_description(path)


def test_blocks_are_of_known_languages() -> None:
    """A shell's has none: everything in it is a command."""
    every = [match for page in PAGES for match in re.findall(r"^```([^\n`]+)$", page.read_text(), re.MULTILINE)]
    assert set(every) <= set(LANGUAGES)


def anchors(page: Path) -> set[str]:
    """Those of a page's headings; as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, REPO / "SECURITY.md"], ids=lambda page: str(page.relative_to(REPO)))
def test_links_and_pictures_are_there(page: Path) -> None:
    """Of files in the repository; those that mkdocs makes (the API's, and pages from elsewhere) its build checks."""
    made = ("data-sets.md", "contributing.md", "security.md", "changelog.md")
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if target.startswith("https://") or path in made or anchor.startswith("mtl_vision"):
            continue
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}"


def test_no_picture_is_heavy() -> None:
    assert all(picture.stat().st_size < 600_000 for picture in (REPO / "docs").glob("*.png"))


def test_the_table_of_balancers_has_all_with_all_settings() -> None:
    page = (REPO / "docs/balancing.md").read_text()
    rows = dict(re.findall(r"^\| \[`(\w+)`\]\(#mtl_vision.balancers.\w+\) \|.*\| (.*?) ?\|$", page, re.MULTILINE))
    assert list(rows) == list(BALANCERS) or set(rows) == set(BALANCERS)
    for name, method in BALANCERS.items():
        code = method.__init__.__code__
        settings = [key for key in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if key != "self"]
        assert re.findall(r"`(\w+)`", rows[name]) == [key for key in settings if key != "tasks"], name
        assert f"::: mtl_vision.balancers.{name}\n" in page


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"[\w-]+\.md", (REPO / "mkdocs.yml").read_text().split("\nnav:")[1].split("\nplugins:")[0])
    assert {page.name for page in (REPO / "docs").glob("*.md")} <= set(listed)


def test_the_readme_is_short() -> None:
    assert len((REPO / "README.md").read_text().splitlines()) <= 150
