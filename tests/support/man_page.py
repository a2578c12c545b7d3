"""The flags in the man page, made from the parsers of the commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from netfilter_exporter import asset_flags, collectors, flags
from netfilter_exporter.check import command

PATH = Path(__file__).parents[2] / "exporter/deploy/man/netfilter_exporter.1"
_BEGIN, _END = '.\\" Flags: tests/update_readme.py makes all up to PAGES.\n', ".SH PAGES\n"


def current(text: str) -> str:
    """Return the page `text` with the flags that the commands have now."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"no {begin.strip()} and {end.strip()}")
    return f"{before}{begin}{''.join(_sections())}{end}{after}"


def _sections() -> Iterator[str]:
    yield ".SH OPTIONS\n"
    for group in flags._parser(collectors.load())._action_groups:
        if group._group_actions:
            yield f".SS {_capital(group.title or '')}\n"
            yield from map(_option, group._group_actions)
    for name, parser in ("CHECK", command._parser()), ("ASSETS", asset_flags.parser({}, ())):
        yield f".SH OPTIONS OF {name}\n"
        options = [action for action in parser._actions if action.option_strings]
        yield from map(_option, options)


def _option(action: argparse.Action) -> str:
    names = ", ".join(f"\\fB{_escaped(name)}\\fR" for name in action.option_strings)
    value = _value(action)
    text = (action.help or "") % vars(action) if action.help else ""
    return f".TP\n{names}{value and ' ' + value}\n{_capital(_escaped(text)).rstrip('.')}.\n"


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    name = action.metavar or "|".join(map(str, action.choices or [action.dest.upper()]))
    value = f"\\fI{_escaped(str(name))}\\fR"
    return f"[{value}]" if action.nargs == "?" else value


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
