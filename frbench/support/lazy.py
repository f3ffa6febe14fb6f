"""Names of a package that are imported on first use, so that the package imports nothing heavy."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from frbench.contracts.errors import UserError


def lazy(package: str, home: dict[str, str]) -> Callable[[str], Any]:
    """Make a package's ``__getattr__``.

    Args:
        package: The package's ``__name__``.
        home: Public name -> module below the package that defines it.

    Returns:
        A function that imports the module of a name, or raises AttributeError.
    """

    def resolve(name: str) -> Any:
        if name in home:
            return getattr(import_module(f"{package}.{home[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return resolve


def import_extra(name: str, what: str, extra: str) -> Any:
    """Import a package that is not installed with frbench.

    Args:
        name: The package.
        what: What needs it, for the message; with its verb.
        extra: The extra of frbench that installs it.

    Raises:
        UserError: If it is not installed.

    Example:
        >>> import_extra("absent", "It needs", "x")
        Traceback (most recent call last):
        frbench.contracts.errors.UserError: It needs the package absent: pip install 'frbench[x]'.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UserError(f"{what} the package {name}: pip install 'frbench[{extra}]'.") from (error)
