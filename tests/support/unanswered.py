"""Questions to the kernel that older recordings do not answer, and files that none has.

This is the one place that says so.

Who adds a question to the exporter counts `RECORDER` in tests/kernel/lab/witness.py up, records
hosts that answer it with tests/record, and adds a line here. Recordings of an older recorder then
answer as a kernel that does not know the question, which the exporter calls unsupported. Nothing
else is excused: a question that is missing here, or in a recording that should have it, fails the
test of that host's page.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER, NETLINK_ROUTE
from netfilter_exporter.kernel.nft.uapi import NFT_MSG_GETOBJ, NFT_MSG_GETSET
from support.recording import Recording

#: (netlink protocol, message type) -> the first recorder whose recordings answer it.
QUESTIONS: Mapping[tuple[int, int], int] = {
    (NETLINK_NETFILTER, NFT_MSG_GETSET): 2,
    (NETLINK_NETFILTER, NFT_MSG_GETOBJ): 3,
}

#: Files that the exporter opens and no recorded host has, and why that is well.
FILES: Mapping[str, str] = {
    "proc/config.gz": "it is in static.ttar as text, and packed where a host is made of it",
    "proc/net/ip_vs": "IPVS had no service: tests/unit/test_ipvs.py writes the file",
    "proc/net/udp": "tests/unit/test_listeners.py writes it",
    "sys/module/module/parameters/sig_enforce": "no kernel with signatures was recorded",
}

#: What a kernel says of a message that it does not know: nfnetlink_rcv_msg and rtnetlink_rcv_msg.
_UNKNOWN = {NETLINK_NETFILTER: errno.EINVAL, NETLINK_ROUTE: errno.EOPNOTSUPP}


def refusal(recording: Recording, protocol: int, type_: int) -> int | None:
    """Return the error that a recording answers a question with; None where it has to answer."""
    since = QUESTIONS.get((protocol, type_))
    return _UNKNOWN[protocol] if since is not None and recording.recorder < since else None
