"""Records hosts: what a kernel in a state says, as tests/fixtures/captures holds it.

    tests/record --here STATE...             in a network namespace of the running kernel
    tests/record --suite trixie STATE...     in a machine of its own with Debian's kernel

A state is made by the commands of its newest recording, of --like KERNEL/STATE, or of the file
--commands, which are written as commands.txt in a recording is; what is true of it by construction
is taken from there too, or given as --fact KEY=VALUE. tests/fixtures/README.md has the states.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lab import kernels, machine, results, witness
from lab.build import TESTS, Builder
from lab.kernels import Kernel
from support import archive, recording
from support.archive import Entry

#: Seconds without a word from a guest.
_PATIENCE = 240.0
#: Lines of a kernel's configuration and lists of modules that have to do with networks.
_NETWORK = re.compile(
    r"MODULE|KALLSYMS|NETFILTER|BRIDGE|IPV6|VETH|CONFIG_(NF|NFT|IP|IP6|INET|NET)(_|\b)"
    r"|/net/|nf_|nf-|nft|nfnetlink|conntrack|ipt_|ip6t|xt_|ip_vs|tables|veth|dummy|libcrc32c"
)
_LISTS = ("modules.alias", "modules.builtin", "modules.builtin.modinfo", "modules.dep")
#: What a command line may say of modules; the rest is the machine's.
_OPTION = re.compile(r"(console=|quiet|panic=|nomodule|module_blacklist=|modprobe\.|nf_|ipv6\.)")


class State(NamedTuple):
    """What is recorded, and how it is made."""

    name: str
    commands: str
    facts: Mapping[str, str]  #: by construction
    flows: bool

    def job(self) -> dict[str, Any]:
        return {"commands": self.commands, "flows": self.flows}


def like(name: str, model: str) -> State:
    """Return the state `name`, made as the recording `model` was."""
    found = recording.load(model)
    measured = {"kernel", "state", "recorder", "tracked_ipv4", "tracked_ipv6"}
    facts = {key: value for key, value in found.facts.items() if key not in measured}
    return State(name, found.commands, facts, flows=name != "idle")


def newest(name: str) -> str:
    """Return the newest recording of a state; raise KeyError where there is none."""
    found = [each for each in recording.names() if each.split("/")[1] == name]
    if not found:
        raise KeyError(f"{name}: no kernel has it; say how it is made: --commands")
    return found[-1]


def recorded_here(state: State, folder: Path) -> dict[str, Any]:
    """Record in a namespace of the running kernel, which must not be able to load modules."""
    prefix = f"record{os.getpid()}"
    job = folder / "job.json"
    job.write_text(json.dumps(state.job()))
    path = os.pathsep.join(map(str, (TESTS / "kernel", *filter(None, sys.path))))
    inside = ("ip", "netns", "exec", prefix, sys.executable, "-m", "lab.witness", str(job), prefix)
    try:
        for command in (f"ip netns add {prefix}", f"ip -n {prefix} link set lo up"):
            subprocess.run(command.split(), check=True)
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(inside, env=environment, stdout=subprocess.PIPE, check=True)
    finally:
        subprocess.run(["ip", "netns", "del", prefix], check=False)
    return results.unpacked(done.stdout.decode())


def recorded_in_guest(state: State, builder: Builder, kernel: Kernel, folder: Path) -> Any:
    """Record in a machine that is booted for it; raises `machine.Crashed`."""
    (builder.copy_lab(folder) / "job.json").write_text(json.dumps(state.job()))
    image = builder.packed(kernel, folder)
    lines = machine.boot(kernel, image, folder, _PATIENCE)
    found = [results.unpacked(line[7:]) for line in lines if line.startswith("result ")]
    image.unlink()
    if not found:
        raise machine.Crashed((folder / "console").read_text(errors="replace")[-3000:])
    return found[0]


def entries(state: State, found: Mapping[str, Any], release: str) -> list[Entry]:
    """Return the archive of what was found, without the names that this machine has."""
    real = found["release"]
    facts = {"kernel": release, "state": state.name, "recorder": str(witness.RECORDER)}
    texts = {
        "commands.txt": found["commands"],
        "facts.txt": _lines({**facts, **state.facts, **found["facts"]}),
        "interfaces.txt": _lines(found["interfaces"]),
        **{f"netlink/{name}": text for name, text in found["netlink"].items()},
    }
    if found["flows"]:
        texts["flows.txt"] = "".join(f"{line}\n" for line in found["flows"])
    if found["reference"]:
        texts["reference/nft-list-ruleset.txt"] = found["reference"]
    made = [Entry(name, text.replace(real, release).encode()) for name, text in texts.items()]
    for path, (text, mode) in found["files"].items():
        clean = _OF_ITS_OWN.get(path, str)(text).replace(real, release)
        made.append(Entry(path, clean.encode(), mode))
    return sorted(made)


def _lines(values: Mapping[str, object]) -> str:
    return "".join(f"{key}={value}\n" for key, value in values.items())


def _clean_command_line(text: str) -> str:
    return " ".join(word for word in text.split() if _OPTION.match(word)) + "\n"


def _clean_version(text: str) -> str:
    """Leave out who built it, unless that is a distribution, whose list it names."""
    return re.sub(r" \([^() ]+@(?!lists\.debian\.org)[^() ]+\)", " (builder@build)", text)


_OF_ITS_OWN = {"proc/cmdline": _clean_command_line, "proc/version": _clean_version}


def static_entries(root: Path, release: str) -> Iterator[Entry]:
    """Yield what belongs to a kernel whatever its state, from the root of its files."""
    config = root / f"boot/config-{release}"
    folder = root / f"usr/lib/modules/{release}"
    if (root / "proc/config.gz").exists():
        text = gzip.decompress((root / "proc/config.gz").read_bytes())
        yield Entry("proc/config", _of_networks(text, b"\n"))
    if config.exists():
        yield Entry(f"boot/{config.name}", _of_networks(config.read_bytes(), b"\n"))
    elif (folder / "config").exists():  # where Debian has it since 2026
        text = (folder / "config").read_bytes()
        yield Entry(f"lib/modules/{release}/config", _of_networks(text, b"\n"))
    for name in _LISTS:
        if (folder / name).exists():
            end = b"\0" if name.endswith("modinfo") else b"\n"
            content = _of_networks((folder / name).read_bytes(), end)
            yield Entry(f"lib/modules/{release}/{name}", content)


def _of_networks(content: bytes, end: bytes) -> bytes:
    kept = [line for line in content.split(end) if _NETWORK.search(line.decode(errors="replace"))]
    return b"".join(line + end for line in kept)


def write(label: str, name: str, made: Iterable[Entry]) -> None:
    """Write an archive, unless it is the kernel's static one and already there."""
    path = recording.CAPTURES / label / f"{name}.ttar"
    if name == "static" and path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(archive.dump(made))
    sys.stdout.write(f"{path}\n")


def record_here(states: Iterable[State], folder: Path) -> None:
    """Record states in namespaces of the running kernel."""
    release = re.split(r"[-+]", os.uname().release)[0]
    label = ".".join(release.split(".")[:2])
    for state in states:
        write(label, state.name, entries(state, recorded_here(state, folder), release))
    write(label, "static", static_entries(Path("/"), release))


def record_suite(suite: str, states: Iterable[State], folder: Path) -> None:
    """Record states in machines with the newest kernel of a suite."""
    builder = Builder(folder)
    kernel = builder.kernel(suite)
    for state in states:
        place = folder / f"{suite}-{state.name}"
        place.mkdir()
        found = recorded_in_guest(state, builder, kernel, place)
        write(kernel.label, state.name, entries(state, found, kernel.release))
    write(kernel.label, "static", static_entries(kernel.tree, kernel.release))


def chosen_states(chosen: argparse.Namespace) -> Iterator[State]:
    """Yield what the arguments name."""
    given = dict(fact.split("=", 1) for fact in chosen.fact)
    for name in chosen.states:
        if chosen.commands:
            yield State(name, chosen.commands.read_text(), given, flows=True)
        else:
            state = like(name, chosen.like or newest(name))
            yield state._replace(facts={**state.facts, **given})


def main(argv: Sequence[str] | None = None) -> int:
    """Record what the arguments name."""
    parser = argparse.ArgumentParser(prog="tests/record")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--here", action="store_true", help="in a namespace of this kernel")
    where.add_argument("--suite", choices=kernels.SUITES, help="on the kernel of a Debian suite")
    parser.add_argument("--like", metavar="KERNEL/STATE", help="a recording made the same way")
    parser.add_argument("--commands", type=Path, metavar="FILE", help="what makes the state")
    parser.add_argument("--fact", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("states", nargs="+", metavar="STATE")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        states = list(chosen_states(chosen))
        if chosen.here:
            record_here(states, Path(temporary))
        else:
            record_suite(chosen.suite, states, Path(temporary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
