"""All classes that the command line and YAML files can name without their module."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Literal

from frbench import (
    callbacks,
    data,
    gan,
    group_inference,
    mixing,
    networks,
    objectives,
    penalties,
    postprocessing,
)
from frbench.data.module import GroupDataModule

_BASES = {
    "data": GroupDataModule,
    "model": objectives.Objective,
    "network": networks.Network,
    "penalty": penalties.Penalty,
    "infer": group_inference.GroupInference,
    "mixing": mixing.Mixing,
    "postprocessing": postprocessing.Postprocessor,
}


@cache
def import_all() -> dict[str, type]:
    """Import every class that frbench exports to the command line, and return them by name.

    jsonargparse resolves a bare class name among the classes that are imported.
    """
    packages = (
        callbacks, data, group_inference, mixing, networks, objectives, penalties, postprocessing,
    )  # fmt: skip
    found = {name: getattr(package, name) for package in packages for name in package.__all__}
    return {**found, "GeneratedFaces": gan.GeneratedFaces}


def exported(
    kind: Literal["data", "model", "network", "penalty", "infer", "mixing", "postprocessing"],
) -> list[str]:
    """List the names of frbench's concrete classes of one kind.

    Example:
        >>> exported("penalty")[:3]
        ['Adversary', 'CORAL', 'ConditionalMMD']
    """
    return sorted(
        name
        for name, value in import_all().items()
        if inspect.isclass(value) and issubclass(value, _BASES[kind])
        and not inspect.isabstract(value)
    )  # fmt: skip
