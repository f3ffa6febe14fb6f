"""Docstrings as griffe reads them: its section of examples has a plural for a name."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension


class Examples(Extension):
    """Let ``Example:`` be a section of doctests."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Change the docstring of each object as it is loaded."""
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = text
