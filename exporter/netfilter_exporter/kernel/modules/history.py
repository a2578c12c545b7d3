"""The modules of conntrack and NAT as data: how each can be recognised, and which were merged.

Nothing here decides by kernel version: distributions backport merges (RHEL 8.3's 4.18 has the one
of 4.19). The releases are for the reader.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """How a module is recognised."""

    name: str
    #: Kconfig symbols without CONFIG_; the first that the configuration mentions decides.
    options: tuple[str, ...] = ()
    file: str = ""  #: below /proc, there exactly while the code is in the kernel
    symbol: str = ""  #: a function of it that compilers keep, for /proc/kallsyms
    reported: bool = True  #: has its own series on the page


#: By 6.12 legacy tables have their own *_LEGACY options, by 6.18 this one stands above them.
_XTABLES_LEGACY = "NETFILTER_XTABLES_LEGACY"

#: What the names of helpers' modules begin with, and go on with: somebody has to assign them.
HELPER = "nf_conntrack_"
HELPERS = ("amanda", "ftp", "h323", "irc", "pptp", "sane", "sip", "tftp")

MODULES = (
    Row("nf_conntrack", ("NF_CONNTRACK",), file="sys/net/netfilter/nf_conntrack_count"),
    Row("nf_conntrack_ipv4", ("NF_CONNTRACK_IPV4",)),
    Row("nf_conntrack_ipv6", ("NF_CONNTRACK_IPV6",)),
    Row("nf_conntrack_netlink", ("NF_CT_NETLINK",), symbol="ctnetlink_new_conntrack"),
    Row("nf_defrag_ipv4", ("NF_DEFRAG_IPV4",), symbol="nf_defrag_ipv4_enable"),
    Row("nf_defrag_ipv6", ("NF_DEFRAG_IPV6",), symbol="nf_defrag_ipv6_enable"),
    Row("nf_nat", ("NF_NAT",), symbol="nf_nat_setup_info"),
    Row("nf_nat_ipv4", ("NF_NAT_IPV4",)),
    Row("nf_nat_ipv6", ("NF_NAT_IPV6",)),
    Row(
        "ip_tables",
        ("IP_NF_IPTABLES_LEGACY", _XTABLES_LEGACY, "IP_NF_IPTABLES"),
        file="net/ip_tables_names",
    ),
    Row(
        "ip6_tables",
        ("IP6_NF_IPTABLES_LEGACY", _XTABLES_LEGACY, "IP6_NF_IPTABLES"),
        file="net/ip6_tables_names",
    ),
    Row("iptable_nat", ("IP_NF_NAT",), symbol="iptable_nat_table_init"),
    Row("ip6table_nat", ("IP6_NF_NAT",), symbol="ip6table_nat_table_init"),
    Row("xt_MASQUERADE", ("NETFILTER_XT_TARGET_MASQUERADE",), symbol="masquerade_tg"),
    Row("xt_nat", ("NETFILTER_XT_NAT",), symbol="xt_snat_target_v2"),
    Row("xt_REDIRECT", ("NETFILTER_XT_TARGET_REDIRECT",), symbol="redirect_tg4"),
    Row("xt_NETMAP", ("NETFILTER_XT_TARGET_NETMAP",), symbol="netmap_tg4"),
    Row("nf_tables", ("NF_TABLES",), symbol="nf_tables_newrule"),
    # Before the merge of its halves there was an option for each, since then it is NFT_NAT's.
    Row("nft_chain_nat", ("NFT_CHAIN_NAT_IPV4", "NFT_NAT"), symbol="nft_nat_do_chain"),
    Row("nft_nat", ("NFT_NAT",), symbol="nft_nat_init"),
    Row("nft_masq", ("NFT_MASQ",), symbol="nft_masq_init"),
    Row("nft_redir", ("NFT_REDIR",), symbol="nft_redir_init"),
    Row("nft_ct", ("NFT_CT",), symbol="nft_ct_get_init"),
    Row("nfnetlink", ("NETFILTER_NETLINK",), symbol="nfnetlink_rcv"),
    Row("nfnetlink_hook", ("NETFILTER_NETLINK_HOOK",), symbol="nfnl_hook_get"),
    Row("br_netfilter", ("BRIDGE_NETFILTER",), file="sys/net/bridge/bridge-nf-call-iptables"),
    # Needed to judge the others.
    Row("nft_compat", ("NFT_COMPAT",), symbol="nft_target_select_ops", reported=False),
    Row("netfilter", reported=False),
    Row(
        "ipt_MASQUERADE",
        ("NETFILTER_XT_TARGET_MASQUERADE", "IP_NF_TARGET_MASQUERADE"),
        reported=False,
    ),
    Row("nft_chain_nat_ipv4", ("NFT_CHAIN_NAT_IPV4",), reported=False),
    Row("nft_masq_ipv4", ("NFT_MASQ_IPV4",), reported=False),
    Row("nft_redir_ipv4", ("NFT_REDIR_IPV4",), reported=False),
    # Engines that translate without a rule of ours.
    Row("ip_vs", ("IP_VS",), file="net/ip_vs", reported=False),
    Row("openvswitch", ("OPENVSWITCH",), symbol="ovs_dp_process_packet", reported=False),
    Row("act_ct", ("NET_ACT_CT",), symbol="tcf_ct_act", reported=False),
    Row("act_nat", ("NET_ACT_NAT",), symbol="tcf_nat_act", reported=False),
    *(Row(HELPER + name, (f"NF_CONNTRACK_{name.upper()}",), reported=False) for name in HELPERS),
)

ROWS = {row.name: row for row in MODULES}

#: Modules that the kernel requests by an alias (``nft-expr-nat``, ``ipt_MASQUERADE``,
#: ``nfnetlink-subsys-10``) and nothing by their names: ``blacklist`` stops them.
BY_ALIAS = frozenset(
    name
    for name in ROWS
    if name.startswith(("nft_", "xt_", "ipt_"))
    or name in {"nf_tables", "nf_conntrack_netlink", "nfnetlink", "nfnetlink_hook"}
)


class Merge(NamedTuple):
    """A name that was retired, and the module that has its code since."""

    name: str
    successor: str
    release: str  #: the mainline release that merged it, at the latest; for documentation only
    commit: str
    #: A module that the successor uses only where it has this code; "": none is known.
    uses: str = ""
    file: str = ""  #: below /proc, there exactly while the code is in the kernel
    #: The successor exists without this code too: only a direct proof counts.
    strict: bool = False


_L3PROTO = "a0ae2562c6c4"  # netfilter: conntrack: remove l3proto abstraction
_NF_NAT = "3bf195ae6037"  # netfilter: nat: merge nf_nat_ipv4,6 into nat core
_CHAIN_NAT = "db8ab38880e0"  # netfilter: nf_tables: merge ipv4 and ipv6 nat chain types
_MASQUERADE = "adf82accc5f5"  # netfilter: x_tables: merge ip and ipv6 masquerade modules
_SYSCTL = "sys/net/netfilter/nf_conntrack_"

MERGES = {
    merge.name: merge
    for merge in (
        Merge(
            "nf_conntrack_ipv4",
            "nf_conntrack",
            "4.19",
            _L3PROTO,
            uses="nf_defrag_ipv4",
            file=_SYSCTL + "icmp_timeout",
        ),
        Merge(
            "nf_conntrack_ipv6",
            "nf_conntrack",
            "4.19",
            _L3PROTO,
            uses="nf_defrag_ipv6",
            file=_SYSCTL + "icmpv6_timeout",
        ),
        Merge("nf_nat_ipv4", "nf_nat", "5.1", _NF_NAT),
        Merge("nf_nat_ipv6", "nf_nat", "5.1", _NF_NAT),
        Merge("nft_chain_nat_ipv4", "nft_chain_nat", "5.2", _CHAIN_NAT, uses="nf_nat"),
        Merge("nft_masq_ipv4", "nft_masq", "5.2", "", uses="nf_nat"),
        Merge("nft_redir_ipv4", "nft_redir", "5.2", "", uses="nf_nat"),
        Merge("ipt_MASQUERADE", "xt_MASQUERADE", "5.2", _MASQUERADE),
        # netfilter.ko in modules.builtin is the core, which all kernels have.
        Merge("nfnetlink", "netfilter", "7.2", "", strict=True),
    )
}
