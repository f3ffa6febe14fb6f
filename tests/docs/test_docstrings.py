"""The examples of every docstring are run."""

import doctest
import importlib
import pkgutil

import pytest

import frbench

MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages(frbench.__path__, "frbench.")
    if "__main__" not in name
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    tests = [test for name in MODULES for test in finder.find(importlib.import_module(name))]
    assert sum(len(test.examples) for test in tests) > 20
