"""The helper for network namespaces, as an unprivileged user with its capabilities."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from netfilter_exporter.kernel.netns.helper import Helper

#: Users of nobody: of the helper, and of the exporter that it serves.
UID, EXPORTER = 65533, 65532
CAPABILITIES = ("sys_admin", "net_admin")
SCRIPT = Path(__file__).parents[2] / "exporter/bin/netfilter_exporter-netns-helper"
#: Runs a command in a mount namespace, into which the machine's mounts are propagated.
_APART = (
    *("unshare", "--mount", "--propagation=slave"),
    *("sh", "-euc", 'mount -t proc proc /proc; exec "$@"', "sh"),
)


class RunningHelper(NamedTuple):
    """A helper that runs."""

    process: subprocess.Popen[bytes]
    path: str

    @property
    def client(self) -> Helper:
        return Helper(self.path, UID)


def unprivileged(uid: int, *capabilities: str) -> list[str]:
    """Return what runs a command as a user with these capabilities only."""
    kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    user = [f"--reuid={uid}", f"--regid={uid}", "--groups=0", "--no-new-privs"]
    return [
        "setpriv",
        *user,
        f"--inh-caps={kept}",
        f"--ambient-caps={kept}",
        f"--bounding-set={kept}",
    ]


@contextlib.contextmanager
def running_helper(
    capabilities: Sequence[str] = CAPABILITIES, prefix: Sequence[str] = ()
) -> Iterator[RunningHelper]:
    """Run the helper until the end of the block, under a command that is its prefix.

    It has a /proc of its own, as systemd and containers give it one.
    """
    folder = Path(tempfile.mkdtemp(prefix="nfx-helper-"))
    folder.chmod(0o755)
    os.chown(folder, UID, UID)
    path = str(folder / "socket")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "PYTHONPYCACHEPREFIX": str(folder),
    }
    # What is installed is compiled: to compile takes two megabytes.
    compiles = [*unprivileged(UID), sys.executable, "-c", "import netfilter_exporter.netns_helper"]
    subprocess.run(compiles, env=environment, check=True)
    command = [sys.executable, str(SCRIPT), "--socket", path, str(EXPORTER)]
    with subprocess.Popen(
        [*_APART, *prefix, *unprivileged(UID, *capabilities), *command],
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            _wait(path, process)
            yield RunningHelper(process, path)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # strace leaves what it traces
            shutil.rmtree(folder)


def _wait(path: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while True:
        assert process.poll() is None, "the helper has ended"
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with opened, contextlib.suppress(OSError):
            return opened.connect(path)
        assert time.monotonic() < end, "the helper does not listen"
        time.sleep(0.02)
