"""Which addresses a peer's bucket may lead this node to."""

from __future__ import annotations

import ipaddress
import socket
from functools import cached_property


class Reach:
    """Public addresses; private ones only for a node that is itself at home at a private one.

    Whoever registers a hotkey chooses the address that all others send a GET to: it must not be
    that of a service in their own networks, or of a cloud's metadata.
    """

    def __init__(self, home: str) -> None:
        """`home`: the host where this node's own bucket is read, or its local chain answers; "":
        it has none. It is looked up when the first private address is met."""
        self._home = home

    def require(self, host: str, ip: str) -> None:
        """Raises: ConnectionError if `host`, which was looked up as `ip`, is out of reach."""
        if not is_public(ip) and not self._at_home:
            raise ConnectionError(f"{host} is at {ip}, which is no public address")

    @cached_property
    def _at_home(self) -> bool:
        if not self._home:
            return False
        try:
            found = socket.getaddrinfo(self._home, None, type=socket.SOCK_STREAM)
        except OSError:
            return False
        return not any(is_public(str(endpoint[0])) for *_, endpoint in found)


def is_public(ip: str) -> bool:
    """Whether an IP address, in the resolver's spelling, is one of the public internet."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_global
