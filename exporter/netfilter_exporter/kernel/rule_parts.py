"""The parts of a rule, as decoders of both backends return them, and the rule that they make.

A part says what it does (`effect`, the fields of a `Rule`), which bytes of the message make no
difference to it, and where the numbers and names are that its `RuleDetail` is read from. All other
bytes decide the form of the rule.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Callable, NamedTuple

from netfilter_exporter.kernel import names
from netfilter_exporter.rules.detail import Form, MatchReader, NatReader, NatTarget, Queue
from netfilter_exporter.rules.families import BOTH
from netfilter_exporter.rules.match import Field, Match, Opaque
from netfilter_exporter.rules.model import Rule

NOTHING = Rule()
MATCH = Rule(conditional=True)
NO_FIELDS: frozenset[Field] = frozenset()


class MatchAt(NamedTuple):
    """How matches are read from places of a message; see `MatchReader`."""

    read: Callable[..., tuple[Match, ...]]
    constants: tuple[object, ...] = ()
    places: tuple[slice, ...] = ()


class NatAt(NamedTuple):
    """How the target of a translation is read, likewise."""

    read: Callable[..., NatTarget]
    constants: tuple[object, ...] = ()
    places: tuple[slice, ...] = ()


class Part(NamedTuple):
    """What one expression, match or target adds to its rule."""

    effect: Rule = NOTHING
    ignored: tuple[slice, ...] = ()  #: bytes on which nothing depends
    matches: tuple[MatchAt, ...] = ()
    nat: NatAt | None = None
    queue: Queue | None = None
    writes: frozenset[Field] | None = NO_FIELDS  #: None: it may change any field
    targets: tuple[slice, ...] = ()  #: where the chain of a jump is named
    maps: tuple[slice, ...] = ()  #: where a verdict map is named


def known(match: Match) -> MatchAt:
    """Return the match that all rules of a form share."""
    return MatchAt(_constant, (match,))


def _constant(match: Match) -> tuple[Match, ...]:
    return (match,)


#: A match of which nothing is known but that it may fail.
UNKNOWN = Part(MATCH, matches=(known(Opaque("unknown")),))


def opaque_bytes(what: str, token: bytes, *values: bytes) -> tuple[Match, ...]:
    """Return a match that is the same where its bytes are."""
    sized = (b"%d:%b" % (len(part), part) for part in (token, *values))
    return (Opaque(what, b"".join(sized), stable=True),)


class Combined(NamedTuple):
    """A rule, and where in its message the values of its form are, in their order."""

    rule: Rule
    values: list[slice]


def combine(parts: Sequence[Part]) -> Combined:
    """Return the rule that `parts` make together; what it names stays empty."""
    effects = [part.effect for part in parts]
    families = functools.reduce(frozenset.__and__, (effect.families for effect in effects), BOTH)
    form, values = _form(parts)
    rule = Rule(
        conditional=any(effect.conditional for effect in effects),
        verdict=next((effect.verdict for effect in effects if effect.verdict), None),
        action=next((effect.action for effect in effects if effect.action), None),
        families=families,
        interfaces=tuple(name for effect in effects for name in effect.interfaces),
        loopback=all(effect.loopback for effect in effects),
        notrack=any(effect.notrack for effect in effects),
        rewrites=any(effect.rewrites for effect in effects),
        zone=any(effect.zone for effect in effects),
        zone_both_ways=any(effect.zone_both_ways for effect in effects),
        helper=next((effect.helper for effect in effects if effect.helper), ""),
        extension=any(effect.extension for effect in effects),
        counted=_is_counted(effects),
        form=form,
    )
    return Combined(rule, values)


def _is_counted(effects: Iterable[Rule]) -> bool:
    """Return whether a translation comes behind a counter, with no match in between."""
    counted = False
    for effect in effects:
        if effect.action:
            return counted
        counted = effect.counted or (counted and not effect.conditional)
    return False


def _form(parts: Sequence[Part]) -> tuple[Form, list[slice]]:
    matches = [match for part in parts for match in part.matches]
    nat = next((part.nat for part in parts if part.nat), None)
    read: list[MatchAt | NatAt] = [*matches, *([nat] if nat else [])]
    at = sorted({(place.start, place.stop) for reader in read for place in reader.places})
    slots: dict[int, tuple[int, int]] = {}
    size = 0
    for start, stop in at:
        slots[start] = size, size + stop - start
        size += stop - start

    def slots_of(places: Iterable[slice]) -> tuple[tuple[int, int], ...]:
        return tuple(slots[place.start] for place in places)

    form = Form(
        size,
        tuple(MatchReader(m.read, m.constants, slots_of(m.places)) for m in matches),
        NatReader(nat.read, nat.constants, slots_of(nat.places)) if nat else None,
        next((part.queue for part in parts if part.queue), None),
        _writes(parts),
    )
    return form, [slice(start, stop) for start, stop in at]


def _writes(parts: Iterable[Part]) -> frozenset[Field] | None:
    written = NO_FIELDS
    for part in parts:
        if part.writes is None:
            return None
        written |= part.writes
    return written


def with_names(rule: Rule) -> Callable[[tuple[str, ...], tuple[str, ...], str], Rule]:
    """Return what makes the same rule with other targets, maps and comment.

    By position, which takes a fifth of `_replace`: each jump of a large ruleset is a rule.
    """
    first, after = map(Rule._fields.index, ("targets", "comment"))  # the maps are in between
    before, behind = rule[:first], rule[after + 1 :]
    make = functools.partial(tuple.__new__, Rule)  # what `_make` does, without a call of Python
    return lambda targets, maps, comment: make((*before, targets, maps, comment, *behind))


@functools.lru_cache(maxsize=1024)
def interface_match(content: bytes, *, positive: bool) -> tuple[tuple[str, ...], bool]:
    """Return the name that a match on `content` needs, and whether loopback can pass it.

    Content without a NUL is a prefix (``eth*``). A negated name may be missing without harm.
    """
    name, nul, _ = content.partition(b"\0")
    names_loopback = name == b"lo" if nul else b"lo".startswith(name)
    if not positive:
        return (), not names_loopback
    exact = (names.decode(name),) if nul and name else ()
    return exact, names_loopback
