"""What the helper for network namespaces and the exporter say to each other.

Each request is a datagram on a Unix socket of type SOCK_SEQPACKET, and so is each answer. The
helper begins with `ready`, or an error. Nothing is imported here: the helper stays small.

`list NAME` requests the names behind NAME in order, as many as a datagram holds; without a name,
the first ones. `open KINDS NAME` requests descriptors of a namespace: the answer has the CPU time
of the helper in microseconds, and each kind with an errno, 0 where its descriptor comes along. An
answer may also be `error ERRNO`.
"""

LIST, OPEN = b"list", b"open"
READY, NAMES, OPENED, ERROR = b"ready", b"names", b"opened", b"error"

#: Bytes of a request, and of an answer.
REQUEST, ANSWER = 512, 1 << 15

#: Kinds of descriptors. The directory /proc/net/stat keeps no namespace alive, the others do. Files
#: are opened by the helper: Landlock closes the /proc that another mount namespace has.
STATISTICS = "s"
CONNTRACK = "c"  # /proc/net/stat/nf_conntrack
NETFILTER, ROUTE = "n", "r"  # netlink sockets
IPV4, IPV6 = "4", "6"  # datagram sockets, on which legacy tables are read
IPV4_TABLES, IPV6_TABLES = "t", "u"  # /proc/net/ip_tables_names and ip6_tables_names
