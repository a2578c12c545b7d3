"""Which alerts the shipped rules raise on the pages of hosts, as promtool evaluates them.

The pages of a host are scrapes 15 seconds apart, some before a fault and some after it. What was
before is stretched back over a day, and the last interval is repeated for half an hour.

A day of evaluations every 30 seconds would take minutes. So the rules are run twice. First over
the whole day, every ten minutes, which is the step in which the rules themselves look at it: that
tells their history, and which of the alerts fire that look back for hours. Then every 30 seconds,
from shortly before the fault: there the recorded history is what the first run has found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from netfilter_exporter import assets
from support.answers import Answers, Evaluation, ask
from support.inhibition import Alert, uninhibited
from support.series import AFTERWARDS, INTERVAL, Recorded, Series, View, named, of_host, written

#: Seconds from the first scrape that can see the fault to when alerts are asked for.
MOMENTS = (105, 240, 300, 600, 900, 1200, 1800)
_HISTORY = ("-samples", "-days", "-history")  #: the names of groups of history end so
_RARELY = "_each30m"  #: what is recorded at one of three looks ends so
#: In an alert's expression: it looks further back than the second run goes.
_LONG = re.compile(r"\boffset\b|\[\d+[hd]")
_FIRING = 'count by (alertname, instance, severity) (ALERTS{alertstate="firing", instance!=""})'

#: By instance.
Fired = Mapping[str, frozenset[Alert]]


class Firing(NamedTuple):
    """What somebody hears of: before the fault, and at each of the moments after it."""

    before: frozenset[Alert]
    after: tuple[frozenset[Alert], ...]
    #: What fires too at those moments, while another alert inhibits it.
    inhibited: tuple[frozenset[Alert], ...]


_DAY = View(step=4, before=86_400, evaluation=600, most=10)
_CLOSELY = View(step=1, before=600, evaluation=2 * INTERVAL, most=30)


def _firing(answers: Answers, time: int) -> Fired:
    found: dict[str, set[Alert]] = {}
    for labels, _ in answers.samples(_FIRING, time):
        alert = Alert(labels["alertname"], labels["severity"])
        found.setdefault(labels["instance"], set()).add(alert)
    return {instance: frozenset(alerts) for instance, alerts in found.items()}


def evaluate(
    hosts: Mapping[str, Recorded],
    folder: Path,
    moments: Sequence[int] = MOMENTS,
    *,
    history: bool = True,
    evaluation: int = _CLOSELY.evaluation,
) -> dict[str, Firing]:
    """Return what fires on each of `hosts` at `moments`; files are written into `folder`.

    Many are evaluated together, each as an instance: that costs less than one after the other.
    Without `history` ten minutes before the fault are all that the rules see of the past.
    """
    found: dict[str, Firing] = {}
    view = _CLOSELY._replace(evaluation=evaluation)
    for many in _batches(list(hosts), _CLOSELY.most):
        long: list[_Look] = []
        for few in _batches(many, _DAY.most) if history else ():
            long += _over_the_day({instance: hosts[instance] for instance in few}, folder)
        close = _closely(view, {name: hosts[name] for name in many}, long, folder, moments)
        for instance in many:
            fired = [
                frozenset().union(*(look.fired.get(instance, ()) for look in looks))
                for looks in _by_moment([*long, *close], moments)
            ]
            before, *after = map(uninhibited, fired)
            inhibited = (every - heard for every, heard in zip(fired[1:], after))
            found[instance] = Firing(before, tuple(after), tuple(inhibited))
    return found


def _batches(names: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), most):
        yield names[start : start + most]


class _Look(NamedTuple):
    """What an evaluation found."""

    since: int  #: seconds from the fault on; below zero: before it
    fired: Fired
    history: Mapping[tuple[str, Series], float] = {}  #: by instance and series


def _by_moment(looks: Sequence[_Look], moments: Sequence[int]) -> Iterator[list[_Look]]:
    """Yield the looks before the fault, and those that belong to each of the moments."""
    bounds = (-_DAY.before, -1, *moments)
    for after, until in zip(bounds, bounds[1:]):
        yield [look for look in looks if after < look.since <= until]


# -- the two runs ----------------------------------------------------------------------------------


def _over_the_day(hosts: Mapping[str, Recorded], folder: Path) -> list[_Look]:
    """Return what fires and what is recorded as history, from the last look before the fault on."""
    document = assets.load_rules(assets.files()[assets.RULES])
    # History reads what the others record at that time: the last time is too long ago.
    document["groups"].sort(key=lambda group: group["name"].endswith(_HISTORY))
    history = [group for group in document["groups"] if group["name"].endswith(_HISTORY)]
    for group in document["groups"]:
        group["rules"] = [r for r in group["rules"] if "record" in r or _LONG.search(r["expr"])]
    names = [rule["record"] for group in history for rule in group["rules"]]
    recorded = [
        _named([name for name in names if not name.endswith(_RARELY)]),
        f"last_over_time({_named([name for name in names if name.endswith(_RARELY)])}[25m])",
    ]
    fault = _fault(_DAY, hosts)
    last_before = (fault - 1) // _DAY.evaluation * _DAY.evaluation
    times = range(last_before, fault + AFTERWARDS + 1, _DAY.evaluation)
    asked = [(expression, time) for time in times for expression in (_FIRING, *recorded)]
    answers = _run(_DAY, hosts, document, asked, folder)
    return [
        _Look(
            time - fault,
            _firing(answers, time),
            {
                named(labels): value
                for expression in recorded
                for labels, value in answers.samples(expression, time)
            },
        )
        for time in times
    ]


def _named(names: Iterable[str]) -> str:
    return '{__name__=~"' + "|".join(names) + '"}'


def _closely(
    view: View,
    hosts: Mapping[str, Recorded],
    history: Sequence[_Look],
    folder: Path,
    moments: Sequence[int],
) -> list[_Look]:
    """Return what fires just before the fault, and at each of the moments after it."""
    document = assets.load_rules(assets.files()[assets.RULES])
    document["groups"] = [g for g in document["groups"] if not g["name"].endswith(_HISTORY)]
    fault = _fault(view, hosts)
    times = (fault - INTERVAL, *(fault + moment for moment in moments))
    past = list(_replayed(history, fault))
    answers = _run(view, hosts, document, [(_FIRING, time) for time in times], folder, past)
    return [_Look(time - fault, _firing(answers, time)) for time in times]


def _replayed(looks: Iterable[_Look], fault: int) -> Iterator[Mapping[str, str]]:
    """Yield series that have at each time what was recorded as history by then."""
    by_time: dict[int, dict[tuple[str, Series], float]] = {}
    for look in looks:
        by_time.setdefault(look.since, {}).update(look.history)
    times = sorted(by_time)
    starts = [0, *((fault + since) // INTERVAL for since in times[1:])]
    ends = [*starts[1:], (fault + AFTERWARDS) // INTERVAL + 1]
    for key in sorted({key for values in by_time.values() for key in values}):
        words = []
        for start, end, time in zip(starts, ends, times):
            value = by_time[time].get(key)
            if value is None:
                words.append(f"stale _x{end - start - 1}")
            else:
                words.append(f"{value}+0x{end - start - 1}")
        instance, series = key
        yield {"series": written(series, instance), "values": " ".join(words)}


def _fault(view: View, hosts: Mapping[str, Recorded]) -> int:
    """Return the time of the first page after the fault."""
    (pages,) = {len(host.before[:: view.step]) for host in hosts.values()}
    return view.before + pages * view.interval


def _run(
    view: View,
    hosts: Mapping[str, Recorded],
    rules: Mapping[str, Any],
    asked: Iterable[tuple[str, int]],
    folder: Path,
    more: Iterable[Mapping[str, str]] = (),
) -> Answers:
    """Have promtool evaluate `rules`, and return its answers to expressions and times."""
    names = set(re.findall(r"\b(?:netfilter|process)_\w+", json.dumps(rules)))
    series = [
        each for instance, host in hosts.items() for each in of_host(view, instance, host, names)
    ]
    order = [group["name"] for group in rules["groups"]]
    how = Evaluation(view.interval, view.evaluation, order)
    return ask(folder, rules, [*series, *more], asked, how)
