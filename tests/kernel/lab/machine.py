"""One boot of a kernel in QEMU, without KVM: a job goes in, results come out."""

from __future__ import annotations

import platform
import selectors
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from lab.kernels import Kernel
from support import debian

QEMU = "qemu-system-x86_64"
#: Newer kernels panic now and then with the default CPU, and with threads for each virtual one.
_MACHINE = "-machine pc -accel tcg,thread=single -cpu qemu64,-cx16 -smp 1 -m 768"
#: Tests that measure time go on beside it; a guest that is slow is only slow.
_NICE = "nice -n 2"
_QUIET = "-nodefaults -no-reboot -display none -monitor none -nic none"
_COMMAND_LINE = (
    "console=ttyS0 panic=-1 oops=panic quiet loglevel=4 mitigations=off random.trust_cpu=on"
    " no_timer_check"  # timer_irq_works() panics a guest that waits for a busy processor
)


class Crashed(Exception):
    """The guest died or hung; the text is the end of its console."""


def lacking() -> str | None:
    """Return why no kernel can be booted here, None where one can."""
    if platform.machine() != "x86_64":
        return f"{platform.machine()}: the guest's tools are x86-64's"
    if not shutil.which(QEMU):
        return f"no {QEMU}"
    try:
        debian.mirror()
    except debian.UnavailableError as error:
        return str(error)
    return None


def boot(kernel: Kernel, initrd: Path, folder: Path, patience: float) -> Iterator[str]:
    """Boot and yield the lines the guest says; raise Crashed when it is silent for too long."""
    console = folder / "console"
    command = [
        *f"{_NICE} {QEMU} {_MACHINE} {_QUIET}".split(),
        *("-kernel", str(kernel.image), "-initrd", str(initrd), "-append", _COMMAND_LINE),
        *("-serial", f"file:{console}", "-serial", "stdio"),
    ]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            for line in _lines(process, patience):
                yield line
                if line == "end":
                    return
            text = console.read_text(errors="replace") if console.exists() else ""
            raise Crashed(text[-3000:])
        finally:
            process.kill()


def _lines(process: subprocess.Popen[bytes], patience: float) -> Iterator[str]:
    """Yield what the process writes, line by line, until it ends or is silent for too long."""
    assert process.stdout
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        end = time.monotonic() + patience
        while selector.select(max(end - time.monotonic(), 0)):
            data = process.stdout.read1(1 << 16)  # type: ignore[attr-defined]
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace").strip()
                end = time.monotonic() + patience
