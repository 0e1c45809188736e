"""Names of 0.6: a public one says what it is called now, a private module is gone."""

from __future__ import annotations

import importlib

import pytest

import gsam


def test_a_public_name_says_where_it_went() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Everything': it is now gsam\.GridProposer$"):
        _ = gsam.Everything
    with pytest.raises(ImportError, match="Everything"):
        from gsam import Everything  # noqa: F401
    assert not hasattr(gsam, "Everything")
    assert "Everything" not in dir(gsam)


@pytest.mark.parametrize("new", gsam._MOVED.values())
def test_where_it_went_is_there(new: str) -> None:
    module, _, name = new.rpartition(".")
    assert hasattr(importlib.import_module(module), name)


def test_a_name_that_never_was_is_not_said_to_have_moved() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
        _ = gsam.nothing


PRIVATE = ["detect", "everything", "formats", "frames", "generator", "predictor", "reading", "store", "video"]


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_module_is_gone(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"No module named 'gsam.{name}'"):
        importlib.import_module(f"gsam.{name}")


def test_medical_stays() -> None:
    from gsam.inputs import medical

    assert gsam.medical is medical
