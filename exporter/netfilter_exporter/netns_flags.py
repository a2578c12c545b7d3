"""The flags of the collector of other network namespaces."""

from __future__ import annotations

import argparse
import re

from netfilter_exporter.kernel.netns.helper import Helper
from netfilter_exporter.kernel.netns.users import uid_of
from netfilter_exporter.netns.selection import Selection


def add_netns(group: argparse._ArgumentGroup) -> None:
    """Add the flags."""
    group.add_argument(
        "--netns.include",
        dest="netns_include",
        metavar="REGEXP",
        type=_pattern,
        help="report network namespaces only if the whole name matches (default: all)",
    )
    group.add_argument(
        "--netns.exclude",
        dest="netns_exclude",
        metavar="REGEXP",
        type=_pattern,
        help="do not report network namespaces if the whole name matches (default: none)",
    )
    add_helper(group)


def add_helper(group: argparse._ActionsContainer) -> None:
    """Add the flags of the helper, which `check` has too."""
    group.add_argument(
        "--netns.helper-socket",
        dest="netns_helper",
        metavar="PATH",
        help="socket of the helper that enters the network namespaces in /run/netns: also report"
        " those without a process, and NAT rules, tracking and forwarding (default: none)",
    )
    group.add_argument(
        "--netns.helper-user",
        dest="netns_helper_uid",
        metavar="USER",
        type=_uid,
        default=0,
        help="user that may run the helper, besides root and systemd (default: root)",
    )


def selection(args: argparse.Namespace) -> Selection:
    """Return which namespaces are reported."""
    return Selection(args.netns_include, args.netns_exclude)


def helper(args: argparse.Namespace) -> Helper | None:
    """Return the helper, None where the flags name none."""
    return Helper(args.netns_helper, args.netns_helper_uid) if args.netns_helper else None


def _uid(text: str) -> int:
    try:
        return uid_of(text)
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a user") from None


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a pattern: {error}") from None
