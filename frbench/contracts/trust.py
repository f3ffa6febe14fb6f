"""Which names found in files may be imported: frbench's, torch's, and those the user trusts."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from frbench.contracts.errors import UserError

#: Beginnings of names that are resolved without the user's word.
ALLOWED = ("frbench.", "torch.nn.", "torch.optim.", "timm.", "transformers.")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_trusted: ContextVar[frozenset[str]] = ContextVar("trusted", default=frozenset())


@contextlib.contextmanager
def trusting(names: Iterable[str]) -> Iterator[None]:
    """Allow the import of modules, and of single classes, that files name.

    Args:
        names: Dotted names of modules or classes; a module stands for all that is below it.

    Example:
        >>> with trusting(["my_methods"]):
        ...     check_trusted("my_methods.Mine")
    """
    token = _trusted.set(_trusted.get() | frozenset(names))
    try:
        yield
    finally:
        _trusted.reset(token)


def trusted() -> frozenset[str]:
    """Return the names that :func:`trusting` allows here, to allow them in another process."""
    return _trusted.get()


def check_trusted(path: Any) -> None:
    """Refuse a name that may not be imported.

    Raises:
        UserError: If it is no dotted name, or is neither of the packages that are always allowed
            nor trusted.
    """
    if not isinstance(path, str) or not _DOTTED.fullmatch(path):
        raise UserError(f"{path!r:.100} is not the dotted name of a class.")
    parts = path.split(".")
    above = {".".join(parts[:size]) for size in range(1, len(parts) + 1)}
    if not path.startswith(ALLOWED) and not above & _trusted.get():
        module = path.rpartition(".")[0]
        raise UserError(
            f"{path!r} is a name outside frbench: importing it runs its code. If you trust the "
            f"file, and know that module, say --trust {module} or "
            f"frbench.load(path, trust=[{module!r}])."
        )


def foreign_modules(value: Any) -> list[str]:
    """List the modules of the classes that a specification names, without those always allowed.

    Example:
        >>> foreign_modules({"class_path": "frbench.objectives.ERM", "init_args": {"penalties": [
        ...     {"class_path": "mine.Own"}, {"class_path": "frbench.penalties.Adversary"}]}})
        ['mine']
    """
    found: set[str] = set()
    if isinstance(value, dict):
        path = str(value.get("class_path", ""))
        if path and not path.startswith(ALLOWED):
            found.add(path.rpartition(".")[0])
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        found.update(foreign_modules(part))
    return sorted(found)


def named_by_user(argv: Sequence[str]) -> set[str]:
    """Return the dotted names on a command line and in the YAML files that it names.

    The user has written them, so a class that is named there may be imported.

    Example:
        >>> sorted(named_by_user(["fit", "--model=my_file.Mine", "--data", "Digits"]))
        ['my_file.Mine']
    """
    values = [word.split("=", 1)[1] if "=" in word else word for word in argv]
    found = {name for word in values for name in _DOTTED.findall(word)}
    for word in values:
        if word.endswith((".yaml", ".yml")):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                found |= set(_DOTTED.findall(Path(word).read_text(encoding="utf-8")))
    return found


def split_trust(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take ``--trust NAME`` out of a command line.

    Returns:
        The other words, and the names.

    Raises:
        UserError: If the option has no value.

    Example:
        >>> split_trust(["test", "--trust", "mine", "--trust=other.part"])
        (['test'], ['mine', 'other.part'])
    """
    rest: list[str] = []
    names: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--trust":
            names.append(next(words, ""))
        elif word.startswith("--trust="):
            names.append(word.split("=", 1)[1])
        else:
            rest.append(word)
    if "" in names:
        raise UserError("--trust needs the name of a module, my_methods say.")
    return rest, names
