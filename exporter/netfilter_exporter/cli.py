"""The command ``netfilter_exporter``."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Callable

from netfilter_exporter import __version__, collectors, flags, logs, textfile
from netfilter_exporter.collection import Gatherer
from netfilter_exporter.collectors.base import Collector
from netfilter_exporter.config.model import Config, ConfigError, load
from netfilter_exporter.daemon import NAMESPACES, Daemon
from netfilter_exporter.facts.namespaces import namespace_sampler
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.flags import Flags
from netfilter_exporter.kernel.system import System
from netfilter_exporter.sandbox.confine import DISABLED, Sandbox, confine
from netfilter_exporter.web.listen import CannotListen, listen
from netfilter_exporter.web.systemd import Manager, activated_sockets
from netfilter_exporter.web.web_file import WebFile

_log = logging.getLogger(__name__)

#: Modules that are imported only for their command: a server would carry them for nothing.
_COMMANDS = {"check": "netfilter_exporter.check.command", "assets": "netfilter_exporter.assets"}


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal says stop, or run a command once; return the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and arguments[0] in _COMMANDS:
        _release_reloads()
        main_of_command: Callable[[Sequence[str]], int]
        main_of_command = importlib.import_module(_COMMANDS[arguments[0]]).main
        return main_of_command(arguments[1:])
    found = collectors.load()
    chosen = flags.parse(arguments, found)
    logs.setup(chosen.log_level, chosen.log_format)
    if chosen.config_check:
        _release_reloads()
        return _check(chosen)
    with _reloads_held():
        return _run(chosen, found)


def _run(chosen: Flags, found: Mapping[str, Collector]) -> int:
    try:
        config = _load(chosen)
        if chosen.textfile_directory is not None:
            _release_reloads()
            return _write(chosen, config, found)
        web_file = WebFile(chosen.web_config_file)
        listeners = _listeners(chosen)
    except (ConfigError, CannotListen) as error:
        _log.error("%s", error)
        return 1
    _log.info("netfilter_exporter %s, collectors: %s", __version__, ", ".join(chosen.collectors))
    manager = Manager()
    sandbox = _confine(chosen, web_file.files())

    async def serve() -> bool:
        return await Daemon(chosen, config, web_file, found, sandbox).serve(listeners, manager)

    if asyncio.run(serve()):
        _exit_now()
    return 0


def _confine(chosen: Flags, files: Iterable[str] = (), writable: str | None = None) -> Sandbox:
    """Give up what is not needed from here on; no thread runs yet."""
    if not chosen.sandbox:
        return DISABLED
    files = [*filter(None, [chosen.config_file]), *files]
    return confine(chosen.paths, files, writable, connects=chosen.netns_helper is not None)


def _exit_now() -> None:
    """Exit with 0 without waiting for a thread that computes a hash, a second or more.

    A daemon thread is no way out: bcrypt aborts the process where a hash is done while the
    interpreter ends, as the thread is then unwound through Rust.
    """
    logging.shutdown()
    os._exit(0)


@contextlib.contextmanager
def _reloads_held() -> Iterator[None]:
    """Let SIGHUP wait: it would end a process that does not serve yet, and be lost if ignored."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        _release_reloads()


def _release_reloads() -> None:
    """Let SIGHUP, which __main__.py holds from the start, do what it does by default: end this."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def _load(chosen: Flags) -> Config:
    return load(chosen.config_file) if chosen.config_file else Config()


def _check(chosen: Flags) -> int:
    """Report what is wrong with each of the two files."""
    problems = [_problem(lambda: _load(chosen)), _problem(lambda: WebFile(chosen.web_config_file))]
    for problem in filter(None, problems):
        _log.error("%s", problem)
    if any(problems):
        return 1
    _log.info("the configuration is valid")
    return 0


def _problem(read: Callable[[], object]) -> ConfigError | None:
    try:
        read()
    except ConfigError as error:
        return error
    return None


def _listeners(chosen: Flags) -> list[socket.socket]:
    if chosen.systemd_socket:
        return activated_sockets()
    return [listen(address) for address in chosen.listen_addresses]


def _write(chosen: Flags, config: Config, found: Mapping[str, Collector]) -> int:
    """Write the page of --textfile.directory."""
    sandbox = _confine(chosen, writable=chosen.textfile_directory)
    host = Host(System(chosen.paths), config, sandbox=sandbox)
    if NAMESPACES in chosen.collectors:
        sampler = namespace_sampler(host)
        sampler.select(chosen.netns, chosen.netns_helper)
        sampler.look()
    gatherer = Gatherer(host, chosen.options | config.collectors)
    try:
        path = textfile.write(
            chosen.textfile_directory or ".", gatherer, [found[name] for name in chosen.collectors]
        )
    except OSError as error:
        _log.error("%s: %s", chosen.textfile_directory, error.strerror or error)
        return 1
    finally:
        gatherer.close()
    _log.info("wrote %s", path)
    return 0
