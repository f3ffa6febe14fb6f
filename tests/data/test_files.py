"""Files: the order of the search, checks, downloads and the IDX reader; no network."""

import gzip
import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from frbench.contracts.errors import UserError
from frbench.data.images.idx import read_idx
from frbench.support import files
from frbench.support.files import FILES, KnownFile, content_sha256, locate, status

CONTENT = b"a,b\n1,2\n"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def data(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("FRBENCH_DATA", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("FRBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def server(tmp_path):
    """Serve a folder on this machine; gives the folder and the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def no_download(*args, **kwargs):
    raise AssertionError("a download was started")


@pytest.mark.parametrize("asked", ["set/t.csv", "set/t.csv.gz"])
@pytest.mark.parametrize("stored", ["set/t.csv", "set/t.csv.gz"])
def test_either_form_is_found_and_checked_by_its_content(data, cache, asked, stored):
    path = data / stored
    path.parent.mkdir()
    path.write_bytes(gzip.compress(CONTENT) if stored.endswith(".gz") else CONTENT)
    assert locate(asked, sha256=SHA) == path
    with pytest.raises(UserError, match="not the expected file") as error:
        locate(asked, sha256="0" * 64)
    assert SHA in str(error.value) and "0" * 64 in str(error.value)


def test_the_data_folder_comes_before_the_cache(data, cache):
    cache.mkdir()
    (cache / "t.csv").write_bytes(CONTENT)
    assert locate("t.csv", SHA) == cache / "t.csv"
    (data / "t.csv").write_bytes(CONTENT)
    assert locate("t.csv", SHA) == data / "t.csv"


def test_a_missing_file_says_where_it_belongs_and_how_to_get_it(data, cache):
    with pytest.raises(UserError) as error:
        locate("set/none.csv", how_to_get="the archive of X")
    for part in ("set/none.csv", str(data), str(cache), "the archive of X", "FRBENCH_DATA"):
        assert part in str(error.value)


def test_without_a_data_folder_the_cache_is_searched(cache, monkeypatch):
    monkeypatch.delenv("FRBENCH_DATA", raising=False)
    with pytest.raises(UserError, match="FRBENCH_DATA is not set"):
        locate("set/none.csv")


def test_a_data_folder_that_is_none_is_an_error(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("FRBENCH_DATA", str(tmp_path / "typo"))
    with pytest.raises(UserError, match="typo, which is not a folder"):
        locate("t.csv")


def test_only_https_is_downloaded(data, cache, monkeypatch):
    monkeypatch.setattr(files, "_download", no_download)
    with pytest.raises(UserError, match="not an https address"):
        locate("t.csv", SHA, url="http://example.org/t.csv")
    assert all(known.url is None or known.url.startswith("https://") for known in FILES.values())


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_download_is_checked_and_cached(cache, data, server, monkeypatch, suffix):
    folder, address = server
    (folder / f"t.csv{suffix}").write_bytes(gzip.compress(CONTENT) if suffix else CONTENT)
    real = files._download
    monkeypatch.setattr(
        files,
        "_download",
        lambda url, *args: real(url.replace("https://example.org", address), *args),
    )
    url = f"https://example.org/t.csv{suffix}"
    assert locate("set/t.csv", SHA, url) == cache / f"set/t.csv{suffix}"
    monkeypatch.setattr(files, "_download", no_download)
    path = locate("set/t.csv", SHA, url)
    assert content_sha256(path) == SHA
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_wrong_download_leaves_nothing_behind(cache, server):
    folder, address = server
    (folder / "t.csv").write_bytes(b"an error page")
    with pytest.raises(UserError, match="not the expected file"):
        files._download(f"{address}/t.csv", cache / "t.csv", SHA, "X")
    assert list(cache.iterdir()) == []


def test_a_failed_download_is_one_readable_error(cache, data, server, monkeypatch):
    _, address = server
    real = files._download
    monkeypatch.setattr(
        files, "_download", lambda url, *args: real(f"{address}/absent.csv", *args)
    )
    with pytest.raises(UserError, match=r"download of https://x\.org/t\.csv failed \(404"):
        locate("t.csv", SHA, "https://x.org/t.csv")


def test_a_damaged_gzip_file_is_named(data, cache):
    (data / "t.csv.gz").write_bytes(gzip.compress(CONTENT * 1000)[:-20])
    with pytest.raises(UserError, match=r"t\.csv\.gz is a damaged gzip file"):
        locate("t.csv", SHA)


def test_status_lists_every_known_file(data, cache, monkeypatch):
    monkeypatch.setattr(files, "FILES", {n: KnownFile(SHA, None, "X") for n in ("a", "b")})
    (data / "b.gz").write_bytes(b"")
    assert status() == [("a", None), ("b", data / "b.gz")]


def test_shared_files_have_the_known_hashes(shared_data):
    found = [locate(name) for name, path in status() if path]
    assert len(found) == len(FILES)


# ---- IDX ----------------------------------------------------------------------------------------
def idx(code: int, array: np.ndarray) -> bytes:
    shape = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, code, array.ndim]) + shape + array.tobytes()


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(("code", "dtype"), [(0x08, np.uint8), (0x0C, np.int32)])
def test_idx_reads_what_was_written(tmp_path, suffix, code, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    raw = idx(code, array.astype(">i4") if dtype is np.int32 else array)
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix else raw)
    result = read_idx(path)
    assert result.dtype == dtype and result.flags.writeable
    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize("size", [0, 3, 6, 11, 16, 19, 21])
def test_idx_of_the_wrong_length_is_an_error(tmp_path, size):
    raw = idx(0x08, np.zeros((4, 2), np.uint8))
    assert len(raw) == 20
    path = tmp_path / "images"
    path.write_bytes((raw + b"\0")[:size])
    with pytest.raises(UserError, match=r"truncated|not an IDX file"):
        read_idx(path)


def test_idx_of_a_truncated_gz_is_an_error(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(0x08, np.zeros((40, 20), np.uint8)))[:-9])
    with pytest.raises(UserError, match="cannot be read"):
        read_idx(path)


def test_qmnist_labels_agree_with_mnist(shared_data):
    mnist = read_idx(locate("MNIST/raw/train-labels-idx1-ubyte"))
    qmnist = read_idx(locate("QMNIST/raw/qmnist-train-labels-idx2-int"))
    assert qmnist.shape == (60000, 8)
    np.testing.assert_array_equal(qmnist[:, 0], mnist)
    employees = qmnist[:, 1] != 4
    assert (employees.sum(), (~employees).sum()) == (30950, 29050)
    assert len(np.unique(qmnist[:, 2])) == 539
