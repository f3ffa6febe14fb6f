"""Errors of other people's code, in one line: the user's own file, a constructor, the machine."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from jsonargparse import ArgumentError

import frbench
from frbench.contracts.errors import UserError
from frbench.contracts.trust import ALLOWED
from frbench.runs.messages import cause, readable

_LIBRARIES = (
    *{sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    str(Path(frbench.__file__).parent),
    "<",
)
_NO_GPU = ("No supported gpu backend", "can not run on your system")


def place(error: BaseException) -> str:
    """Return ``file:line`` of the user's own code that an error comes from; empty if of no such.

    Args:
        error: The error, with its traceback.
    """
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
        if not own:
            return ""
        file, line = own[-1].filename, own[-1].lineno
    near = os.path.relpath(file)
    return f"{file if near.startswith('..') else near}:{line}"


def said(error: BaseException) -> str:
    """Return what an error says, in one line, with its place in the user's code."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    at = place(error)
    found = f"{at}: " if at else ""
    return f"{found}{type(error).__name__}: {' '.join(text.split()):.400}"


def broken_import(message: str) -> UserError | None:
    """Find a class that a message names and whose file is there, but cannot be imported.

    Args:
        message: What the parser said, which says in many ways that it has no such class.
    """
    for path in dict.fromkeys(re.findall(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", message)):
        module = path.rpartition(".")[0]
        if path.startswith((*ALLOWED, "pytorch_lightning.", "typing.", "jsonargparse.")):
            continue
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{module}.".startswith(f"{error.name}."):
                continue  # the module itself is missing
            return UserError(f"{path} cannot be imported: {said(error)}")
        except Exception as error:  # whatever the file does when it is imported
            return UserError(f"{path} cannot be imported: {said(error)}")
    return None


def _root(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def _missing_package(error: BaseException) -> UserError | None:
    missing = re.search(r"HINT: Try running `(pip install [^`]*)`", str(error))
    return UserError(f"A package is missing: {missing[1]}.") if missing else None


def misconfigured(error: BaseException) -> UserError:
    """Say what Lightning refuses, with the remedy where the machine lacks a device."""
    text = " ".join(str(error).split())
    if any(words in text for words in _NO_GPU):
        text = (
            "trainer.accelerator: torch finds no such device on this machine; use "
            "--trainer.accelerator auto or cpu, or a torch that is built for the device "
            "(`nvidia-smi` and torch.version.cuda say what is there)."
        )
    return UserError(text)


def _of_lightning() -> tuple[type[Exception], ...]:
    """Return Lightning's error of a wrong option; nothing raises it where nobody imported it."""
    module = sys.modules.get("lightning_fabric.utilities.exceptions")
    return () if module is None else (module.MisconfigurationException,)


@contextlib.contextmanager
def one_line(hidden: tuple[str, ...] = (), options: Sequence[str] = ()) -> Iterator[None]:
    """Turn what a parser and the constructors that it calls raise into a UserError.

    Args:
        hidden: Arguments of classes that exist but that nobody may set.
        options: Options of the command, to suggest where one is misspelt.

    Raises:
        UserError: In place of the parser's errors; others pass.
    """
    try:
        yield
    except ArgumentError as error:
        broken = broken_import(str(error))
        raise broken or UserError(readable(str(error), hidden, options)) from error
    except _of_lightning() as error:
        raise misconfigured(error) from error
    except ModuleNotFoundError as error:
        if (missing := _missing_package(error)) is None:
            raise
        raise missing from error
    except ValueError as error:
        # A UserError of a constructor arrives wrapped by the parser that called it.
        if (user_error := cause(error)) is not None:
            raise user_error from None
        if (missing := _missing_package(error)) is not None:
            raise missing from error
        if "is not in bounds" in str(error):
            raise UserError(f"seed_everything: {error}.") from error
        if "Given value" not in str(error):  # of training itself
            raise
        names = re.findall(r"class_path='(?:\w+\.)*(\w+)'", str(error))
        what = f"{' or '.join(dict.fromkeys(names))}: " if names else ""
        raise UserError(f"{what}{said(_root(error))}") from error
