"""What is kept from messages, other programs and the disk because a secret may be in it."""

from __future__ import annotations

import re
import resource
from collections.abc import Mapping

_URL = re.compile(
    # A bounded scheme: peers' addresses come here too, and some are megabytes without a colon.
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,15}://)(?P<account>[^\s/?#]*@)?"
    r"(?P<host>[^\s/?#'\"]*)(?P<path>[^\s?#'\"]*)(?P<query>[?#][^\s'\"]+)?"
)
_SOCKETS = ("ws://", "wss://")
_PRIVATE = re.compile(r".*(?:KEY|SECRET|TOKEN(?!IZER)|PASS|CREDENTIAL|MNEMONIC).*|BT_PW_.*")


def shown(text: str) -> str:
    """`text` with stars for the account and query of every URL in it, and for a websocket's path:
    those who sell access to chains and storage put keys there."""
    return _URL.sub(_without_keys, text)


def public_environment(environment: Mapping[str, str], needs: str = "") -> dict[str, str]:
    """The variables for a program that needs no secrets but those whose names begin with `needs`.

    Which are secret is told by their names. What a program does not hold, it cannot report.
    """
    return {
        name: text
        for name, text in environment.items()
        if (needs and name.startswith(needs)) or not _PRIVATE.fullmatch(name.upper())
    }


def keep_off_disk() -> None:
    """No image of this process's memory is written when it crashes: the keys are in it.

    Children inherit that. Handlers to which the kernel hands images (systemd-coredump, apport) go
    by the same limit. Only the soft limit is changed, whatever the flags, so that somebody who
    hunts a crash says so for one process: `prlimit --core=unlimited --pid PID`.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def _without_keys(found: re.Match[str]) -> str:
    scheme, path = found["scheme"], found["path"]
    account = "***@" if found["account"] else ""
    if scheme.lower() in _SOCKETS and path.strip("/.,:;"):
        path = "/***"
    query = f"{found['query'][0]}***" if found["query"] else ""
    return f"{scheme}{account}{found['host']}{path}{query}"
