"""``netfilter_exporter check``: check the host, report, and exit as a monitoring plugin does."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Callable, NoReturn

from netfilter_exporter import collectors, netns_flags, path_flags
from netfilter_exporter.check import document, flow_listing, plugin, report, text
from netfilter_exporter.check.context import Context, Counters, counters
from netfilter_exporter.check.flow_watch import FlowWatch
from netfilter_exporter.check.namespace_watch import ALL, NamespaceWatch
from netfilter_exporter.check.report import Report
from netfilter_exporter.collection import PAGE_TIMEOUT, Gatherer
from netfilter_exporter.config.model import Config, ConfigError, load
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel.netns.helper import Helper
from netfilter_exporter.kernel.system import System

_INTERVAL = 2.0
_LONGEST = 3600.0
_SHORTEST_WATCH = 0.5
#: --watch rests so many times as long as the look before it took: a tenth of one CPU at most.
_REST = 9
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


class Checker:
    """Looks at the host again and again."""

    def __init__(
        self,
        system: System,
        config: Config,
        netns: str | None = None,
        helper: Helper | None = None,
    ) -> None:
        """`netns` is the name of another network namespace to check too, or `ALL`.

        `helper` enters namespaces without a process.
        """
        self._host = Host(system, config)
        self._gatherer = Gatherer(self._host, config.collectors)
        found = collectors.load().values()
        self._collectors = tuple(each for each in found if each.by_default)
        self._before: Counters | None = None
        self._flows = FlowWatch(system, config)
        self._namespaces = None if netns is None else NamespaceWatch(system, netns, helper)
        self._watched = False  #: whether there is a sample to compare with

    def prepare(self) -> bool:
        """Take the first of the two readings that a rate needs; return whether there was one."""
        self._flows.begin()
        if self._namespaces:
            self._namespaces.look()
        self._watched = True
        snapshot = self._host.snapshot(PAGE_TIMEOUT)
        try:
            self._before = counters(snapshot)
        finally:
            snapshot.close()
        return self._before is not None

    def report(self, *, require_proof: bool = False) -> Report:
        """Report what is wrong now, and what has happened since the last check."""
        flows = self._flows.end() if self._watched else None
        run = self._gatherer.gather_whole(self._collectors)
        namespaces = self._namespaces.look() if self._namespaces else None
        context = Context(run, self._before, flows, namespaces)
        try:
            made = report.evaluate(context, require_proof=require_proof)
            self._before = context.now
        finally:
            run.close()
        return made

    def close(self) -> None:
        self._gatherer.close()


def main(argv: Sequence[str]) -> int:
    """Run the command with the arguments behind ``check``; return the exit code."""
    return plugin.run(lambda: _check(argv))


def _check(argv: Sequence[str]) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    paths = path_flags.paths(parser, args)
    if args.flows and (args.json or args.watch is not None or not _on_terminal()):
        # Addresses of flows are for the person at the terminal, never for a file or a log.
        parser.error("argument --flows: only on a terminal, without --json and --watch")
    logging.getLogger().addHandler(logging.NullHandler())  # the report says what failed
    try:
        config = load(args.config_file) if args.config_file else Config()
    except ConfigError as error:
        plugin.complain(str(error))
        return plugin.UNKNOWN
    system = System(paths)
    checker = Checker(system, config, args.netns, netns_flags.helper(args))
    with contextlib.closing(checker):
        code = _run(checker, args)
    if args.flows:
        plugin.write(flow_listing.render(system, config))
    return code


def _run(checker: Checker, args: argparse.Namespace) -> int:
    code = plugin.UNKNOWN
    try:
        if args.interval and checker.prepare():
            time.sleep(args.interval)
        while True:
            started = time.monotonic()
            made = checker.report(require_proof=args.require_proof)
            code = made.exit_code
            _show(made, args)
            if args.watch is None:
                return code
            time.sleep(max(args.watch, _REST * (time.monotonic() - started)))
    except KeyboardInterrupt:
        return code


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _show(made: Report, args: argparse.Namespace) -> None:
    terminal = _on_terminal()
    if args.json:
        shown = document.render(made, compact=args.watch is not None) + "\n"
    else:
        colour = terminal and not args.no_color and not os.environ.get("NO_COLOR")
        width = min(shutil.get_terminal_size().columns, 100) if terminal else 100
        shown = text.render(made, colour=colour, width=width)
        if args.watch is not None:
            shown = _CLEAR + shown if terminal else shown + "\n"
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # a comment may be in any language
    plugin.write(shown.encode(encoding, "backslashreplace").decode(encoding))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(plugin.UNKNOWN, f"{self.prog}: error: {message}, try --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="netfilter_exporter check",
        description="Report what works, what is broken, why, and what to do. Changes nothing."
        " Exits with 0 (ok), 1 (warning), 2 (critical) or 3 (unknown: also wrong usage, --help, a"
        " failure of the command, or output that cannot be written).",
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=40),
        usage="%(prog)s [flags]",
    )
    parser.add_argument(
        "--config.file",
        dest="config_file",
        metavar="FILE",
        help="YAML file with the role of this host and what is expected of it",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=_seconds(_SHORTEST_WATCH),
        const=_INTERVAL,
        help=f"check again at this interval until Ctrl-C (default: {_INTERVAL:g})",
    )
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=_seconds(0),
        default=_INTERVAL,
        help="interval over which rates are measured, 0 for none (default: %(default)g)",
    )
    parser.add_argument(
        "--require-proof",
        action="store_true",
        help="exit with 3 unless a translation was observed",
    )
    parser.add_argument(
        "--flows",
        action="store_true",
        help="list states of flows, top private sources, destinations, and flows that share NAT"
        " ports; only on a terminal",
    )
    parser.add_argument(
        "--netns",
        metavar="NAME",
        help=f"also check the network namespace of this name, or {ALL} that have a process",
    )
    netns_flags.add_helper(parser)
    parser.add_argument("--no-color", action="store_true", help="no colour on a terminal either")
    path_flags.add_paths(parser)
    return parser


def _seconds(least: float) -> Callable[[str], float]:
    """Return what reads a number of seconds that is at least `least`."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1
        if not least <= number <= _LONGEST:
            allowed = f"from {least:g} to {_LONGEST:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds {allowed}")
        return number

    return read
