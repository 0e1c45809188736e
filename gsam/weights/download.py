"""Files from the hub and from plain addresses: with progress, resumable, never half there."""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from gsam import files
from gsam.errors import CheckpointError

PATTERNS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "gsam.json",
)
FALLBACK = "pytorch_model.bin"
CHUNK = 1 << 20


def from_hub(repository: str, revision: str | None = None) -> Path:
    """The files of a model on the hub, in the hub's own cache: its folder.

    All of `huggingface_hub`'s environment variables count (``HF_HOME``, ``HF_HUB_OFFLINE``,
    ``HF_TOKEN``, ``HF_ENDPOINT``).
    """
    import huggingface_hub
    from huggingface_hub import errors

    try:
        folder = Path(huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=list(PATTERNS)))
        if not any(folder.glob("*.safetensors")):
            more = [*PATTERNS, FALLBACK]
            folder = Path(huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=more))
            if not (folder / FALLBACK).is_file():
                text = f"{repository} has no weights that gsam reads: no .safetensors and no {FALLBACK}"
                raise CheckpointError(text, "checkpoint_missing")
        return folder
    except errors.GatedRepoError:
        text = f"{repository} is gated: accept its terms on the hub, then `hf auth login` or set HF_TOKEN"
        raise CheckpointError(text, "hub_gated") from None
    except errors.RevisionNotFoundError:
        raise CheckpointError(f"{repository} has no revision {revision!r}", "hub_revision") from None
    except errors.RepositoryNotFoundError:
        text = f"no model {repository!r} on the hub, or it is private and HF_TOKEN does not open it"
        raise CheckpointError(text, "hub_not_found") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        if isinstance(error.__cause__, errors.HfHubHTTPError):
            raise CheckpointError(f"the hub refused {repository}: {error.__cause__}", "hub_error") from None
        raise CheckpointError(
            f"{repository} is not in the cache and the hub cannot be reached. Load it once with network, or give the path of "
            "a folder with its config.json and safetensors",
            "hub_offline",
        ) from None
    except errors.HFValidationError as error:
        raise CheckpointError(f"{repository!r} is no name of a model on the hub: {error}", "hub_not_found") from None
    except errors.HfHubHTTPError as error:
        raise CheckpointError(f"the hub refused {repository}: {error}", "hub_error") from None
    except errors.HTTPError as error:  # type: ignore[attr-defined]
        text = f"{repository} could not be downloaded: {str(error) or type(error).__name__}; run the command again"
        raise CheckpointError(text, "download_failed") from None
    except OSError as error:
        raise CheckpointError(f"{repository} could not be downloaded: {error}", "download_failed") from None


def file_from_hub(repository: str, file: str) -> Path:
    """One file of a model on the hub, in the hub's cache.  Raises `CheckpointError`."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(huggingface_hub.hf_hub_download(repository, file))
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        first = str(error).strip().split("\n", 1)[0]
        raise CheckpointError(f"{repository}/{file} could not be downloaded: {first}", "download_failed") from None


def in_hub_cache(repository: str, revision: str | None = None) -> bool:
    """Return True if the weights of a hub model are in the cache."""
    return cached_folder(repository, revision) is not None


def cached_folder(repository: str, revision: str | None = None) -> Path | None:
    """Find the folder of a hub model in the cache; None if its weights are not in it."""
    import huggingface_hub

    for name in ("model.safetensors", "model.safetensors.index.json", "adapters.safetensors", FALLBACK):
        found = huggingface_hub.try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def from_url(url: str, target: Path, sha256: str | None = None) -> Path:
    """Download an address to ``target``; interrupted downloads resume, and processes take turns."""
    if target.is_file():
        return target
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    partial = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(target.with_name(target.name + ".lock")):
            if not target.is_file():
                _fetch(url, partial, target.name)
                if sha256:
                    _check(url, partial, sha256)
                partial.rename(target)
    except urllib.error.HTTPError as error:
        raise CheckpointError(f"{url}: {error.code} {error.reason}", "download_failed") from None
    except urllib.error.URLError as error:
        raise CheckpointError(
            f"{url} cannot be reached ({error.reason}). Download {target.name} elsewhere and give its path instead",
            "hub_offline",
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise CheckpointError(f"{target.name} could not be downloaded: {error}", "download_failed") from None
    return target


def _fetch(url: str, partial: Path, name: str) -> None:
    from tqdm import tqdm

    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        opened = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return  # it was complete already
        partial.unlink()
        return _fetch(url, partial, name)
    with contextlib.closing(opened) as answer:
        if have and answer.status != 206:
            have = 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        bar = tqdm(total=total or None, initial=have, unit="B", unit_scale=True, desc=name, file=sys.stderr)
        with partial.open("ab" if have else "wb") as file, bar:
            while block := answer.read(CHUNK):
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
    if total and partial.stat().st_size != total:
        raise CheckpointError(f"{url} ended early; run the command again to go on", "download_failed")


def _check(url: str, partial: Path, sha256: str) -> None:
    actual = files.sha256(partial)
    if actual != sha256:
        partial.unlink()
        raise CheckpointError(f"{url} gave a file with sha256 {actual}, expected {sha256}", "checkpoint_hash")
