"""tests/support: archives hold any tree, and the double answers as the recorded kernel did."""

import errno
import gzip
import os
import re
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import witness
from netfilter_exporter import collectors
from netfilter_exporter.collection import Gatherer
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.errors import Denied, Inconclusive, ReadError, Unsupported
from netfilter_exporter.kernel.netlink.attributes import attribute_map, nest, pack
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import (
    HEADER,
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    NetlinkError,
    nfgenmsg,
)
from netfilter_exporter.rules.families import Family
from support import archive, limit, recording, unanswered
from support.archive import Entry
from support.host import deny

GETGEN, GETTABLE = 0x0A10, 0x0A01
RTM_GETNEIGH = 30
GET_INFO = 64
PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def connect(host, protocol=NETLINK_NETFILTER):
    """Return a connection to the host's kernel."""
    return Connection(host.system.netlink(protocol), time.monotonic() + 5)


def tuple_request(family, ports, extra=b""):
    """Return the payload of a ctnetlink request for the probe's tuple."""
    source, destination = (port.to_bytes(2, "big") for port in ports)
    protocol = nest(2, pack(1, b"\x11"), pack(2, source), pack(3, destination))
    return nfgenmsg(family.nfproto) + nest(1, protocol) + extra


@given(st.lists(st.builds(Entry, PATHS, st.none() | st.binary(max_size=60), st.none())))
def test_an_archive_gives_back_any_entries(entries):
    """Bytes, NULs, missing newlines, empty files and directories survive, as readable text."""
    packed = archive.dump(entries)
    assert archive.load(packed) == entries
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", packed.decode("utf-8"))


def test_an_archive_tells_modes_and_takes_comments():
    """A mode survives; a comment may stand before an entry."""
    entries = [Entry("proc/a", b"# not a comment\n", 0o440), Entry("proc/b", b"", 0o644)]
    packed = b"# recorded on Linux\n\n" + archive.dump(entries)
    assert archive.load(packed) == entries


@pytest.mark.parametrize(
    "text",
    [
        b"Path: a\n",
        b"Path: a\nLines: 2\none\n",
        b"Path: a\nLines: many\n",
        b"Mode: 0644\n",
        b"hello\n",
    ],
)
def test_a_damaged_archive_is_refused(text):
    """What is cut or out of order names its line."""
    with pytest.raises(archive.ArchiveError, match="line "):
        archive.load(text)


def test_nothing_is_extracted_outside(tmp_path):
    """A path that climbs out is refused."""
    with pytest.raises(archive.ArchiveError, match="outside"):
        archive.extract([Entry("../escaped", b"")], str(tmp_path / "root"))


def test_packing_keeps_the_modes_of_files_tsv(tmp_path):
    """Modes of the recorded machine stand in files.tsv, for a checkout loses them."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "secret").write_bytes(b"x")
    (tmp_path / "files.tsv").write_text("path\tmode\tread\nproc/secret\t0400\tok\n")
    assert archive.collect(str(tmp_path)) == [Entry("proc/secret", b"x", 0o400)]


def test_all_states_are_here():
    """Each recorded state can be loaded, and tells which it is."""
    names = recording.names()
    assert len(names) >= 90
    for name in names:
        kernel, state = name.split("/")
        facts = recording.load(name).facts
        assert facts["state"] == state
        assert facts["kernel"].startswith(kernel)


def test_a_host_has_its_static_files(fake_host):
    """A kernel's modules and configuration stand beside the state."""
    assert b"CONFIG_MODULES" in gzip.decompress(
        fake_host("6.18/idle").path("proc/config.gz").read_bytes()
    )
    release = fake_host("6.1/idle").facts["kernel"]
    assert fake_host("6.1/idle").path(f"lib/modules/{release}/modules.dep").exists()


def test_requests_are_matched_whatever_their_sequence(fake_host):
    """The same question may be asked again and again."""
    connection = connect(fake_host("6.1/nat-nft"))
    for _ in range(3):
        assert len(connection.dump("tables", GETTABLE, nfgenmsg(0), bytes)) == 3
        assert len(connection.ask("generation", GETGEN, nfgenmsg(0))) > 4


def test_an_unknown_question_is_remembered(fake_host):
    """What was not recorded is refused, and a test can tell."""
    host = fake_host("6.1/nat-nft")
    with pytest.raises(NetlinkError) as met:
        connect(host).dump("tables", GETTABLE, nfgenmsg(99), bytes)
    assert met.value.errno == errno.EINVAL
    assert len(host.kernel.unknown) == 1


@pytest.mark.parametrize("family", Family)
def test_the_probe_finds_its_entry_after_the_datagram(fake_host, family):
    """No entry before the datagram, one after it, none once it was deleted."""
    host = fake_host("6.1/nat-nft")
    connection, pair = connect(host), host.system.loopback(family)
    request = tuple_request(family, pair.ports)
    for sent, found in (False, False), (True, True):
        if sent:
            pair.send()
            assert pair.delivered()
        assert found is is_found(connection, request)
    connection.command("delete", 0x0102, request)
    assert host.kernel.deleted == [family]
    assert not is_found(connection, request)


def is_found(connection, request):
    """Return whether the conntrack table holds the tuple of `request`."""
    try:
        connection.ask("entry", 0x0101, request)
    except NetlinkError as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    return True


def test_only_the_own_entry_is_deleted(fake_host):
    """Another tuple, or another entry of the same tuple, is not ours; no tuple means all."""
    host = fake_host("6.1/nat-nft")
    pair = host.system.loopback(Family.IPV4)
    pair.send()
    stranger = tuple_request(Family.IPV4, (1, 2))
    successor = tuple_request(Family.IPV4, pair.ports, pack(12, b"abcd"))
    for request in stranger, successor:
        with pytest.raises(NetlinkError):
            connect(host).command("delete", 0x0102, request)
    connect(host).command("delete", 0x0102, nfgenmsg(2))
    assert host.kernel.deleted == []
    assert host.kernel.harm == ["deleted every entry of the conntrack table"]


def test_a_refused_datagram_is_refused(fake_host):
    """With a full table the send itself fails."""
    with pytest.raises(Inconclusive):
        fake_host("6.1/table-full").system.loopback(Family.IPV4).send()


def test_looking_too_closely_is_harm(fake_host):
    """Where a question would make the kernel load or create something, it is told."""
    host = fake_host("4.9/idle")
    with pytest.raises(Unsupported):
        host.system.netlink(NETLINK_NETFILTER)
    with pytest.raises(ReadError):
        host.system.xtables(Family.IPV4).get(GET_INFO, b"nat", 84)
    assert len(host.kernel.harm) == 2


def test_legacy_tables_answer_as_recorded(fake_host):
    """A buffer of another size than the structure's is refused, as the kernel does."""
    legacy = fake_host("6.1/nat-legacy").system.xtables(Family.IPV4)
    assert bytes(legacy.get(GET_INFO, b"nat", 84)).startswith(b"nat\0")
    with pytest.raises(ReadError, match="Invalid argument"):
        legacy.get(GET_INFO, b"nat", 83)


def test_netconf_tells_the_forwarding_switches(fake_host):
    """RTM_GETNETCONF says of each interface what /proc/sys says."""
    host = fake_host("6.1/iface-forward-off")
    connection = connect(host, NETLINK_ROUTE)
    switches = connection.dump("netconf", 82, b"\x02\0\0\0", switch)
    assert {(1, 1), (2, 0), (3, 1), (-1, 1), (-2, 1)} <= set(switches)


def switch(payload):
    """Return (interface index, forwarding) of an RTM_NEWNETCONF."""
    found = attribute_map(payload, 4)
    return tuple(int.from_bytes(found[t], "little", signed=True) for t in (1, 2))


def test_without_privilege_much_is_refused(fake_host, monkeypatch):
    """Netlink, legacy tables and files of root say no; the others are served."""
    host = fake_host("6.1/nat-legacy")
    host.drop_privilege(monkeypatch)
    with pytest.raises(NetlinkError):
        connect(host).ask("generation", GETGEN, nfgenmsg(0))
    with pytest.raises(Denied):
        host.system.xtables(Family.IPV4).get(GET_INFO, b"nat", 84)
    with pytest.raises(Denied):
        files.read_bytes(host.paths.proc("net/ip_tables_names"))
    assert files.exists(host.paths.proc("net/ip_tables_names"))
    assert files.read_int(host.paths.proc("sys/net/ipv4/ip_forward")) == 1


def test_a_denied_folder_denies_what_is_below(tmp_path, monkeypatch):
    """EACCES on a folder hides its files, not those beside it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "ab").write_text("1")
    deny(monkeypatch, [str(tmp_path / "a")])
    for look in files.listing, files.read_bytes:
        with pytest.raises(Denied):
            look(str(tmp_path / "a"))
    with pytest.raises(Denied):
        files.exists(str(tmp_path / "a" / "b"))
    assert files.read_int(str(tmp_path / "ab")) == 1


def test_turns_are_taken_with_the_limit(tmp_path, monkeypatch):
    """Whoever changes the limit of all namespaces waits for those who keep it, and goes first."""
    value = tmp_path / "nf_conntrack_max"
    value.write_text("262144")
    monkeypatch.setattr(limit, "LIMIT", value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen = []

    def lower():
        with limit.changed(100):
            seen.append(value.read_text())

    with limit.kept(), limit.kept():
        thread = threading.Thread(target=lower)
        thread.start()
        thread.join(0.2)
        assert (thread.is_alive(), seen) == (True, [])
    thread.join(5)
    with limit.kept():
        assert (seen, value.read_text()) == (["100"], "262144")


def test_an_older_recording_refuses_a_new_question(fake_host, monkeypatch):
    """Where it is declared that a recording has no answer, the question is unsupported."""
    monkeypatch.setattr(unanswered, "QUESTIONS", {(NETLINK_ROUTE, RTM_GETNEIGH): 1})
    old = fake_host("6.1/nat-nft")
    with pytest.raises(NetlinkError) as met:
        connect(old, NETLINK_ROUTE).ask("neighbors", RTM_GETNEIGH, b"\x02" + bytes(11))
    assert (met.value.errno, old.kernel.unknown) == (errno.EOPNOTSUPP, [])


def test_a_newer_recording_has_to_answer(fake_host, monkeypatch):
    """A question is excused in recordings that are older than it, and nowhere else."""
    monkeypatch.setattr(unanswered, "QUESTIONS", {(NETLINK_ROUTE, RTM_GETNEIGH): 1})
    new = fake_host("6.18/nat-vmap")
    with pytest.raises(NetlinkError):
        connect(new, NETLINK_ROUTE).ask("neighbors", RTM_GETNEIGH, b"\x02" + bytes(11))
    assert len(new.kernel.unknown) == 1


def test_each_declared_question_is_answered_somewhere():
    """A question that no recorded host answers would be tested by none."""
    for question, since in unanswered.QUESTIONS.items():
        assert 0 < since <= witness.RECORDER
        newer = [each for each in map(recording.load, recording.names()) if each.recorder >= since]
        assert any(question in answered(each) for each in newer), question


def answered(recorded):
    """Return the questions that a recording answers."""
    requests = [e.request for e in recorded.exchanges.values() if e.request]
    types = {HEADER.unpack_from(request)[1] for request in requests}
    return {(NETLINK_NETFILTER if type_ >= 1 << 8 else NETLINK_ROUTE, type_) for type_ in types}


def test_each_opened_file_is_in_a_recording(fake_host, monkeypatch):
    """A file that no recorded host has would be absent on every page, and nobody would notice."""
    recorded = {entry.path for name in recording.names() for entry in recording.load(name).files}
    missing = {path for name in OPENING for path in opened(fake_host(name), monkeypatch)}
    missing = {path for path in missing if path.startswith(("proc/", "sys/"))} - recorded
    assert missing == set(unanswered.FILES), "see FILES in tests/support/unanswered.py"


#: Between them they have each kind of kernel, backend and module list.
OPENING = ("4.9/nat-legacy", "5.10/nat-nft", "6.18/both-backends", "7.2/both-backends")


def opened(host, monkeypatch):
    """Return the files that a scrape opens, below the root of the host."""
    found, real, root = set(), os.open, f"{host.path('')}/"

    def opening(path, *arguments, **options):
        if str(path).startswith(root):
            found.add(str(path).removeprefix(root))
        return real(path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", opening)
        Gatherer(Host(host.system)).gather(collectors.load().values())
    return found
