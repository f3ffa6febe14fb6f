"""Takes single checks out of the package, to prove that a test notices."""

import ast
import contextlib
import importlib
import inspect
from functools import cached_property
from types import CodeType


class _Remove(ast.NodeTransformer):
    """Replaces the one ``raise`` whose text holds some words."""

    def __init__(self, words: str) -> None:
        self.words = words
        self.count = 0
        self.handlers = 0

    def visit_ExceptHandler(self, node):
        self.handlers += 1
        self.generic_visit(node)
        self.handlers -= 1
        return node

    def visit_Raise(self, node):
        if node.exc is None or self.words not in ast.unparse(node):
            return node
        self.count += 1
        # Inside a handler the error that came before is what is left without the message.
        left = ast.Raise() if self.handlers else ast.Pass()
        return ast.copy_location(left, node)


def _function(module, path: str):
    """The plain function at a dotted path, out of properties and caches."""
    value = module
    for name in path.split("."):
        value = inspect.getattr_static(value, name)
        if isinstance(value, property):
            value = value.fget
        elif isinstance(value, cached_property):
            value = value.func
        elif isinstance(value, staticmethod | classmethod):
            value = value.__func__
    return inspect.unwrap(value)


def _code(code: CodeType, name: str) -> CodeType | None:
    """The code of a function inside a compiled module."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == name:
                return constant
            if found := _code(constant, name):
                return found
    return None


@contextlib.contextmanager
def removed(check: str, words: str):
    """Run with one ``raise`` of a function replaced by ``pass``.

    Args:
        check: ``module:Class.function``.
        words: Words of the raise statement, as ``ast.unparse`` writes it; they must name one.
    """
    name, path = check.split(":")
    module = importlib.import_module(name)
    function = _function(module, path)
    remove = _Remove(words)
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        # Only in the function itself: other raises of the module may say the same.
        if (
            isinstance(node, ast.FunctionDef)
            and node.name == function.__name__
            and node.lineno <= function.__code__.co_firstlineno + len(node.decorator_list)
            and node.end_lineno >= function.__code__.co_firstlineno
        ):
            remove.generic_visit(node)
    assert remove.count == 1, f"{check} has {remove.count} raises with {words!r}"
    changed = _code(compile(tree, module.__file__, "exec"), function.__qualname__)
    before = function.__code__
    function.__code__ = changed
    try:
        yield
    finally:
        function.__code__ = before
