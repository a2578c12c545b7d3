"""kernel/machine.py: which machine this is, without its identity."""

import pytest

from netfilter_exporter.collection import Gatherer
from netfilter_exporter.exporter_metrics import ROWS, served
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel import machine
from netfilter_exporter.kernel.errors import Malformed, NoData
from netfilter_exporter.kernel.machine import parse_machine

IDENTITY = b"0123456789abcdef0123456789abcdef\n"
ROW = next(row for row in ROWS if row.name == "exporter_host_info")


def samples(fake_host, content):
    """Return what a host whose /etc/machine-id has `content` serves."""
    host = fake_host("6.1/idle")
    file = host.path("etc/machine-id")
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    return served(ROW, Gatherer(Host(host.system)).gather(()))


def test_a_machine_has_the_same_hash_each_time(fake_host):
    """16 digits that are not those of the identity, and another machine has others."""
    (((found,), value),) = samples(fake_host, IDENTITY)
    assert value == 1
    assert len(found) == 16
    assert found not in IDENTITY.decode()
    assert samples(fake_host, IDENTITY) == (((found,), 1),)
    assert samples(fake_host, IDENTITY[::-1]) != (((found,), 1),)


@pytest.mark.parametrize("content", [b"", b"\n", b"uninitialized\n", b"x" * 32])
def test_what_is_no_identity_is_no_machine(fake_host, content):
    """The first boot, and a file of something else, give no sample."""
    assert samples(fake_host, content) == ()


def test_an_error_says_which_it_is():
    """There is none yet, or it is malformed."""
    with pytest.raises(NoData, match="no identity yet"):
        parse_machine(b"uninitialized\n", "x")
    with pytest.raises(Malformed, match="32 hexadecimal digits"):
        parse_machine(b"0123", "x")


def test_a_container_image_is_no_machine(fake_host, monkeypatch):
    """The file of an image, which all containers of it have, is not the host's."""
    monkeypatch.setattr(machine, "shows_host", lambda *_: False)
    assert samples(fake_host, IDENTITY) == ()
