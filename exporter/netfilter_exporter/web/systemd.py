"""What systemd gives a service: sockets that listen already, and a socket to say ready on.

The protocols of sd_listen_fds(3) and sd_notify(3).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

from netfilter_exporter.web.listen import CannotListen

_log = logging.getLogger(__name__)

_FIRST = 3  #: SD_LISTEN_FDS_START
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def activated_sockets(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """Return the sockets that systemd listens on for us; raise `CannotListen`.

    The variables are taken out of `environ`: the sockets are now those of this object.
    """
    pid, count, _ = (environ.pop(name, "") for name in _VARIABLES)
    if pid != str(os.getpid()) or not count.isdecimal() or count == "0":
        raise CannotListen("systemd has given no socket: is there a .socket unit, and active?")
    return [_adopt(descriptor) for descriptor in range(_FIRST, _FIRST + int(count))]


def _adopt(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        adopted = socket.socket(fileno=descriptor)
        listens = adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise CannotListen(f"descriptor {descriptor} of systemd: {error.strerror}") from None
    if not listens or adopted.type != socket.SOCK_STREAM:
        adopted.close()
        raise CannotListen(f"descriptor {descriptor} of systemd is not a ListenStream= socket")
    return adopted


class Manager:
    """The service manager, where it wants to know how we are."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Connect to it: the sandbox lets no socket of that family be made later."""
        self._socket: socket.socket | None = None
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.connect(address.replace("@", "\0", 1))
        except OSError as error:  # a unit without Unix sockets: no reason not to serve
            _log.warning("cannot reach systemd: %s", error)

    def notify(self, state: str) -> None:
        """Send it `state`, such as READY=1."""
        if self._socket:
            try:
                self._socket.send(state.encode())
            except OSError as error:
                _log.warning("cannot notify systemd of %s: %s", state, error)
