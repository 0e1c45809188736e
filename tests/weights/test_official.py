"""Where an official model comes from: here, its authors' address, or the hub and its mirrors."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsam.errors import CheckpointError
from gsam.weights import download, official

ENTRY = {
    "url": "https://authors.example/files/model.pth",
    "hub_twin": "owner/twin",
    "sha256": "0" * 64,
    "parameters": 25_000_000,
}
"""A model that its authors keep, with the same weights on the hub."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What was fetched from where; nothing is."""
    calls: list[str] = []

    def from_hub(name: str, revision: str | None = None) -> Path:
        calls.append(f"hub {name}")
        return tmp_path / "hub"

    def from_url(url: str, target: Path, sha256: str | None) -> Path:
        calls.append(url)
        return target

    monkeypatch.setattr(download, "from_hub", from_hub)
    monkeypatch.setattr(download, "from_url", from_url)
    monkeypatch.setattr(official, "offline", lambda: False)
    monkeypatch.setenv("GSAM_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    return calls


def test_by_default_it_comes_from_its_authors(asked: list[str], tmp_path: Path) -> None:
    assert official.locate("model", ENTRY) == (tmp_path / "weights" / "model.pth", "0" * 64)
    assert asked == [ENTRY["url"]]


def test_a_file_that_is_here_is_taken(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.pth").touch()
    assert official.locate("model", ENTRY) == (tmp_path / "weights" / "model.pth", "0" * 64)
    assert asked == []
    assert official.is_here("model", ENTRY)


def test_offline_only_the_hub_s_cache_is_asked(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "offline", lambda: True)
    official.locate("model", ENTRY)
    assert asked == ["hub owner/twin"]
    with pytest.raises(CheckpointError) as caught:
        official.locate("model", {k: v for k, v in ENTRY.items() if k != "hub_twin"})
    assert caught.value.code == "hub_offline"
    assert len(asked) == 1


def test_a_mirror_serves_the_twin(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    official.locate("model", ENTRY)
    assert asked == ["hub owner/twin"]
    asked.clear()
    own = {**ENTRY, "url": f"{official.HUB}/owner/model/resolve/main/model.pth"}
    del own["hub_twin"]
    official.locate("model", own)
    assert asked == ["https://mirror.example/owner/model/resolve/main/model.pth"]


@pytest.mark.parametrize(("code", "twin"), [("download_failed", True), ("checkpoint_hash", False)])
def test_the_twin_takes_the_place_of_an_address_that_cannot_be_reached(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, code: str, twin: bool
) -> None:
    def fails(url: str, target: Path, sha256: str | None) -> Path:
        raise CheckpointError("it did not work", code)

    monkeypatch.setattr(download, "from_url", fails)
    if twin:
        official.locate("model", ENTRY)
    else:
        with pytest.raises(CheckpointError, match="did not work"):
            official.locate("model", ENTRY)
    assert asked == ["hub owner/twin"] * twin
