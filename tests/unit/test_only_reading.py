"""Messages that change something in the kernel leave from one function alone.

Which can leave is read from the code, and which do from the wire.
"""

import ast
import collections
import dataclasses
import importlib
from pathlib import Path

import pytest

import netfilter_exporter
from netfilter_exporter import collectors
from netfilter_exporter.collection import Gatherer
from netfilter_exporter.facts.flows import flow_sampler
from netfilter_exporter.facts.hits import hit_sampler
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel.conntrack.ctnetlink import IPCTNL_MSG_CT_DELETE
from netfilter_exporter.kernel.netlink.messages import (
    HEADER,
    NETLINK_ROUTE,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
)

ROOT = Path(netfilter_exporter.__file__).parent
SOURCES = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in ROOT.rglob("*.py")}

#: The methods of netlink.connection.Connection that send; and who else has one of that name.
SENDING = {"ask", "dump", "dump_into", "head", "stream", "command"}
OTHERS = {"self", "route", "shell", "yaml"}

#: include/uapi/linux/netfilter/ (v6.18): what only reads, by NFNL_SUBSYS_*.
READING = {
    1: {1, 4, 5},  # CTNETLINK: CT_GET, CT_GET_STATS_CPU, CT_GET_STATS
    6: {7, 15},  # IPSET: LIST, GET_BYINDEX
    # NFTABLES: GETTABLE, GETCHAIN, GETRULE, GETSET, GETSETELEM, GETGEN, GETOBJ
    10: {1, 4, 7, 10, 13, 16, 19},
    12: {0},  # HOOK: GET
}


def reads(protocol, type_):
    """Return whether a message of this type changes nothing."""
    if protocol == NETLINK_ROUTE:
        return type_ >= 16 and type_ % 4 == 2  # RTM_GET*: rtnl_msg_type in net/core/rtnetlink.c
    return type_ & 0xFF in READING.get(type_ >> 8, ())


def sending():
    """Yield (file, function, method, name of the message type) of each call that sends."""
    for file, tree in SOURCES.items():
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                method = call.func
                if not (isinstance(method, ast.Attribute) and method.attr in SENDING):
                    continue
                if isinstance(method.value, ast.Name) and method.value.id in OTHERS:
                    continue
                assert isinstance(call.args[1], ast.Name), f"{file}: {ast.unparse(call)}"
                yield file, function.name, method.attr, call.args[1].id


def value(file, name):
    """Return the value of a name in a module."""
    module = file.removesuffix(".py").replace("/", ".")
    return getattr(importlib.import_module(f"netfilter_exporter.{module}"), name)


def test_all_that_is_sent_reads_but_for_one_command():
    """A command is sent to delete the entry of the probe, by one function; the rest only asks."""
    found = list(sending())
    assert len(found) >= 20
    commands = [call for call in found if call[2] == "command"]
    file = "kernel/conntrack/ctnetlink.py"
    assert commands == [(file, "delete_entry", "command", "IPCTNL_MSG_CT_DELETE")]
    for file, function, _, name in set(found) - set(commands):
        protocol = NETLINK_ROUTE if name.startswith("RTM_") else None
        assert reads(protocol, value(file, name)), (file, function, name)


def functions_by_name():
    """Return the (file, function) in which each name is used."""
    found = collections.defaultdict(set)
    for file, tree in SOURCES.items():
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for node in ast.walk(function):
                name = getattr(node, "id", getattr(node, "attr", None))
                found[name].add((file, function.name))
    return found


def test_nothing_goes_around_it():
    """One function calls it, and one puts headers before messages; sockets are made in one file."""
    users = functions_by_name()
    assert users["delete_entry"] == {("kernel/conntrack/probe.py", "_find_and_delete")}
    assert users["_find_and_delete"] == {("kernel/conntrack/probe.py", "tracks")}
    assert users["HEADER"] & users["pack"] == {("kernel/netlink/connection.py", "_send")}
    files = {file for file, _ in users["AF_NETLINK"]}
    assert files == {"kernel/netlink/transport.py", "sandbox/seccomp.py"}
    assert users["setsockopt"] == set()


@pytest.mark.parametrize(
    "name", ["4.9/both-backends", "5.10/both-backends", "6.18/both-backends", "7.2/both-backends"]
)
def test_what_is_on_the_wire_reads(fake_host, name):
    """Of each recorded host: questions, dumps, and the command about the probe's own entry."""
    system = fake_host(name).system
    sent = []

    def netlink(protocol):
        transport = system.netlink(protocol)
        send = transport.send

        def sending(datagram):
            length, type_, flags, _, _ = HEADER.unpack_from(datagram)
            assert length == len(datagram)  # one message, with nothing behind it
            sent.append((protocol, type_, flags))
            send(datagram)

        transport.send = sending
        return transport

    host = Host(dataclasses.replace(system, netlink=netlink))
    gatherer = Gatherer(host)
    gatherer.gather(list(collectors.load().values()))
    gatherer.close()
    flow_sampler(host).look()
    hit_sampler(host).look()
    assert sent
    deleting = {message for message in sent if message[1] == IPCTNL_MSG_CT_DELETE}
    assert {flags for _, _, flags in deleting} <= {NLM_F_REQUEST | NLM_F_ACK}
    for protocol, type_, flags in set(sent) - deleting:
        assert reads(protocol, type_), (protocol, type_)
        assert flags in {NLM_F_REQUEST, NLM_F_REQUEST | NLM_F_DUMP}
