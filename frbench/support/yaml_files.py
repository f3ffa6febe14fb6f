"""YAML files of users, read with bounds: size, depth, aliases, keys given twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from frbench.contracts.errors import UserError
from frbench.contracts.text import short

#: Bytes of a file, lists inside lists, and values once aliases are written out.
MAX_BYTES, MAX_DEPTH, MAX_VALUES = 4 * 2**20, 60, 100_000


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader, which refuses a key that a mapping has twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    line = key.start_mark.line + 1
                    raise yaml.YAMLError(f"line {line} gives {short(key.value)} a second time")
                seen.add((key.tag, key.value))
        result: dict[Any, Any] = super().construct_mapping(node, deep)
        return result


def read_yaml(path: str | Path, option: str = "") -> Any:
    """Read a YAML file.

    Args:
        path: The file.
        option: What names it, for the message.

    Raises:
        UserError: If it is missing, is no YAML, gives a key twice, or is larger, deeper or, with
            its aliases written out, longer than any configuration.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.yaml"
        >>> _ = file.write_text("{a: 1, a: 2}")
        >>> read_yaml(file.as_posix(), "--config")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        frbench.contracts.errors.UserError: --config: ... line 1 gives 'a' a second time.
    """
    where = f"{option}: " if option else ""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{where}there is no file {path}.") from None
    try:
        return parse_yaml(content.decode("utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{where}{path} is not valid YAML: {error}.") from error


def parse_yaml(text: str) -> Any:
    """Parse YAML within bounds.

    Raises:
        ValueError: Saying on one line why not.
    """
    try:
        if len(text) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} characters")
        _check_size(text)
        return yaml.load(text, _Loader)  # noqa: S506: a safe loader
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        if "nesting depth" in str(error):  # of the library
            raise ValueError("lists or mappings are nested too deeply") from error
        raise ValueError(" ".join(str(error).split())[:300].rstrip(".")) from error


def _check_size(text: str) -> None:
    """Go through the file's events, without building anything."""
    count, sizes = 0, dict[str | None, int]()
    still_open: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in still_open):
                raise ValueError(f"the alias *{event.anchor} stands inside what it refers to")
            count += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            still_open.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = still_open.pop()
            if anchor:
                sizes[anchor] = count - before
        if count > MAX_VALUES:
            raise ValueError(f"it holds more than {MAX_VALUES} values, aliases written out")
        if len(still_open) > MAX_DEPTH:
            raise ValueError("lists or mappings are nested too deeply")
