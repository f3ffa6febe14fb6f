"""Ctrl-C, SIGTERM and SIGHUP: each ends a command where it can be continued."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

#: Signals that end a command. SLURM sends the last one where it is asked to (``--signal=USR1``).
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
#: Seconds within which a second signal counts as the same one: the terminal, a scheduler and the
#: command itself may each send it to a worker. A later one ends what still runs at once.
SAME = 1.0
#: Seconds that a worker has to end in after the death of the process that started it.
GRACE = 60.0


class Stop(KeyboardInterrupt):
    """A signal that ends the command; the message says how to continue.

    Args:
        number: The signal.
        how: How to continue.

    Example:
        >>> Stop(signal.SIGTERM).status
        143
    """

    def __init__(self, number: int, how: str = "") -> None:
        super().__init__(how)
        self.number = number

    @property
    def status(self) -> int:
        """Exit status of a process that the signal has ended."""
        return 128 + self.number


class _Asked:
    """What has been asked of this process, and whether it answers now or later."""

    listens = False
    number = 0
    at = 0.0
    later = 0


_asked = _Asked()


def _on_signal(number: int, frame: FrameType | None) -> None:
    first, now = not _asked.number, time.monotonic()
    if not first and now - _asked.at < SAME:
        return
    _asked.number, _asked.at = number, now
    if not (first and _asked.later):
        raise Stop(number)


def listen() -> None:
    """Take the signals, also from a library that has taken them; those ignored stay so.

    Outside of :func:`listening`, in a program of the user's own, nothing is taken.
    """
    if _asked.listens and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _on_signal)


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Turn each signal that arrives inside into a :class:`Stop`."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _asked.listens, _asked.number, _asked.later = True, 0, 0
    listen()
    try:
        yield
    finally:
        _asked.listens, _asked.number, _asked.later = False, 0, 0
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def wait_for_safe_points(on: bool) -> None:
    """Let the first signal wait for the next :func:`answer`, or no longer."""
    _asked.later = int(on)


def is_asked() -> bool:
    """Whether a signal waits for an answer."""
    return bool(_asked.number)


def answer(asked: bool | None = None) -> None:
    """End here if a signal has asked for it.

    Args:
        asked: What the processes of a run have agreed on, of which one had the signal.

    Raises:
        Stop: If so.
    """
    if _asked.number if asked is None else asked:
        raise Stop(_asked.number or signal.SIGTERM)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let a signal wait for the end of what is done inside.

    Raises:
        Stop: At the end, if there was a signal.
    """
    _asked.later += 1
    try:
        yield
    finally:
        _asked.later -= 1
    answer()


def stop_of(error: BaseException) -> KeyboardInterrupt | None:
    """Find the signal behind an exception; Lightning makes an exit of it."""
    if isinstance(error, SystemExit) and error.__context__ is not None:
        error = error.__context__
    return error if isinstance(error, KeyboardInterrupt) else None


def as_stop(error: KeyboardInterrupt, how: str = "") -> Stop:
    """Give an interrupt that no signal of ours has raised the number of Ctrl-C."""
    return Stop(error.number if isinstance(error, Stop) else signal.SIGINT, how or str(error))


@contextlib.contextmanager
def interruptible(how: Callable[[], str]) -> Iterator[None]:
    """Say how to go on when a signal ends what runs inside.

    Args:
        how: Gives the words, asked for after the signal.

    Raises:
        Stop: With these words, which ``frbench`` prints before it ends.

    Example:
        >>> try:
        ...     with interruptible(lambda: "the same command continues"):
        ...         raise KeyboardInterrupt
        ... except Stop as error:
        ...     print(error, error.status)
        the same command continues 130
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        if (stop := stop_of(error)) is None:
            raise
        raise as_stop(stop, how()) from None
    except Exception as error:  # of a process that was asked to end as well, and did so first
        if not is_asked():
            raise
        raise Stop(_asked.number, how()) from error


def leave_to_parent(worker: int) -> None:
    """Ignore the signals in a process that loads batches; the one that it loads for ends it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_with_parent(pipe: int = 0) -> None:
    """End this process as by SIGTERM when the one that started it is gone, however it died.

    Args:
        pipe: Descriptor of a pipe whose other end that process alone holds open, and writes
            nothing into; by default standard input.
    """

    def watch() -> None:
        os.read(pipe, 1)  # not sys.stdin, whose lock would be held at the interpreter's end
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
