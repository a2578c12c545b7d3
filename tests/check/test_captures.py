"""What is found on each recorded host: pinned, with the reason."""

import subprocess

import pytest

from netfilter_exporter.check.context import NEEDS_HISTORY, NEEDS_ROLE
from netfilter_exporter.check.proof import Proof
from netfilter_exporter.rules.families import Family
from support import checks, recording
from support.host import FakeHost

NAMES = recording.names()

#: What is found in a state, on every kernel that it was recorded on, and why.
STATES = {
    "idle": ({}, "nothing is loaded, nothing is wanted"),
    "loaded-no-rules": ({}, "modules without a rule are no fault"),
    "nat-legacy": ({}, "healthy"),
    "nat-iptables-nft": ({}, "healthy"),
    "nat-nft": ({}, "healthy"),
    "nat-vmap": ({}, "healthy"),
    "nat-set-empty": ({}, "an emptied set, and no network was recorded that misses it"),
    "helper-unassigned": ({"NatHelperUnassigned": "info"}, "a ct helper that no rule refers to"),
    "both-backends": ({"NatBackendsMixed": "warning"}, "rules in nftables and in legacy tables"),
    "forward-off": ({}, "rules do not make a host a router: only the role or history tells"),
    "iface-forward-off": ({}, "whether packets are lost needs the rise of a counter"),
    "nat-unreachable": ({"NatRulesUnreachable": "warning"}, "accept, return and drop come first"),
    "nat-unreachable-legacy": ({"NatRulesUnreachable": "warning"}, "ACCEPT and RETURN come first"),
    "notrack": ({"NotrackRules": "info"}, "three CT --notrack rules beside NAT"),
    "notrack-nft": ({"NotrackRules": "info"}, "two notrack rules beside NAT"),
    "rules-flushed": ({}, "an empty host may be meant: only the role or history tells"),
    "table-full": ({"ConntrackTableFilling": "critical"}, "20 of 20 entries"),
    "table-full-later": ({"ConntrackTableFilling": "critical"}, "20 of 20 entries"),
    "ipv4-module-missing": ({}, "no rule needs the module"),
    "ipv4-module-forced-out": (
        {"ConntrackDisabled": "critical", "ModuleForcedUnload": "warning"},
        "rmmod -f with rules that stay listed",
    ),
}

#: States in which something names wan1, which the machine never had; old nft could not.
NAMING_WAN1 = {"nat-nft", "forward-off", "iface-forward-off", "notrack-nft"}
WITHOUT_META = {"4.9", "4.14"}

#: With nat: required, in addition. On 4.9 a loaded module tracks without any rule.
REQUIRED = {
    "idle": {"ConntrackDisabled": "critical", "NatRulesGone": "critical"},
    "loaded-no-rules": {"ConntrackDisabled": "critical", "NatRulesGone": "critical"},
    "rules-flushed": {"ConntrackDisabled": "critical", "NatRulesGone": "critical"},
    "ipv4-module-missing": {"ConntrackDisabled": "critical", "NatRulesGone": "critical"},
    "forward-off": {"NatForwardingDisabled": "critical"},
}
TRACKS_BY_ITSELF = {"4.9/loaded-no-rules", "4.9/rules-flushed"}

EXIT = {"critical": 2, "warning": 1}


def expected(name):
    """Return what is to be found on a recorded host of which nothing is configured."""
    kernel, state = name.split("/")
    found = dict(STATES[state][0])
    if state in NAMING_WAN1 and kernel not in WITHOUT_META:
        found["NatInterfaceMissing"] = "warning"
    if kernel == "6.18":  # recorded in a namespace of its own
        found["WrongNamespace"] = "warning"
    return found


class Checked:
    """A recorded host, and the report on it where nothing is configured."""

    def __init__(self, name, directory):
        self.name = name
        self.kernel, self.state = name.split("/")
        self.host = FakeHost(name, str(directory))
        self.report = checks.check(self.host)


@pytest.fixture(scope="module", params=NAMES)
def checked(request, tmp_path_factory):
    """A host that was checked once; some tests below only look at what came of it."""
    return Checked(request.param, tmp_path_factory.mktemp("host"))


def test_what_is_found(checked):
    """Each recorded state has exactly the findings that it was made for, and their exit code."""
    wanted = expected(checked.name)
    assert checks.names(checked.report) == wanted, STATES[checked.state][1]
    codes = [EXIT[severity] for severity in wanted.values() if severity in EXIT]
    quiet = 3 if checked.state in REQUIRED else 0
    assert checked.report.exit_code == max(codes, default=quiet)


def test_what_is_found_where_nat_is_required(checked):
    """With nat: required, a host without rules or tracking is critical, and no other is."""
    report = checks.check(checked.host, "nat: required\nnetwork_namespace: any")
    wanted = {**expected(checked.name), **REQUIRED.get(checked.state, {})}
    wanted.pop("WrongNamespace", None)
    if checked.state == "nat-set-empty":
        wanted["NatRuleUnmatchable"] = "warning"
    if checked.name in TRACKS_BY_ITSELF:
        del wanted["ConntrackDisabled"]
    assert checks.names(report) == wanted


def test_where_nat_is_not_wanted(checked):
    """With nat: none nothing is missed: an empty host is all right, and says so."""
    report = checks.check(checked.host, "nat: {ipv4: none, ipv6: none}\nnetwork_namespace: any")
    found = checks.names(report)
    assert not found.keys() & {"ConntrackDisabled", "NatRulesGone", "NatForwardingDisabled"}
    if not found:
        assert report.exit_code == 0
        assert report.verdict == "No fault found: NAT is not wanted here."


def test_history_is_never_ok(checked):
    """What only history tells is told as that, and is not among what was checked."""
    report = checked.report
    for name in "ConntrackStopped", "NatRulesLost", "NatTrafficDropped", "NatPortsExhausted":
        assert checks.untold(report, name) == [NEEDS_HISTORY]
        assert "Netfilter" + name not in report.silent
    if checked.state == "forward-off":
        assert NEEDS_ROLE[Family.IPV4] in checks.untold(report, "NatForwardingDisabled")
    elif checked.state in REQUIRED:
        assert checks.untold(report, "NatRulesGone") == list(NEEDS_ROLE.values())
    if report.exit_code == 0:
        assert report.verdict.startswith("No fault found: ")


def test_nothing_is_called_working(checked):
    """Rules and modules prove nothing: without an observed translation no host works."""
    rules = any(line.startswith("IPv4 rules") for line in checked.report.works)
    assert checked.report.proof is (Proof.CONFIGURED if rules else Proof.NONE)
    assert not checked.report.verdict.startswith("NAT works")
    if rules:
        assert any("whether new IPv4" in line for line in checked.report.not_checked)


def test_checking_changes_nothing(checked):
    """No question would have loaded a module, made a table, or was never recorded."""
    assert checked.host.kernel.harm == []
    assert checked.host.kernel.unknown == []
    assert checked.host.kernel.probe_entries == set()


def test_without_privilege_nothing_is_ok(checked, tmp_path, monkeypatch):
    """A user who may not read the rules never hears that NAT works."""
    host = FakeHost(checked.name, str(tmp_path))
    host.drop_privilege(monkeypatch)
    report = checks.check(host)
    assert report.exit_code != 0
    assert not report.verdict.startswith("NAT works")
    if checked.state != "idle" or not host.recording.modular:  # there all is world-readable
        assert checks.names(report)["CollectorFailing"] == "info"
    assert host.kernel.harm == []


def test_every_remedy_can_be_pasted(checked):
    """Each finding has commands, and a shell understands them."""
    report = checks.check(checked.host, "nat: {ipv4: required, ipv6: required}")
    assert all(finding.remedy for finding in report.broken)
    lines = [line for finding in report.broken for line in finding.remedy]
    assert all(line.isprintable() for line in lines)
    script = "\n".join(lines)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, capture_output=True)
