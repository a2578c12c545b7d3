"""kernel/sysctl/values.py and collector sysctl: values, names, and what is asked of them."""

from pathlib import Path
from typing import Callable

import pytest

from netfilter_exporter.collection import Outcome, collect
from netfilter_exporter.collectors.sysctl import COLLECTOR
from netfilter_exporter.config import model as config
from netfilter_exporter.facts.capabilities import capabilities_needed
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel import kept_files
from netfilter_exporter.kernel.conf_files import ConfFiles
from netfilter_exporter.kernel.errors import Denied, Status
from netfilter_exporter.kernel.files import Paths, read_int
from netfilter_exporter.kernel.sysctl import values as sysctl
from netfilter_exporter.kernel.system import System

NETFILTER = "sys/net/netfilter/nf_conntrack_"
MAX = "net.netfilter.nf_conntrack_max"
MODERN = {
    NETFILTER + "max": "262144",
    NETFILTER + "count": "7",
    NETFILTER + "buckets": "65536",
    NETFILTER + "tcp_timeout_established": "432000",
    NETFILTER + "frag6_timeout": "60",
    "sys/net/nf_conntrack_max": "262144",
    "sys/net/ipv4/ip_forward": "1",
    "sys/net/ipv4/conf/eth0.5/forwarding": "1",
    "sys/net/ipv6/conf/all/forwarding": "0",
    "sys/net/ipv6/conf/default/forwarding": "0",
}


class Machine:
    """A fake root: what the kernel has, what sysctl.d and the configuration ask for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = Paths(procfs=str(root / "proc"), rootfs=str(root / "host"))
        self.needed: dict[str, bool] = {}
        (root / "proc/sys/net").mkdir(parents=True)
        (root / "host/etc/sysctl.d").mkdir(parents=True)

    def has(self, values: dict[str, str]) -> None:
        for name, value in values.items():
            path = self.root / "proc" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(value + "\n")

    def asks(self, *lines: str) -> None:
        (self.root / "host/etc/sysctl.d/50-test.conf").write_text("\n".join(lines))

    def outcome(self, configuration: str = "") -> Outcome:
        host = Host(System(paths=self.paths), config.parse(configuration, "test.yml"))
        snapshot = host.snapshot(1)
        return collect(COLLECTOR, snapshot)

    def page(self, configuration: str = "") -> dict[str, dict[tuple[str, ...], float]]:
        return {
            metric.name: dict(samples) for metric, samples in self.outcome(configuration).families
        }


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine without rules: this one's are not looked at."""
    machine = Machine(tmp_path)
    monkeypatch.setattr(capabilities_needed, "read", lambda _: machine.needed)
    return machine


@pytest.fixture
def needs(machine: Machine) -> Callable[[str], None]:
    """Return a function that makes a rule need a capability."""
    return lambda capability: machine.needed.update({capability: True})


# -- values ------------------------------------------------------------------------------------


def test_every_numeric_sysctl_is_served(machine: Machine):
    """Names come from the kernel's own list, so that a new kernel's keys need no release."""
    machine.has({**MODERN, NETFILTER + "of_tomorrow": "5", "sys/net/netfilter/nf_log_all": "1"})
    values = machine.page()["sysctl"]
    assert values[("net.netfilter.nf_conntrack_of_tomorrow",)] == 5
    assert values[("net.ipv6.conf.all.forwarding",)] == 0
    assert len(values) == len(MODERN) - 1  # no interface, no frag6, but the one of tomorrow


def test_what_is_no_number_is_left_out(machine: Machine):
    """A sysctl that holds words has no sample, and is no failure."""
    machine.has({**MODERN, NETFILTER + "words": "cubic reno"})
    outcome = machine.outcome()
    assert outcome.status is Status.OK
    assert ("net.netfilter.nf_conntrack_words",) not in machine.page()["sysctl"]


def test_a_denied_value_does_not_hide_the_others(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    """The rest is served, and the status says that something was denied."""
    machine.has(MODERN)

    def deny(path: str) -> int:
        if path.endswith("_buckets"):
            raise Denied(f"{path}: Permission denied")
        return read_int(path)

    monkeypatch.setattr(kept_files, "read_int", deny)
    assert machine.outcome().status is Status.DENIED
    values = machine.page()["sysctl"]
    assert values[(MAX,)] == 262144
    assert ("net.netfilter.nf_conntrack_buckets",) not in values


def test_an_empty_kernel_has_no_values(machine: Machine):
    """Without any netfilter there is nothing to serve and nothing to complain of."""
    outcome = machine.outcome()
    assert outcome.status is Status.OK
    assert machine.page()["sysctl"] == {}


# -- presence ----------------------------------------------------------------------------------


def test_watched_names_are_present_or_not(machine: Machine):
    """Old and invented names are told to be absent, living ones to be there."""
    machine.has(MODERN)
    present = machine.page()["sysctl_present"]
    assert present[(MAX,)] == present[("net.ipv4.ip_forward",)] == 1
    assert present[("net.netfilter.nf_conntrack_ipv4_max",)] == 0
    assert present[("net.netfilter.nf_conntrack_enable",)] == 0
    assert present[("net.ipv4.ip_conntrack_max",)] == 0


def test_a_vendors_name_is_served_with_its_value(machine: Machine):
    """A kernel that does have nf_conntrack_enable shows it."""
    machine.has({**MODERN, NETFILTER + "enable": "0"})
    page = machine.page()
    assert page["sysctl_present"][("net.netfilter.nf_conntrack_enable",)] == 1
    assert page["sysctl"][("net.netfilter.nf_conntrack_enable",)] == 0


def test_presence_does_not_depend_on_a_number(machine: Machine):
    """A name whose value cannot be served is there all the same."""
    machine.has({**MODERN, NETFILTER + "acct": "words"})
    assert machine.page()["sysctl_present"][("net.netfilter.nf_conntrack_acct",)] == 1


def test_every_wanted_name_has_a_presence(machine: Machine):
    """Whatever is asked for is told to be there or not."""
    machine.has(MODERN)
    machine.asks("net.netfilter.nf_conntrack_udp_timeout=9", "net.ipv4.vs.conntrack=1")
    present = machine.page("sysctls: {net.ipv4.conf.eth0/5.forwarding: 1}")["sysctl_present"]
    assert present[("net.netfilter.nf_conntrack_udp_timeout",)] == 0
    assert present[("net.ipv4.vs.conntrack",)] == 0
    assert present[("net.ipv4.conf.eth0/5.forwarding",)] == 1


# -- sysctl.d ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "mismatch"),
    [
        (f"{MAX} = 262144", 0),
        (f"{MAX} = 100", 0),
        (f"{MAX} = 1000000", 1),
        ("net.nf_conntrack_max = 1000000", 1),
        ("net.netfilter.nf_conntrack_buckets = 1024", 0),
        ("net.netfilter.nf_conntrack_buckets = 100000", 1),
        ("net.netfilter.nf_conntrack_tcp_timeout_established = 300", 1),
        ("net.netfilter.nf_conntrack_tcp_timeout_established = 432000", 0),
        ("net.netfilter.nf_conntrack_frag6_timeout = 59", 1),
        ("net.ipv4.ip_forward = 0", 0),
        ("net.ipv4.conf.all.forwarding = 1", 0),
        ("net.ipv6.conf.all.forwarding = 1", 1),
        ("net.ipv4.conf.eth0/5.forwarding = 1", 0),
    ],
)
def test_sysctl_d_asks_at_least_for_limits(machine: Machine, line: str, mismatch: int):
    """Others raise limits, buckets and forwarding on purpose; anything else has to be equal."""
    machine.has(MODERN)
    machine.asks(line)
    page = machine.page()
    assert list(page["sysctl_mismatch"].values()) == [mismatch]
    assert page["sysctl_mismatch"].keys() == page["sysctl_wanted"].keys()


def test_an_alias_is_one_wish(machine: Machine):
    """Both names of a variable are one wish, under the name that every namespace has."""
    machine.has(MODERN)
    machine.asks(f"{MAX}=1", "net.nf_conntrack_max=2")
    assert machine.page()["sysctl_wanted"] == {(MAX, "sysctl.d"): 2}


def test_unlimited_is_no_mismatch_of_a_limit(machine: Machine):
    """nf_conntrack_max 0 allows more than any number asks for."""
    machine.has({**MODERN, NETFILTER + "max": "0", "sys/net/nf_conntrack_max": "0"})
    machine.asks(f"{MAX}=1000000")
    assert list(machine.page()["sysctl_mismatch"].values()) == [0]


@pytest.mark.parametrize(
    "name",
    [
        "net.netfilter.nf_conntrack_ipv4_max",
        "net.netfilter.nf_conntrack_enable",
        "net.ipv4.ip_conntrack_max",
        "net.netfilter.nf_conntrack_helper",
        "net.netfilter.nf_conntrack_tcp_timeout_establishd",
    ],
)
def test_an_unknown_name_is_no_mismatch(machine: Machine, name: str):
    """It is wanted and not present, and that is all that can be said of it."""
    machine.has(MODERN)
    machine.asks(f"{name} = 1")
    page = machine.page()
    assert page["sysctl_wanted"] == {(name, "sysctl.d"): 1}
    assert page["sysctl_present"][(name,)] == 0
    assert page["sysctl_mismatch"] == {}


def test_a_module_that_nothing_needs_may_come_later(machine: Machine):
    """A key whose module is not loaded is no mismatch on a host that does not NAT."""
    machine.asks(f"{MAX} = 1000000", "net.bridge.bridge-nf-call-iptables = 1")
    assert set(machine.page()["sysctl_mismatch"].values()) == {0}


def test_a_module_that_rules_need_is_missed(machine: Machine, needs: Callable[[str], None]):
    """The same key counts where a rule needs tracking; the bridge's still does not."""
    needs("conntrack")
    machine.asks(f"{MAX} = 1000000", "net.bridge.bridge-nf-call-iptables = 1")
    mismatch = machine.page()["sysctl_mismatch"]
    assert mismatch[(MAX, "sysctl.d")] == 1
    assert mismatch[("net.bridge.bridge-nf-call-iptables", "sysctl.d")] == 0


def test_the_probe_of_frag6_is_no_conntrack(machine: Machine, needs: Callable[[str], None]):
    """nf_defrag_ipv6's keys are not conntrack's: not served, nor a proof that it is there."""
    needs("conntrack")
    machine.has({NETFILTER + "frag6_timeout": "60"})
    machine.asks("net.netfilter.nf_conntrack_acct=1")
    page = machine.page()
    assert page["sysctl"] == {}
    assert page["sysctl_mismatch"] == {("net.netfilter.nf_conntrack_acct", "sysctl.d"): 1}


def test_an_interface_that_is_gone_does_not_count(machine: Machine, needs: Callable[[str], None]):
    """sysctl.d may name interfaces that are not plugged in."""
    needs("conntrack")
    machine.has(MODERN)
    machine.asks("net.ipv4.conf.gone0.forwarding=1")
    page = machine.page()
    assert page["sysctl_mismatch"] == {("net.ipv4.conf.gone0.forwarding", "sysctl.d"): 0}
    assert page["sysctl_present"][("net.ipv4.conf.gone0.forwarding",)] == 0


def test_a_directory_that_is_denied_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    """What the other directories ask for is served, and the status is denied."""
    machine.has(MODERN)
    machine.asks(f"{MAX}=1")
    original = ConfFiles.read
    denied = (Denied("/run/sysctl.d: Permission denied"),)
    monkeypatch.setattr(ConfFiles, "read", lambda files: original(files)._replace(errors=denied))
    outcome = machine.outcome()
    assert outcome.status is Status.DENIED
    assert machine.page()["sysctl_wanted"] == {(MAX, "sysctl.d"): 1}


def test_what_interfaces_name_is_bounded(machine: Machine):
    """A file that names ten thousand interfaces does not make ten thousand series."""
    machine.asks(*(f"net.ipv4.conf.veth{n}.forwarding=1" for n in range(10_000)))
    page = machine.page()
    assert {len(page[name]) for name in ("sysctl_wanted", "sysctl_mismatch")} == {64}


# -- the configuration -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "mismatch"),
    [
        ("262144", 0),
        ("100", 1),
        ("'>= 262144'", 0),
        ("'>=262145'", 1),
        ("'<= 262144'", 0),
        ("'<= 262143'", 1),
        ("'= 262144'", 0),
    ],
)
def test_the_configuration_compares(machine: Machine, wish: str, mismatch: int):
    """A plain number asks for that number, unlike sysctl.d's."""
    machine.has(MODERN)
    page = machine.page(f"sysctls:\n  {MAX}: {wish}\n")
    assert page["sysctl_mismatch"] == {(MAX, "config"): mismatch}


def test_the_configuration_insists(machine: Machine):
    """What the configuration asks for has to hold, loaded or not; an unknown name is told apart."""
    page = machine.page(
        f"sysctls: {{{MAX}: 1, net.ipv4.conf.gone0.forwarding: 1,"
        " net.netfilter.nf_conntrack_ipv4_max: 1}"
    )
    assert page["sysctl_mismatch"] == {
        (MAX, "config"): 1,
        ("net.ipv4.conf.gone0.forwarding", "config"): 1,
    }


def test_both_sources_stand_side_by_side(machine: Machine):
    """sysctl.d and the configuration may disagree, and each is judged by itself."""
    machine.has(MODERN)
    machine.asks(f"{MAX}=1000000")
    assert machine.page(f"sysctls: {{{MAX}: 262144}}")["sysctl_mismatch"] == {
        (MAX, "sysctl.d"): 1,
        (MAX, "config"): 0,
    }


def test_the_running_kernel_is_read():
    """On this machine every sysctl of tracking that is there is read without an error."""
    reading = sysctl.read_sysctls(Paths())
    assert reading.errors == ()
    assert reading.values["net/ipv4/ip_forward"] in (0, 1)
