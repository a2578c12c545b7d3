"""The flags --path.*, which the exporter and `check` share."""

from __future__ import annotations

import argparse
import os

from netfilter_exporter.kernel.files import Paths

_MARK = "sys/kernel/osrelease"  #: in every procfs


def add_paths(group: argparse._ActionsContainer) -> None:
    """Add the flags that say where the host's file systems are mounted."""
    for name, default in zip(Paths._fields, Paths()):
        group.add_argument(
            f"--path.{name}",
            dest=name,
            metavar="PATH",
            default=default,
            help=f"where the host's {name} is mounted (default: %(default)s)",
        )


def paths(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Paths:
    """Return the values of those flags; a missing path is wrong usage, not a host without NAT."""
    chosen = Paths(args.procfs, args.sysfs, args.rootfs)
    if not os.path.exists(chosen.proc(_MARK)):
        parser.error(f"argument --path.procfs: {chosen.procfs} is no procfs: it has no {_MARK}")
    for name, path, default in zip(Paths._fields, chosen, Paths()):
        if path != default and not os.path.isdir(path):
            parser.error(f"argument --path.{name}: {path} is no directory")
    return chosen
