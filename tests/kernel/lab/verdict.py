"""What the pages of a scenario say, held against what was done to the host."""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from lab.scenario import AtLeast, Expectations, Expected, Rises, Scenario, Still, UpTo
from support.firing import MOMENTS, Firing
from support.inhibition import Alert
from support.page import PREFIX, Page

_SELECTOR = re.compile(r"(\w+)(?:\{(.*)\})?$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')

#: A reloaded module must not look like a burst: no counter of the page gains more in one interval.
MOST_GAINED = 1000
#: On any host with modules: the product's own bound.
MOST_SAMPLES = 420


#: NAT is dead: these page within two minutes.
PROMPT = frozenset(
    {
        "NetfilterConntrackDisabled",
        "NetfilterConntrackModuleMissing",
        "NetfilterNatForwardingDisabled",
        "NetfilterNatRulesGone",
    }
)


#: What new connections show is seen within four minutes; alerts are asked for at these moments.
SEEN_BY_FLOWS = frozenset({"NetfilterNatUntranslated"})
_FOUR_MINUTES = MOMENTS.index(240)


class Verdict(enum.Enum):
    """A cell of the matrix."""

    SEEN = "seen"
    NOT_SEEN = "not seen"
    QUIET = "quiet"
    FALSE_ALARM = "false alarm"
    BROKEN = "broken"  #: the scenario itself: nothing is known of the exporter
    SKIPPED = "-"  #: this kernel cannot be brought into that state


class Outcome(NamedTuple):
    verdict: Verdict
    reasons: list[str]


@functools.lru_cache(maxsize=64)
def parse_page(text: str) -> Page:
    """Return the samples of a page; neighbouring pages are often asked for again."""
    return Page(text)


def judge(scenario: Scenario, result: Mapping[str, Any], firing: Firing | None) -> Outcome:
    """Judge by the metrics, and by the alerts where they were evaluated."""
    broken = [*result["problems"], *_untrue(scenario, result)]
    if result.get("oops"):
        broken.append(result["oops"])
    if broken or not result["after"]:
        return Outcome(Verdict.BROKEN, broken)
    before = [parse_page(text) for text in result["before"]]
    after = [parse_page(text) for text in result["after"]]
    wrong = [
        *_label("before", [*_differences(before, scenario.before), *_failing(before, {})]),
        *_jumps([*before, *after]),
        *_label("after", _failing(after, scenario.failing)),
    ]
    missed = list(_label("after", _differences(after, scenario.after)))
    if firing:
        wrong += _superfluous(scenario, firing)
        missed += _absent(scenario, firing)
    if wrong or (missed and not is_fault(scenario)):
        return Outcome(Verdict.FALSE_ALARM, wrong + missed)
    if missed:
        return Outcome(Verdict.NOT_SEEN, missed)
    return Outcome(Verdict.SEEN if is_fault(scenario) else Verdict.QUIET, [])


def is_fault(scenario: Scenario) -> bool:
    """Return whether something is to be seen: an alert, or flows that no longer get through."""
    if scenario.alerts > scenario.standing:
        return True
    stopped = any(was and not now for was, now in scenario.works.values())
    return stopped and not scenario.meant


def _label(when: str, texts: Iterable[str]) -> Iterator[str]:
    """Yield each text once: most hold at every scrape."""
    for text in dict.fromkeys(texts):
        yield f"{when}: {text}"


def _untrue(scenario: Scenario, result: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the flows did not go as the scenario says."""
    for when, steps in enumerate(result["flows"]):
        for kind, expected in scenario.works.items():
            found = [step[kind] for step in steps]
            if found != [expected[when]] * len(found):
                yield f"flows {kind}, {('before', 'after')[when]}: {found}"


def _differences(pages: list[Page], expectations: Expectations) -> Iterator[str]:
    for selector, expected in expectations.items():
        values = [total(page, selector) for page in pages]
        if isinstance(expected, Rises):
            first, last = values[0], values[-1]
            if first is None or last is None or last - first < expected.by:
                yield f"{selector}: {first} -> {last}, no rise by {expected.by}"
        elif isinstance(expected, Still):
            if None in values or len(set(values)) > 1:
                yield f"{selector}: {values}, expected no rise"
        elif wrong := [value for value in values if not _is(value, expected)]:
            yield f"{selector}: {wrong[0]} at {len(wrong)} scrapes, expected {expected}"


def total(page: Page, selector: str) -> float | None:
    """Return what the samples of `selector` add up to; None where there is none."""
    match = _SELECTOR.match(selector)
    assert match, selector
    return page.total(match[1], **dict(_LABEL.findall(match[2] or "")))


def _is(value: float | None, expected: Expected) -> bool:
    if isinstance(expected, AtLeast):
        return value is not None and value >= expected.value
    if isinstance(expected, UpTo):
        return value is None or value <= expected.value
    return value == expected


def _superfluous(scenario: Scenario, firing: Firing) -> Iterator[str]:
    """Yield the alerts that fire and should not."""
    early = _names(firing.before) - scenario.standing
    all_late = frozenset().union(*firing.after)
    late = _names(all_late) - scenario.alerts
    paging = frozenset() if scenario.pages else _pages(all_late) & scenario.alerts
    yield from (f"alert before the fault: {name}" for name in sorted(early))
    yield from (f"alert: {name}" for name in sorted(late))
    yield from (f"alert that pages: {name}" for name in sorted(paging))


def _absent(scenario: Scenario, firing: Firing) -> Iterator[str]:
    """Yield the alerts that should fire and do not, or not in time."""
    missing = scenario.alerts - _names(firing.after[-1])
    silent = scenario.inhibited - _names(firing.inhibited[-1])
    prompt = PROMPT if scenario.pages else frozenset()
    late = (scenario.alerts & prompt) - _names(firing.after[0])
    later = (scenario.alerts & SEEN_BY_FLOWS) - _names(firing.after[_FOUR_MINUTES])
    yield from (f"no alert within four minutes: {name}" for name in sorted(later - missing))
    yield from (f"no alert: {name}" for name in sorted(missing | silent))
    yield from (f"no alert within two minutes: {name}" for name in sorted(late - missing))


def _names(alerts: Iterable[Alert]) -> frozenset[str]:
    return frozenset(alert.name for alert in alerts)


def _pages(alerts: Iterable[Alert]) -> frozenset[str]:
    return frozenset(alert.name for alert in alerts if alert.severity == "critical")


def _failing(pages: Iterable[Page], expected: Mapping[str, str]) -> Iterator[str]:
    """Yield collectors that fail and are not expected to, or the other way round."""
    for page in pages:
        found = {
            sample.labels["collector"]: sample.labels["status"]
            for sample in page.samples("scrape_collector_status")
            if sample.labels["status"] not in {"ok", "no_data", "unsupported"}
        }
        if found != expected:
            yield f"collectors that fail: {found}, expected {dict(expected)}"
        count = len(page.lines())
        if count > MOST_SAMPLES + _PROCESS:
            yield f"{count} samples"


_PROCESS = 6  #: samples of the exporter's own process


def _jumps(pages: list[Page]) -> Iterator[str]:
    """Yield counters that seem to gain too much in one interval; a fall is a reset to zero."""
    for old, new in zip(pages, pages[1:]):
        for full_name, labels, value in new.everything():
            if not (full_name.startswith(PREFIX) and full_name.endswith("_total")):
                continue
            name = full_name[len(PREFIX) :]
            before = old.total(name, **labels) or 0
            gained = value - before if value >= before else value
            if gained > MOST_GAINED:
                yield f"{name}{labels}: {before} -> {value}"
