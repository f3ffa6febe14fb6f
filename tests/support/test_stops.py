"""When a signal is answered, and by whom."""

import os
import signal

import pytest

from frbench.support import stops


def send(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def test_a_signal_is_answered_at_once_or_at_the_next_safe_point() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stops.listening():
        with pytest.raises(stops.Stop) as stop:
            send()
        assert stop.value.status == 143
    with stops.listening():
        stops.wait_for_safe_points(True)
        send(signal.SIGHUP)
        assert stops.is_asked()
        send(signal.SIGTERM)  # of the same end: a scheduler's and the command's
        with pytest.raises(stops.Stop) as stop:
            stops.answer()
        assert stop.value.status == 129
    assert signal.getsignal(signal.SIGTERM) is before
    assert not stops.is_asked()


def test_a_second_signal_after_a_while_is_answered_at_once(monkeypatch) -> None:
    monkeypatch.setattr(stops, "SAME", -1.0)
    with stops.listening():
        stops.wait_for_safe_points(True)
        send()
        with pytest.raises(stops.Stop):
            send()


def test_what_must_not_be_torn_is_finished_first() -> None:
    done = []
    with stops.listening(), pytest.raises(stops.Stop), stops.undisturbed():
        send()
        done.append(True)
    assert done == [True]


def test_an_ignored_signal_stays_ignored_and_a_users_program_keeps_its_handlers() -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stops.listening():
            send(signal.SIGHUP)
            assert not stops.is_asked()
    finally:
        signal.signal(signal.SIGHUP, old)
    before = signal.getsignal(signal.SIGTERM)
    stops.listen()
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_error_that_comes_of_the_signal_is_no_error_of_the_run() -> None:
    with stops.listening():
        stops.wait_for_safe_points(True)
        send()
        with (
            pytest.raises(stops.Stop, match="go on like this"),
            stops.interruptible(lambda: "go on like this"),
        ):
            raise RuntimeError("DataLoader worker is killed by signal")
