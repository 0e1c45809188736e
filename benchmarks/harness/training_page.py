"""The page of `benchmarks.training`."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping
from typing import Any

GB = 1e9
SECTIONS = ("drawings", "torch", "sam", "kill")
CURVE = 1e-3
"""Loss curves of two programs agree where they are nowhere farther apart."""
RATIO = 1.0
"""Goal for the seconds of a step, to PyTorch's fastest form."""


def page(report: Mapping[str, Any]) -> str:
    """Write the page.

    Args:
        report: What was measured; a section that was not is absent.
    """
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items() if version != "absent")
    out = [
        "# Fine-tuning",
        "",
        f"Made by `{report['command']}` on {report['date']}: {report['machine']}; {versions}. It took "
        f"{report['took']:.0f} s; load before it: {report['load']}.",
        "",
    ]
    writers = {"drawings": _drawings, "torch": _torch, "sam": _sam, "kill": _kill}
    for name in SECTIONS:
        if name not in report:
            continue
        title, *lines = writers[name](report[name])
        about = report.get("made", {}).get(name, report)
        if about["command"] != report["command"] or about["date"] != report["date"]:
            made = (
                f"Made by `{about['command']}` on {about['date']}: {about['machine']}; load before it: {about['load']}."
            )
            lines = ["", made, *lines]
        out += [title, *lines, ""]
    return "\n".join(out).rstrip() + "\n"


def wrong(report: Mapping[str, Any]) -> list[str]:
    """List what is not as it should be; a slow machine is not among it."""
    found = []
    for row in report.get("torch", {}).get("rows", ()):
        if not row["furthest"] <= CURVE:
            found.append(f"the losses of {row['form']} are {row['furthest']:.2g} apart from gsam's")
    killed = report.get("kill")
    if killed:
        found += [f"killed and resumed, {name} differs" for name in killed["differences"]]
        found += [f"run again, {name} differs" for name in killed["again"]]
        if killed["kills"] < killed["asked"]:
            found.append(f"{killed['kills']} of {killed['asked']} kills fell into the run")
    return found


def _drawings(found: Mapping[str, Any]) -> list[str]:
    out = [
        "## Nano on line drawings",
        "",
        "| trained | prompt | IoU before | IoU after | of classes, before | after |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        for mean in row["means"]:
            numbers = (mean["before"], mean["after"], mean["class_before"], mean["class_after"])
            first, second, third, fourth = ("not known" if v is None else f"{v:.3f}" for v in numbers)
            out.append(f"| {row['what']} | {mean['prompt']} | {first} | **{second}** | {third} | {fourth} |")
    out += [
        "",
        "| trained | minutes in all | of these training | peak memory | model's file |",
        "|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        out.append(
            f"| {row['what']} | {row['seconds'] / 60:.1f} | {row['training'] / 60:.1f} | {row['peak'] / GB:.2f} GB | "
            f"{row['bytes'] / 1e6:.2f} MB |"
        )
    objects = found["objects"]
    settings = found["rows"][0]["settings"]
    return out + _noted(
        f"nano_sam, tuned by `gsam train segmenter` for {found['steps']} steps of {settings.get('batch size', '?')} images "
        f"on {found['train']} line drawings with {objects['train']} objects, and scored on {found['held_out']} others with "
        f"{objects['held_out']}: mean IoU over objects, then over classes. The drawings are nano's things as lines on paper "
        "(`benchmarks.harness.training_scenes`), a domain that nano has never seen; the seed decides them all.",
        "Minutes in all are of the whole process: start-up, features, compilation, and scoring before and after.",
    )


def _torch(found: Mapping[str, Any]) -> list[str]:
    rows = {row["form"]: row for row in found["rows"]}
    peers = {name: statistics.median(row["seconds"]) for name, row in rows.items() if name != "gsam"}
    ours = statistics.median(rows["gsam"]["seconds"])
    fastest = min(peers, key=lambda name: peers[name])
    out = [
        "## Beside PyTorch",
        "",
        "| decoder tuning | seconds a step | steps/s | losses differ from gsam's by at most | peak memory |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        seconds = statistics.median(row["seconds"])
        apart = f"{row['furthest']:.1e}"
        out.append(f"| {name} | {seconds:.3f} | {1 / seconds:.3f} | {apart} | {row['peak'] / GB:.2f} GB |")
    out += [f"| {name} | not measured: {why} | | | |" for name, why in found["absent"].items()]
    met = "met" if ours / peers[fastest] <= RATIO else "**missed**"
    same = all(row["furthest"] <= CURVE for row in rows.values())
    model = "A tiny seeded SAM" if found["small"] else "A seeded SAM ViT-B"
    runs = "One run" if found["repeats"] == 1 else f"Medians of {found['repeats']} runs"
    return out + _noted(
        f"Seconds of a step, gsam / {fastest}: **{ours / peers[fastest]:.2f}**; goal {RATIO:g} or less: {met}.",
        f"Loss curves of {found['steps']} steps within {CURVE:g}: {'met' if same else '**missed**'}.",
        f"{model}, float32, image features kept: batches of {found['batch']} images with {found['objects']} prompts each, "
        f"boxes and lone clicks; {min(found['rounds'])} to {max(found['rounds'])} corrections of every second prompt. The "
        "same weights, batches, corrections, losses, AdamW, schedule, clipping and moving average, in transformers' "
        f"SamModel with sdpa attention. {runs} in turns, each the mean of the steps after the "
        f"first {found['warm']}; making batches is not in them. torch.compile is timed when it has seen all batches once.",
    )


def _sam(found: Mapping[str, Any]) -> list[str]:
    settings = found["settings"]
    model = "A tiny seeded SAM" if found["small"] else "SAM ViT-B (seeded weights)"
    return [
        "## SAM ViT-B's decoder, features kept",
        "",
        "| seconds a step | peak memory | features on disk, an image and its mirror image | whole run |",
        "|---|---|---|---|",
        f"| {found['step']:.2f} | {found['peak'] / GB:.2f} GB | {found['kept'] / found['images'] / 1e6:.1f} MB | "
        f"{found['seconds'] / 60:.1f} min |",
        *_noted(
            f"{model}, by `gsam train segmenter` with its defaults: batches of {settings.get('batch size', '?')} images with "
            f"{settings.get('prompts per image', '?')} prompts each, {found['steps']} steps, {found['images']} images of which "
            "the last two are held out and kept without their mirror image. A step's seconds are those between the first and the "
            "last line of the log.",
        ),
    ]


def _kill(found: Mapping[str, Any]) -> list[str]:
    same = "weights, curve and scores equal an undisturbed run's, byte for byte"
    differ = ", ".join(found["differences"])
    times = "once" if found["kills"] == 1 else f"{found['kills']} times"
    return [
        "## Killed and resumed",
        "",
        *_noted(
            f"`gsam train segmenter` on nano_sam, {found['steps']} steps, a checkpoint every {found['saves']}: killed "
            f"{times} by SIGKILL at random moments (seed {found['seed']}), after steps "
            f"{', '.join(str(step) for step in found['at']) or 'none'} of the log. In the end "
            f"{'**' + differ + ' differ**' if differ else same}.",
            f"An undisturbed run takes {found['seconds']:.0f} s, start-up and scoring included.",
        )[1:],
    ]


def _noted(*notes: str) -> list[str]:
    return ["", *(textwrap.fill(f"- {note}", 100, subsequent_indent="  ") for note in notes)]
