"""In a guest with systemd: other network namespaces, looked at as README tells an administrator.

One has rules and no process, one has a process. First the exporter's unit hides processes, then it
has the drop-in, then the helper besides. At last the helper is stopped, and somebody else listens.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.service import NAME, page, process_status, properties, run, wait_for, write

ROUTER, INHABITED = "qrouter-1", "inhabited"
_DEPLOY = Path("/opt/deploy")
_UNITS = Path("/etc/systemd/system")
_DROP_INS = _UNITS / f"{NAME}.service.d"
_SOCKET, _HELPER = f"{NAME}-netns.socket", f"{NAME}-netns.service"
_PATH = f"/run/{NAME}-netns.sock"
#: Of modules that every step loads: a runbook's state has to get rid of all.
_RULES = """
table ip nat {
  chain post { type nat hook postrouting priority 100; oifname "qg-1" masquerade; }
}
"""
_CONNECTION = "-t 600 -s 10.0.0.5 -d 198.51.100.2 -p udp --sport 1006 --dport 53"
_NOBODY = 65534
_STATUS = 'netfilter_source_status{source="netns_helper",status="%s"} 1'

Fact = dict[str, Any]


def namespaces(defaults: Path) -> Fact:
    """Do it all, with more flags in `defaults`; leave everything as it was."""
    before = defaults.read_text()
    with contextlib.ExitStack() as stack:
        stack.callback(_restart, defaults, before)
        stack.callback(_uninstall)
        stack.enter_context(_made())
        _restart(defaults, before, "--collector.namespaces")
        hidden = _page("netfilter_exporter_build_info")
        _install("namespaces.conf")
        _restart(defaults, before, "--collector.namespaces")
        visible = _page(f'netns_info{{container="",netns="{INHABITED}"')
        return {"hidden": hidden, "visible": visible, **_helped(defaults, before)}


def _helped(defaults: Path, before: str) -> Fact:
    """Return what comes of the helper: while it works, once it is stopped, and of an impostor."""
    for unit in (_SOCKET, _HELPER):
        shutil.copy(_DEPLOY / unit, _UNITS)
    _install("netns-helper.conf")
    run(f"systemctl enable --now {_SOCKET}")
    _restart(defaults, before, f"--collector.namespaces --netns.helper-socket={_PATH}")
    helped = _page(f'netns_nat_rules{{family="ipv4",netns="{ROUTER}"}} 1')
    found = {
        "helped": helped,
        "statuses": {unit: process_status(unit) for unit in (f"{NAME}.service", _HELPER)},
        "helper": properties(_HELPER, "ActiveState", "NRestarts"),
        "unit": _exposure(_HELPER),
    }
    run(f"systemctl stop {_SOCKET} {_HELPER}")
    found["stopped"] = wait_for(lambda: _logged("not running"))
    with _impostor():
        found["impostor"] = wait_for(lambda: _logged("run by uid"))
    run(f"systemctl start {_SOCKET}")
    found["again"] = _page(_STATUS % "ok")
    return found


@contextlib.contextmanager
def _made() -> Iterator[None]:
    """Have both namespaces."""
    for name in ROUTER, INHABITED:
        run(f"ip netns add {name}")
        run(f"ip link add {name} type veth peer name qg-1 netns {name}")
    run(f"ip netns exec {ROUTER} nft -f -", _RULES)
    run(f"ip netns exec {ROUTER} conntrack -I {_CONNECTION}")
    sleeper = subprocess.Popen(["ip", "netns", "exec", INHABITED, "sleep", "infinity"])
    try:
        yield
    finally:
        sleeper.kill()
        sleeper.wait()
        for name in ROUTER, INHABITED:
            run(f"ip netns del {name}")


def _install(drop_in: str) -> None:
    _DROP_INS.mkdir(exist_ok=True)
    shutil.copy(_DEPLOY / drop_in, _DROP_INS)
    run("systemctl daemon-reload")


def _uninstall() -> None:
    """Undo what was installed."""
    if (_UNITS / _SOCKET).exists():
        run(f"systemctl disable --now {_SOCKET}")
        run(f"systemctl stop {_HELPER}")
    for name in (_SOCKET, _HELPER):
        (_UNITS / name).unlink(missing_ok=True)
    for drop_in in ("namespaces.conf", "netns-helper.conf"):
        (_DROP_INS / drop_in).unlink(missing_ok=True)
    run("systemctl daemon-reload")


def _restart(defaults: Path, before: str, flags: str = "") -> None:
    """Restart the exporter with more flags."""
    write(str(defaults), before.rstrip().rstrip('"') + f' {flags}"\n' if flags else before)
    run(f"systemctl restart {NAME}")


def _page(text: str) -> str:
    """Return a page once it has a text."""
    return wait_for(lambda: got if text in (got := page()) else "")


def _logged(text: str) -> dict[str, str]:
    """Return a page, and the last line of the log, once that has a text; nothing before."""
    got = page()
    log = run(f"journalctl --unit={NAME} --output=cat --lines=1").strip()
    return {"page": got, "log": log} if text in log else {}


def _exposure(unit: str) -> str:
    """Return what systemd itself says of a unit that runs."""
    return run(f"systemd-analyze security --no-pager {unit}").strip().splitlines()[-1]


@contextlib.contextmanager
def _impostor() -> Iterator[None]:
    """Have nobody listen where the helper does: the kernel names who called listen()."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(_PATH)
        os.chmod(_PATH, 0o666)
        os.seteuid(_NOBODY)
        try:
            listener.listen()
        finally:
            os.seteuid(0)
        try:
            yield
        finally:
            os.unlink(_PATH)
