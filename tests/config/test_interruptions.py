"""Signals that stop the system: no handler of errors keeps one from it."""

import contextlib
import signal

import pytest

from config.dev.interruptions import Interrupted, Interruptions


def test_a_signal_is_not_handled_like_an_error_of_what_it_interrupts() -> None:
    interruptions = Interruptions()
    interruptions.install()
    try:
        with pytest.raises(Interrupted) as stopped, contextlib.suppress(Exception):
            signal.raise_signal(signal.SIGTERM)
    finally:
        interruptions.uninstall()

    assert stopped.value.exit_status == 128 + signal.SIGTERM
