"""Classes by their short names or import paths, and what a recipe's components make of them."""

from collections.abc import Iterator, Mapping
from inspect import isabstract
from pkgutil import resolve_name
from typing import Any, get_args, get_type_hints

from mtl_vision.config import Component
from mtl_vision.runtime.near import did_you_mean
from mtl_vision.tasks import TASKS, Task


def class_of(name: Any, base: type) -> Any:
    """The class of an import path or of a short name: a task's own, else that of one of `base`'s subclasses.

    Raises ValueError for a name that there is not, and for a class that is no complete subclass of `base`.
    """
    if not isinstance(name, str):
        raise ValueError(f"{name!r:.60} names no {base.__name__}: expected a class, by its name or import path")
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
    except Exception as error:  # of any type, where the module's own code fails
        raise ValueError(f"cannot import '{name}' ({error}): expected the import path of a {base.__name__}") from error
    if not (isinstance(cls, type) and issubclass(cls, base)) or cls.__name__.startswith("_"):
        raise ValueError(f"'{name}' is {cls!r:.60}: expected the import path of a {base.__name__}")
    if isabstract(cls) or (base is Task and not hasattr(cls, "name")):
        raise ValueError(f"'{name}' is a base class: expected the import path of a complete {base.__name__}")
    return cls


def import_path(cls: type) -> str:
    """Where a class is defined."""
    return f"{cls.__module__}.{cls.__qualname__}"


def make(component: Component, base: type, *arguments: Any) -> Any:
    """The object: its class, one of `base`, called with the arguments and the settings."""
    cls = class_of(component.class_path, base)
    return cls(*arguments, **made(component.init_args, cls))


def made(settings: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """The settings of `cls` with components (mappings with a class_path) turned into objects.

    Raises ValueError for a component where `cls` does not take one: a recipe calls no other classes.
    """
    return {
        key: make(Component(value["class_path"], value.get("init_args", {})), _base(cls, key))
        if isinstance(value, Mapping) and "class_path" in value
        else value
        for key, value in settings.items()
    }


def _base(cls: type, setting: str) -> type:
    """The class that a setting is annotated with, alone or beside others: Backbone for Backbone | str."""
    for owner in cls.__mro__:  # a constructor may hand the rest of its arguments on to its base's
        hint = get_type_hints(vars(owner)["__init__"]).get(setting) if "__init__" in vars(owner) else None
        if hint is not None:
            for base in get_args(hint) or (hint,):
                if isinstance(base, type) and base not in (Any, object) and base.__module__ != "builtins":
                    return base
    raise ValueError(f"{setting} names a class: expected a value, {cls.__name__} takes no component there")


def _subclasses(base: type) -> Iterator[type]:
    for cls in base.__subclasses__():
        if not cls.__name__.startswith("_"):
            yield cls
        yield from _subclasses(cls)
