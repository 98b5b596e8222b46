"""Classes by their short names or import paths, and what a recipe's components make of them."""

from collections.abc import Iterator, Mapping
from pkgutil import resolve_name
from typing import Any

from mtl_vision.config import Component
from mtl_vision.runtime.near import did_you_mean
from mtl_vision.tasks import TASKS, Task


def class_of(name: str, base: type) -> Any:
    """The class of an import path or of a short name: a task's own, else that of one of `base`'s subclasses.

    Raises ValueError for a name that there is not, and for a class that is no subclass of `base`.
    """
    if "." not in name:
        if base is object:  # another package may have a class of that name
            raise ValueError(f"'{name}' is no import path: expected one, such as mtl_vision.models.Fusion")
        known = TASKS if base is Task else {cls.__name__: cls for cls in _subclasses(base)}
        if name not in known:
            raise ValueError(
                f"no {base.__name__} is called '{name}'{did_you_mean(name, known)}; expected {', '.join(known)}, or "
                "the import path of a class"
            )
        return known[name]
    try:
        cls = resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"cannot import '{name}' ({error}): expected the import path of a {base.__name__}") from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ValueError(f"'{name}' is {cls!r}: expected the import path of a {base.__name__}")
    return cls


def import_path(cls: type) -> str:
    """Where a class is defined."""
    return f"{cls.__module__}.{cls.__qualname__}"


def make(component: Component, *arguments: Any) -> Any:
    """The object: its class called with the arguments and the settings, components among them made first."""
    return class_of(component.class_path, object)(*arguments, **made(component.init_args))


def made(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with components (mappings with a class_path) turned into objects."""
    return {
        key: make(Component(**value)) if isinstance(value, Mapping) and "class_path" in value else value
        for key, value in settings.items()
    }


def _subclasses(base: type) -> Iterator[type]:
    for cls in base.__subclasses__():
        if not cls.__name__.startswith("_"):
            yield cls
        yield from _subclasses(cls)
