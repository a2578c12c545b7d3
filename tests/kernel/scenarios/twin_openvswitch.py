from lab.scenario import Scenario
from scenarios._openvswitch import uplink

TRANSLATING = (
    "in_port=LOCAL,ip,nw_src=10.0.1.0/24,actions=ct(commit,zone=1,nat(src=203.0.113.1)),output:wan",
    "in_port=wan,ip,nw_dst=203.0.113.1,actions=ct(zone=1,nat),LOCAL",
)
TRANSLATED = {'nat_rules{family="ipv4"}': 0, 'nat_other_engine{engine="openvswitch"}': 1}


def setup(router):
    uplink(router, *TRANSLATING)


SCENARIO = Scenario(
    about="Open vSwitch does the NAT, without a rule.",
    setup=setup,
    works={"out": (True, True)},
    before=TRANSLATED,
    after=TRANSLATED,
    needs_boot=True,
)
