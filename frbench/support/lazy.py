"""Names of a package that are imported on first use, so that the package imports nothing heavy."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
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


def import_transformers() -> ModuleType:
    """Import the optional package.

    Raises:
        UserError: If it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            "Pretrained text models need the package transformers: pip install frbench[text]."
        ) from error
    return transformers
