"""Rulesets of a Kubernetes node with thousands of services are read whole."""

import concurrent.futures
import contextlib
import subprocess
import threading
import time

import pytest

from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER, nfgenmsg
from netfilter_exporter.kernel.nft.uapi import NFT_MSG_GETRULE
from netfilter_exporter.rules import translations
from netfilter_exporter.rules.families import NFPROTO_UNSPEC, Family, Hook
from netfilter_exporter.rules.model import Action
from netfilter_exporter.rules.reachability import BaseChain
from support import inside

SERVICES = 4000


def kubernetes_iptables():
    """Return 20 000 rules as kube-proxy writes them for iptables."""
    chains, rules = [], []
    for number in range(SERVICES):
        service, endpoint = f"KUBE-SVC-{number:016X}", f"KUBE-SEP-{number:016X}"
        address = f"10.96.{number >> 8}.{number & 255}"
        pod = f"10.244.{number >> 8}.{number & 255}"
        chains += [service, endpoint]
        to = f"-d {address}/32 -p tcp -m tcp --dport 443"
        rules += [
            f'-A KUBE-SERVICES {to} -m comment --comment "ns/svc-{number}" -j {service}',
            f"-A {service} ! -s 10.244.0.0/16 {to} -j KUBE-MARK-MASQ",
            f'-A {service} -m comment --comment "ns/svc-{number} -> {pod}:8443" -j {endpoint}',
            f"-A {endpoint} -s {pod}/32 -j KUBE-MARK-MASQ",
            f"-A {endpoint} -p tcp -m tcp -j DNAT --to-destination {pod}:8443",
        ]
    fixed = ["KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"]
    return "\n".join(
        [
            "*nat",
            *(f":{name} - [0:0]" for name in (*fixed, *chains)),
            "-A PREROUTING -j KUBE-SERVICES",
            "-A OUTPUT -j KUBE-SERVICES",
            "-A POSTROUTING -j KUBE-POSTROUTING",
            "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
            "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
            "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
            "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
            *rules,
            "COMMIT",
            "",
        ]
    )


def kubernetes_nft():
    """Return a table as kube-proxy writes it for nftables: two maps, and two chains a service."""
    services, endpoints, elements = [], [], []
    for number in range(SERVICES):
        address = f"10.96.{number >> 8}.{number & 255}"
        pod = f"10.244.{number >> 8}.{number & 255}"
        services.append(
            f"chain service-{number} {{ ip daddr {address} tcp dport 443 ip saddr != 10.244.0.0/16"
            f" jump mark-for-masquerade; numgen random mod 1 vmap {{ 0 : goto endpoint-{number} }}"
            " ; }"
        )
        endpoints.append(
            f"chain endpoint-{number} {{ ip saddr {pod} jump mark-for-masquerade;"
            f" meta l4proto tcp dnat to {pod}:8443; }}"
        )
        elements.append(f"{address} . tcp . 443 : goto service-{number}")
    return f"""
table ip kube-proxy {{
  chain mark-for-masquerade {{ mark set mark or 0x4000; }}
  {chr(10).join(endpoints)}
  {chr(10).join(services)}
  map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict;
    elements = {{ {", ".join(elements)} }} }}
  chain services {{ ip daddr . meta l4proto . th dport vmap @service-ips; }}
  chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
  chain nat-output {{ type nat hook output priority -100; jump services; }}
  chain nat-postrouting {{ type nat hook postrouting priority srcnat;
    mark and 0x4000 == 0 return; masquerade fully-random; }}
}}
"""


POSTROUTING = BaseChain(Family.IPV4, "nat", "POSTROUTING", Hook.POSTROUTING)


def test_twenty_thousand_iptables_rules(namespace):
    """Each rule counts once, though two hooks lead to it."""
    namespace.run("iptables-legacy-restore", "-w", stdin=kubernetes_iptables())
    check(namespace.call(inside.ruleset, "legacy_ipv4"), "nat", "PREROUTING", 5 * SERVICES + 7)


def test_twenty_thousand_iptables_nft_rules(namespace):
    """The same through iptables-nft."""
    namespace.run("iptables-nft-restore", "-w", stdin=kubernetes_iptables())
    check(namespace.call(inside.ruleset, "nftables"), "nat", "PREROUTING", 5 * SERVICES + 7)


def test_maps_of_a_kubernetes_node_are_followed(namespace):
    """Thousands of chains behind one map, and behind as many small ones, are all reached."""
    namespace.run("nft", "-f", "-", stdin=kubernetes_nft())
    facts = namespace.call(inside.ruleset, "nftables")
    check(facts, "kube-proxy", "nat-prerouting", 4 * SERVICES + 6)


def check(facts, table, base, rules):
    """Compare what was read with what was written."""
    assert facts.rules[Family.IPV4, Action.DNAT] == SERVICES
    assert facts.rules[Family.IPV4, Action.MASQUERADE] == 1
    assert translations.forwarded(facts.in_full, Family.IPV4, {}) == SERVICES + 1
    assert facts.table_rules == {(Family.IPV4, table): rules}
    assert facts.chain_rules[BaseChain(Family.IPV4, table, base, Hook.PREROUTING)] == 1
    assert not any(facts.unreachable.values())


def test_a_failed_dump_does_not_spoil_the_next(namespace):
    """Its rest is taken before anything else is asked: the kernel runs one dump at a time."""
    rules = "\n".join(f"tcp dport {port} masquerade" for port in range(1, 3000))
    table = f"table ip t {{ chain c {{ type nat hook postrouting priority 100; {rules}\n}}; }}"
    namespace.run("nft", "-f", "-", stdin=table)
    assert namespace.call(failing_dump) == 2999


def failing_dump():
    """Run a dump whose parser fails, and return the length of the next; inside a namespace."""
    snapshot = inside.host().snapshot(timeout=60.0)
    with contextlib.closing(snapshot):
        connection = snapshot.connection(NETLINK_NETFILTER)
        request = nfgenmsg(NFPROTO_UNSPEC)
        with pytest.raises(Malformed):
            connection.dump("test", NFT_MSG_GETRULE, request, fail)
        return len(connection.dump("test", NFT_MSG_GETRULE, request, len))


def fail(_):
    raise Malformed("no")


def test_a_thread_that_is_left_behind_takes_nothing_from_the_next(namespace):
    """Both get every rule, though the one began its dump before the other and ends it after."""
    rules = "\n".join(f"tcp dport {port} masquerade" for port in range(1, 3000))
    table = f"table ip t {{ chain c {{ type nat hook postrouting priority 100; {rules}\n}}; }}"
    namespace.run("nft", "-f", "-", stdin=table)
    assert namespace.call(dumps_of_two_threads) == [2999, 2999]


def dumps_of_two_threads():
    """Dump in a thread that hangs at its first rule, meanwhile in another; return the lengths."""
    snapshot = inside.host().snapshot(timeout=60.0)
    hangs, goes_on = threading.Event(), threading.Event()
    request = nfgenmsg(NFPROTO_UNSPEC)

    def hang(_):
        hangs.set()
        goes_on.wait(30)

    def dump(parse):
        return len(
            snapshot.connection(NETLINK_NETFILTER).dump("t", NFT_MSG_GETRULE, request, parse)
        )

    with contextlib.closing(snapshot), concurrent.futures.ThreadPoolExecutor(2) as pool:
        left_behind = pool.submit(dump, hang)
        hangs.wait(30)
        another = pool.submit(dump, len).result()
        goes_on.set()
        return [left_behind.result(), another]


def test_a_busy_set_hides_no_rule(namespace):
    """dnsmasq and fail2ban add elements all the time, each in a generation of its own."""
    rules = "\n".join(f"tcp dport {port} masquerade" for port in range(1, 8001))
    chain = f"chain c {{ type nat hook postrouting priority 100; {rules}\n}};"
    namespace.run("nft", "-f", "-", stdin=f"table ip t {{ set s {{ type mark; }}; {chain} }}")
    with changes(namespace, 0.02, b"add element ip t s { 1 }\ndelete element ip t s { 1 }\n"):
        before = namespace.call(inside.generation)
        counts = {namespace.call(count_masquerades) for _ in range(10)}
        assert namespace.call(inside.generation) > before + 10
    assert counts == {8000}


@contextlib.contextmanager
def changes(namespace, seconds, commands):
    """Give commands to an nft at intervals; yield a list that grows by one each time."""
    made = []
    command = ("nsenter", f"--net=/run/netns/{namespace.name}", "nft", "-i")

    def change():
        while not ended.wait(seconds):
            made.append(1)
            nft.stdin.write(commands)
            nft.stdin.flush()

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as nft:
        ended = threading.Event()
        thread = threading.Thread(target=change)
        thread.start()
        try:
            yield made
        finally:
            ended.set()
            thread.join()
            nft.stdin.close()


def test_rules_that_change_faster_than_they_can_be_read(namespace):
    """Each reading has them all, though there is a change at least in the time that it takes."""
    namespace.run("iptables-nft-restore", "-w", stdin=kubernetes_iptables())
    seconds = namespace.call(seconds_of_a_reading)
    with changes(namespace, 0.7 * seconds, b"add rule ip nat POSTROUTING counter\n") as made:
        for _ in range(3):
            before = len(made)
            facts = namespace.call(inside.ruleset, "nftables")
            assert facts.rules[Family.IPV4, Action.DNAT] == SERVICES
            added = facts.chain_rules[POSTROUTING] - 1
            assert max(before - 1, 0) <= added <= len(made)


def seconds_of_a_reading():
    """Return the seconds of a reading; in a namespace."""
    began = time.monotonic()
    inside.ruleset("nftables")
    return time.monotonic() - began


def count_masquerades():
    """Return how many rules masquerade; inside a namespace."""
    return inside.ruleset("nftables").rules[Family.IPV4, Action.MASQUERADE]
