from lab.scenario import Scenario
from stage.program import Program

SETS = """\
create cali40all-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40all-ipam-pools 10.0.0.0/16
create cali40masq-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40masq-ipam-pools 10.0.0.0/16
"""
#: The LAN stands for a pod behind an interface named cali and a number.
RULES = """\
*nat
:cali-OUTPUT - [0:0]
:cali-POSTROUTING - [0:0]
:cali-PREROUTING - [0:0]
:cali-fip-dnat - [0:0]
:cali-fip-snat - [0:0]
:cali-nat-outgoing - [0:0]
-A PREROUTING -m comment --comment "cali:1" -j cali-PREROUTING
-A OUTPUT -m comment --comment "cali:2" -j cali-OUTPUT
-A POSTROUTING -m comment --comment "cali:3" -j cali-POSTROUTING
-A cali-OUTPUT -m comment --comment "cali:4" -j cali-fip-dnat
-A cali-POSTROUTING -m comment --comment "cali:5" -j cali-fip-snat
-A cali-POSTROUTING -m comment --comment "cali:6" -j cali-nat-outgoing
-A cali-PREROUTING -m comment --comment "cali:7" -j cali-fip-dnat
-A cali-nat-outgoing -m comment --comment "cali:8" -m set --match-set cali40masq-ipam-pools src \
-m set ! --match-set cali40all-ipam-pools dst -j MASQUERADE --random-fully
COMMIT
*filter
:cali-FORWARD - [0:0]
:cali-from-wl-dispatch - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-fw-lan - [0:0]
:cali-tw-lan - [0:0]
:cali-pri-kns.default - [0:0]
-I FORWARD 1 -m comment --comment "cali:9" -j cali-FORWARD
-A FORWARD -m comment --comment "cali:10" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -m comment --comment "cali:11" -j MARK --set-xmark 0x10000/0x10000
-A cali-FORWARD -m comment --comment "cali:12" -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -i lan -m comment --comment "cali:13" -j cali-from-wl-dispatch
-A cali-FORWARD -o lan -m comment --comment "cali:14" -j cali-to-wl-dispatch
-A cali-from-wl-dispatch -i lan -m comment --comment "cali:15" -g cali-fw-lan
-A cali-from-wl-dispatch -m comment --comment "cali:16 Unknown interface" -j DROP
-A cali-to-wl-dispatch -o lan -m comment --comment "cali:17" -g cali-tw-lan
-A cali-to-wl-dispatch -m comment --comment "cali:18 Unknown interface" -j DROP
-A cali-fw-lan -m comment --comment "cali:19" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-lan -m comment --comment "cali:20" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-lan -m comment --comment "cali:21" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-lan -m comment --comment "cali:22" -j cali-pri-kns.default
-A cali-fw-lan -m comment --comment "cali:23" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-lan -m comment --comment "cali:24 Drop if no profiles matched" -j DROP
-A cali-tw-lan -m comment --comment "cali:25" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-lan -m comment --comment "cali:26 Drop if no profiles matched" -j DROP
-A cali-pri-kns.default -m comment --comment "cali:27" -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.default -m comment --comment "cali:28" -m mark --mark 0x10000/0x10000 -j RETURN
COMMIT
"""


def setup(host):
    host.population()
    host.program("ipset restore", SETS)
    host.program("iptables-restore --noflush", RULES)


def pool_without_nat(host):
    host.program("ipset flush cali40masq-ipam-pools")
    host.settle()


def nat_flushed(host):
    host.program("iptables -t nat -F")


PROGRAM = Program(
    packages=("ipset",),
    source="Calico 3.29, as felix/rules/nat.go and endpoints.go write",
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="A node whose pods leave the pools masqueraded, by sets of ipset.",
        setup=setup,
        works={"out": (True, True)},
    ),
    faults={
        "pool-without-nat": Scenario(
            about="natOutgoing of the pool is off: the set of what is masqueraded is empty.",
            setup=setup,
            fault=pool_without_nat,
            works={"outbound": (True, False)},
            alerts=frozenset({"NetfilterNatUntranslated"}),
        ),
        "nat-flushed": Scenario(
            about="A script of the administrator flushes table nat; the filter goes on tracking.",
            setup=setup,
            fault=nat_flushed,
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterNatRulesGone"}),
        ),
    },
)
