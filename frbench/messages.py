"""A parser's many lines turned into the one that says what is wrong and what would be right."""

from __future__ import annotations

import difflib
import inspect
import re

from frbench.errors import UserError
from frbench.spec import import_class, init_parameters


def cause(error: BaseException | None) -> UserError | None:
    """Find the UserError that a chain of exceptions began with."""
    while error is not None:
        if isinstance(error, UserError):
            return error
        error = error.__cause__ or error.__context__
    return None


def known_classes(base: type) -> list[str]:
    """Names of the concrete subclasses of a base that are imported, without private ones."""
    found: set[str] = set()
    todo: list[type] = [base]
    while todo:
        subclasses: list[type] = todo.pop().__subclasses__()
        for cls in subclasses:
            todo.append(cls)
            if not inspect.isabstract(cls) and not cls.__name__.startswith("_"):
                found.add(cls.__name__)
    return sorted(found)


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}."


def readable(message: str, hidden: tuple[str, ...] = ()) -> str:
    """Shorten a message of jsonargparse to one line with a remedy.

    Args:
        message: What the parser said, over many lines.
        hidden: Options that exist but that nobody may set.

    Returns:
        One line.
    """
    text = " ".join(message.split())
    # Keys and types are nested from the outside in, values from the inside out.
    key = ".".join(re.findall(r'Parser key "([\w.+]+)"', text))
    bases = re.findall(r"Subtypes: \[(?:<class '|list\[)([\w.]+)", text)

    options = re.findall(r"class_path '([\w.]+)': (?:Option|Key) '([\w.]+)' is not", text)
    if options:
        cls, name = import_class(options[-1][0]), options[-1][1]
        known = [n for n in init_parameters(cls) if n not in hidden]
        hint = _near(name, known)
        if inspect.isabstract(cls):
            hint = f"choose a class first ({', '.join(known_classes(cls))})."
        return f"{key}: {cls.__name__} has no option {name!r}; {hint}"

    missing = re.findall(r"dot import path string: (\S+)|class_path '([\w.]+)': No module", text)
    if missing and bases:
        name = missing[-1][0] or missing[-1][1]
        hint = _near(name, known_classes(import_class(bases[-1])))
        return (
            f"{key}: there is no class {name!r}; {hint} A class of your own is given by its "
            "import path, my_file.MyClass."
        )

    literal = re.search(r"Expected a typing\.Literal\[(.*?)\]\. Got value: (\S+)", text)
    if literal:
        return f"{key}: expected one of {literal[1]}, got {literal[2]!r}."

    types = re.findall(r"Subtypes: \[(.*?)\] Errors", text)
    value = re.search(r" Given value: (.*?)(?: - Expected|$)", text)
    if types and value:
        expected = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", types[-1])
        return f"{key}: expected {expected.replace('NoneType', 'null')}, got {value[1]!r}."
    return re.sub(r"required: (?:fit|validate|test|predict)\.(\w+)", r"required: --\1", text)[:600]
