"""Running printed commands as a person pastes them, where they can do no harm."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from support.namespace import Namespace

#: What acts on the whole machine: each is replaced by a program that notes its arguments.
ON_THE_MACHINE = (
    *("systemctl", "modprobe", "firewall-cmd", "podman", "kubectl", "ufw", "nsenter"),
    *("update-alternatives", "netfilter_exporter"),
)
_NOTE = """\
#!/bin/sh
printf '%s\\n' "$(basename "$0")" "$@" "" >> "{notes}"
"""


class Pasted(NamedTuple):
    """What came of a command."""

    code: int
    output: bytes
    errors: bytes


class Terminal:
    """A shell in a network namespace, with a copy of /etc, in an empty working directory."""

    def __init__(
        self, namespace: Namespace, directory: Path, spared: Sequence[str] = ON_THE_MACHINE
    ) -> None:
        """The programs of `spared` are noted, not run."""
        self._namespace = namespace
        self.etc, self.canary, programs = (directory / name for name in ("etc", "work", "bin"))
        self._programs = programs
        self._notes = directory / "notes"
        for kept in ("sysctl.d", "modules-load.d"):
            (self.etc / kept).mkdir(parents=True)
        for link in (
            *("nsswitch.conf", "protocols", "services", "alternatives", "iproute2"),
            *("passwd", "group"),
        ):
            source = Path("/etc", link)
            copy = shutil.copytree if source.is_dir() else shutil.copy
            if source.exists():
                copy(source, self.etc / link)
        self.canary.mkdir()
        programs.mkdir()
        for name in spared:
            self.add(name, _NOTE.format(notes=self._notes))
        self._environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(directory),
            "LC_ALL": "C.UTF-8",
        }

    def add(self, name: str, text: str) -> None:
        """Put a program before those of the machine."""
        program = self._programs / name
        program.write_text(text)
        program.chmod(0o755)

    def paste(self, line: str, shell: str = "sh") -> Pasted:
        """Run one line."""
        script = 'mount --bind "$1" /etc && cd "$2" && exec "$3" -c "$4"'
        nsenter = shutil.which("nsenter") or "nsenter"
        done = subprocess.run(
            [
                *(nsenter, f"--net=/run/netns/{self._namespace.name}"),
                *("unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"),
                *(str(self.etc), str(self.canary), shell, line),
            ],
            capture_output=True,
            check=False,
            timeout=60,
            env=self._environment,
            stdin=subprocess.DEVNULL,
        )
        return Pasted(done.returncode, done.stdout, done.stderr)

    def noted(self) -> list[list[str]]:
        """Return the commands that would have acted on the machine, and forget them."""
        if not self._notes.exists():
            return []
        text = self._notes.read_text()
        self._notes.unlink()
        return [command.split("\n") for command in text.removesuffix("\n\n").split("\n\n")]
