"""The flags of the collector of other network namespaces."""

from __future__ import annotations

import argparse
import re

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


def selection(args: argparse.Namespace) -> Selection:
    """Return what they say."""
    return Selection(args.netns_include, args.netns_exclude)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a pattern: {error}") from None
