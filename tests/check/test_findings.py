"""Each alert's check: when it finds something, when it does not, and what it then says to do."""

import shutil

import pytest

from netfilter_exporter.check import forwarding, report
from netfilter_exporter.check.commands import MODULES_FILE
from netfilter_exporter.check.context import NEEDS_HISTORY, NEEDS_ROLE, Counters, counters
from netfilter_exporter.check.findings import Severity
from netfilter_exporter.config import model as config
from netfilter_exporter.config.model import ConfigError
from netfilter_exporter.config.reload_status import ReloadStatus
from netfilter_exporter.facts.roles import forwarded_rules, overlapping_backends
from netfilter_exporter.facts.rulesets import Ruleset, rulesets
from netfilter_exporter.kernel.errors import ReadError, TimedOut
from netfilter_exporter.rules.detail import NatTarget
from netfilter_exporter.rules.families import IPV4, IPV6, Backend, Family, Hook
from netfilter_exporter.rules.match import Field, masked, named, ranged
from netfilter_exporter.rules.model import Action, Chain, Rule, Table, Verdict
from netfilter_exporter.rules.reachability import analyze
from support import checks
from support.rules import matching

HEALTHY = "6.1/nat-legacy"
NETFILTER = "proc/sys/net/netfilter"
REQUIRED = "nat: required"

MASQUERADE = Rule(conditional=True, action=Action.MASQUERADE)
ACCEPT = Rule(verdict=Verdict.ACCEPT)


@pytest.fixture
def healthy(fake_host):
    """A host on which nothing is found."""
    host = fake_host(HEALTHY)
    assert checks.names(checks.check(host)) == {}
    return host


def write(host, path, content):
    file = host.path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def remove_lines(host, path, *words):
    """Remove the lines that have one of `words`."""
    file = host.path(path)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not any(word in line for word in words)))


def with_tables(host, *tables, configuration=""):
    """Return the report where the rules of `host` are replaced by those of `tables`."""
    run = checks.scrape(host, configuration)
    replaced = []
    for ruleset in rulesets(run.snapshot):
        of_it = [
            t
            for t in tables
            if t.backend is ruleset.backend
            and (t.backend is Backend.NFTABLES or t.families == frozenset(ruleset.families))
        ]
        replaced.append(Ruleset(ruleset.backend, ruleset.families, analyze(of_it)))
    run.snapshot.values[rulesets] = tuple(replaced)
    for made_of_rules in (forwarded_rules, overlapping_backends):
        run.snapshot.values.pop(made_of_rules, None)
    return checks.report_on(run)


def nat_table(*rules, backend=Backend.NFTABLES, families=IPV4, chains=None, dormant=False):
    """Return a table whose chain post, at postrouting, has `rules`."""
    post = Chain(list(rules), Hook.POSTROUTING, "nat", 100)
    return Table(backend, families, "nat", {"post": post, **(chains or {})}, {}, dormant)


# -- tracking ----------------------------------------------------------------------------------


def test_a_vendors_switch(healthy):
    """nf_conntrack_enable=0 is critical on the kernels that have it; 1 is nothing."""
    write(healthy, f"{NETFILTER}/nf_conntrack_enable", "1\n")
    assert checks.names(checks.check(healthy)) == {}
    write(healthy, f"{NETFILTER}/nf_conntrack_enable", "0\n")
    finding = checks.one(checks.check(healthy), "ConntrackDisabled")
    assert "sysctl -w net.netfilter.nf_conntrack_enable=1" in finding.remedy
    assert (
        "modules-load.d" in finding.remedy[-1]
    )  # systemd-sysctl runs before nf_conntrack is there


@pytest.mark.parametrize(
    ("name", "default"),
    [("udp_timeout", 30), ("tcp_timeout_syn_sent", 120), ("tcp_timeout_established", 432000)],
)
def test_a_timeout_of_0(healthy, name, default):
    """It is critical where conntrack translates, and its name is said; 1 second is nothing."""
    write(healthy, f"{NETFILTER}/nf_conntrack_{name}", "1\n")
    assert checks.names(checks.check(healthy)) == {}
    write(healthy, f"{NETFILTER}/nf_conntrack_{name}", "0\n")
    assert "ConntrackDisabled" not in checks.names(checks.check(healthy, "nat: none"))
    finding = checks.one(checks.check(healthy), "ConntrackDisabled")
    assert finding.summary.startswith(f"net.netfilter.nf_conntrack_{name} is 0: ")
    assert f"sysctl -w net.netfilter.nf_conntrack_{name}={default}" in finding.remedy


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "7.2/idle",
            [
                "modprobe nf_defrag_ipv4",
                "modprobe nf_conntrack",
                "# nf_conntrack_ipv4 is a part of nf_conntrack in this kernel",
                "modprobe nf_nat",
                "# nf_nat_ipv4 is a part of nf_nat in this kernel",
                "printf '%s\\n' nf_defrag_ipv4 nf_conntrack nf_nat >> " + MODULES_FILE,
            ],
        ),
        (
            "4.9/idle",
            [
                "modprobe nf_defrag_ipv4",
                "modprobe nf_conntrack",
                "modprobe nf_conntrack_ipv4",
                "modprobe nf_nat",
                "modprobe nf_nat_ipv4",
            ],
        ),
        ("6.18/idle", ["# this kernel has all modules built in: nothing to load"]),
    ],
)
def test_modules_in_the_order_of_this_kernel(fake_host, name, lines):
    """The remedy loads what this kernel has, in the order in which each needs the other."""
    finding = checks.one(checks.check(fake_host(name), REQUIRED), "ConntrackDisabled")
    assert list(finding.remedy[: len(lines)]) == lines


def test_notrack_without_a_match(healthy):
    """It is told as tracking that is off, with the rule to look for and no word of modules."""
    raw = Chain([Rule(notrack=True)], Hook.PREROUTING, "filter", -300)
    table = Table(Backend.NFTABLES, IPV4, "raw", {"pre": raw}, {})
    finding = checks.one(with_tables(healthy, nat_table(MASQUERADE), table), "ConntrackDisabled")
    assert "notrack rule without a match" in finding.why
    assert finding.remedy == (
        "nft -a list ruleset | grep -n notrack",
        "# delete that rule, or give it a match",
    )


def test_a_module_that_was_forced_out(fake_host):
    """On 4.9 the remedy is to load what was removed, and no word of restoring rules."""
    report = checks.check(fake_host("4.9/ipv4-module-forced-out"))
    finding = checks.one(report, "ConntrackDisabled")
    assert finding.evidence["rules"] == 4
    assert finding.remedy[0] == "modprobe nf_conntrack_ipv4"
    assert not any("nft -f" in line for line in finding.remedy)


def test_the_mark_of_a_forced_removal_alone(healthy):
    """The taint stays until the next boot: while all is tracked it is nobody's page."""
    write(healthy, "proc/sys/kernel/tainted", "8\n")
    assert checks.names(checks.check(healthy)) == {}


def test_who_manages_the_rules(fake_host):
    """Who was seen running is named, with the command that makes it write its rules again."""
    host = fake_host("6.1/rules-flushed")
    host.processes = frozenset({"dockerd", "firewalld", "sshd"})
    remedy = checks.one(checks.check(host, REQUIRED), "NatRulesGone").remedy
    assert remedy[0].endswith("firewalld, Docker")
    assert remedy[1] == "firewall-cmd --reload"
    assert remedy[2].startswith("systemctl restart docker")


@pytest.mark.parametrize("content", ["ENABLED=yes", "ENABLED=no"])
def test_ufw_is_no_process(fake_host, content):
    """ufw counts where it is switched on, and not where it is only installed."""
    host = fake_host("6.1/rules-flushed")
    write(host, "etc/ufw/ufw.conf", f"# ufw\n{content}\nLOGLEVEL=low\n")
    remedy = checks.one(checks.check(host, REQUIRED), "NatRulesGone").remedy
    assert ("ufw reload" in remedy) is (content == "ENABLED=yes")


def test_unreadable_rules_are_not_gone(fake_host):
    """Where one backend cannot be read, its rules are not called gone."""
    run = checks.scrape(fake_host("6.1/rules-flushed"), REQUIRED)
    first, *rest = rulesets(run.snapshot)
    run.snapshot.values[rulesets] = (
        first._replace(facts=None, error=ReadError("no answer")),
        *rest,
    )
    report = checks.report_on(run)
    assert "NatRulesGone" not in checks.names(report)
    assert checks.untold(report, "NatRulesGone") == ["Unknown: no answer"]


def test_rules_imply_tracking(healthy):
    """A gateway on which nobody ran conntrack(8): its rules imply tracking, and it is said so."""
    remove_lines(healthy, "proc/modules", "nf_conntrack_netlink")
    report = checks.check(healthy)
    assert (report.exit_code, checks.names(report)) == (0, {})
    assert "tracking implied by the rules" in report.verdict
    assert "IPv4 connections are tracked (implied by the rules)" in report.works


def test_ctnetlink_is_missed_where_tracking_is_unproven(fake_host):
    """Where rules imply nothing, tracking is unproven without it: said, and not called ok."""
    host = fake_host("4.14/nat-legacy")
    remove_lines(host, "proc/modules", "nf_conntrack_netlink")
    report = checks.check(host)
    finding = checks.one(report, "ConntrackNetlinkMissing")
    assert finding.severity.value == "info"
    assert "modprobe nf_conntrack_netlink" in finding.remedy
    assert report.exit_code == 3
    assert report.verdict.startswith("Cannot determine whether NAT works: tracking is not proven")


def test_ctnetlink_is_nobodys_matter_elsewhere(fake_host):
    """Where nothing translates, nobody misses it."""
    host = fake_host("6.1/loaded-no-rules")
    remove_lines(host, "proc/modules", "nf_conntrack_netlink")
    assert checks.names(checks.check(host)) == {}


# -- forwarding --------------------------------------------------------------------------------


def test_who_switched_forwarding_off(fake_host):
    """A line of sysctl.d that sets 0 is named, for it would win again at the next boot."""
    host = fake_host("6.1/forward-off")
    write(host, "etc/sysctl.d/99-hardening.conf", "# cis\nnet.ipv4.ip_forward = 0\n")
    remedy = checks.one(checks.check(host, "nat: required"), "NatForwardingDisabled").remedy
    assert remedy[0] == "sysctl -w net.ipv4.ip_forward=1"
    assert (
        remedy[1] == r"printf '%s\n' 'net.ipv4.ip_forward = 1' >> /etc/sysctl.d/zz-netfilter.conf"
    )
    assert "/etc/sysctl.d/99-hardening.conf:2" in remedy[2]


def test_forwarding_is_judged_without_sysctl_d(fake_host, monkeypatch):
    """Who disables it again at the next boot is a comment."""

    def late(_):
        raise TimedOut("sysctl.d: out of time")

    monkeypatch.setattr(forwarding, "sysctl_comparisons", late)
    report = checks.check(fake_host("6.1/forward-off"), "nat: required")
    assert checks.one(report, "NatForwardingDisabled").remedy[0].startswith("sysctl -w")


def test_a_rule_is_no_role(fake_host):
    """Without a role both families are left to history, and no remedy makes a router."""
    host = fake_host("6.1/forward-off")
    report = checks.check(host)
    assert checks.untold(report, "NatForwardingDisabled") == list(NEEDS_ROLE.values())
    assert not any("forward" in line for finding in report.findings for line in finding.remedy)
    assert "NatForwardingDisabled" not in checks.names(checks.check(host, "nat: none"))
    report = checks.check(host, "nat: required")
    assert checks.untold(report, "NatForwardingDisabled") == [NEEDS_ROLE[Family.IPV6]]
    report = checks.check(host, "nat: {ipv4: required, ipv6: required}")
    remedies = [f.remedy[0] for f in report.broken if f.alert.endswith("ForwardingDisabled")]
    assert remedies == [
        "sysctl -w net.ipv4.ip_forward=1",
        "sysctl -w net.ipv6.conf.all.forwarding=1",
    ]


def test_the_switches_of_the_interfaces(fake_host):
    """ip_forward=1 and every interface disabled: the remedy names the interfaces, dots and all."""
    host = fake_host("6.1/forward-off")
    write(host, "proc/sys/net/ipv4/ip_forward", "1\n")
    write(host, "etc/sysctl.d/10-lan.conf", "net.ipv4.conf.lan0.forwarding = 0\n")
    for name in ("all", "lan0", "wan0"):
        write(host, f"proc/sys/net/ipv4/conf/{name}/forwarding", "0\n")
    finding = checks.one(checks.check(host, "nat: required"), "NatForwardingDisabled")
    assert finding.evidence["net.ipv4.ip_forward"] == 1
    assert "sysctl -w net.ipv4.conf.lan0.forwarding=1" in finding.remedy
    assert "sysctl -w net.ipv4.conf.wan0.forwarding=1" in finding.remedy
    assert not any("ip_forward" in line for line in finding.remedy)
    assert finding.remedy[-1] == "# /etc/sysctl.d/10-lan.conf:1 sets 0: change that"


# -- rules -------------------------------------------------------------------------------------


def test_the_rule_that_hides_another(fake_host):
    """Table, chain, position, verdict, and the command with the handle that nft wants."""
    report = checks.check(fake_host("6.1/nat-nft"))
    assert "NatRulesUnreachable" not in checks.names(report)
    report = checks.check(fake_host("5.10/nat-unreachable"))
    found = [f for f in report.broken if f.alert.endswith("Unreachable")]
    postrouting = next(f for f in found if f.evidence["chain"] == "postrouting")
    assert postrouting.evidence == {
        "backend": "nftables",
        "table": "nat",
        "chain": "postrouting",
        "position": 1,
        "verdict": "accept",
        "hidden": "postrouting rule 2 (snat), postrouting rule 3 (masquerade)",
    }
    assert postrouting.remedy[0] == "nft -a list chain ip nat postrouting"
    assert "nft delete rule ip nat postrouting handle 11" in postrouting.remedy


def test_the_legacy_rule_that_hides_another(fake_host):
    """iptables deletes by position."""
    report = checks.check(fake_host("5.10/nat-unreachable-legacy"))
    remedies = [line for f in report.broken for line in f.remedy]
    assert "iptables-legacy -t nat -D POSTROUTING 1" in remedies
    assert "# iptables-legacy -t nat -I POSTROUTING 1 ..." in remedies


def test_a_hidden_jump(healthy):
    """A chain whose jump is hidden: the rule before the jump is the one that is named."""
    inner = Chain([MASQUERADE])
    jump = Rule(conditional=True, verdict=Verdict.JUMP, targets=("inner",))
    named = ACCEPT._replace(comment="temporary")
    report = with_tables(healthy, nat_table(named, jump, chains={"inner": inner}))
    finding = checks.one(report, "NatRulesUnreachable")
    assert finding.evidence["chain"] == "post"
    assert finding.evidence["position"] == 1
    assert finding.evidence["comment"] == "temporary"
    assert finding.evidence["hidden"] == "inner rule 1 (masquerade)"


def test_a_jump_from_which_no_packet_comes_back(healthy):
    """The jump is named, and what is hidden is not told to work."""
    user = {"pre0": Chain([ACCEPT])}
    jump = Rule(verdict=Verdict.JUMP, targets=("pre0",))
    report = with_tables(healthy, nat_table(jump, MASQUERADE, chains=user))
    finding = checks.one(report, "NatRulesUnreachable")
    assert "rule 1 of chain post (jump pre0, no match) matches every packet" in finding.summary
    assert "none returns from there" in finding.summary
    assert not any("masquerade" in line for line in report.works)


WAN = named(Field.OUTPUT_INTERFACE, b"wan0\0")


def test_a_rule_that_matches_all_of_a_later_one(healthy):
    """The earlier rule is named, and nothing is said of a rule without a match."""
    accept, late = matching(ACCEPT, WAN), matching(Rule(action=Action.MASQUERADE), WAN)
    finding = checks.one(with_tables(healthy, nat_table(accept, late)), "NatRulesUnreachable")
    assert "rule 1 of chain post (accept) matches the same packets first" in finding.summary
    assert finding.evidence["hidden"] == "post rule 2 (masquerade)"
    assert "without a match" not in finding.why
    assert "# do one of these: delete rule 1 (accept)," in finding.remedy


def test_the_port_of_a_container_that_is_gone(healthy):
    """Its translation hides that of the live one: it may be needed, so deleting comes last."""
    port = ranged(Field.DESTINATION_PORT, [(8080, 8080)])
    dead, live = (
        matching(Rule(action=Action.DNAT), port, to=NatTarget(Family.IPV4, (host, host)))
        for host in (9, 2)
    )
    finding = checks.one(with_tables(healthy, nat_table(dead, live)), "NatRulesUnreachable")
    assert (finding.evidence["verdict"], finding.evidence["position"]) == ("dnat", 1)
    assert "# put the rules that it hides before rule 1 (dnat):" in finding.remedy
    assert finding.remedy.index("# or, if its target is gone, delete it:") > 1


def test_an_exemption_behind_its_translation(healthy):
    """It is called a hidden exemption; no command deletes the translation."""
    private = matching(ACCEPT, WAN, masked(Field.DESTINATION_IPV4, 0xFF000000, 10 << 24))
    report = with_tables(healthy, nat_table(matching(MASQUERADE, WAN), private))
    finding = checks.one(report, "NatRulesUnreachable")
    assert "hidden exemption: rule 2 of chain post (accept)" in finding.summary
    assert not any("delete" in line for line in finding.remedy)


def test_an_interface_that_was_made_anew(healthy):
    """oif keeps its number: the remedy looks for that, for no rule has the word "index"."""
    rule = MASQUERADE._replace(interfaces=("index 77",))
    finding = checks.one(with_tables(healthy, nat_table(rule)), "NatInterfaceMissing")
    assert "interface number 77" in finding.summary
    assert r"nft list ruleset | grep -nE -e '[io]if 77\b'" in finding.remedy
    here = MASQUERADE._replace(interfaces=("index 1",))
    assert checks.names(with_tables(healthy, nat_table(here))) == {}


def test_a_conditional_rule_hides_nothing(healthy):
    """Only a rule without a match hides what follows."""
    maybe = ACCEPT._replace(conditional=True)
    assert checks.names(with_tables(healthy, nat_table(maybe, MASQUERADE))) == {}


def test_a_comment_cannot_take_over_the_terminal(healthy):
    """What a rule is called is shown escaped."""
    named = ACCEPT._replace(comment="\x1b[2Jok\n\u202e")
    report = with_tables(healthy, nat_table(named, MASQUERADE))
    finding = checks.one(report, "NatRulesUnreachable")
    texts = [finding.summary, *finding.remedy, *map(str, finding.evidence.values())]
    assert all(text.isprintable() for text in texts)
    assert "\\x1b[2Jok" in finding.evidence["comment"]


def test_a_name_cannot_take_over_the_shell(healthy):
    """A name that nft would read as more than a name stands in no command, but in JSON."""
    chains = {"a b'; reboot": Chain([ACCEPT, MASQUERADE], Hook.POSTROUTING, "nat", 100)}
    table = Table(Backend.NFTABLES, IPV4, "nat", chains, {})
    remedy = checks.one(with_tables(healthy, table), "NatRulesUnreachable").remedy
    assert remedy[1] == (
        """printf %s '{"nftables": [{"list": {"chain": {"family": "ip", "table": "nat", "name":"""
        """ "a b'"'"'; reboot"}}}]}' | nft -j -f -"""
    )


@pytest.mark.parametrize(("families", "word"), [(IPV4, "ip"), (IPV6, "ip6"), (IPV4 | IPV6, "inet")])
def test_a_dormant_table(healthy, families, word):
    """Rules of a dormant table do nothing; nft wakes the table, of whichever family."""
    report = with_tables(healthy, nat_table(MASQUERADE, families=families, dormant=True))
    finding = checks.one(report, "NatRulesUnreachable")
    assert finding.remedy[0] == f"nft add table {word} nat"
    assert finding.evidence["rules"] == 1


def test_an_interface_that_is_not_there(healthy):
    """A rule that names one is told; the same with one that is there is not."""
    for name, wanted in (("wan0", {}), ("wan7", {"NatInterfaceMissing": "warning"})):
        rule = MASQUERADE._replace(interfaces=(name,))
        assert checks.names(with_tables(healthy, nat_table(rule))) == wanted
    finding = checks.one(with_tables(healthy, nat_table(rule)), "NatInterfaceMissing")
    assert "nft list ruleset | grep -anF -e wan7" in finding.remedy


def test_both_backends(healthy):
    """Rules in both are told for one family, and not where each family has its own."""
    nftables = nat_table(MASQUERADE)
    other = nat_table(MASQUERADE, backend=Backend.LEGACY, families=IPV6)
    assert "NatBackendsMixed" not in checks.names(with_tables(healthy, nftables, other))
    same = nat_table(MASQUERADE, backend=Backend.LEGACY)
    report = with_tables(healthy, nftables, same)
    assert checks.names(report) == {"NatBackendsMixed": "warning"}
    assert report.exit_code == 1


def test_notrack_without_nat(healthy):
    """notrack rules where nothing translates concern nobody."""
    raw = Chain([Rule(conditional=True, notrack=True)], Hook.PREROUTING, "filter", -300)
    table = Table(Backend.LEGACY, IPV4, "raw", {"PREROUTING": raw}, {})
    assert checks.names(with_tables(healthy, table)) == {}
    report = with_tables(healthy, table, nat_table(MASQUERADE))
    assert checks.one(report, "NotrackRules").remedy == ("iptables-legacy -t raw -S",)
    assert report.exit_code == 0


EXPECT = """
expect:
  interfaces: [wan0, {interface}]
  rules: [{{name: to the world, family: ipv4, action: {action}}}]
  modules: [nf_conntrack, {module}]
"""


@pytest.mark.parametrize(
    ("interface", "action", "module", "missing"),
    [
        ("lan0", "masquerade", "nf_nat", []),
        ("wg0", "masquerade", "nf_nat", ["interface wg0"]),
        ("lan0", "snat", "nf_nat", ["rule to the world"]),
        ("lan0", "masquerade", "nf_conntrack_ftp", ["module nf_conntrack_ftp"]),
    ],
)
def test_what_must_exist(healthy, interface, action, module, missing):
    """What the configuration says must exist, and only what is not there, is told."""
    text = EXPECT.format(interface=interface, action=action, module=module)
    report = checks.check(healthy, text)
    found = [f.evidence for f in report.broken if f.alert == "NetfilterExpectedMissing"]
    assert [f"{e['kind']} {e['name']}" for e in found] == missing


# -- the table of connections ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "limit", "severity"),
    [
        (800, 1000, None),
        (801, 1000, "warning"),
        (950, 1000, "warning"),
        (951, 1000, "critical"),
        (1000, 0, None),
    ],
)
def test_a_table_that_fills(healthy, entries, limit, severity):
    """Above 80 % of the limit is a warning, above 95 % critical; without a limit, neither."""
    write(healthy, f"{NETFILTER}/nf_conntrack_count", f"{entries}\n")
    write(healthy, f"{NETFILTER}/nf_conntrack_max", f"{limit}\n")
    assert checks.names(checks.check(healthy)).get("ConntrackTableFilling") == severity


def test_a_larger_table(healthy):
    """The remedy doubles the limit, to a useful size, with buckets, and says where it is kept."""
    write(healthy, f"{NETFILTER}/nf_conntrack_count", "262000\n")
    write(healthy, f"{NETFILTER}/nf_conntrack_max", "262144\n")
    remedy = checks.one(checks.check(healthy), "ConntrackTableFilling").remedy
    assert remedy[0] == "sysctl -w net.netfilter.nf_conntrack_max=524288"
    assert "sysctl -w net.netfilter.nf_conntrack_buckets=131072" in remedy
    assert f"printf '%s\\n' nf_conntrack >> {MODULES_FILE}" in remedy


def test_a_table_whose_buckets_are_unknown(healthy):
    """Some kernels show them only in the initial namespace: the finding stays, without them."""
    write(healthy, f"{NETFILTER}/nf_conntrack_count", "262000\n")
    write(healthy, f"{NETFILTER}/nf_conntrack_max", "262144\n")
    healthy.path(f"{NETFILTER}/nf_conntrack_buckets").unlink()
    shutil.rmtree(healthy.path("proc/sys/net/core"))
    healthy.path("proc/sys/net/nf_conntrack_max").unlink()
    remedy = checks.one(checks.check(healthy), "ConntrackTableFilling").remedy
    assert remedy[0] == "sysctl -w net.netfilter.nf_conntrack_max=524288"
    assert not any("buckets" in line for line in remedy)


def test_a_limit_of_none(healthy):
    """nf_conntrack_max=0 is no limit."""
    write(healthy, f"{NETFILTER}/nf_conntrack_max", "0\n")
    assert checks.names(checks.check(healthy)) == {"ConntrackUnlimited": "warning"}


@pytest.mark.parametrize(("limit", "found"), [(8000, False), (8001, True)])
def test_a_hash_that_is_too_small(healthy, limit, found):
    """More than eight entries for a bucket are too many."""
    write(healthy, f"{NETFILTER}/nf_conntrack_max", f"{limit}\n")
    write(healthy, f"{NETFILTER}/nf_conntrack_buckets", "1000\n")
    report = checks.check(healthy)
    assert ("ConntrackHashTooSmall" in checks.names(report)) is found


def rates(host, seconds=2.0, **increases):
    """Return what is found where the counters rose by so much in so many seconds."""
    run = checks.scrape(host)
    now = counters(run.snapshot)
    before = {name: value - increases.get(name, 0) for name, value in now.totals.items()}
    report = checks.report_on(run, Counters(run.snapshot.system.clock() - seconds, before))
    assert report.seconds == pytest.approx(seconds, abs=0.5)
    return checks.names(report)


@pytest.mark.parametrize(
    ("increases", "found"),
    [
        ({}, {}),
        ({"drop": 3}, {"ConntrackDropping": "critical"}),
        ({"early_drop": 1}, {"ConntrackEvicting": "warning"}),
        ({"insert_failed": 3, "drop": 3}, {"ConntrackInsertFailing": "warning"}),
        (
            {"insert_failed": 9, "chain_too_long": 9, "drop": 3},
            {"ConntrackDropping": "critical", "ConntrackInsertFailing": "warning"},
        ),
        (
            {"insert_failed": 12, "chain_too_long": 9, "drop": 3},
            {"ConntrackInsertFailing": "warning"},
        ),
        ({"chain_too_long": 9}, {}),
        ({"invalid": 10}, {}),
        ({"invalid": 100}, {"ConntrackInvalidPackets": "info"}),
        ({"nat_collision": 100, "icmp_error": 5}, {}),
    ],
)
def test_rates(healthy, increases, found):
    """What happens between two looks is told; drops that are clashes are not called drops."""
    assert rates(healthy, **increases) == found


def test_a_kernel_that_counts_no_long_chains(fake_host):
    """Before 5.15 all failed inserts are taken for clashes."""
    host = fake_host("5.10/nat-legacy")
    assert "ConntrackDropping" in rates(host, drop=3)
    assert "ConntrackDropping" not in rates(host, drop=3, insert_failed=3)


def test_the_thresholds_are_rates(healthy):
    """The same number over a longer time is less: ten drops in five minutes are no page."""
    assert rates(healthy, seconds=300, drop=10, insert_failed=0) == {}
    assert rates(healthy, seconds=300, drop=11) == {"ConntrackDropping": "critical"}


def test_a_counter_that_fell(healthy):
    """A module that was loaded again has lost nothing."""
    assert rates(healthy, drop=-5, early_drop=-5, invalid=-500) == {}


def test_one_look_has_no_rates(healthy):
    """Without a second look nothing is called ok that only two tell."""
    report = checks.check(healthy)
    assert report.seconds is None
    assert checks.untold(report, "ConntrackDropping")[0].startswith("not measured here")


# -- modules -----------------------------------------------------------------------------------


def test_a_module_that_this_kernel_lacks(fake_host):
    """What a required NAT needs and no module does is critical, with the packages that have it."""
    host = fake_host("6.1/idle")
    for kind in "dep", "alias":
        (file,) = host.path("lib/modules").glob(f"*/modules.{kind}")
        remove_lines(host, file, "nf_nat")
    report = checks.check(host, REQUIRED)
    finding, *others = checks.found(report, "ConntrackModuleMissing")
    assert finding.evidence["capability"] == "nat"
    assert finding.evidence["nf_nat"] == "absent"
    assert any("linux-modules-extra" in line for line in finding.remedy)
    # Neither backend is left: what needs nf_nat is absent from modules.dep here, too.
    assert {other.evidence["capability"] for other in others} >= {"nat_nftables"}


def test_modules_of_another_release(fake_host):
    """After a kernel upgrade without a reboot nothing can be loaded; nobody cares without NAT."""
    host = fake_host("6.1/idle")
    shutil.rmtree(host.path("lib/modules"))
    host.path("lib/modules").mkdir()
    assert checks.names(checks.check(host)) == {}
    report = checks.check(host, REQUIRED)
    assert "ModulesDirectoryMissing" in checks.names(report)
    assert checks.one(report, "ModulesDirectoryMissing").remedy[-1] == "systemctl reboot"


def test_modules_that_may_not_be_loaded(fake_host):
    """kernel.modules_disabled=1 is told where something is still missing, and only there."""
    for name, found in (("6.1/idle", True), (HEALTHY, False)):
        host = fake_host(name)
        write(host, "proc/sys/kernel/modules_disabled", "1\n")
        report = checks.check(host, REQUIRED)
        assert ("ModulesLocked" in checks.names(report)) is found
        assert not any(line.startswith("modprobe") for f in report.broken for line in f.remedy)


def test_a_module_that_is_blocked(fake_host):
    """An install line stops what NAT needs; the remedy is to find and remove it."""
    host = fake_host("6.1/idle")
    write(host, "etc/modprobe.d/cis.conf", "install nf_nat /bin/false\n")
    assert checks.names(checks.check(host)) == {}
    finding = checks.one(checks.check(host, REQUIRED), "ModuleBlocked")
    assert finding.remedy[:2] == (
        "# /etc/modprobe.d/cis.conf:1 stops it: install nf_nat /bin/false",
        "sed -i -e '1,1s/^/# /' /etc/modprobe.d/cis.conf",
    )
    assert "modprobe nf_nat" in finding.remedy


# -- sysctls -----------------------------------------------------------------------------------


def test_a_sysctl_that_was_not_applied(healthy):
    """The value, who sets it, and how to have it at the next boot too."""
    write(healthy, "etc/sysctl.d/50-nat.conf", "net.netfilter.nf_conntrack_acct = 1\n")
    write(healthy, f"{NETFILTER}/nf_conntrack_acct", "0\n")
    finding = checks.one(checks.check(healthy), "SysctlNotApplied")
    assert finding.evidence["asked_by"] == "/etc/sysctl.d/50-nat.conf:1"
    assert finding.remedy[0] == "sysctl -w net.netfilter.nf_conntrack_acct=1"
    assert f"printf '%s\\n' nf_conntrack >> {MODULES_FILE}" in finding.remedy
    assert not any("sysctl.d/zz" in line for line in finding.remedy)  # it is set already
    write(healthy, f"{NETFILTER}/nf_conntrack_acct", "1\n")
    assert checks.names(checks.check(healthy)) == {}


def test_a_sysctl_of_the_configuration(healthy):
    """What the exporter's configuration wants is kept in sysctl.d by the remedy."""
    report = checks.check(healthy, "sysctls: {net.netfilter.nf_conntrack_max: '>= 999999999'}")
    remedy = checks.one(report, "SysctlNotApplied").remedy
    assert remedy[1].endswith(">> /etc/sysctl.d/zz-netfilter.conf")


@pytest.mark.parametrize(
    ("state", "name", "remedy"),
    [
        (HEALTHY, "net.ipv4.ip_forwrd", "# correct that name"),
        ("6.1/idle", "net.netfilter.nf_conntrack_acct", "modprobe nf_conntrack"),
    ],
)
def test_a_name_of_the_configuration_that_is_not_there(fake_host, state, name, remedy):
    """One that a module brings is to be set when that is there, another one is misspelt."""
    report = checks.check(fake_host(state), f"sysctls: {{{name}: 1}}")
    finding = checks.one(report, "SysctlNotApplied")
    assert f"{name} is absent" in finding.summary
    assert finding.remedy[0] == remedy
    assert ("misspelt" in finding.why) is (state == HEALTHY)
    assert "systemctl restart systemd-sysctl" not in finding.remedy


def test_a_sysctl_that_never_existed(healthy):
    """The name that a guide gives is unknown to this kernel, and why is said."""
    line = "net.netfilter.nf_conntrack_ipv4_max = 65536\n"
    write(healthy, "etc/sysctl.d/50-nat.conf", line)
    finding = checks.one(checks.check(healthy), "SysctlUnknown")
    assert finding.why.startswith("No kernel ever had it")
    assert finding.remedy == (
        "# remove net.netfilter.nf_conntrack_ipv4_max from /etc/sysctl.d/50-nat.conf:1",
    )


# -- the looking itself ------------------------------------------------------------------------


def test_a_collector_that_fails(healthy):
    """What could not be read is a warning, and the rest is told all the same."""
    write(healthy, "proc/net/stat/nf_conntrack", "nonsense\n")
    report = checks.check(healthy)
    finding = checks.one(report, "CollectorFailing")
    assert finding.severity.value == "warning"
    assert finding.evidence == {"collector": "conntrack", "status": "error"}
    assert "IPv4 connections are tracked (proven)" in report.works


def test_another_namespace(fake_host):
    """A pod's own namespace is a warning, unless it is meant."""
    host = fake_host("6.18/nat-legacy")
    assert checks.names(checks.check(host)) == {"WrongNamespace": "warning"}
    assert checks.names(checks.check(host, "network_namespace: any")) == {}


def test_a_defect_hides_nothing(healthy, monkeypatch):
    """A check that raises what nobody foresaw is unknown; the others are told."""
    broken = report.ALERTS[0]._replace(check=lambda _: iter((1 / 0,)))
    monkeypatch.setattr(report, "ALERTS", (broken, *report.ALERTS[1:]))
    made = checks.check(healthy)
    assert "ZeroDivisionError" in checks.untold(made, "ConntrackDisabled")[0]
    assert made.verdict.startswith("No fault found: ")


def test_a_defect_of_the_verdict_hides_no_finding(fake_host, monkeypatch):
    """What was found is told and decides the exit code; of the rest, nothing is claimed."""
    monkeypatch.setattr(report, "not_checked", lambda _: iter((1 / 0,)))
    made = checks.check(fake_host("6.18/nat-legacy"))
    assert checks.names(made) == {"WrongNamespace": "warning"}
    assert made.exit_code == 1
    assert "ZeroDivisionError" in made.verdict
    monkeypatch.setattr(report, "ALERTS", ())
    assert checks.check(fake_host(HEALTHY)).exit_code == 3


def test_a_configuration_that_was_bad_when_it_was_read_again(healthy):
    """Who serves knows, and says which file and why; who only looks cannot know."""
    run = checks.scrape(healthy)
    assert checks.untold(checks.report_on(run), "ConfigReloadFailing") == [NEEDS_HISTORY]
    run.snapshot.host.reload_status = loads = ReloadStatus()
    assert checks.names(checks.report_on(run)) == {}
    with pytest.raises(ConfigError), loads.reading("config"):
        config.parse("natt: required", "nfe.yml")
    finding = checks.one(checks.report_on(run), "ConfigReloadFailing")
    assert "could not be reloaded" in finding.summary
    assert "nfe.yml" not in str(finding)  # peers see it
    assert "journalctl" in finding.remedy[0]
    with loads.reading("config"):
        pass
    assert checks.names(checks.report_on(run)) == {}


# -- what keeps rules from being loaded again --------------------------------------------------


def test_rules_that_are_gone_name_what_is_blocked(fake_host):
    """Nobody knows which rules there were: each module that is stopped is named, and freed."""
    host = fake_host("6.1/rules-flushed")
    write(host, "etc/modprobe.d/cis.conf", "# CIS\ninstall xt_NETMAP /bin/true\n")
    finding = checks.one(checks.check(host, REQUIRED), "NatRulesGone")
    assert finding.evidence["xt_NETMAP"] == "blocked"
    assert "xt_NETMAP (blocked)" in finding.why
    assert "sed -i -e '2,2s/^/# /' /etc/modprobe.d/cis.conf" in finding.remedy
    assert finding.remedy.index("modprobe xt_NETMAP") < len(finding.remedy) - 1


def test_rules_that_are_gone_of_a_locked_host(fake_host):
    """Where nothing can be loaded, what is expected is loaded at the next boot."""
    host = fake_host("6.1/idle")
    write(host, "proc/sys/kernel/modules_disabled", "1\n")
    config = f"{REQUIRED}\nexpect: {{rules: [{{name: a, family: ipv4, action: redirect}}]}}"
    finding = checks.one(checks.check(host, config), "NatRulesGone")
    assert finding.evidence["nft_redir"] == "locked"
    assert "systemctl reboot" in finding.remedy
    assert not any(line.startswith("modprobe") for line in finding.remedy)


def test_a_line_of_a_package_is_replaced_in_etc(fake_host):
    """A file in /usr/lib is not edited: one of its name in /etc comes before it."""
    host = fake_host("6.1/idle")
    write(host, "usr/lib/modprobe.d/x.conf", "install nf_nat \\\n/bin/false\n")
    finding = checks.one(checks.check(host, REQUIRED), "ModuleBlocked")
    assert finding.remedy[1:3] == (
        "cp /usr/lib/modprobe.d/x.conf /etc/modprobe.d/x.conf",
        "sed -i -e '1,2s/^/# /' /etc/modprobe.d/x.conf",
    )


def test_what_the_kernel_command_line_stops_takes_a_reboot(fake_host):
    """modprobe cannot help where the kernel itself refuses."""
    host = fake_host("6.1/idle")
    write(host, "proc/cmdline", "quiet module_blacklist=nf_nat\n")
    finding = checks.one(checks.check(host, REQUIRED), "ModuleBlocked")
    assert finding.remedy[0].endswith("the kernel command line stops it: module_blacklist=nf_nat")
    assert finding.remedy[-1] == "systemctl reboot"
    assert not any(line.startswith("modprobe") for line in finding.remedy)


# -- other engines, and sysctls of modules that are not loaded -----------------------------------


IPVS = """IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  C6336401:0007 rr
  -> CB007102:0007      Masq    1      0          0
"""


def test_rules_beside_ipvs_are_held_to_the_role(healthy):
    """Where there are rules too, they must work."""
    write(healthy, "proc/net/ip_vs", IPVS)
    write(healthy, "proc/sys/net/ipv4/vs/conntrack", "0\n")
    report = checks.check(healthy, REQUIRED)
    assert checks.names(report) == {"IpvsUntracked": "info"}
    assert checks.one(report, "IpvsUntracked").remedy[0] == "sysctl -w net.ipv4.vs.conntrack=1"
    write(healthy, "proc/sys/net/ipv4/vs/conntrack", "1\n")
    assert checks.names(checks.check(healthy, REQUIRED)) == {}


BRIDGE_KEY = "net.bridge.bridge-nf-call-iptables"


def test_bridged_packets_that_sysctl_d_wants_translated(healthy):
    """A key whose module is not loaded is missed where there is a bridge and NAT."""
    shutil.rmtree(healthy.path("proc/sys/net/bridge"))
    remove_lines(healthy, "proc/modules", "br_netfilter")
    write(healthy, "etc/sysctl.d/k8s.conf", f"{BRIDGE_KEY} = 1\n")
    assert checks.names(checks.check(healthy)) == {}
    ports = healthy.path("sys/class/net/lan0/brif")
    for port in ("veth1", "veth2"):
        (ports / port).mkdir(parents=True)
    healthy.path("sys/class/net/lan0/bridge").mkdir()
    finding = checks.one(checks.check(healthy), "SysctlNotApplied")
    assert finding.remedy[:2] == (
        "modprobe br_netfilter",
        "printf '%s\\n' br_netfilter >> /etc/modules-load.d/netfilter.conf",
    )
    write(healthy, "etc/sysctl.d/k8s.conf", f"{BRIDGE_KEY} = 0\n")
    assert checks.names(checks.check(healthy)) == {}


def test_rules_that_are_still_being_read_are_unknown(fake_host):
    """A check that comes behind a reader that hangs reports what it knows, and exits with 3."""
    run = checks.scrape(fake_host(HEALTHY))
    run.snapshot.values.pop(rulesets)
    run.snapshot.errors[rulesets] = TimedOut("rulesets: still being read")
    made = checks.report_on(run)
    assert made.exit_code == 3
    assert made.verdict == "Cannot determine whether NAT works: rulesets: still being read."
    assert {finding.severity for finding in made.findings} == {Severity.UNKNOWN}
