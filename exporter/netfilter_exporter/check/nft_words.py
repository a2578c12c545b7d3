"""Which names can stand in an nft command as they are.

nft joins its arguments and parses the result, so a shell's quotes protect nothing, and a quoted
string is no identifier in its grammar. Source: src/scanner.l of nftables, all releases up to 1.1.6
and the development branch of February 2026.
"""

from __future__ import annotations

import re

#: The scanner's `string`, and what tables of iptables and firewalld need of it: no slash.
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")

#: What any of them reads as a keyword, in whatever state of its scanner; but for filter, nat and
#: route, which the branch reads so behind "type" only, where no name stands.
KEYWORDS = frozenset(
    """
NF_INET_FORWARD NF_INET_LOCAL_IN NF_INET_LOCAL_OUT NF_INET_POST_ROUTING NF_INET_PRE_ROUTING
a-rwnd abort accept ackseq add addr ah alert all and arp asconf asconf-ack audit auto-merge
avgpkt bridge broute burst bypass bytes cfi cgroup cgroupv2 chain chains check checksum chunk
class classid code comment comp constant continue cookie-ack cookie-echo count counter counters
cpi cpu create crit csumcov ct cum-tsn-ack cwr daddr data day dccp debug define dei delete
describe destroy device devices direction dnat doff dport drop dscp dst dup dynamic echo ecn
ecne egress element elements emerg eol eq err error erspan esp eth ether event exists
expectation expiration expires export exthdr fanout fastopen fib flags flow flowlabel flowtable
flowtables flush forward-tsn frag frag-off fully-random fwd gateway gbp gc-interval ge geneve
get goto gre gretap group gt handle hbh hdrlength heartbeat heartbeat-ack helper helpers hlen
hook hooks hoplimit hour htype ibrhwaddr ibridgename ibriport ibrname ibrpvid ibrvproto icmp
icmpv6 icmpx id igmp ih iif iifgroup iifkind iifname iiftype import in inc include index inet
info ingress init init-ack init-tag initial-tsn insert interval ip ip6 ipsec jhash json jump
kbytes kind l3proto l4proto label last last-entry le left length level limit limits list ll log
loose lowest-tsn lshift lsrr lt map maps mark masquerade max-delay maxseg mbytes md5sig memory
meta meter meters mh microsecond millisecond minute missing mod mode monitor more-fragments
mptcp mrt mss mtu name nanosecond ne netdev never new new-cum-tsn nexthdr nexthop nfproto
nftrace nh noop nop not notice notrack num num-dup-tsns num-gap-ack-blocks num-inbound-streams
num-outbound-streams numgen obridgename obriport obrname offload offset oif oifgroup oifkind
oifname oiftype operation opt-type option options or original osf out over packets param-problem
path pcp performance persistent pkttype plen policy port position ppid prefix priority proto-dst
proto-src protocol ptr ptype queue queue-threshold quota quotas ra random random-fully rate
redefine redirect reject rename replace reply reqid reserved reserved2 reset return right route
rr rshift rt rt0 rt2 rtclassid rule rules ruleset sack sack-perm sack-permitted sack0 sack1
sack2 sack3 saddr sctp sdif sdifname secmark secmarks second secpath seed seg-left seqno
sequence set sets shutdown shutdown-ack shutdown-complete sid size skgid skip skuid snaplen snat
socket spi spnum sport srh ssn ssrr state status stream subtype symhash synproxy synproxys table
tables taddr tag tcp th time timeout timestamp to tos total tproxy trace transparent transport
tsecr tsn tsval ttl tunnel tunnels type typeof udp udplite undefine until update urgptr used
value version vlan vm vmap vni vtag vxlan warn week wildcard window with wscale xml xor xt zone
""".split()  # noqa: SIM905 - a column of four hundred lines says no more
)


def is_plain(name: str) -> bool:
    """Return whether nft reads `name` as an identifier, and as nothing more."""
    return name not in KEYWORDS and _IDENTIFIER.fullmatch(name) is not None
