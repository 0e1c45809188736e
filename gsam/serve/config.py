"""The settings of a server: what it serves, to whom, and how much of it."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from gsam.errors import UsageError

MB = 1 << 20
PAGE_PORT = 8000
NAME = re.compile(r"[^\s/:@*?#,\[\]]+|\[?[0-9a-fA-F:.]+\]?")
"""A name of this server, or an address."""
ALLOWED = re.compile(r"(?P<name>[^\s/:@*?#,\[\]]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>[0-9]{1,5}))?")
"""A host that images are fetched from."""
ROOT = re.compile(r"(?:/[^\s/?#]+)+")
TOKEN = re.compile(r"[!-~]{1,512}")


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """All that a server is told when it starts.

    Raises:
        gsam.errors.UsageError: A public address without a token (``serve_public``), or a number
            that makes no sense (``serve_limit``).
    """

    pipeline: str = "nano"
    """The recipe that answers words, as `gsam.load` takes it."""
    predictor: str | None = None
    """The model that answers clicks; by default the recipe's segmenter."""
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Further arguments of `gsam.load`: models in place of the recipe's, device, dtype, limits."""

    host: str = "127.0.0.1"
    port: int = PAGE_PORT
    token: str | None = None
    """The secret that clients have to send, ``Authorization: Bearer TOKEN``."""
    insecure: bool = False
    """Whether a public address without a token is allowed."""
    names: tuple[str, ...] = ()
    """Names in a request's ``Host`` header beside ``localhost`` and addresses; ``*`` for any."""
    root_path: str = ""
    """The path before this server's own, where a proxy takes it away."""

    allow_hosts: tuple[str, ...] = ()
    """Hosts that images may be fetched from, ``NAME`` or ``NAME:PORT``; none for no addresses at
    all."""
    label_studio: bool = False
    label_studio_url: str | None = None
    label_studio_token: str | None = None
    cvat: bool = False
    cvat_query: str = ""
    """The words that CVAT's detector finds; without any there is none."""
    cvat_from: tuple[str, ...] = ()
    """Networks whose requests to CVAT's routes need no token; by default none."""
    x_anylabeling: bool = False
    page: bool = True

    max_body: int = 25 * MB
    max_video_body: int = 200 * MB
    max_held: int = 1024 * MB
    """Bytes of the bodies of all requests that are not answered yet; more are answered 503."""
    max_pixels: int = 40_000_000
    max_query: int = 2000
    """Characters of a query."""
    max_queries: int = 512
    max_prompts: int = 256
    """Prompts of one request, and points of one prompt."""
    max_frames: int = 3000
    max_videos: int = 4

    max_sessions: int = 64
    max_session_bytes: int = 2048 * MB
    session_age: float = 1800.0
    """Seconds after its last use until a session is forgotten."""

    queue: int = 64
    """Requests that wait for the models, at most; more are answered 503."""
    batch: int = 8
    """Images that are computed together, at most."""
    batch_wait: float = 0.004
    """Seconds that the first request of a batch waits for others, at most."""
    deadline: float = 60.0
    """Seconds until a request is answered 504."""
    read_timeout: float = 30.0
    """Seconds that a body may take to arrive; one that may be larger has more in proportion."""
    head_timeout: float = 10.0
    """Seconds that the head of a request may take to arrive."""
    connections: int = 1024
    """Connections at a time; more are answered 503."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in ("int", "float") and not value > 0 and field.name not in ("port", "batch_wait"):
                raise UsageError(f"{field.name} must be greater than 0, is {value}", "serve_limit")
        if not self.batch_wait >= 0:
            raise UsageError(f"batch_wait must not be below 0, is {self.batch_wait}", "serve_limit")
        if not 0 <= self.port < 65536:
            raise UsageError(f"port must be in 0..65535, is {self.port}", "serve_limit")
        for name in self.names:
            if name != "*" and not NAME.fullmatch(name):
                raise UsageError(f"--name {name!r}: a name or an address, without http:// and port", "serve_name")
        for host in self.allow_hosts:
            if not ALLOWED.fullmatch(host):
                raise UsageError(f"--allow-host {host!r}: NAME or NAME:PORT, one host at a time", "serve_allow_host")
        if self.root_path and not ROOT.fullmatch(self.root_path):
            raise UsageError(f"--root-path {self.root_path!r}: begins with / and does not end with it", "serve_root")
        if self.token is not None and not TOKEN.fullmatch(self.token):
            raise UsageError("a token is one to 512 visible ASCII characters, without spaces", "serve_token")
        for network in self.cvat_from:
            check_network(network)
        if not (self.token or self.insecure or is_local(self.host)):
            raise UsageError(
                f"{self.host or 'every address'} can be reached from other machines: give a token (--token, or the "
                "variable GSAM_TOKEN), serve on 127.0.0.1 behind a proxy, or say --insecure",
                "serve_public",
            )


def check_network(network: str) -> None:
    """Refuse what is no network, or all of them.  Raises `UsageError` (``serve_network``)."""
    try:
        found = ipaddress.ip_network(network, strict=False)
    except ValueError:
        raise UsageError(
            f"--cvat-from {network!r}: an address or a network, 172.18.0.0/16 for instance", "serve_network"
        ) from None
    if found.prefixlen == 0:
        raise UsageError(f"--cvat-from {network!r} is every address: --insecure says that", "serve_network")


def is_local(host: str) -> bool:
    """Tell whether only this machine can reach an address to listen on.

    A name other than ``localhost`` is taken for a public one, whatever it means here.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Tell whether an address to listen on is every one of this machine's."""
    try:
        return host == "" or ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False
