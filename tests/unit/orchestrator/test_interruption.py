"""Signals are requests: nothing is torn apart in the middle, and a second one still ends the process."""

from __future__ import annotations

import signal

import pytest

from orchestrator.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noticed_where_it_is_looked_for(number: int):
    interruption = Interruption()
    with interruption.watching():
        signal.raise_signal(number)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            interruption.check()


def test_a_second_signal_does_not_wait():
    interruption = Interruption()
    with interruption.watching():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_inside_another_watch_signals_that_a_library_took_are_ours_again_and_then_given_back():
    before = signal.getsignal(signal.SIGTERM)
    interruption = Interruption()
    with interruption.watching():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with interruption.watching():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    assert interruption.requested
    assert signal.getsignal(signal.SIGTERM) == before
