"""Log lines on stderr, as logfmt or JSON, one line an event whatever it holds."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import sys

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_NAMES = {number: name for name, number in LEVELS.items()} | {logging.CRITICAL: "error"}

#: Needs no quotes in logfmt.
_BARE = re.compile(r"[!#-<>-\[\]-~]+")


class _Formatter(logging.Formatter):
    """Makes the fields of a line; how they are written is the subclass's."""

    def format(self, record: logging.LogRecord) -> str:
        when = dt.datetime.fromtimestamp(record.created, tz=dt.timezone.utc)
        fields = {
            "ts": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": _NAMES.get(record.levelno, record.levelname.lower()),
            "msg": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1]:
            fields["error"] = repr(record.exc_info[1])
            fields["traceback"] = self.formatException(record.exc_info)
        return self.write(fields)

    def write(self, fields: dict[str, str]) -> str:
        raise NotImplementedError


class Logfmt(_Formatter):
    """``ts=... level=info msg="..."``."""

    def write(self, fields: dict[str, str]) -> str:
        return " ".join(f"{key}={_quoted(text)}" for key, text in fields.items())


class Json(_Formatter):
    """One object a line."""

    def write(self, fields: dict[str, str]) -> str:
        return json.dumps(fields)


FORMATS: dict[str, type[_Formatter]] = {"logfmt": Logfmt, "json": Json}


def _quoted(text: str) -> str:
    return text if _BARE.fullmatch(text) else json.dumps(text)


def setup(level: str, form: str) -> None:
    """Send all log records of `level` or above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATS[form]())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
