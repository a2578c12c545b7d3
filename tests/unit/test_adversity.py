"""A kernel that runs out of buffers or is busy, and clocks that jump: what comes of one scrape."""

import copy
import dataclasses
import errno
import itertools
import os
import struct
import time

import pytest

from netfilter_exporter import collectors
from netfilter_exporter.collection import Gatherer
from netfilter_exporter.exporter_metrics import page_families
from netfilter_exporter.exposition import Exposition
from netfilter_exporter.facts.flows import flow_sampler
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel.errors import HEALTHY, from_oserror
from netfilter_exporter.kernel.netlink.messages import HEADER, NLMSG_ERROR
from support.page import Page

COLLECTORS = list(collectors.load().values())
NAME = "6.18/both-backends"
YEAR = 365 * 86400.0


class Trouble:
    """Fails once, at one answer of all that come over its sockets."""

    def __init__(self, place, number):
        self.pending = True
        self._left, self._number = place, number

    def socket(self, transport):
        """Return the double of a socket whose answers may fail."""
        made = copy.copy(transport)
        made.receive = lambda timeout: self._receive(transport.receive(timeout))
        return made

    def _receive(self, answer):
        """Return the answer; fail, or have the kernel say that it is busy, where it is its turn."""
        self._left -= 1
        if self._left >= 0 or not self.pending:
            return answer
        self.pending = False
        if self._number == errno.EBUSY:
            sequence = HEADER.unpack_from(answer)[3]
            header = HEADER.pack(HEADER.size + 4, NLMSG_ERROR, 0, sequence, 0)
            return memoryview(header + struct.pack("=i", -self._number))
        raise from_oserror(OSError(self._number, os.strerror(self._number)), "netlink receive")


def gathered(gatherer):
    run = gatherer.gather(COLLECTORS)
    return run.outcomes, Page(Exposition().render(page_families(run), "")[0].decode())


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.EBUSY], ids=["ENOBUFS", "EBUSY"])
def test_a_kernel_without_buffers_is_an_error_of_one_scrape(fake_host, number):
    """At whichever answer it happens: no traceback, no guess, and all is read the next time.

    Each of the two is tried at every other answer.
    """
    system = fake_host(NAME).system
    gatherer = Gatherer(Host(system))
    _, whole = gathered(gatherer)
    gatherer.close()
    for place in itertools.count(number % 2, 2):
        trouble = Trouble(place, number)
        double = dataclasses.replace(
            system, netlink=lambda protocol, made=trouble: made.socket(system.netlink(protocol))
        )
        gatherer = Gatherer(Host(double))
        outcomes, page = gathered(gatherer)
        if trouble.pending:
            gatherer.close()
            break
        after, again = gathered(gatherer)
        gatherer.close()
        for outcome in outcomes.values():
            assert [error for error in outcome.errors if error.__cause__] == []
        for name in "nat_rules", "conntrack_tracking", "forwarding_enabled", "capability_needed":
            known = whole.samples(name)
            assert [sample for sample in page.samples(name) if sample not in known] == []
        assert {outcome.status for outcome in after.values()} <= HEALTHY
        assert again.samples("nat_rules") == whole.samples("nat_rules")
    assert place > 10


def test_a_clock_that_jumps_changes_nothing(fake_host, monkeypatch):
    """By a year, forwards and back: what is measured is measured by a clock that does not."""
    system = fake_host(NAME).system
    host = Host(system)
    gatherer = Gatherer(host)
    sampler = flow_sampler(host)
    gathered(gatherer)  # a sample asks the rules that were read which ports they allow
    pages = []
    real, real_ns = time.time, time.time_ns
    for jump in (0, YEAR, -YEAR, 0):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        monkeypatch.setattr(time, "time_ns", lambda jump=jump: real_ns() + int(jump * 1e9))
        sampler.look()
        outcomes, page = gathered(gatherer)
        assert {outcome.status for outcome in outcomes.values()} <= HEALTHY
        durations = [sample.value for sample in page.samples("scrape_collector_duration_seconds")]
        assert 0 <= min(durations) <= max(durations) < YEAR
        volatile = ("duration", "sample_timestamp")
        pages.append({x for x in page.lines() if not any(word in x for word in volatile)})
    gatherer.close()
    assert pages[0] == pages[1] == pages[2] == pages[3]
