"""Whom CVAT's routes answer where everybody else has to send a token, which CVAT cannot."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from gsam.serve.config import ServeConfig

LIST, INVOKE = "/api/functions", "/api/function_invocations"
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
"""Headers of a proxy: what comes through one is not CVAT's own connection."""
HINT = (
    "a token is needed, and CVAT sends none: start with --cvat-from NETWORK, that of CVAT's containers, "
    "or let a proxy between them add Authorization: Bearer TOKEN"
)


def is_ours(path: str) -> bool:
    """Tell whether a path is one of the gateway's."""
    return path in (LIST, INVOKE) or path.startswith(f"{LIST}/")


def excused(path: str, headers: Mapping[str, str], client: str | None, config: ServeConfig) -> bool:
    """Tell whether a request needs no token: it is for the gateway, from a network of CVAT's.

    Args:
        path: Of the request.
        headers: Names in lower case.
        client: The address that the connection is from.
        config: Its ``cvat_from`` are the networks, none by default.
    """
    if not config.cvat or not is_ours(path) or any(name in headers for name in FORWARDED):
        return False
    try:
        address = ipaddress.ip_address(client or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in ipaddress.ip_network(network, strict=False) for network in config.cvat_from)
