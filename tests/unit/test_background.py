"""kernel/background.py: readings that nobody waits for to the end."""

import errno
import threading
import time

import pytest

from netfilter_exporter.kernel import background
from netfilter_exporter.kernel.background import Background, StillReading
from netfilter_exporter.kernel.errors import Denied, ReadError, Status, bare
from netfilter_exporter.kernel.netlink.messages import NetlinkError
from support.serving import eventually


def slow(until, result):
    """Return a reading that waits for an event."""

    def read():
        until.wait(30)
        if isinstance(result, Exception):
            raise result
        return result

    return read


def failing(error):
    def read():
        raise error

    return read


def test_whoever_waits_has_what_was_read():
    """In the same call."""
    readings = Background("x")
    assert readings.read(lambda: "rules", 30) == readings.last == "rules"


def test_one_reading_serves_all_who_ask_meanwhile():
    """Whoever comes later waits for the one that is under way, and begins none."""
    readings, until = Background("x"), threading.Event()
    for _ in range(3):
        with pytest.raises(StillReading, match="x: being read"):
            readings.read(slow(until, "first"), 0.01)
    until.set()
    eventually(lambda: readings.last == "first")
    assert readings.read(lambda: "second", 30) == "second"


def test_an_error_is_that_of_whoever_waits():
    """And what was read before stays."""
    readings = Background("x")
    readings.read(lambda: "rules", 30)
    with pytest.raises(Denied):
        readings.read(failing(Denied("no")), 30)
    assert readings.last == "rules"


def test_an_error_that_is_kept_is_the_same_without_its_frames():
    """Also one whose constructor takes something else than its text."""
    with pytest.raises(NetlinkError) as caught:
        raise NetlinkError("x", errno.EPERM)
    kept = bare(caught.value)
    assert (type(kept), str(kept), kept.status) == (NetlinkError, str(caught.value), Status.DENIED)
    assert kept.errno == errno.EPERM
    assert kept.__traceback__ is None is not caught.value.__traceback__


def test_a_defect_is_an_error_too():
    """With its cause, for the log."""
    with pytest.raises(ReadError, match="x: KeyError") as caught:
        Background("x").read(failing(KeyError("k")), 30)
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_error_that_nobody_waited_for_is_told_by_the_next():
    """Else a reading that fails late would look like one that goes on for ever."""
    readings, until = Background("x"), threading.Event()
    with pytest.raises(StillReading):
        readings.read(slow(until, Denied("no")), 0.01)
    until.set()
    eventually(lambda: not alive("x"))
    again = threading.Event()
    with pytest.raises(Denied):
        readings.read(slow(again, "rules"), 0.01)
    again.set()
    eventually(lambda: readings.last == "rules")


def alive(name):
    return any(thread.name == name for thread in threading.enumerate())


def test_nobody_waits_for_a_reading_that_hangs(monkeypatch):
    """One that is under way for longer than any may take: else each page would come late."""
    monkeypatch.setattr(background, "READING_TIMEOUT", 0.0)
    readings, until = Background("x"), threading.Event()
    with pytest.raises(StillReading):
        readings.read(slow(until, "rules"), 0.01)
    began = time.monotonic()
    with pytest.raises(StillReading):
        readings.read(slow(until, "rules"), 20)
    assert time.monotonic() - began < 10
    until.set()
    eventually(lambda: readings.last == "rules")
