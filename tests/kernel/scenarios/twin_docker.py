from lab.scenario import AtLeast, Scenario
from scenarios._hosts import probed, rules, working

RULES = """*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 10.0.1.0/24 ! -o lan -j MASQUERADE
-A DOCKER -i lan -j RETURN
-A DOCKER ! -i lan -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.1.2:7
-A DOCKER ! -i lan -p udp -m udp --dport 8080 -j DNAT --to-destination 10.0.1.2:7
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lan -j ACCEPT
-A FORWARD -o lan -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"""


def setup(router):
    probed(router)
    router.run("iptables-legacy-restore", RULES)


HEALTHY = {
    **working("legacy", 2),
    'nat_forwarded_rules{family="ipv4"}': 4,
    rules("legacy", "dnat"): AtLeast(2),
    "nat_unreachable_rules": 0,
    'forward_policy_drop{backend="legacy",family="ipv4"}': 1,
}

SCENARIO = Scenario(
    about="Rules as Docker writes them; the interface of a negated match may be missing.",
    setup=setup,
    works={"out": (True, True), "in": (True, True)},
    before=HEALTHY,
    after=HEALTHY,
)
