"""Signals: at once while nothing is under way, else where it is right to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from gsam.dataset import signals


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(signals, "_received", None)
    signals.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_at_once(number: int, code: int) -> None:
    with pytest.raises(signals.Interrupted) as caught:
        os.kill(os.getpid(), number)
    assert caught.value.code == code


def test_where_it_is_right_to_stop(capsys: pytest.CaptureFixture[str]) -> None:
    signals.check()
    with signals.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # a second one kills
        with pytest.raises(signals.Interrupted) as caught:
            signals.check()
    assert caught.value.code == 143
    assert "again to stop at once" in capsys.readouterr().err
