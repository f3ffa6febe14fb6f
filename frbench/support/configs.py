"""Names of the configuration files that are shipped as the package ``frbench.configs``."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.resources import files
from pathlib import Path

from frbench.contracts.errors import UserError


@cache
def shipped() -> dict[str, Path]:
    """Map the name of each shipped configuration, ``method/group_dro``, to its file.

    Example:
        >>> shipped()["method/erm"].name
        'erm.yaml'
    """
    try:
        root = Path(str(files("frbench.configs")))
    except ModuleNotFoundError:  # a checkout on PYTHONPATH: configs/ is mapped by an installation
        return {}
    paths = sorted(root.rglob("*.yaml"))
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in paths}


def find_config(name: str, option: str, folder: str = "") -> str:
    """Return the path of a configuration file, given by its path or by its shipped name.

    Args:
        name: Path of an existing file, which is preferred, or a name of :func:`shipped`.
        option: What the file is given as, for the message.
        folder: Folder of shipped files that may be left out of the name.

    Raises:
        UserError: If it is neither; the message lists the nearest names.

    Example:
        >>> find_config("group_dro", "--config", "method") == find_config(
        ...     "method/group_dro", "--config"
        ... )
        True
    """
    if Path(name).is_file():
        return name
    known = shipped()
    if path := known.get(name) or known.get(f"{folder}/{name}"):
        return str(path)
    # Names in the folder are matched without it as well.
    ends = {key.removeprefix(f"{folder}/"): key for key in known}
    wanted = name.removeprefix("configs/").removesuffix(".yaml")
    near = [ends[end] for end in difflib.get_close_matches(wanted, ends, n=3)]
    hint = f"did you mean {' or '.join(near)}?" if near else "a name is like method/group_dro."
    if not known:
        hint = "frbench is not installed, only a checkout is on the path: pip install -e ."
    raise UserError(
        f"{option}: {name} is neither a file nor the name of a shipped configuration; {hint}"
    )
