"""A parser's many lines turned into the one that says what is wrong and what would be right."""

from __future__ import annotations

import ast
import contextlib
import difflib
import inspect
import re
from collections.abc import Sequence

from frbench.contracts.errors import UserError
from frbench.contracts.spec import import_class, init_parameters
from frbench.support.parser import stray

#: Options by the names that other programs give them.
USUAL = {
    "seed": ["seed_everything"],
    "epochs": ["trainer.max_epochs"],
    "steps": ["trainer.max_steps"],
    "device": ["trainer.accelerator"],
    "gpus": ["trainer.devices"],
    "learning_rate": ["model.lr"],
    "resume": ["ckpt_path"],
    "out": ["run_dir"],
}


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
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known) or 'none'}."


def _short(types: str) -> str:
    types = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", types)
    types = re.sub(r"list\[(?:\w+\.)*(\w+)\]", r"list[\1]", types)
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", types).replace("NoneType", "null")


def _near_options(name: str, options: Sequence[str]) -> list[str]:
    """Suggest options: those whose last part it is, as ``lr`` of ``model.lr``; else like ones."""
    known = dict.fromkeys(options)
    meant = [n for n in known if n.rpartition(".")[2] == name] + USUAL.get(name, [])
    return meant[:3] or difflib.get_close_matches(name, known, n=3, cutoff=0.5)


def _refused(text: str) -> list[tuple[type, str]]:
    """List the classes that refuse an option, and the option."""
    found = re.findall(r"class_path '([\w.]+)': (?:Option|Key) '([\w.]+)' is not", text)
    refused = [(import_class(path), name) for path, name in found]
    tried: set[type] = set()
    for path in re.findall(r"class_path '([\w.]+)'", text):
        with contextlib.suppress(UserError):
            tried.add(import_class(path))
    # Where a list or one object may be given, the object's own base is tried beside its class.
    return [
        (cls, name)
        for cls, name in refused
        if not any(other is not cls and issubclass(other, cls) for other in tried)
    ]


def _sorted_out(given: str) -> str:
    """Say how options beside a class_path are to be written; empty if there are none."""
    try:
        entry = ast.literal_eval(given)
        name = entry.pop("class_path")
        init_args = {**entry.pop("init_args", {}), **entry}
    except (AttributeError, KeyError, SyntaxError, TypeError, ValueError):
        return ""
    options = ", ".join(f"{k}: {v}" for k, v in init_args.items())
    return (
        f"options of a class stand in init_args: {{class_path: {name}, init_args: "
        f"{{{options:.200}}}}}."
        if entry
        else ""
    )


def readable(message: str, hidden: tuple[str, ...] = (), options: Sequence[str] = ()) -> str:
    """Shorten a message of jsonargparse to one line with a remedy.

    Args:
        message: What the parser said, over many lines.
        hidden: Arguments of classes that exist but that nobody may set.
        options: Options of the command, to suggest where one is misspelt.

    Returns:
        One line.
    """
    text = " ".join(message.split())
    # Keys and types are nested from the outside in, values from the inside out.
    key = ".".join(re.findall(r'Parser key "([\w.+]+)"', text))
    bases = re.findall(r"Subtypes: \[(?:<class '|list\[)([\w.]+)", text)

    unknown = re.search(
        r"unrecognized arguments: --([\w.+-]+)|does not accept option '([\w.+-]+)'", text
    )
    if unknown:
        name = unknown[1] or unknown[2]
        near = _near_options(name, options)
        hint = f"did you mean {' or '.join(f'--{n}' for n in near)}?"
        return f"there is no option --{name}; {hint if near else 'see --help.'}"
    if hint := stray(text):
        return hint
    if re.search(r"arguments are required: (?:\w+\.|--)data\b", text):
        return "--data is missing: name a data set, --data Digits say."

    value = re.search(r" Given value: (.*?)(?: - (?:Expected|Problem)|$)", text)
    if value and (hint := _sorted_out(value[1])):
        return f"{key}: {hint}"
    refused = _refused(text)
    if refused:
        cls, name = refused[-1]
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

    nothing = re.search(r"class_path '([\w.]+)': module '[\w.]+' has no attribute '(\w+)'", text)
    if nothing:
        return f"{key}: cannot import {nothing[1]}: its file has no class {nothing[2]!r}."
    foreign = re.search(r"Import path does not correspond to a subclass of (\w+)", text)
    if foreign and value:
        return f"{key}: {value[1]!r} is not a subclass of {foreign[1]}."

    lacking = re.findall(
        r"class_path '([\w.]+)': the following arguments are required: (.*?) -", text
    )
    if lacking:
        cls, names = import_class(lacking[-1][0]), lacking[-1][1].split(", ")
        given = " ".join(f"--{key}.{name}" for name in names)
        return f"{key}: {cls.__name__} needs {', '.join(names)}; give {given}."

    if value and value[1].startswith("{'init_args'"):
        return f"{key}: init_args come before their class; give the file with class_path first."
    if bases and "Expected an instantiatable class" in text:
        choices = ", ".join(known_classes(import_class(bases[-1])))
        return (
            f"{key}: choose a class before its options ({choices}): --{key} CLASS, in YAML "
            "{class_path: CLASS, init_args: {option: value}}."
        )

    if "Expected a <class 'list'>" in text and value and re.fullmatch(r"[\w.]+", value[1]):
        return (
            f"{key}: takes a list; write [{value[1]}], or --{key}+={value[1]} on the command line."
        )

    literal = re.search(r"Expected a typing\.Literal\[(.*?)\]\. Got value: (\S+)", text)
    if literal:
        return f"{key}: expected one of {literal[1]}, got {literal[2]!r}."

    plain = re.search(r"Expected a (<class '[\w.]+'>)\. Got value: (.*?)(?: - Expected|$)", text)
    if plain:
        return f"{key}: expected {_short(plain[1])}, got {plain[2]!r}."
    types = re.findall(r"Subtypes: \[(.*?)\] Errors", text)
    if types and value:
        return f"{key}: expected {_short(types[-1])}, got {value[1]!r}."
    return re.sub(r"required: (?:fit|validate|test|predict)\.(\w+)", r"required: --\1", text)[:600]
