"""Objects as plain data, in the command line's form: ``{class_path, init_args}``.

Objectives, networks and penalties keep their constructor arguments unchanged under their own
names, so an object built in Python can be written down, stored in a checkpoint that loads with
``weights_only=True``, and built again.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from torch import nn

from frbench.contracts.errors import UserError
from frbench.contracts.trust import check_trusted


@cache
def _passed_on(init: Any) -> frozenset[str]:
    """Names of the arguments that a constructor itself gives to its base's constructor."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, TypeError):  # written in a session, or not in Python
        return frozenset()
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    inner = (c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "__init__")
    return frozenset(k.arg for call in inner for k in call.keywords if k.arg)


def init_parameters(cls: type) -> list[str]:
    """Names of the constructor arguments of a class, those behind ``**kwargs`` included.

    Not among them are arguments of a base that the class fixes, as it calls its constructor.
    """
    return list(_parameters(cls))


@cache
def _parameters(cls: type) -> tuple[str, ...]:
    names: dict[str, None] = {}
    fixed: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        init = vars(base)["__init__"]
        parameters = list(inspect.signature(init).parameters.values())[1:]
        names |= {
            p.name: None
            for p in parameters
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in fixed
        }
        fixed |= _passed_on(init)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return tuple(names)


def transient_arguments(cls: type) -> dict[str, Any]:
    """Arguments that only a first construction needs, with the value a checkpoint stores."""
    return getattr(cls, "transient_arguments", {})


def to_spec(value: Any) -> Any:
    """Write a value as plain data; objects become ``{class_path, init_args}``.

    Args:
        value: Plain data, or an object that keeps its constructor arguments as attributes.

    Returns:
        Nested dicts, lists, strings, numbers.

    Raises:
        UserError: If an object does not keep a constructor argument under its own name, or is an
            array, tensor, or function.

    Example:
        >>> from frbench.networks import MLP
        >>> to_spec(MLP(hidden=[8]))["init_args"]["hidden"]
        [8]
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | nn.ModuleList):
        return [to_spec(v) for v in value]
    if isinstance(value, dict):
        return {k: to_spec(v) for k, v in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    cls = type(value)
    if cls.__module__.split(".")[0] in ("builtins", "numpy", "torch"):
        raise UserError(
            f"{value!r:.60} cannot be written into a checkpoint as an argument; pass numbers, "
            "strings, lists, or an object that keeps its own arguments."
        )
    init_args = {}
    # A path that only the first construction reads must not be needed by a checkpoint's reader.
    transient = transient_arguments(cls)
    for name in init_parameters(cls):
        if name in transient:
            init_args[name] = transient[name]
            continue
        if not hasattr(value, name):
            raise UserError(
                f"{cls.__name__} does not keep its constructor argument {name!r}; add "
                f"`self.{name} = {name}` to its __init__, so that checkpoints can rebuild it."
            )
        init_args[name] = to_spec(getattr(value, name))
    return {"class_path": public_name(cls), "init_args": init_args}


def public_name(cls: type) -> str:
    """Return the shortest dotted name by which a class can be imported.

    A class of frbench is exported by a package above its file, and that name survives when the
    file moves; a class of a user's own has the name of its file.

    Example:
        >>> from frbench.objectives import ERM
        >>> ERM.__module__, public_name(ERM)
        ('frbench.objectives.erm', 'frbench.objectives.ERM')
    """
    parts = cls.__module__.split(".")
    for size in range(1, len(parts)):
        package = ".".join(parts[:size])
        if getattr(sys.modules.get(package), cls.__qualname__, None) is cls:
            return f"{package}.{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def import_class(path: str) -> type:
    """Import a class by its dotted path.

    Raises:
        UserError: If there is no such module or class.
    """
    module, _, name = path.rpartition(".")
    try:
        result: type = getattr(import_module(module), name)
        return result
    except Exception as error:  # whatever the user's own file does when it is imported
        raise UserError(
            f"Cannot import {path!r} ({type(error).__name__}: {error}). Run where "
            "its file can be imported, or put its folder on PYTHONPATH."
        ) from error


def resolve(path: Any, base: type | tuple[type, ...]) -> type:
    """Return the class that a file names; only what is allowed is imported, nothing is called.

    Args:
        path: The name found in the file.
        base: What the class must be a subclass of.

    Raises:
        UserError: If it is not the name of a class of that kind, or is neither frbench's, torch's,
            timm's, transformers', nor trusted (:func:`frbench.contracts.trust.trusting`).

    Example:
        >>> from frbench.networks import Network
        >>> resolve("frbench.networks.MLP", Network).__name__
        'MLP'
        >>> resolve("os.system", Network)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        frbench.contracts.errors.UserError: 'os.system' is a name outside frbench: ...
    """
    check_trusted(path)
    cls: Any = import_class(path)
    bases = base if isinstance(base, tuple) else (base,)
    if not (isinstance(cls, type) and issubclass(cls, bases)):
        wanted = " or ".join(kind.__name__ for kind in bases)
        raise UserError(f"{path!r} is not a class of the kind {wanted}, which belongs there.")
    return cls


def from_spec(value: Any, base: type | tuple[type, ...] = object) -> Any:
    """Build what :func:`to_spec` wrote down; every class is checked before any is called.

    Args:
        value: Plain data.
        base: Kind of the outermost objects; inner ones are of the kinds that the annotations of
            the constructors' arguments name.

    Raises:
        UserError: As :func:`resolve`, or for a class where the annotation names none.
    """
    bases = base if isinstance(base, tuple) else (base,)
    _walk(value, bases, "the file", build=False)
    return _walk(value, bases, "the file", build=True)


def check_spec(value: Any, base: type | tuple[type, ...]) -> None:
    """Check every class that a specification names, and build nothing; see :func:`from_spec`."""
    _walk(value, base if isinstance(base, tuple) else (base,), "the file", build=False)


def _walk(value: Any, bases: tuple[type, ...], where: str, build: bool) -> Any:
    if isinstance(value, list):
        return [_walk(v, bases, where, build) for v in value]
    if not isinstance(value, dict):
        return value
    if "class_path" not in value:
        return {k: _walk(v, bases, where, build) for k, v in value.items()}
    if not bases:
        raise UserError(f"{where} holds the class {value['class_path']!r}, where none belongs.")
    cls = resolve(value["class_path"], bases)
    init_args = value.get("init_args") or {}
    if not isinstance(init_args, dict) or value.keys() - {"class_path", "init_args"}:
        raise UserError(f"{where}: {value['class_path']} has other entries than init_args.")
    kinds = _kinds(cls)
    found = {
        name: _walk(v, kinds.get(name, ()), f"{cls.__name__}.{name}", build)
        for name, v in init_args.items()
    }
    return cls(**found) if build else None


@cache
def _kinds(cls: type) -> dict[str, tuple[type, ...]]:
    """Classes, other than plain ones, that the annotation of each constructor argument names."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        with contextlib.suppress(NameError, TypeError):  # names for type checkers alone
            hints |= get_type_hints(vars(base).get("__init__", _passed_on))
    return {name: tuple(dict.fromkeys(_classes(hint))) for name, hint in hints.items()}


def _classes(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        if annotation.__module__ != "builtins":
            yield annotation
        return
    for part in get_args(annotation):
        yield from _classes(part)


def compare(
    stored: Any, given: Any, path: str, skip: Sequence[str] = (), partial: bool = False
) -> list[tuple[str, Any, Any]]:
    """List (key, stored, given) where two specifications differ.

    Args:
        stored: What :func:`to_spec` wrote.
        given: The same, or a part of it.
        path: Name of the whole, the first part of every key.
        skip: Arguments that may differ.
        partial: Whether what ``given`` lacks, or gives as None, is left out of the comparison.
    """
    if isinstance(stored, dict) and isinstance(given, dict):
        if "class_path" in stored and "class_path" in given:
            # What the file names is not imported: the names are compared.
            theirs, name = import_class(given["class_path"]), stored["class_path"]
            if name not in (given["class_path"], public_name(theirs)):
                return [(path, name.rpartition(".")[2], theirs.__name__)]
            skip = [*skip, *transient_arguments(theirs)]
            stored, given = stored.get("init_args", {}), given.get("init_args") or {}
        keys = [k for k in {**stored, **given} if k not in skip]
        if partial:
            keys = [k for k in keys if k in stored and given.get(k) is not None]
        pairs = [(f"{path}.{k}", stored.get(k), given.get(k)) for k in keys]
    elif isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given):
        pairs = [(f"{path}.{i}", *both) for i, both in enumerate(zip(stored, given, strict=True))]
    else:
        return [] if stored == given else [(path, stored, given)]
    return [d for key, a, b in pairs for d in compare(a, b, key, skip, partial)]


def differences(
    stored: Any, given: Any, path: str, skip: Sequence[str] = (), partial: bool = False
) -> str:
    """Say where two specifications differ; empty if they do not (see :func:`compare`)."""
    found = compare(stored, given, path, skip, partial)
    return "; ".join(f"{key}: checkpoint {a!r}, given {b!r}" for key, a, b in found)
