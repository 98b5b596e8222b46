"""The public API says what each argument is, and what is raised: the site is made of it."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable

import pytest

import mtl_vision
from mtl_vision import balancers, config, runtime
from mtl_vision.datasets.targets import Target
from mtl_vision.runtime.contract import Manifest
from mtl_vision.runtime.kinds import Output
from mtl_vision.tasks.base import Chart, Figure

FUNCTIONS: dict[str, Callable] = {
    "train": mtl_vision.train,
    "load": mtl_vision.load,
    "draw": runtime.draw,
    "Run": mtl_vision.Run,
    "Model": runtime.Model,
    "Run.export": mtl_vision.Run.export,
    "Run.run": mtl_vision.Run.run,
    "Model.run": runtime.Model.run,
    "Predictor.predict": runtime.Predictor.predict,
    "Predictor.run": runtime.Predictor.run,
    "Shared.cut": balancers.Shared.cut,
    "Balancer.backward": balancers.Balancer.backward,
    "Balancer.step": balancers.Balancer.step,
    "Balancer.observe": balancers.Balancer.observe,
    **balancers.BALANCERS,
}
FIELDS = (
    *(config.Config, config.Component, config.RunConfig, config.DataConfig, config.ModelConfig, config.TasksConfig),
    *(config.TrainConfig, Manifest, Output, balancers.Shared, balancers.TaskLoss, Target, Figure, Chart),
)
SHOWN_ELSEWHERE = {
    "decoder",
    "head",
}  # of ModelConfig: components, which have a help of their own


def entries(item: Callable, *sections: str) -> set[str]:
    """The names in these sections of a docstring."""
    doc = inspect.getdoc(item) or ""
    found: set[str] = set()
    for section in sections:
        for body in re.findall(rf"^{section}:\n((?:    .*\n?|\n)+)", doc + "\n", re.MULTILINE):
            found |= set(re.findall(r"^    (\w+)(?: \(.*?\))?:", body, re.MULTILINE))
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_argument_is_said(name: str) -> None:
    item = FUNCTIONS[name]
    expected = {key for key in inspect.signature(item).parameters if key not in ("self", "cls")}
    if isinstance(item, type) and issubclass(item, balancers.Balancer):
        expected.discard("tasks")  # the base class says it
        assert entries(item, "Args") - {"tasks"} == expected
    else:
        assert entries(item, "Args") == expected


@pytest.mark.parametrize("item", FIELDS, ids=lambda item: item.__name__)
def test_each_field_is_said(item: type) -> None:
    names = {field.name for field in dataclasses.fields(item)}
    assert entries(item, "Args", "Attributes") == names - (SHOWN_ELSEWHERE if item is config.ModelConfig else set())


@pytest.mark.parametrize("name", ["train", "load", "Run", "Model", "Run.export", "Model.run", "Predictor.predict"])
def test_what_is_raised_is_said(name: str) -> None:
    assert entries(FUNCTIONS[name], "Raises")
