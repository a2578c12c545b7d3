"""What is counted is what iptables-save and nft print, whatever the ruleset."""

import pytest

from netfilter_exporter.rules.covers import NO_COVERS, Covers
from netfilter_exporter.rules.families import Family
from support import inside, oracle, random_rules
from support.namespace import Failed

SEEDS = range(120)


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
