"""What is counted is what iptables-save and nft print, whatever the ruleset."""

import pytest

from netfilter_exporter.kernel.nft import tables
from netfilter_exporter.rules.covers import NO_COVERS, Covers
from netfilter_exporter.rules.exemption import exempts_arriving
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.incoming import Incoming
from netfilter_exporter.rules.zones import zoned
from support import inside, oracle, random_rules
from support.namespace import Failed

SEEDS = range(120)
FEW_SEEDS = range(40)


def counted(*rulesets):
    """Return what the exporter counted, in the words of the oracle."""
    found = oracle.Counts(*(oracle.Counter() for _ in oracle.Counts._fields))
    for facts in rulesets:
        for label, number in facts.chain_rules.items():
            found.chains[label.family.value, label.table, label.chain] += number
        for label, number in facts.unreachable.items():
            found.unreachable[label.family.value, label.table, label.chain] += number
        for (family, action), number in facts.rules.items():
            found.rules[family.value, action.value] += number
        for name, numbers in (("tables", facts.table_rules), ("dormant", facts.dormant)):
            for (family, table), number in numbers.items():
                getattr(found, name)[family.value, table] += number
    return oracle.Counts(*(+counter for counter in found))


def without_covers(source):
    """Return what is read, of which the oracle knows all: what hides rules without a match."""
    Covers.of_chain = lambda *_: NO_COVERS  # in the process of this namespace alone
    return inside.ruleset(source)


def accepted(load, make, seeds):
    """Load rulesets one after the other; yield the seeds of those that the kernel took."""
    taken = 0
    for seed in seeds:
        text = make(seed)
        try:
            load(text)
        except Failed as failure:
            refused = f"seed {seed}: {failure}\n{text}"
            continue
        taken += 1
        yield seed, text
    assert taken >= len(seeds) // 3, refused


@pytest.mark.parametrize(("family", "version"), [(Family.IPV4, 4), (Family.IPV6, 6)])
def test_legacy_rules(namespace, family, version):
    """Random legacy tables are counted as iptables-legacy-save prints them."""
    tool = "iptables-legacy" if version == 4 else "ip6tables-legacy"

    def load(text):
        namespace.run(f"{tool}-restore", "-w", stdin=text)

    for seed, text in accepted(load, lambda s: random_rules.iptables(s, version), SEEDS):
        saved = namespace.run(f"{tool}-save", "-t", "nat")
        expected = oracle.count(oracle.iptables(saved, family.value))
        assert counted(namespace.call(without_covers, f"legacy_{family.value}")) == expected, (
            f"seed {seed}\n{text}"
        )


@pytest.mark.parametrize("version", [4, 6])
def test_iptables_nft_rules(namespace, version):
    """The same through iptables-nft, as iptables-nft-save prints them."""
    tool = "iptables-nft" if version == 4 else "ip6tables-nft"

    def load(text):
        namespace.run(f"{tool}-restore", "-w", stdin=text)

    for seed, text in accepted(load, lambda s: random_rules.iptables(s, version), SEEDS):
        saved = namespace.run(f"{tool}-save", "-t", "nat")
        expected = oracle.count(oracle.iptables(saved, f"ipv{version}"))
        assert counted(namespace.call(without_covers, "nftables")) == expected, (
            f"seed {seed}\n{text}"
        )


def test_nft_rules(namespace):
    """Random native rulesets are counted as ``nft -j list ruleset`` prints them."""

    def load(text):
        namespace.run("nft", "-f", "-", stdin=f"flush ruleset\n{text}")

    for seed, text in accepted(load, random_rules.nft, SEEDS):
        printed = [namespace.run("nft", *json, "list", "ruleset") for json in (["-j"], [])]
        expected = oracle.count(oracle.nft(*printed))
        assert counted(namespace.call(without_covers, "nftables")) == expected, (
            f"seed {seed}\n{text}"
        )


@pytest.mark.parametrize(
    ("load", "make"),
    [
        (("iptables-nft-restore", "-w"), lambda seed: random_rules.iptables(seed, 4)),
        (("nft", "-f", "-"), lambda seed: f"flush ruleset\n{random_rules.nft(seed)}"),
    ],
    ids=["iptables-nft", "nft"],
)
def test_a_table_has_the_same_facts_chain_after_chain(namespace, load, make):
    """Whether it is read as a whole or as far as packets come, which large ones are."""
    for seed, text in accepted(lambda text: namespace.run(*load, stdin=text), make, FEW_SEEDS):
        assert namespace.call(differences) == [], f"seed {seed}\n{text}"


def differences():
    """Return which facts are others where each table counts as large; in a namespace."""
    whole, reached = (_facts_where(many) for many in (1 << 60, 0))
    return [name for name, value in whole.items() if reached[name] != value]


def _facts_where(many):
    """Return the facts by name, of whole tables what they say."""
    tables.MANY = many
    inside.host.cache_clear()
    facts = vars(inside.ruleset("nftables"))
    passage, zoning = facts.pop("passage"), facts.pop("zoning")
    untracking = facts.pop("untracking")
    incoming = [Incoming(family, "eth0", 2) for family in Family]
    return {
        **facts,
        "blocks": [passage.block(each, None) for each in incoming],
        "accepts": passage.accepts,
        "zoned": [zoned(zoning, each) for each in incoming],
        "exempted": [exempts_arriving(untracking, each) for each in incoming],
    }
