"""Pictures of tasks: which hosts are asked for them, and who is shown Label Studio's token.

Label Studio's own host is asked, whatever its address, and those of ``--allow-host``, which have to
be public.  The token goes to the Label Studio that gsam was started with, and nowhere else.
"""

from __future__ import annotations

import base64
import functools
import re
import threading
import urllib.parse

from gsam.errors import ImageError, UsageError
from gsam.inputs.remote import Asking, StatusError, fetch
from gsam.serve.config import ServeConfig, is_local
from gsam.serve.fetching import check_host
from gsam.serve.label_studio.tokens import AccessToken
from gsam.serve.problems import ServeError

SETTINGS = (
    "start gsam with LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY (--label-studio-url, --label-studio-token); "
    "newer servers need both"
)
LOGIN = "/user/login"
CLOUDS = ("s3://", "gs://", "azure-blob://")
PROBE_SECONDS = 3.0


class LabelStudioAccess:
    """Label Studio as it is reached from here.

    Args:
        config: Has its address and token, if they are known.

    Raises:
        UsageError: Its address is none (``label_studio_url``).
    """

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._learnt: str | None = None
        self._token = AccessToken(config.label_studio_token)
        self.configured = _cleaned(config.label_studio_url) if config.label_studio_url else None
        if config.label_studio_url and self.configured is None:
            raise UsageError("LABEL_STUDIO_URL has to be an address: http://HOST:PORT", "label_studio_url")

    @property
    def url(self) -> str | None:
        """Its address without a slash at the end: as started with, or of this machine as learnt."""
        return self.configured or self._learnt

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"Label Studio at {self.url}" if self.url else "Label Studio"

    def learn(self, hostname: object) -> str | None:
        """Hear where Label Studio says that it is.

        It is believed only where nothing was configured, both are on this machine, and nobody else
        is served: whoever says it decides about addresses that are asked.

        Returns:
            The address, without what may be secret in it, where it is not believed.
        """
        if self.configured or not isinstance(hostname, str) or not (url := _cleaned(hostname)):
            return None
        alone = is_local(self._config.host) and not self._config.names
        if alone and is_local(urllib.parse.urlsplit(url).hostname or ""):
            with self._lock:
                self._learnt = url
            return None
        return url[:200]

    def address_of(self, image: str, task: object) -> str:
        """Resolve an image's address as a task has it.

        Args:
            image: An address, the path of an uploaded or a local file, or one in a cloud.
            task: The task's number, under which Label Studio gives out files of clouds.

        Raises:
            ImageError: It is none of these, or nothing tells where Label Studio is.
        """
        if image[:8].lower().startswith(("http://", "https://")):
            return image
        if image.startswith(CLOUDS):
            if not isinstance(task, int):
                raise ImageError(f"{shown(image)} needs the number of its task", "label_studio_image")
            code = urllib.parse.quote(base64.urlsafe_b64encode(image.encode()))
            image = f"/tasks/{task}/presign/?fileuri={code}"
        elif image.startswith(("upload/", "/upload/")):
            image = "/data/" + image.lstrip("/")
        if not image.startswith("/") or image.startswith("//"):
            raise ImageError(f"{shown(image)!r} is no address of an image", "label_studio_image")
        if self.url is None:
            raise ImageError(
                f"the image {shown(image)} is Label Studio's, and where that is has not been said: {SETTINGS}",
                "label_studio_image",
            )
        at = urllib.parse.urlsplit(self.url).path
        return urllib.parse.urljoin(self.url, image) if at and image.startswith(f"{at}/") else self.url + image

    def fetch(self, address: str, seconds: float = 30.0, most: int | None = None) -> bytes:
        """Fetch what is at an address; in a thread.

        Raises:
            ImageError: It cannot be had; the message is for people and has no query strings.
        """
        try:
            try:
                return self._fetch(address, seconds, most)
            except StatusError as error:
                if error.status != 401 or not self._token.forget():
                    raise
                return self._fetch(address, seconds, most)
        except StatusError as error:
            raise ImageError(self._refused(address, error.status), "label_studio_image") from None
        except ServeError as error:
            raise ImageError(str(error), error.code) from None
        except ImageError as error:
            raise ImageError(self._told(address, error), error.code) from None

    def look(self) -> str | None:
        """Ask Label Studio who we are; in a thread.

        Returns:
            What is wrong, in words for people; None if nothing is, or nothing was configured.
        """
        if self.configured is None:
            return None
        try:
            self.fetch(f"{self.configured}/api/current-user/whoami", PROBE_SECONDS, 1 << 20)
        except ImageError as error:
            return str(error)
        return None

    def _fetch(self, address: str, seconds: float, most: int | None) -> bytes:
        asking = functools.partial(self._asking, own=self._is_own(address))
        return fetch(address, most_bytes=most or self._config.max_body, seconds=seconds, asking=asking)

    def _asking(self, where: str, *, own: bool) -> Asking:
        """Decide about an address; ``own`` tells whether Label Studio was asked first."""
        if self._is_own(where):
            if urllib.parse.urlsplit(where).path.endswith((LOGIN, LOGIN + "/")):
                raise StatusError("sent to the login page", 401)
            return Asking(private=True, headers=self._token.headers(self.configured) if self.configured else {})
        host = _host(where)
        try:
            check_host(where, self._config)
        except ServeError:
            text = (
                f"{self.name} sends on to {shown(where)}: give that address as LABEL_STUDIO_URL"
                if own and host == _host(self.url or "")
                else f"images of the host {host or 'of no name'!r} are not fetched: start gsam with --allow-host NAME"
            )
            raise ServeError(403, "url_forbidden", text) from None
        return Asking(private=False)

    def _is_own(self, where: str) -> bool:
        return self.url is not None and _origin(where) == _origin(self.url)

    def _refused(self, address: str, status: int) -> str:
        if not self._is_own(address):
            return f"the host {_host(address)!r} answered {status} for {shown(address)}"
        said = f"{self.name} answered {status} for {urllib.parse.urlsplit(shown(address)).path}"
        if status in (401, 403):
            token = "wrong, or its user may not see this" if self._token and self.configured else "missing"
            return f"{said}: its access token is {token}; {SETTINGS}"
        if status == 404:
            return f"{said}: " + ("is LABEL_STUDIO_URL right, and the file there?" if self.configured else SETTINGS)
        return said

    def _told(self, address: str, error: ImageError) -> str:
        if error.code == "url_private":
            return f"the host of {shown(address)} has no public address: nothing is fetched from private networks"
        text = str(error).replace(address, shown(address))
        text = re.sub(r"\?\S*", "", text)
        if self._is_own(address) and error.code == "url_failed":
            return f"{self.name} cannot be reached from here ({text}): is LABEL_STUDIO_URL right?"
        return text


def shown(address: str) -> str:
    """An address as it may be told: without user, query and fragment, and not long."""
    text = re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", address, maxsplit=1)[0])
    return text if len(text) <= 120 else text[:117] + "..."


def _cleaned(url: str) -> str | None:
    """Scheme, host, port and path of an http address; None for any other text."""
    try:
        parts = urllib.parse.urlsplit(url.strip() if "://" in url else f"http://{url.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def _host(where: str) -> str:
    try:
        return (urllib.parse.urlsplit(where).hostname or "").lower()
    except ValueError:
        return ""


def _origin(where: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; the names of this machine are one."""
    try:
        parts = urllib.parse.urlsplit(where)
        port = parts.port
    except ValueError:
        return None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    return scheme, "localhost" if is_local(host) else host, port or (443 if scheme == "https" else 80)
