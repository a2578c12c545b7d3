"""The flags of the sample of the flow table."""

from __future__ import annotations

import argparse
from typing import Callable

from netfilter_exporter.config.flows import INTERVAL, SAMPLE_SIZE, Flows
from netfilter_exporter.flows.observer import Settings


def add_flows(group: argparse._ArgumentGroup) -> None:
    """Add the flags."""
    default = Settings()
    group.add_argument(
        "--flows.interval",
        dest="flows_interval",
        metavar="SECONDS",
        type=_number_from(INTERVAL),
        help="time between two samples of the flow table, longer where they would take more than"
        f" 0.5 %% of a CPU (default: {default.interval:g})",
    )
    group.add_argument(
        "--flows.sample-size",
        dest="flows_sample_size",
        metavar="BYTES",
        type=_number_from(SAMPLE_SIZE),
        help=f"maximum size of a sample of the flow table (default: {default.sample_size})",
    )


def flows(args: argparse.Namespace) -> Flows:
    """Return what they say."""
    return Flows(args.flows_interval, args.flows_sample_size)


def _number_from(allowed: range) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text[:20]) not in allowed:
            wanted = f"a number from {allowed[0]} to {allowed[-1]}"
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return int(text)

    return number
