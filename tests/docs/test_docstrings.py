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
    counts = [doctest.testmod(importlib.import_module(name)).attempted for name in MODULES]
    assert sum(counts) > 20
