"""`netfilter_exporter check` on the running kernel: it tells what is broken, and how to mend it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from support import inside, limit
from support.page import Page
from support.router import WAN, Router

MASQUERADE = "iptables-legacy -w -t nat -A POSTROUTING -o wan0 -j MASQUERADE"
NFT = """
table ip nat {
  chain post {
    type nat hook postrouting priority 100
    oifname "wan0" masquerade
  }
}
"""
JUMP = """
iptables-legacy -w -t nat -N OUT
iptables-legacy -w -t nat -A POSTROUTING -j OUT
iptables-legacy -w -t nat -A OUT -j MASQUERADE
"""

#: What may be run of a remedy: it changes the namespace of the test alone.
HARMLESS = ("sysctl -w net.ipv", "nft delete rule", "nft add table", "iptables-legacy -t nat -D")


class Checked:
    """What the command told."""

    def __init__(self, code, text):
        assert code in {0, 1, 2, 3}, text
        self.code = code
        self.document = json.loads(text)
        self.found = {
            f["alert"].removeprefix("Netfilter"): f
            for f in self.document["findings"]
            if f["severity"] != "unknown"
        }


@pytest.fixture
def router(namespaces):
    """A router between a client and a server."""
    return Router(namespaces)


@pytest.fixture
def check(router, tmp_path):
    """Return a function that runs the command on the router."""
    config = tmp_path / "check.yml"
    config.write_text("nat: {ipv4: required, ipv6: none}\nnetwork_namespace: any\n")
    path = os.pathsep.join(entry for entry in sys.path if entry)

    def command(*flags, meanwhile=lambda: None):
        process = subprocess.Popen(
            [
                *("nsenter", f"--net=/run/netns/{router.router.name}"),
                *(sys.executable, "-m", "netfilter_exporter", "check"),
                *("--json", f"--config.file={config}", "--interval=0.1", *flags),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        meanwhile()
        text, errors = process.communicate(timeout=60)
        assert errors == ""
        return Checked(process.returncode, text)

    return command


@pytest.fixture
def page(router):
    """Return a function that scrapes the exporter on the router."""
    return lambda: Page(router.router.call(inside.scrape))


def follow(router, finding):
    """Run those commands of a remedy that change nothing but the namespace."""
    ran = [line for line in finding["remedy"] if line.startswith(HARMLESS)]
    assert ran, finding["remedy"]
    for line in ran:
        router.router.sh(line)


@pytest.mark.parametrize("rules", [MASQUERADE, f"nft -f - <<'EOF'\n{NFT}EOF"])
def test_a_healthy_gateway(router, check, rules):
    """Rules and tracking are no proof: no fault is found, and nothing is called working."""
    router.router.sh(rules)
    assert router.source() == WAN
    checked = check()
    verdict = "No fault found: IPv4 1 rule, tracking proven. No translation was observed."
    assert (checked.document["verdict"], checked.document["proof"]) == (verdict, "configured")
    assert (checked.code, checked.found) == (0, {})
    assert check("--require-proof").code == 3


def test_forwarding_that_was_switched_off(router, check):
    """ip_forward=0 is critical, and the command that is printed mends it."""
    router.router.sh(MASQUERADE)
    router.router.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    assert router.source() is None
    checked = check()
    assert (checked.code, list(checked.found)) == (2, ["NatForwardingDisabled"])
    follow(router, checked.found["NatForwardingDisabled"])
    assert router.source() == WAN
    assert check().code == 0


def test_the_switches_of_the_interfaces(router, check):
    """With ip_forward=1 and every interface at 0, the printed commands make packets pass."""
    router.router.sh(MASQUERADE)
    router.router.sh("ip link add lan0.7 type veth peer name dmz")
    keys = [f"net/ipv4/conf/{name}/forwarding" for name in ("lan0", "wan0", "lan0.7", "dmz")]
    router.router.run("sysctl", "-qw", *(f"{key}=0" for key in keys))
    assert router.router.run("sysctl", "-n", "net.ipv4.ip_forward") == "1\n"
    assert router.source() is None
    finding = check().found["NatForwardingDisabled"]
    assert "sysctl -w net.ipv4.conf.lan0/7.forwarding=1" in finding["remedy"]
    follow(router, finding)
    assert router.router.run("sysctl", "-n", *keys).split() == ["1"] * len(keys)
    assert router.source() == WAN
    assert check().code == 0


def test_one_way(router, page):
    """ip_forward=0, the LAN's switch 1 and the uplink's 0: requests pass, replies are dropped."""
    router.router.sh(MASQUERADE)
    router.router.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    router.router.run("sysctl", "-qw", "net.ipv4.conf.lan0.forwarding=1")
    assert router.source() == WAN
    before = page()
    assert before.total("forwarding_enabled", family="ipv4") == 1
    assert before.total("interface_forwarding_disabled", interface="wan0") == 1
    assert before.total("interface_forwarding_disabled", interface="lan0") is None
    assert router.answers(times=3) == 0
    dropped = page().total("ip_in_address_errors_total", family="ipv4")
    assert dropped - before.total("ip_in_address_errors_total", family="ipv4") >= 3
    router.router.run("sysctl", "-qw", "net.ipv4.conf.wan0.forwarding=1")
    assert router.answers(times=3) == 3
    assert page().total("interface_forwarding_disabled") is None


@pytest.mark.parametrize(
    ("rules", "hide"),
    [
        (MASQUERADE, "iptables-legacy -w -t nat -I POSTROUTING -m comment --comment tmp -j ACCEPT"),
        (f"nft -f - <<'EOF'\n{NFT}EOF", 'nft insert rule ip nat post accept comment "tmp"'),
        (
            MASQUERADE.replace("legacy", "nft"),
            "iptables-nft -t nat -I POSTROUTING -j RETURN -m comment --comment tmp",
        ),
        (
            JUMP,
            "iptables-legacy -w -t nat -I POSTROUTING -m comment --comment tmp -j ACCEPT",
        ),
    ],
    ids=["legacy", "nft", "iptables-nft", "legacy-jump"],
)
def test_a_rule_that_hides_another(router, check, rules, hide):
    """The rule is named, and deleting it as is printed makes the other work."""
    router.router.sh(f"{rules}\n{hide}")
    assert router.source() not in {WAN, None}
    checked = check()
    assert (checked.code, list(checked.found)) == (1, ["NatRulesUnreachable"])
    finding = checked.found["NatRulesUnreachable"]
    assert finding["evidence"]["position"] == 1
    if "iptables-nft" not in hide:  # there it is a match of its own, which is not read
        assert finding["evidence"]["comment"] == "tmp"
    follow(router, finding)
    assert router.source() == WAN
    assert check().code == 0


def test_a_dormant_table(router, check):
    """A table that was put to sleep translates nothing, and the printed command wakes it."""
    router.router.run("nft", "-f", "-", stdin=NFT)
    router.router.sh("nft 'add table ip nat { flags dormant; }'")
    assert router.source() not in {WAN, None}
    checked = check()
    assert "NatRulesUnreachable" in checked.found
    follow(router, checked.found["NatRulesUnreachable"])
    assert router.source() == WAN
    assert check().code == 0


def test_rules_that_were_flushed(router, check):
    """A flush is critical where NAT is required: nothing is tracked, no rule is left."""
    router.router.run("nft", "-f", "-", stdin=NFT)
    assert router.source() == WAN
    router.router.run("nft", "flush", "ruleset")
    checked = check()
    assert (checked.code, sorted(checked.found)) == (2, ["ConntrackDisabled", "NatRulesGone"])
    assert checked.found["ConntrackDisabled"]["evidence"]["entries"] > 0
    router.router.run("nft", "-f", "-", stdin=NFT)
    assert check().code == 0


def test_both_backends(router, check):
    """Rules in nftables and legacy tables are a warning until one of them is empty."""
    router.router.sh(f"{MASQUERADE}; nft -f - <<'EOF'\n{NFT}EOF")
    checked = check()
    assert (checked.code, list(checked.found)) == (1, ["NatBackendsMixed"])
    router.router.run("iptables-legacy", "-w", "-t", "nat", "-F")
    assert check().code == 0


def test_an_interface_that_was_renamed(router, check):
    """A rule for an interface that is not there any more is a warning."""
    router.router.sh(MASQUERADE)
    router.router.sh("ip link set wan0 down; ip link set wan0 name wan1")
    checked = check()
    assert checked.found["NatInterfaceMissing"]["evidence"]["interface"] == "wan0"
    assert checked.code == 1


def test_notrack_is_worth_a_word(router, check):
    """notrack beside NAT is told, and is no failure."""
    router.router.sh(
        f"{MASQUERADE}; iptables-legacy -w -t raw -A PREROUTING -p esp -j CT --notrack"
    )
    checked = check()
    assert (checked.code, list(checked.found)) == (0, ["NotrackRules"])


@pytest.fixture
def small_table():
    """A limit of the table that is soon reached; it is one for the whole machine, and put back."""
    if not os.access(limit.LIMIT, os.W_OK):
        pytest.skip("not in the initial network namespace: the limit cannot be set")
    with limit.changed(100):
        yield


@pytest.mark.usefixtures("small_table")
def test_a_full_table(router, check):
    """At its limit the table is critical, and so are the packets that it drops meanwhile."""
    router.router.sh(MASQUERADE)
    for port in range(10000, 10100):
        router.router.call(inside.send, "127.0.0.1", port)

    def flood():
        router.router.call(inside.flood, 12.0)

    checked = check("--interval=2", meanwhile=flood)
    assert checked.code == 2
    assert checked.found["ConntrackTableFilling"]["severity"] == "critical"
    assert checked.document["interval_seconds"] >= 2
    assert {"ConntrackDropping", "ConntrackEvicting"} & checked.found.keys()


def test_nobody_can_say_that_it_works(router, tmp_path):
    """Without CAP_NET_ADMIN the verdict is that it cannot be told, and the exit code 3."""
    router.router.sh(MASQUERADE)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [
            *("nsenter", f"--net=/run/netns/{router.router.name}"),
            *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"),
            *(sys.executable, "-B", "-m", "netfilter_exporter", "check", "--interval=0"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path)},
    )
    first, *rest = done.stdout.splitlines()
    assert first.startswith(("Cannot determine whether NAT works", "Connection tracking needs"))
    assert any("denied" in line for line in rest)
    assert done.returncode in {1, 3}


# -- new connections ---------------------------------------------------------------------------

SOURCES = tuple(f"10.77.0.{host}" for host in range(20, 25))
DESTINATIONS = tuple(f"198.51.100.{host}" for host in range(20, 24))


@pytest.fixture
def busy(router):
    """The router, with hosts behind it that open connections all the time."""
    for namespace, addresses in ((router.client, SOURCES), (router.server, DESTINATIONS)):
        namespace.sh("; ".join(f"ip address add {a}/24 dev eth0" for a in addresses))
    router.server.sh("ip route del default")  # as in the internet: no way back to private ones
    pairs = [(s, d) for d in DESTINATIONS for s in SOURCES]
    script = (
        "import itertools, socket, time\n"
        f"for source, destination in itertools.cycle({pairs}):\n"
        " opened = socket.socket(); opened.bind((source, 0)); opened.setblocking(False)\n"
        " opened.connect_ex((destination, 7)); opened.close(); time.sleep(0.05)\n"
    )
    # A connection that is refused leaves no entry (nf_conntrack_tcp_packet kills it).
    accepting = "import socket\nheld = socket.create_server(('', 7))\nwhile 1: held.accept()"
    started = [
        subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{namespace.name}", sys.executable, "-c", text]
        )
        for namespace, text in ((router.server, accepting), (router.client, script))
    ]
    yield router
    for process in started:
        process.kill()
        process.wait()


def test_new_connections_that_are_translated_and_answered(busy, check):
    """Only that is called working."""
    busy.router.sh(MASQUERADE)
    checked = check("--interval=2", "--require-proof")
    found = re.match(
        r"NAT works: (\d+) of (\d+) new outbound IPv4 connections translated, (\d+)% answered",
        checked.document["verdict"],
    )
    assert found, checked.document["verdict"]
    translated, connections, answered = map(int, found.groups())
    assert translated == connections >= 20
    assert answered >= 90
    assert (checked.code, checked.document["proof"]) == (0, "observed")


def test_new_connections_that_no_rule_translates(busy, check):
    """The rule is listed and hidden for this network only by what it does not match."""
    busy.router.sh(MASQUERADE.replace("POSTROUTING", "POSTROUTING -s 192.168.0.0/16"))
    checked = check("--interval=2")
    assert checked.found.keys() == {"NatUntranslated"}
    assert (checked.code, checked.document["proof"]) == (2, "configured")
    text = json.dumps(checked.document)
    assert not any(address in text for address in (*SOURCES, *DESTINATIONS))


def test_new_connections_that_nothing_answers(busy, check):
    """Translated all of them, and the upstream is dead: a warning."""
    busy.router.sh(MASQUERADE)
    busy.server.sh("; ".join(f"ip address del {a}/24 dev eth0" for a in DESTINATIONS))
    checked = check("--interval=4")
    assert checked.found.keys() == {"NatUnanswered"}
    assert checked.code == 1


def test_a_quiet_host(router, check):
    """No connection was seen: nothing is claimed."""
    router.router.sh(MASQUERADE)
    checked = check("--interval=1")
    assert any("no new connection seen in 1" in line for line in checked.document["not_checked"])
    assert checked.document["proof"] == "configured"
