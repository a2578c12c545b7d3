"""What a client accepts: ranges with weights, as in Accept and Accept-Encoding (RFC 9110, 12.5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

_WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)


class Range(NamedTuple):
    """One item of a header: ``text/plain;version=0.0.4;q=0.5``."""

    name: str  #: in lower case; ``text/*`` and ``*/*`` match several types
    parameters: Mapping[str, str] = {}  #: all but q, names in lower case
    weight: float = 1  #: 0 means "not acceptable"; a malformed weight counts as 0

    def __str__(self) -> str:
        return ";".join([self.name, *(f"{key}={value}" for key, value in self.parameters.items())])


class Offer(NamedTuple):
    """A media type that the server can write."""

    name: str
    version: str
    unversioned: bool = True  #: whether a range without a version matches it


class _Match(NamedTuple):
    """How a range matches an offer; the greatest of several decides."""

    exactness: int
    earliness: int  #: minus the place in the header
    offer: Offer
    range: Range


def parse(header: str) -> list[Range]:
    """Return the ranges of a header, in their order; any text is a list of ranges."""
    return [_range(item) for item in header.split(",") if item.strip()]


def best(header: str, offers: Iterable[Offer]) -> Range | None:
    """Return the range of `header` by which one of `offers` wins; None where none matches.

    The most specific range that matches an offer gives its weight. The heaviest offer wins, of
    several the one that is named most exactly, then the one that is named first, then the first
    of `offers`. In place of a wildcard the name of the offer is returned.
    """
    ranges = parse(header)
    matches = [match for offer in offers if (match := _match(ranges, offer)) and match.range.weight]
    if not matches:
        return None
    won = max(matches, key=lambda match: (match.range.weight, match.exactness, match.earliness))
    return Range(won.offer.name, {} if "*" in won.range.name else won.range.parameters)


def _range(item: str) -> Range:
    name, *rest = item.split(";")
    parameters = dict(_parameter(part) for part in rest if part.strip())
    weight = parameters.pop("q", "1")
    return Range(
        name.strip().lower(), parameters, float(weight) if _WEIGHT.fullmatch(weight) else 0
    )


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


def _match(ranges: Sequence[Range], offer: Offer) -> _Match | None:
    """Return the match of the most specific range, and of several the first."""
    matches = [
        _Match(exactness, -place, offer, range_)
        for place, range_ in enumerate(ranges)
        if (exactness := _exactness(range_, offer))
    ]
    return max(matches, key=lambda match: match[:2], default=None)


def _exactness(range_: Range, offer: Offer) -> int:
    """Return how exactly a range names an offer, from 1; 0 where it does not match."""
    if range_.name == "*/*":
        return 1
    if range_.name == offer.name.partition("/")[0] + "/*":
        return 2
    if range_.name != offer.name:
        return 0
    version = range_.parameters.get("version")
    if version is None:
        return 3 * offer.unversioned
    return 4 * (version == offer.version)
