"""Files that appear whole or not at all; imports no torch."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from frbench.contracts.errors import UserError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], new: bool = False) -> Iterator[Path]:
    """Give a path to write to; at the end the file takes its place in one step.

    A process that dies in between leaves the old file as it was. The name that is given ends as
    that of ``path`` does, for writers that look at the suffix.

    Args:
        path: The file to write or to replace.
        new: Refuse to replace a file, also one that another process has written meanwhile.

    Raises:
        FileExistsError: If ``new`` and the file is there.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "a.txt") as part:
        ...     _ = part.write_text("whole")
        >>> [(file.name, file.read_text()) for file in folder.iterdir()]
        [('a.txt', 'whole')]
    """
    path = Path(path)
    # In the same folder: a move from another file system would be a copy. Named by process, as
    # several may write the same file.
    # A name may be as long as the file system allows: of the own one, its end alone.
    part = path.with_name(f".part-{os.getpid()}-{path.name[-40:]}")
    try:
        yield part
        if new:
            os.link(part, path)
        else:
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def no_space(error: OSError) -> bool:
    """Whether it says that the disk, or the user's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def check_writable(folder: str | Path, option: str) -> None:
    """Refuse a folder, before any work, in which nothing could be written; nothing is made.

    Args:
        folder: The folder; it may be missing, then its nearest parent counts.
        option: What names it, for the message.

    Raises:
        UserError: Naming the folder, what is in the way and the option to change.

    Example:
        >>> import tempfile
        >>> check_writable(tempfile.gettempdir(), "--out")
    """
    folder = Path(folder).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"Cannot write to {folder}: {there} is a file; give another {option}.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"Cannot write to {folder}: {there} is read-only; give another {option}.")


def check_new(
    *files: Path,
    force: bool | None = None,
    option: str = "--out",
    reads: Iterable[Path] = (),
    endings: Sequence[str] = (),
    make: bool = False,
) -> None:
    """Refuse, before any work, files that a command would write over.

    Args:
        files: What it is going to write.
        force: Whether the user lets it replace files; None where the command has no ``--force``.
        option: What names the files, for the message.
        reads: What it reads, which no option lets it replace.
        endings: What names must end in; empty for anything.
        make: Whether to make the folders.

    Raises:
        UserError: Naming the file that is there, or a folder that cannot be written to.

    Example:
        >>> import tempfile
        >>> check_new(Path(tempfile.mkdtemp()) / "new.csv")
    """
    for file in files:
        if endings and file.suffix not in endings:
            raise UserError(f"{option} {file}: the name must end in {', '.join(endings)}.")
        if file.exists() and any(file.samefile(own) for own in reads if own.exists()):
            raise UserError(f"{file} is read by this command; give another {option}.")
        if file.exists() and not force:
            remedy = "" if force is None else ", or --force to replace it"
            raise UserError(
                f"{file} exists, and is not overwritten; give another {option}{remedy}."
            )
        check_writable(file.parent, option)
        try:
            if make:
                file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Cannot write {file} ({error.strerror}): give another.") from None
