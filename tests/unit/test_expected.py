"""facts/expected.py: what the configuration says must exist, held against the host."""

from types import SimpleNamespace

import pytest

from netfilter_exporter.config.model import Config, parse
from netfilter_exporter.facts import expected
from netfilter_exporter.facts.forwarding import interfaces
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.rulesets import Ruleset, rulesets
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.kernel.errors import Denied
from netfilter_exporter.rules.families import BOTH, IPV4, Backend
from netfilter_exporter.rules.model import Action
from netfilter_exporter.rules.reachability import RulesetFacts, Translation
from support.facts import snapshot_of

MASQUERADE = Translation(IPV4, Action.MASQUERADE, "nat", ("wan0",), extension=False)


def host(expect: str, *given: Ruleset, usable: "bool | None" = None) -> Snapshot:
    """Return what of a snapshot is asked, with wan0 as its interface."""
    config: Config = parse(f"expect: {expect}", "test.yml")
    values = {
        interfaces: {"wan0": 2},
        rulesets: given,
        kernel_modules: SimpleNamespace(usable=lambda _: usable),
    }
    return snapshot_of(values, config)


def nftables(*found: Translation) -> Ruleset:
    return Ruleset(
        Backend.NFTABLES, BOTH, RulesetFacts(translations={kind: {"post"} for kind in found})
    )


UNREAD = Ruleset(Backend.LEGACY, IPV4, None, Denied("ip_tables_names"))


@pytest.mark.parametrize(
    ("limits", "is_there"),
    [
        ("", True),
        (", table: nat, chain: post, interface: wan0, backend: nftables", True),
        (", interface: wan1", False),
        (", chain: pre", False),
        (", backend: legacy", False),
    ],
)
def test_a_rule_has_to_fit_in_all_that_is_said_of_it(limits: str, is_there: bool):
    """Each thing that the configuration says of a rule is a condition, what it leaves out none."""
    rule = f"{{name: uplink, family: ipv4, action: masquerade{limits}}}"
    snapshot = host(f"{{rules: [{rule}]}}", nftables(MASQUERADE))
    assert list(expected.presence(snapshot)) == [("rule", "uplink", is_there)]


def test_another_family_is_another_rule():
    """An IPv4 rule does not stand in for the IPv6 one."""
    rule = "{name: v6, family: ipv6, action: masquerade}"
    snapshot = host(f"{{rules: [{rule}]}}", nftables(MASQUERADE))
    assert list(expected.presence(snapshot)) == [("rule", "v6", False)]


def test_a_rule_may_be_in_the_ruleset_that_cannot_be_read():
    """What was not found is missing only if everything was read, and the page says why not."""
    rule = "{name: dnat, family: ipv4, action: dnat}"
    snapshot = host(f"{{rules: [{rule}]}}", nftables(MASQUERADE), UNREAD)
    assert list(expected.presence(snapshot)) == [("rule", "dnat", None)]
    assert expected.unread(snapshot) == [UNREAD.error]


def test_nobody_asks_for_rules_that_nobody_expects():
    """An unread ruleset is no failure of this metric where only interfaces are expected."""
    snapshot = host("{interfaces: [wan0, wan1]}", UNREAD)
    assert list(expected.presence(snapshot)) == [
        ("interface", "wan0", True),
        ("interface", "wan1", False),
    ]
    assert expected.unread(snapshot) == []


@pytest.mark.parametrize("usable", [True, False, None])
def test_a_module_is_there_when_its_code_is(usable: "bool | None"):
    """Loaded, built in or merged count; what cannot be told stays untold."""
    snapshot = host("{modules: [nf_nat_ftp]}", usable=usable)
    assert list(expected.presence(snapshot)) == [("module", "nf_nat_ftp", usable)]
