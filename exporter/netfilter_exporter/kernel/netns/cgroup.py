"""The container and the pod of a process, as the path of its control group names them.

Source: /proc/PID/cgroup, proc_cgroup_show in kernel/cgroup/cgroup.c (v6.18), world-readable. The
paths are those of Docker, containerd, CRI-O and Podman (64 hexadecimal digits), of LXC and Incus
(`lxc.payload.NAME`), and of the kubelet (`podUID`, with underscores under systemd).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from netfilter_exporter.kernel import names

_ID = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_LXC = re.compile(rb"/lxc(?:\.payload\.|/)([^/\n]{1,255})")
#: A static pod's is a hash of 32 digits.
_POD = re.compile(rb"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})[./]")


class Owner(NamedTuple):
    """Whose process it is; empty where its control group does not say."""

    container: str = ""
    pod: str = ""

    @property
    def name(self) -> str:
        """What a container of LXC or Incus is called; empty for others: an ID is no name."""
        return "" if _ID.fullmatch(names.encode(self.container)) else self.container


def parse_cgroup(content: bytes) -> Owner:
    """Return the innermost container, and the pod."""
    ids = _ID.findall(content) or _LXC.findall(content)
    pods = _POD.findall(content)
    return Owner(
        names.decode(ids[-1]) if ids else "",
        names.decode(pods[-1]).replace("_", "-") if pods else "",
    )
