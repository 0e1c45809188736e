"""Files on buckets and other stores, by fsspec: ``gs://``, ``s3://``, ``memory://`` and more."""

from __future__ import annotations

import errno
import random
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from gsam.errors import GsamError, UsageError
from gsam.inputs.remote import is_url

T = TypeVar("T")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*(::|://)", re.IGNORECASE)
TRIES = 4
PATIENCE = 30.0
"""Seconds after which no further try begins."""
PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs"} | dict.fromkeys(
    ("az", "abfs", "abfss"), "adlfs"
)
CLIENTS = {"aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google", "requests", "urllib3"}
"""Packages whose errors come from the network."""
FINAL = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.EINVAL, errno.ENOSYS, errno.ENAMETOOLONG, errno.EREMCHG),
}
"""Numbers of errors that come again however often something is tried."""


class StoreError(GsamError):
    """A store cannot be reached (``store_unreachable``) or does not let us (``store_denied``)."""


def is_store(source: str) -> bool:
    """Tell whether a source is on a store that fsspec reaches; http and https are not."""
    return SCHEME.match(source) is not None and not is_url(source)


def located(url: str) -> tuple[Any, str]:
    """Give the file system of an address, and its path there.

    Raises:
        UsageError: fsspec knows no such store (``store_unknown``), the package for it is missing
            (``extra_missing``), or it wants credentials at once (``store_denied``).
    """
    import fsspec

    protocol = url.partition("://")[0]
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = PACKAGES.get(protocol)
        needed = f"{package}: pip install {package}" if package else f"another package: {error}"
        raise UsageError(f"{protocol}:// needs {needed}", "extra_missing") from None
    except ValueError as error:
        raise UsageError(f"{url} is on no store that fsspec knows: {error}", "store_unknown") from None
    except Exception as error:  # credentials that the client wants at once
        raise UsageError(f"cannot use {url}: {_why(error)}", "store_denied") from None
    if protocol in ("http", "https"):
        raise UsageError(f"{url} cannot be written to: results go to a folder or a bucket", "store_unknown")
    return fs, str(path)


def steady(action: Callable[[], T], where: str, tries: int = TRIES) -> T:
    """Do something with a store, again where the network or the store's load was in the way.

    Args:
        action: What is done.
        where: The address, for the message.
        tries: How often it is tried at most, within `PATIENCE` seconds.

    Raises:
        FileNotFoundError: There is no such file.
        FileExistsError: A conditional request was refused.
        StoreError: The store cannot be reached, or does not let us.
    """
    began = time.monotonic()
    for number in range(1, tries + 1):
        try:
            return action()
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as error:
            if not (isinstance(error, OSError) or type(error).__module__.partition(".")[0] in CLIENTS):
                raise
            if _code(error) in ("PreconditionFailed", 412):
                raise FileExistsError(where) from None
            if _is_denial(error):
                raise StoreError(f"{where} does not let us: {_why(error)}", "store_denied") from None
            seconds = time.monotonic() - began
            wait = 2.0 ** (number - 1) * random.uniform(1, 1.25)
            if _is_final(error) or number == tries or seconds + wait > PATIENCE:
                many = f" after {number} tries in {seconds:.0f} s" if number > 1 else ""
                raise StoreError(f"cannot reach {where}: {_why(error)}{many}", "store_unreachable") from None
        time.sleep(wait)
    raise AssertionError


def reached(url: str, action: Callable[[], T]) -> T:
    """Do something about a source on a store, as `steady` does.

    Raises:
        UsageError: It is not there (``source_missing``), or as `StoreError`.
    """
    try:
        return steady(action, url)
    except FileNotFoundError:
        raise UsageError(f"{url} is not there", "source_missing") from None
    except StoreError as error:
        raise UsageError(str(error), error.code) from None


def _why(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _code(error: BaseException) -> object:
    """The answer of the store, a word of its own or a number."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            return response.get("Error", {}).get("Code")
        for key in ("status_code", "status", "code"):
            if isinstance(value := getattr(one, key, None), int | str):
                return int(value) if str(value).isdecimal() else value
    return None


def _is_denial(error: BaseException) -> bool:
    name = type(error).__name__
    return (
        isinstance(error, PermissionError)
        or _code(error) in (401, 403, "AccessDenied", "Forbidden")
        or str(error).startswith("Forbidden")  # gcsfs
        or any(word in name for word in ("Credential", "Authentication", "Token"))
    )


def _is_final(error: BaseException) -> bool:
    code = _code(error)
    if isinstance(code, int) and 400 <= code < 500 and code not in (408, 409, 429):
        return True
    busy = code in ("ConditionalRequestConflict", "RequestTimeout", "SlowDown")
    number = error.errno if isinstance(error, OSError) else None
    return (number in FINAL and not busy) or "Validation" in type(error).__name__
