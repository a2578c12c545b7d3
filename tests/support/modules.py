"""Modules in given states, as a scrape would know them."""

from __future__ import annotations

from netfilter_exporter.kernel.modules.history import ROWS
from netfilter_exporter.kernel.modules.model import Module, Modules, ModuleState

STATES = {state.value: state for state in ModuleState}


def make(
    *, loading: bool = True, locked: bool = False, modprobe: bool = True, **states: str
) -> Modules:
    """Return modules with `states` by name, absent otherwise; "merged:X" is merged into X."""
    known = {name: Module(name, ModuleState.ABSENT) for name in ROWS}
    for name, text in states.items():
        state, _, successor = text.partition(":")
        known[name] = Module(name, STATES[state], successor, 3 if state == "loaded" else None)
    return Modules("6.1", loading, locked, True, False, modprobe, False, known, tuple(states))
