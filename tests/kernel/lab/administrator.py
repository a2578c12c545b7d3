"""In a guest with systemd: does what README tells an administrator to do, and tells the facts.

    python -m lab.administrator OUTPUT

Each step is one line: `fact`, its name, and what `results.packed` makes of what was found.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from lab import entered, neighbours, packaged, runbooks
from lab.attempts import handle_of
from lab.results import packed
from lab.service import NAME, main_pid, page, process_status, properties, run, wait_for, write

_DEPLOY = Path("/opt/deploy")
_SERVICE, _SOCKET = f"{NAME}.service", f"{NAME}.socket"
_TEXT, _TIMER = f"{NAME}-textfile.service", f"{NAME}-textfile.timer"
_UNITS = "/etc/systemd/system"
_DEFAULTS = f"/etc/default/{NAME}"
_CONFIG = f"/etc/{NAME}/config.yml"
_PAGE = Path(f"/var/lib/{NAME}/{NAME}.prom")
_OTHER_PORT = 10043
_NODE = "prometheus-node-exporter"
_NODE_FOLDER = Path("/var/lib/prometheus/node-exporter")
_NODE_PORT = 9100

Fact = dict[str, Any]


def booted() -> Fact:
    """Make this host do NAT, and finish what a package's script would do."""
    neighbours.build()
    shutil.chown("/var/lib/prometheus", "prometheus", "prometheus")
    return {"systemd": run("systemctl --version"), "failed": run("systemctl --failed -q --plain")}


def without_user() -> Fact:
    """Install the service alone."""
    shutil.copy(_DEPLOY / _SERVICE, _UNITS)
    write(_CONFIG, "nat: none\n", 0o640)
    write(_DEFAULTS, f'ARGS="--config.file={_CONFIG}"\n')
    run(f"systemctl enable --now {NAME}")
    return {"page": wait_for(page), "status": process_status()}


def timer() -> Fact:
    """Install the user, and have a page written every minute for node_exporter."""
    shutil.copy(_DEPLOY / "sysusers.conf", f"/usr/lib/sysusers.d/{NAME}.conf")
    run("systemd-sysusers")
    for unit in (_TEXT, _TIMER):
        shutil.copy(_DEPLOY / unit, _UNITS)
    # An emulated CPU takes as many seconds for a start as a real one tenths.
    write(f"{_UNITS}/{_TEXT}.d/emulated.conf", "[Service]\nTimeoutStartSec=600\n")
    run(f"systemctl enable --now {_TIMER}")
    (_NODE_FOLDER / _PAGE.name).symlink_to(_PAGE)
    return {}


def service() -> Fact:
    """Restart it with its user, and compare its page with one that root gets without the unit."""
    run(f"systemctl restart {NAME}")
    flags = (f"--web.listen-address=127.0.0.1:{_OTHER_PORT}", f"--config.file={_CONFIG}")
    free = subprocess.Popen([NAME, *flags])
    try:
        wait_for(page)
        wait_for(lambda: page(port=_OTHER_PORT))
        return {
            "confined": page(),
            "free": page(port=_OTHER_PORT),
            "unit": properties(_SERVICE, "ActiveState", "UnitFileState", "NRestarts"),
            "status": process_status(),
            "user": Path(f"/proc/{main_pid()}").owner(),
            "mounts": Path(f"/proc/{main_pid()}/mountinfo").read_text(),
        }
    finally:
        free.kill()
        free.wait()


def reload() -> Fact:
    """Change the configuration."""
    before, pid = page(), main_pid()
    write(_CONFIG, "nat: required\n", 0o640)
    run(f"systemctl reload {NAME}")
    wait_for(lambda: 'nat_expected{family="ipv4"} 1' in page())
    return {"pids": [pid, main_pid()], "pages": [before, page()]}


def reload_at_once() -> Fact:
    """Change the configuration back, and reload while the process starts."""
    write(_CONFIG, "nat: none\n", 0o640)
    run(f"systemctl restart {NAME}")
    before = main_pid()
    run(f"systemctl reload {NAME}")
    wait_for(page)
    log = run(f"journalctl _PID={before} --output=cat")
    return {"pids": [before, main_pid()], "log": log}


def killed() -> Fact:
    """Kill it."""
    before = main_pid()
    os.kill(before, signal.SIGKILL)
    after = wait_for(lambda: pid if (pid := main_pid()) != before else 0)
    wait_for(page)
    return {"pids": [before, after], "unit": properties(_SERVICE, "ActiveState", "NRestarts")}


def confined() -> Fact:
    """Have systemd start something else with the very unit."""
    found = Path("/run/attempts")
    write("/root/secret", "x", 0o600)
    for name in ("shadow", "sudoers"):
        write(f"/etc/{name}", "x", 0o640)
    shutil.copy(_DEPLOY / _SERVICE, f"{_UNITS}/attempts.service")
    met = {}
    for name, sandbox in ("attempts", False), ("sandboxed", True):
        secrets = {"handle": handle_of("/etc/shadow"), "socket": "attempts", "sandbox": sandbox}
        write(
            f"{_UNITS}/attempts.service.d/override.conf",
            "[Service]\nType=oneshot\nRestart=no\nEnvironment=PYTHONPATH=/opt/lab\nExecStart=\n"
            f"ExecStart={sys.executable} -m lab.attempts unit '{json.dumps(secrets)}'\n"
            f"StandardOutput=truncate:{found}\n",
        )
        run("systemctl daemon-reload")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind("\0attempts")
            other.listen()
            run("systemctl start attempts")
        met[name] = json.loads(found.read_text())
    return met


def addresses() -> Fact:
    """Allow one more address."""
    before = neighbours.reaching()
    _allow(_SERVICE, "Service")
    return {"before": before, "after": neighbours.reaching()}


def _allow(unit: str, section: str) -> None:
    """Do what `systemctl edit` does with the drop-in of README."""
    _, allowed = neighbours.ADDRESSES["allowed"]
    write(f"{_UNITS}/{unit}.d/override.conf", f"[{section}]\nIPAddressAllow={allowed}\n")
    run("systemctl daemon-reload")


def sockets() -> Fact:
    """Have systemd listen, restart under load, and allow one more address."""
    shutil.copy(_DEPLOY / _SOCKET, _UNITS)
    write(_DEFAULTS, f'ARGS="--web.systemd-socket --config.file={_CONFIG}"\n')
    run(f"systemctl stop {NAME}")
    run(f"systemctl enable --now {_SOCKET}")
    page()
    before, asked, over = main_pid(), Counter[str](), threading.Event()
    client = threading.Thread(target=_ask_on, args=(asked, over))
    client.start()
    run(f"systemctl restart {NAME}")
    page("/-/healthy")
    over.set()
    client.join()
    found = {"pids": [before, main_pid()], "asked": dict(asked), "before": neighbours.reaching()}
    _allow(_SOCKET, "Socket")
    found["after"] = neighbours.reaching()
    return found


def _ask_on(asked: Counter[str], over: threading.Event) -> None:
    """Count how requests end, one after the other."""
    while not over.is_set():
        asked[_ask()] += 1


def _ask() -> str:
    try:
        page("/-/healthy")
    except OSError as error:
        return type(error).__name__
    return "answered"


def namespaces() -> Fact:
    """Look at other network namespaces, in every way that README has."""
    return entered.namespaces(Path(_DEFAULTS))


def textfile() -> Fact:
    """Wait for the second page, and have node_exporter serve it."""
    wait_for(lambda: _PAGE.exists() and _rests())  # one under way has the last step's flags
    now = time.time()
    wait_for(lambda: _PAGE.stat().st_mtime > now and _rests())
    write(f"/etc/default/{_NODE}", 'ARGS="--collector.disable-defaults --collector.textfile"\n')
    run(f"systemctl start {_NODE}")
    return {
        "node": wait_for(lambda: page(port=_NODE_PORT)),
        "owner": _PAGE.owner(),
        "timer": properties(_TIMER, "ActiveState", "UnitFileState"),
        "timers": wait_for(_planned),
    }


def _rests() -> bool:
    """Return whether no page is being written."""
    return properties(_TIMER, "SubState")["SubState"] == "waiting"


def _planned() -> list[dict[str, int]]:
    """Return the timer's last and next run; none while the service runs, when none is planned."""
    timers = json.loads(run(f"systemctl list-timers --output=json {_TIMER}"))
    return [timer for timer in timers if timer["next"]]


def calm() -> Fact:
    """Stop the timer, of which each start keeps an emulated CPU busy for long."""
    run(f"systemctl stop {_TIMER} {_TEXT}")
    return {}


def restored() -> Fact:
    """Have the rules of the first step again, which runbooks replaced."""
    neighbours.load_rules()
    return {}


_STEPS = (
    *(booted, without_user, timer, service, reload, reload_at_once),
    *(killed, confined, addresses, sockets, namespaces),
    textfile,  # late: a minute has passed
    calm,
)


def main(output: str) -> int:
    """Do it all, whatever comes of a step.

    Runbooks come late, as they need hosts in bad states, and the package comes after them: it takes
    the place of all that was installed by hand. What a host does not recover from comes last.
    """
    package = packaged.STEPS if packaged.PACKAGE.exists() else ()
    with open(output, "w") as out:
        for name, step in (
            *((step.__name__, step) for step in _STEPS),
            *_of_runbooks(last=False),
            *((step.__name__, step) for step in (restored, *package)),
            *_of_runbooks(last=True),
        ):
            _say(out, f"fact {name} {packed(_tried(step))}")
        _say(out, "end")
    return 0


def _of_runbooks(*, last: bool) -> Iterator[tuple[str, Callable[[], Fact]]]:
    """Yield a step for each runbook, by its name."""
    for state in runbooks.load():
        if state["last"] is last:
            yield state["runbook"], functools.partial(runbooks.results, state)


def _tried(step: Callable[[], Fact]) -> Fact:
    """Return what a step found, or its problem, and how long it took."""
    began = time.monotonic()
    try:
        found = step()
    except Exception:
        journal = subprocess.getoutput("journalctl --no-pager --lines=40")
        found = {"problem": f"{traceback.format_exc()}\n{journal}"}
    found["seconds"] = time.monotonic() - began
    return found


def _say(out: TextIO, line: str) -> None:
    out.write(line + "\n")
    out.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
