"""Parts of the benchmarks that could be wrong without anybody noticing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.harness import differences, interleave, machine, report, roofline
from benchmarks.harness.cases import Case
from benchmarks.harness.setting import Setting

CASE = Case("fake", "a fake", "fake", {}, frozenset(), ("eager",), goal=0.9, rounds=3)


class Fake:
    """A worker that computes ``value`` and takes ``seconds`` in turn."""

    def __init__(self, value: float, seconds: list[float], others: float = 0.0) -> None:
        self.value, self.seconds, self.others, self.timed = value, seconds, others, 0

    def call(self, do: str, **given: Any) -> dict[str, Any]:
        if do == "build":
            np.savez(given["save"], x=np.arange(4.0) + self.value)
            return {"first": 1.0, "peak": 1}
        self.timed += 1
        return {"seconds": self.seconds[given["number"]], "cpu": 1.0, "others": self.others, "stolen": 0.0, "peak": 1}


class Workers(dict[str, Fake]):
    setting = Setting(Path("."))


def test_ratios_are_of_pairs() -> None:
    workers = Workers(gsam=Fake(0, [1.0, 2.0, 9.0]), eager=Fake(0, [2.0, 5.0, 10.0]))
    found = interleave.measure(CASE, workers)
    ratio = found["ratios"]["eager"]
    assert (ratio["median"], ratio["lowest"], ratio["highest"]) == (0.5, 0.4, 0.9)  # of medians it would be 0.4
    assert (ratio["pairs"], ratio["quiet"]) == (3, 3)
    assert report.verdict(CASE, found) == "met"
    assert "**0.50** (0.40 to 0.90) to eager" in report.line(CASE, found)


def test_busy_pairs_are_not_quiet() -> None:
    workers = Workers(gsam=Fake(0, [1.0] * 3), eager=Fake(0, [1.0] * 3, others=0.3))
    found = interleave.measure(CASE, workers)
    ratio = found["ratios"]["eager"]
    assert (ratio["quiet"], ratio["quiet_median"]) == (0, None)
    assert report.verdict(CASE, found) == "not judged: no quiet pair"


def test_another_precision_is_shown_beside_and_not_judged() -> None:
    case = dataclasses.replace(CASE, peers=("eager", "~bf16", "+sdpa")).with_peers(full=False)
    assert (case.peers, case.beside, case.omitted) == (("eager", "bf16"), ("bf16",), ("sdpa",))
    workers = Workers(gsam=Fake(0, [1.0] * 3), eager=Fake(0, [2.0] * 3), bf16=Fake(0.01, [0.5] * 3))
    found = interleave.measure(case, workers)  # the difference is within bfloat16's
    assert report.fastest_peer(case, found) == "eager"
    assert report.verdict(case, found) == "met"
    row = report.line(case, found)
    assert "| a fake | float32 | 1.00 s | eager 2.00 s, bf16 500 ms; gsam / bf16 2.00" in row
    assert "**0.50** (0.50 to 0.50) to eager" in row


def test_a_page_is_kept_where_a_case_had_no_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import __main__ as command

    told = {
        "kind": "cpu", "small": False, "command": "c", "date": "today", "machine": "a machine", "versions": {},
        "load": "0", "rows": {"post": {"skipped": "no time was left"}},
    }  # fmt: skip
    monkeypatch.setattr(command, "run", lambda *args: told)
    monkeypatch.setattr(command, "PAGES", tmp_path)
    monkeypatch.setattr("sys.argv", ["benchmarks", "cpu"])
    assert command.main() == 0
    assert not any(tmp_path.iterdir())
    shown = capsys.readouterr()
    assert "not measured: no time was left" in shown.out
    assert "the page stays as it was" in shown.err


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_a_wrong_output_is_not_timed(value: float) -> None:
    workers = Workers(gsam=Fake(value, [0.001] * 3), eager=Fake(0, [1.0] * 3))
    with pytest.raises(interleave.WrongOutput, match="differ"):
        interleave.measure(CASE, workers)
    assert workers["gsam"].timed == workers["eager"].timed == 0


def test_who_begins_changes() -> None:
    assert [form for _, form in interleave.alternate(["a", "b"], 2)] == ["a", "b", "b", "a"]


def test_shapes_must_fit() -> None:
    assert differences.close({"x": np.zeros(3)}, {"x": np.zeros(4)}) == np.inf
    assert differences.masks({"x": np.zeros((2, 2), bool)}, {"x": np.eye(2, dtype=bool)}) == 0.5


def test_lower_bound_of_a_product() -> None:
    a, b = jnp.zeros((64, 32), jnp.bfloat16), jnp.zeros((32, 16), jnp.bfloat16)

    def often(a: jax.Array, b: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda carry, _: (carry, a @ b), 0, length=3)[1]

    assert roofline.count_operations(jnp.matmul, a, b) == 2 * 64 * 32 * 16
    assert roofline.count_operations(jax.jit(often), a, b) == 3 * 2 * 64 * 32 * 16
    assert roofline.minimum_bytes(jnp.matmul, a, b) == 2 * (64 * 32 + 32 * 16 + 64 * 16)
    peak = roofline.Peak(operations=790e12, bandwidth=4.3e12)
    assert peak.least_seconds(790e12, 4.3e12 / 2) == pytest.approx(1.0)
    assert peak.least_seconds(790e12 / 2, 4.3e12) == pytest.approx(1.0)


def test_page() -> None:
    workers = Workers(gsam=Fake(0, [1.0] * 3), eager=Fake(0, [2.0] * 3))
    told = {
        "kind": "cpu", "small": False, "command": "python -m benchmarks cpu", "date": "today", "machine": "a machine",
        "versions": machine.versions(), "load": "0", "took": 1.0,
        "rows": {"fake": interleave.measure(CASE, workers)},
    }  # fmt: skip
    assert "| a fake | float32 | 1.00 s | eager 2.00 s |" in report.page(json.loads(json.dumps(told)), {"fake": CASE})
