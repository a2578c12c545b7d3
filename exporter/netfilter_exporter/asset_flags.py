"""The flags of ``netfilter_exporter assets``."""

from __future__ import annotations

import argparse
import functools
import math
import re
from collections.abc import Collection, Iterable, Mapping

from netfilter_exporter import scrape_interval

_MATCHER = r'\s*[a-zA-Z_]\w*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\\n]|\\.)*"\s*'
_SELECTOR = re.compile(rf"{_MATCHER}(?:,{_MATCHER})*")


def parser(known: Mapping[str, float], used: Collection[str]) -> argparse.ArgumentParser:
    """Return the parser; `known` are the thresholds, `used` the labels that the rules use."""
    made = argparse.ArgumentParser(
        prog="netfilter_exporter assets",
        description="Write the alert rules, runbooks and dashboards below DIR.",
        epilog="Thresholds and their defaults:\n" + "\n".join(_lines(known)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("directory", metavar="DIR", help="folder to write below")
    made.add_argument(
        "--selector",
        type=_selector,
        metavar="MATCHERS",
        help='label matchers for every series, such as \'cluster="a",job="netfilter"\'',
    )
    made.add_argument(
        "--label",
        dest="labels",
        type=functools.partial(_label, used),
        action="append",
        default=[],
        metavar="NAME",
        help="label that distinguishes targets besides job and instance, such as cluster; may be"
        " repeated",
    )
    made.add_argument(
        "--scrape-interval",
        type=_interval,
        default=scrape_interval.USUAL,
        metavar="TIME",
        help="time between two scrapes, such as 2m: above a minute, windows grow with it; at most"
        " 5m",
    )
    made.add_argument(
        "--runbook-url",
        type=_url,
        metavar="URL",
        help="where the runbooks are; {alert} stands for the alert's name, else /NAME.md is added",
    )
    made.add_argument(
        "--dashboard-url",
        type=_url,
        metavar="URL",
        help="where Grafana is; /d/netfilter-host and the host of the alert are added",
    )
    made.add_argument(
        "--threshold",
        dest="thresholds",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another threshold; may be repeated",
    )
    return made


def _lines(known: Mapping[str, float]) -> Iterable[str]:
    return (f"  {name}={value:g}" for name, value in known.items())


def _selector(text: str) -> str:
    if not _SELECTOR.fullmatch(text):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form name="value",...')
    return text.strip()


def _label(used: Collection[str], text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_]\w*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a label")
    if text in used:
        raise argparse.ArgumentTypeError(f"the rules already use the label {text!r}")
    return text


def _interval(text: str) -> int:
    match = re.fullmatch(r"(\d{1,4})(s|m)", text, re.ASCII)
    seconds = int(match[1]) * (60 if match[2] == "m" else 1) if match else 0
    if not 0 < seconds <= scrape_interval.LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 30s or 2m, up to 5m")
    return seconds


def _url(text: str) -> str:
    if not re.match(r"(https?|file)://[^\s]+$", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as https://HOST/PATH")
    return text


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=NUMBER")
    return name, number
