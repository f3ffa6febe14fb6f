"""Tables and images that other packages read, named ``wilds:waterbirds`` or the like."""

from __future__ import annotations

import inspect
import warnings
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import yaml

from frbench.contracts.errors import UserError
from frbench.support.files import data_folders

if TYPE_CHECKING:
    import pandas as pd

#: Names that packages give to each split, the first that is there counts.
_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
#: Column of the split in the table of a source.
SPLIT = "split"


class Images:
    """The images of one or more parts of a data set, end to end; indexing decodes one.

    Args:
        parts: Number of rows of each part, and what gives the image of one of its rows.
    """

    def __init__(self, parts: Sequence[tuple[int, Callable[[int], Any]]]) -> None:
        self.parts = list(parts)
        self.starts = np.cumsum([0, *(length for length, _ in self.parts)]).tolist()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, row: int) -> Any:
        part = bisect_right(self.starts, row) - 1
        return self.parts[part][1](row - self.starts[part])


class Source(NamedTuple):
    """What a package knows of a data set.

    Attributes:
        frame: Labels, attributes and inputs other than images; the column ``split`` holds train,
            val and test where the package has more than one part.
        images: The image of each row of the frame, if there are images.
    """

    frame: pd.DataFrame
    images: Images | None


class _Part(NamedTuple):
    """One split of a package's data set."""

    name: str
    frame: pd.DataFrame
    image: Callable[[int], Any] | None = None


def is_source(path: Any) -> bool:
    """Whether a path names a data set of another package.

    Example:
        >>> is_source("wilds:waterbirds"), is_source("people.csv")
        (True, False)
    """
    return isinstance(path, str) and path.partition(":")[0] in _READERS and ":" in path


def read_source(path: str, folders: Sequence[Path] = (Path(),)) -> Source:
    """Read a data set of another package: ``PACKAGE:NAME?OPTION=VALUE&OPTION=VALUE``.

    Options of every package: ``train``, ``val`` and ``test`` name the package's splits that stand
    for these; ``columns`` is the path of a CSV file of further columns, one row for each row in
    the order train, val, test. Others are handed to the package.

    Args:
        path: Package, name and options.
        folders: Folders from which paths are tried, before the data folders.

    Raises:
        UserError: If the package is not installed, or it cannot read the data set.
    """
    package, _, rest = path.partition(":")
    name, _, query = rest.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    options = {key: yaml.safe_load(value) for key, _, value in pairs}
    wanted = {ours: options.pop(ours, None) for ours in _SPLITS}
    columns = options.pop("columns", None)
    try:
        module = import_module(package)
    except ImportError as error:
        raise UserError(_lacking(path, package)) from error
    if module.__file__ is None:  # a folder of that name
        raise UserError(_lacking(path, package))
    near = [*folders, *data_folders()]
    try:
        parts = _READERS[package](name, options, near)
    except (OSError, ValueError, RuntimeError, TypeError, AssertionError) as error:
        if isinstance(error, UserError):
            raise UserError(f"{path}: {error}") from error
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{path} cannot be read by {package}: {reason}") from error
    return _joined(path, parts, wanted, columns, near)


def _lacking(path: str, package: str) -> str:
    return f"{path} needs the package {package}: pip install 'frbench[{package}]'"


def _joined(
    path: str,
    parts: list[_Part],
    wanted: Mapping[str, str | None],
    columns: str | None,
    folders: Sequence[Path],
) -> Source:
    """Put the parts that are used one below the other, and further columns beside them."""
    import pandas as pd

    by_name = {part.name: part for part in parts}
    used = {}
    for ours, usual in _SPLITS.items():
        theirs = wanted[ours] or next((name for name in usual if name in by_name), None)
        if theirs is not None and theirs not in by_name:
            raise UserError(f"{path}: there is no split {theirs!r}; it has: {', '.join(by_name)}.")
        if theirs is not None:
            used[ours] = by_name[theirs]
    chosen = list(used.values()) or parts[:1]
    frame = pd.concat([part.frame for part in chosen], ignore_index=True)
    frame.columns = frame.columns.map(str)
    notes = []
    if len(used) > 1:
        names = np.repeat(list(used), [len(part.frame) for part in chosen])
        frame[SPLIT] = names
        frame.attrs["split_column"] = SPLIT
    if left := [name for name in by_name if all(name != part.name for part in chosen)]:
        notes.append(f"{path}: split {', '.join(left)} is not used; see docs/bridges.md")
    if columns is not None:
        near = next((f / columns for f in folders if (f / columns).is_file()), None)
        if near is None:
            raise UserError(f"{path}: there is no file {columns} (columns).")
        more = pd.read_csv(near)
        if len(more) != len(frame):
            raise UserError(f"{path} has {len(frame)} rows, {columns} has {len(more)}.")
        frame = frame.assign(**{str(name): more[name].to_numpy() for name in more.columns})
    frame.attrs["notes"] = notes
    getters = [(len(part.frame), part.image) for part in chosen]
    known = [(length, image) for length, image in getters if image is not None]
    return Source(frame, Images(known) if len(known) == len(getters) else None)


def _named(codes: Any, names: Sequence[Any]) -> Any:
    """Write codes as names whose order is kept; a code without a name is missing."""
    import pandas as pd

    codes = np.asarray(codes, np.int64)
    codes = np.where((codes >= 0) & (codes < len(names)), codes, -1)
    dtype = pd.CategoricalDtype([str(name).strip() for name in names], ordered=True)
    return pd.Categorical.from_codes(codes, dtype=dtype)


def _root(options: dict[str, Any], key: str, folders: Sequence[Path]) -> str:
    """Take the folder of a package's files out of the options; by default the data folder."""
    given = options.pop(key, None)
    if given is None:
        return str(data_folders()[0])
    return str(next((f / given for f in folders if (f / given).is_dir()), Path(given)))


# ---- the packages -------------------------------------------------------------------------------
def _datasets(name: str, options: dict[str, Any], folders: Sequence[Path]) -> list[_Part]:
    """Read a data set of Hugging Face's hub, or a folder of ``save_to_disk``."""
    import datasets

    folder = next((f / name for f in folders if name and (f / name).is_dir()), None)
    saved = ("dataset_dict.json", "state.json")
    if folder is not None and any((folder / file).is_file() for file in saved):
        loaded = datasets.load_from_disk(str(folder))
    else:
        loaded = datasets.load_dataset(name if folder is None else str(folder), **options)
    parts = dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}
    return [_datasets_part(split, data.with_format(None)) for split, data in parts.items()]


def _datasets_part(split: str, data: Any) -> _Part:
    import datasets

    images = [k for k, kind in data.features.items() if isinstance(kind, datasets.Image)]
    frame = data.remove_columns(images).to_pandas()
    for name, kind in data.features.items():
        if isinstance(kind, datasets.ClassLabel):
            frame[name] = _named(frame[name].fillna(-1), kind.names)
    if not images:
        return _Part(split, frame)
    return _Part(split, frame, partial(_cell, data.select_columns(images[:1]), images[0]))


def _cell(data: Any, column: str, row: int) -> Any:
    return data[row][column]


def _wilds(name: str, options: dict[str, Any], folders: Sequence[Path]) -> list[_Part]:
    """Read a classification data set of WILDS, with all its metadata."""
    import pandas as pd
    from wilds import get_dataset

    root = _root(options, "root_dir", folders)
    # wilds 2.0 writes numbers into columns of text and keeps arrays that pandas 3 has read-only.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pd.option_context("future.infer_string", False):
            data = get_dataset(dataset=name, **{"root_dir": root, "download": False, **options})
    if not data.is_classification or data.y_size != 1:
        raise UserError("it has no single class as target; frbench classifies.")
    names = data.metadata_map or {}
    columns = {}
    for field, codes in zip(data.metadata_fields, data.metadata_array.T.numpy(), strict=True):
        columns[field] = _named(codes, names[field]) if field in names else codes
    columns["y"] = _named(data.y_array, names["y"]) if "y" in names else data.y_array.numpy()
    frame = pd.DataFrame(columns).drop(columns="from_source_domain")
    text = isinstance(data.get_input(0), str)
    if text:
        frame.insert(0, "text", [data.get_input(row) for row in range(len(frame))])
    parts = []
    for split, code in data.split_dict.items():
        rows = np.flatnonzero(np.asarray(data.split_array) == code)
        if len(rows):
            image = None if text else partial(_input, data, rows)
            parts.append(_Part(split, frame.iloc[rows], image))
    return parts


def _input(data: Any, rows: np.ndarray, row: int) -> Any:
    return data.get_input(int(rows[row]))


def _torchvision(name: str, options: dict[str, Any], folders: Sequence[Path]) -> list[_Part]:
    """Read a data set of ``torchvision.datasets``; its labels are the column ``y``."""
    from torchvision import datasets

    cls = getattr(datasets, name, None)
    if not (isinstance(cls, type) and issubclass(cls, datasets.VisionDataset)):
        raise UserError("torchvision.datasets has no data set of images of that name.")
    taken = set(inspect.signature(cls).parameters)
    if "kwargs" in taken:  # EMNIST hands them to MNIST
        taken |= {name for base in cls.__mro__[1:2] for name in inspect.signature(base).parameters}
    if "root" in taken:
        options["root"] = _root(options, "root", folders)
    if "train" in taken:
        made = {split: cls(**options, train=split == "train") for split in ("train", "test")}
    elif "split" in taken and "split" not in options:
        made = _splits_of(cls, options)
    else:
        made = {"train": cls(**options)}
    return [_Part(split, _labels(data), partial(_first, data)) for split, data in made.items()]


def _splits_of(cls: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Make a data set for each usual name of a split that its class knows."""
    made, reasons = {}, []
    for split in [name for usual in _SPLITS.values() for name in usual]:
        try:
            made[split] = cls(**options, split=split)
        except ValueError as error:  # what torchvision raises for a name it does not know
            reasons.append(error)
    if not made:
        raise reasons[0]
    return made


def _first(data: Any, row: int) -> Any:
    return data[row][0]


def _labels(data: Any) -> pd.DataFrame:
    """Return the columns that a torchvision data set knows of its images."""
    import pandas as pd

    if hasattr(data, "attr"):  # CelebA
        names = [name for name in data.attr_names if name]
        return pd.DataFrame(np.asarray(data.attr), columns=names)
    known = next((getattr(data, k) for k in ("targets", "labels") if hasattr(data, k)), None)
    if known is None:  # each image is decoded once
        known = [data[row][1] for row in range(len(data))]
    codes = np.asarray(known)
    columns = {"y" if i == 0 else f"y{i}": c for i, c in enumerate(np.atleast_2d(codes.T))}
    classes = getattr(data, "classes", None)
    if classes and columns["y"].dtype.kind in "iu" and columns["y"].max() < len(classes):
        columns["y"] = _named(columns["y"], classes)
    return pd.DataFrame(columns)


def _folktables(name: str, options: dict[str, Any], folders: Sequence[Path]) -> list[_Part]:
    """Read a task of folktables: its features, its target and its group, under their names."""
    import folktables

    task = getattr(folktables, name, None)
    if not isinstance(task, folktables.BasicProblem):
        have = [k for k, v in vars(folktables).items() if isinstance(v, folktables.BasicProblem)]
        raise UserError(f"folktables has no task of that name; it has: {', '.join(sorted(have))}.")
    root = _root(options, "root_dir", folders)
    year, horizon = str(options.pop("year", 2018)), options.pop("horizon", "1-Year")
    survey = options.pop("survey", "person")
    data = folktables.ACSDataSource(year, horizon, survey, root_dir=root).get_data(**options)
    inputs, target, group = task.df_to_pandas(data)
    frame = inputs.assign(**{str(target.columns[0]): target.iloc[:, 0]})
    if group.columns[0] not in frame.columns:
        frame[str(group.columns[0])] = group.iloc[:, 0]
    return [_Part("train", frame)]


#: What reads the data sets of each package.
_READERS: dict[str, Callable[[str, dict[str, Any], Sequence[Path]], list[_Part]]] = {
    "datasets": _datasets,
    "folktables": _folktables,
    "torchvision": _torchvision,
    "wilds": _wilds,
}
