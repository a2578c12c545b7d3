"""The command line, in the words of node_exporter's."""

from __future__ import annotations

import argparse
import dataclasses
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Callable, NoReturn, TypeVar

from netfilter_exporter import __version__, flow_flags, logs, netns_flags, path_flags
from netfilter_exporter.collectors.base import Collector
from netfilter_exporter.config.flows import Flows
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netns.helper import Helper
from netfilter_exporter.netns.selection import Selection
from netfilter_exporter.web.listen import Address, parse_address

T = TypeVar("T")

DEFAULT_ADDRESS = ":10042"
#: With more, replacing the whole ruleset would take more than 64 MB of the host while we listen.
LISTEN_MAX_RULES = 2500


@dataclasses.dataclass(frozen=True)
class Flags:
    """The command line."""

    collectors: tuple[str, ...]  #: names of those that are on
    options: frozenset[str]  #: of the rows that are opt-in
    flows: Flows  #: interval and size of the sample
    netns: Selection  #: the other network namespaces that are reported
    netns_helper: Helper | None  #: who enters them
    listen_max_rules: int
    paths: Paths
    listen_addresses: tuple[Address, ...]
    systemd_socket: bool
    web_config_file: str | None
    telemetry_path: str
    max_requests: int
    lifecycle: bool
    exporter_metrics: bool
    config_file: str | None
    config_check: bool
    textfile_directory: str | None
    sandbox: bool
    log_level: str
    log_format: str


def parse(argv: Sequence[str] | None, collectors: Mapping[str, Collector]) -> Flags:
    """Parse the command line; a bad one ends the process with 2 and one line that says why."""
    parser = _parser(collectors)
    args = parser.parse_args(argv)
    return Flags(
        collectors=tuple(_chosen(args, collectors)),
        options=frozenset(args.options),
        flows=flow_flags.flows(args),
        netns=netns_flags.selection(args),
        netns_helper=netns_flags.helper(args),
        listen_max_rules=args.listen_max_rules,
        paths=Paths(args.procfs, args.sysfs, args.rootfs)
        if args.config_check
        else path_flags.paths(parser, args),
        listen_addresses=tuple(args.listen_addresses or [parse_address(DEFAULT_ADDRESS)]),
        systemd_socket=args.systemd_socket,
        web_config_file=args.web_config_file,
        telemetry_path=args.telemetry_path,
        max_requests=args.max_requests,
        lifecycle=args.lifecycle,
        exporter_metrics=args.exporter_metrics,
        config_file=args.config_file,
        config_check=args.config_check,
        textfile_directory=args.textfile_directory,
        sandbox=args.sandbox,
        log_level=args.log_level,
        log_format=args.log_format,
    )


def _chosen(args: argparse.Namespace, collectors: Mapping[str, Collector]) -> Iterator[str]:
    """Yield the names of the collectors that are on."""
    for name, collector in collectors.items():
        if args.collectors.get(name, args.by_default and collector.by_default):
            yield name


def version_text() -> str:
    """Return what --version prints, in the form of the Prometheus project's own programs."""
    return (
        f"netfilter_exporter, version {__version__}\n"
        f"  python version:   {platform.python_version()}\n"
        f"  platform:         {sys.platform}/{platform.machine()}"
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}, try --help\n")


class _Switch(argparse.Action):
    """``--collector.NAME`` and ``--no-collector.NAME``: name -> on or off."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's signature
        namespace: argparse.Namespace,
        values: object,  # noqa: ARG002 - argparse's signature
        option_string: str | None = None,
    ) -> None:
        switches = {**namespace.collectors, self.const: option_string == self.option_strings[0]}
        namespace.collectors = switches


def _parser(collectors: Mapping[str, Collector]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="netfilter_exporter",
        description="Prometheus exporter that reports when Linux connection tracking or NAT has"
        " silently stopped working.",
        allow_abbrev=False,
        add_help=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=40),
        usage="%(prog)s [flags]"
        "\n       %(prog)s check [--help]   what is wrong with this host, and what to do"
        "\n       %(prog)s assets [--help]  alert rules, runbooks and dashboards, as files",
    )
    general = parser.add_argument_group("general")
    general.add_argument("-h", "--help", action="help", help="show this text and exit")
    general.add_argument("--version", action=_Version, help="show the version and exit")
    _add_web(parser.add_argument_group("web"))
    _add_collectors(parser.add_argument_group("collectors"), collectors)
    flow_flags.add_flows(parser.add_argument_group("sample of the flow table"))
    netns_flags.add_netns(parser.add_argument_group("other network namespaces"))
    _add_nft(parser.add_argument_group("nftables"))
    _add_config(parser.add_argument_group("configuration"))
    _add_textfile(parser.add_argument_group("text file"))
    path_flags.add_paths(parser.add_argument_group("paths"))
    _add_sandbox(parser.add_argument_group("sandbox"))
    _add_log(parser.add_argument_group("log"))
    return parser


class _Version(argparse.Action):
    """Like argparse's own, which would fold the lines."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002 - argparse's name
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 - argparse's signature
        values: object,  # noqa: ARG002 - argparse's signature
        option_string: str | None = None,  # noqa: ARG002 - argparse's signature
    ) -> None:
        sys.stdout.write(version_text() + "\n")
        parser.exit()


def _add_web(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--web.listen-address",
        dest="listen_addresses",
        metavar="ADDRESS",
        type=_argument(parse_address),
        action="append",
        help="address to serve on, as :PORT, HOST:PORT or [IPV6]:PORT; may be repeated"
        f" (default: {DEFAULT_ADDRESS})",
    )
    group.add_argument(
        "--web.systemd-socket",
        dest="systemd_socket",
        action="store_true",
        help="serve on the sockets of a systemd .socket unit instead of addresses",
    )
    group.add_argument(
        "--web.config.file",
        dest="web_config_file",
        metavar="FILE",
        help="YAML file with TLS, users, rate limit and headers, in the format of exporter-toolkit",
    )
    group.add_argument(
        "--web.telemetry-path",
        dest="telemetry_path",
        metavar="PATH",
        type=_argument(_telemetry_path),
        default="/metrics",
        help="path of the metrics (default: %(default)s)",
    )
    group.add_argument(
        "--web.max-requests",
        dest="max_requests",
        metavar="N",
        type=_argument(_count),
        default=40,
        help="maximum concurrent scrapes, 0 for no limit (default: %(default)s)",
    )
    group.add_argument(
        "--web.enable-lifecycle",
        dest="lifecycle",
        action="store_true",
        help="let POST /-/reload reload the configuration, for every peer that may read the pages",
    )
    group.add_argument(
        "--web.disable-exporter-metrics",
        dest="exporter_metrics",
        action="store_false",
        help="leave out the metrics of the exporter's own process (process_*), except its start"
        " time, which alerts require",
    )


def _add_collectors(group: argparse._ArgumentGroup, collectors: Mapping[str, Collector]) -> None:
    group.set_defaults(collectors={}, options=[])
    group.add_argument(
        "--collector.disable-defaults",
        dest="by_default",
        action="store_false",
        help="disable all collectors that are not enabled by name",
    )
    for collector in collectors.values():
        flag = f"collector.{collector.name}"
        group.add_argument(
            f"--{flag}",
            f"--no-{flag}",
            dest="collectors",
            action=_Switch,
            nargs=0,
            const=collector.name,
            default=argparse.SUPPRESS,
            help=collector.help + ("" if collector.by_default else " (default: disabled)"),
        )
        for option, text in collector.options.items():
            group.add_argument(
                f"--collector.{option}",
                dest="options",
                action="append_const",
                const=option,
                help=text,
            )


def _add_nft(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--nft.listen-max-rules",
        dest="listen_max_rules",
        metavar="N",
        type=_argument(_count),
        default=LISTEN_MAX_RULES,
        help="maximum number of rules with which the exporter listens to changes of nftables and"
        " reads only what changed, 0 to never listen; while anything listens, replacing the"
        " ruleset takes 22 KB of kernel memory per rule (default: %(default)s)",
    )


def _add_config(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--config.file",
        dest="config_file",
        metavar="FILE",
        help="YAML file with the role of this host and what is expected of it",
    )
    group.add_argument(
        "--config.check",
        dest="config_check",
        action="store_true",
        help="check the configuration files and exit",
    )


def _add_textfile(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--textfile.directory",
        dest="textfile_directory",
        metavar="DIR",
        help="write one page into DIR, for node_exporter's textfile collector, and exit",
    )


def _add_sandbox(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--sandbox.disable",
        dest="sandbox",
        action="store_false",
        help="keep the privileges that the exporter drops before it serves: capabilities, system"
        " calls, and files outside the directories that it reads",
    )


def _add_log(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--log.level",
        dest="log_level",
        choices=tuple(logs.LEVELS),
        default="info",
        help="minimum log level (default: %(default)s)",
    )
    group.add_argument(
        "--log.format",
        dest="log_format",
        choices=tuple(logs.FORMATS),
        default="logfmt",
        help="format of log lines (default: %(default)s)",
    )


def _argument(convert: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse show the text of a ValueError, which it would replace by its own."""

    def converted(text: str) -> T:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted


def _telemetry_path(text: str) -> str:
    if not text.startswith("/") or text.startswith("/-/") or any(c in text for c in "?# "):
        raise ValueError(f"{text!r} is not a path such as /metrics")
    return text


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)
