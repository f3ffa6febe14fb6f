"""Objects built from ``--ROLE NAME --ROLE.OPTION VALUE`` words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser

from frbench.contracts.spec import check_spec
from frbench.runs.causes import one_line


def built_of(
    kind: Any, role: str, argv: Sequence[str], stored: dict[str, Any] | None = None
) -> Any:
    """Build an object of a class that is imported, or that the words give by its path.

    Args:
        kind: Its base class.
        role: What the words call it.
        argv: The words.
        stored: It as plain data, whose options the words override.

    Raises:
        UserError: If there is no such class, or an option is wrong.

    Example:
        >>> from frbench.mixing import Mixing
        >>> built_of(Mixing, "mixing", ["--mixing=Mixup", "--mixing.alpha=2"]).alpha
        2.0
    """
    parser = ArgumentParser(prog="frbench", exit_on_error=False)
    parser.add_subclass_arguments(kind, role, required=True)
    if stored is not None:
        check_spec(stored, kind)  # before the parser imports what it names
        parser.set_defaults({role: stored})
    with one_line():
        return parser.instantiate(parser.parse_args(list(argv)))[role]
