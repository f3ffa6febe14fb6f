"""Reader of IDX files, the format of MNIST and QMNIST."""

import zlib
from math import prod
from pathlib import Path

import numpy as np

from frbench.contracts.errors import UserError
from frbench.support.files import open_binary

#: Type codes of the format that the data sets here use; numbers are big-endian.
_TYPES: dict[int, np.dtype] = {0x08: np.dtype(np.uint8), 0x0C: np.dtype(">i4")}


def read_idx(path: Path | str) -> np.ndarray:
    """Read an IDX file, plain or ``.gz``.

    Args:
        path: The file; its header says type and shape.

    Returns:
        A writable array of uint8 or native int32 with the shape of the header.

    Raises:
        UserError: If the file is no IDX file of these types, damaged, or shorter or longer than
            its header says.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
        >>> read_idx(path).tolist()
        [5, 0, 4]
    """
    path = Path(path)
    try:
        with open_binary(path) as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); fetch it again.") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES:
        raise UserError(f"{path} is not an IDX file of uint8 or int32 (first bytes {data[:4]!r}).")
    dtype, start = _TYPES[data[2]], 4 + 4 * data[3]
    header = data[4:start]
    shape = np.frombuffer(header[: len(header) // 4 * 4], ">u4").tolist()
    if len(shape) < data[3] or len(data) - start != prod(shape) * dtype.itemsize:
        raise UserError(
            f"{path} holds {len(data)} bytes, its header says shape {shape} of {dtype.name}: "
            "the file is truncated or damaged; fetch it again."
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
