"""A tracker on held-out clips of moving pictograms: ``python -m benchmarks.tracks [--clips 30]``.

By prompts: every object gets one click in its middle, three clicks, a box or its mask on the first
frame it is seen in, and is followed to the end; J, F and their mean as DAVIS has them.  By text: a
pipeline finds the objects by their names; identity switches, objects that enter late.  With
``--redraw`` prompts are measured again with masks that a segmenter of images draws.  For
comparison, without any following: the truth at the tracker's resolution, and nano's segmenter
clicked anew on every frame.  Clips are drawn, so Noto Color Emoji is needed; ``--folder
tests/data/clips`` measures on those that ship.  Prints, and with ``--out DIR`` writes
``tracks.md``, ``tracks.json`` and two contact sheets.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import gsam
from benchmarks.clicks import correction, farthest
from benchmarks.harness import machine
from gsam.evaluation import tracking
from gsam.nano import heldout_clips
from gsam.nano.scenes import IGNORE
from gsam.ops.bounds import bounds
from gsam.results.tracks import TrackedFrame, Tracks

GOAL = 0.65
"""J&F of what is clicked once, with masks drawn again where they are."""
PROMPTS = {"click": "one click", "clicks": "three clicks", "box": "a box", "mask": "its mask"}
PAGES = Path(__file__).parent / "pages"
LENGTH = 24
"""Frames of a clip that is drawn."""
SEGMENTER = "nano_sam"
"""The segmenter that is clicked on every frame, for comparison."""
ONCE: dict[str, Any] = {"every": 10, "match": 0.5, "renew": 1.0, "doubt": 0, "redraw": False}
"""The settings of tracking with which an object is prompted once."""
BY_TEXT: tuple[tuple[str, Callable[[dict[str, Any]], str], str], ...] = (
    ("identity switches per clip", lambda t: f"{t['switches_a_clip']:.2f}", ""),
    ("objects that enter late and are found within 8 frames", lambda t: f"{t['late_found']} of {t['late']}", ""),
    ("- on average after so many frames", lambda t: f"{t['late_delay']:.1f}", ""),
    ("frames in which a visible object has a track (IoU ≥ 0.5)", lambda t: f"{t['found']:.3f}", "≥ 0.75"),
    ("- of these, under its name", lambda t: f"{t['called'] / max(t['matched'], 1):.3f}", ""),
    ("masks that fit nothing (IoU < 0.5), per clip", lambda t: f"{t['false'] / max(t['clips'], 1):.2f}", "≤ 8"),
    ("J, F of the tracks that fit best, over all frames", lambda t: f"{t['j']:.3f}, {t['f']:.3f}", ""),
)
"""Rows of the page: title, figure, goal."""
Redraw = Callable[[Any, list[Any]], Any]
"""A function of a frame's pixels and the true masks on it that returns as many masks [N, H, W]."""
LIMITS = (
    "Training. It learnt for six hours, of one core or two (weights/nano/manifest.toml). Following itself is "
    "weak: an object whose true mask is given on its first frame is followed little better than one that is clicked on. "
    "A click's mask is poor too, much worse than that of nano's segmenter (clicks.md), which learnt on images alone; and "
    "even that one, clicked anew on every frame, stays below what is asked for. Masks have 56 x 56 cells, an embedding "
    "14 x 14."
)
"""Prose for the page; the numbers above it are measured."""


def prompt(predictor: gsam.VideoPredictor, state: Any, frame: int, identity: int, truth: Any, kind: str) -> None:
    """Prompt for an object on one frame; clicks after the first go where the mask is most wrong."""
    known = truth != IGNORE
    mask = truth == identity
    if kind == "mask":
        predictor.add_new_mask(state, frame, identity, mask)
        return
    if kind == "box":
        predictor.add_new_points_or_box(state, frame, identity, box=[float(x) for x in bounds(mask)])
        return
    (x, y), label = farthest(mask)[0], 1
    for click in range(3 if kind == "clicks" else 1):
        answer = predictor.add_new_points_or_box(
            state, frame, identity, [[x + 0.5, y + 0.5]], [label], clear_old_points=click == 0
        )
        (x, y), label = correction(answer[2][answer[1].index(identity), 0] > 0, mask, known)


def prompted(predictor: gsam.VideoPredictor, example: heldout_clips.Example, kind: str = "click") -> Tracks:
    """Prompt for every object where it is first seen, and track it; ids are the truth's."""
    frames, truth = example.clip.rgb, example.clip.instances
    state = predictor.init_state(frames)
    starts = {}
    for k in range(len(example.clip.names)):
        seen = np.flatnonzero((truth == k + 1).any((1, 2)))
        if len(seen):
            starts[k + 1] = int(seen[0])
            prompt(predictor, state, starts[k + 1], k + 1, truth[seen[0]], kind)
    told = []
    for frame, ids, logits in predictor.propagate_in_video(state, 0) if starts else ():
        begun = [i for i, number in enumerate(ids) if starts[number] <= frame]
        here = [ids[i] for i in begun]
        names = [example.clip.names[number - 1] for number in here]
        told.append(TrackedFrame.of(frame, logits[begun, 0] > 0, here, names))
    return Tracks(told, (frames.shape[1], frames.shape[2]), len(frames), name=example.name)


def measure(
    predictor: gsam.VideoPredictor, examples: Iterable[heldout_clips.Example], kind: str = "click"
) -> Iterator[dict[str, Any]]:
    """Yield J and F of every object of every clip, and the IoU on the frame of its prompt."""
    for example in examples:
        found, true = prompted(predictor, example, kind), example.tracks()
        ignored = example.clip.instances == IGNORE
        for quality in tracking.qualities(found, true, ignored=ignored):
            first = next(t for t, mask in enumerate(true.masks_of(quality.id)) if mask is not None)
            begun = found.frames[first]
            mask = begun.mask(begun.ids.tolist().index(quality.id)) & ~ignored[first]
            yield {
                "clip": example.name, "object": quality.id, "j": quality.j, "f": quality.f, "frames": quality.frames,
                "prompted": tracking.region(mask, example.clip.instances[first] == quality.id), "late": first > 0,
            }  # fmt: skip


def in_cells(side: int) -> Redraw:
    """Redraw the truth with ``side`` by ``side`` cells."""

    def redraw(pixels: Any, masks: list[Any]) -> Any:
        images = [Image.fromarray(255 * m.astype(np.uint8)).resize((side, side), Image.Resampling.BOX) for m in masks]
        size = pixels.shape[1::-1]
        return np.stack([np.asarray(image.resize(size, Image.Resampling.BILINEAR)) >= 128 for image in images])

    return redraw


def clicked(predictor: gsam.Predictor) -> Redraw:
    """Redraw by a segmenter of images, clicked once in the middle of each object."""

    def redraw(pixels: Any, masks: list[Any]) -> Any:
        predictor.set_image(pixels)
        points = np.array([[farthest(m)[0]] for m in masks], float)
        found = predictor.predict_many(points, np.ones((len(masks), 1), int), multimask_output=True)
        return found.masks[np.arange(len(masks)), found.iou.argmax(1)]

    return redraw


def unfollowed(examples: Iterable[heldout_clips.Example], redraw: Redraw) -> dict[str, float]:
    """Return J and F where every frame is redrawn on its own."""
    rows = []
    for example in examples:
        truth, told = example.clip.instances, []
        for t, pixels in enumerate(example.clip.rgb):
            ids = [k + 1 for k in range(len(example.clip.names)) if (truth[t] == k + 1).any()]
            masks = redraw(pixels, [truth[t] == i for i in ids]) if ids else np.zeros((0, *truth.shape[1:]), bool)
            told.append(TrackedFrame.of(t, masks, ids))
        found = Tracks(told, (truth.shape[1], truth.shape[2]), len(truth), name=example.name)
        rows += tracking.qualities(found, example.tracks(), ignored=truth == IGNORE)
    return {"j": float(np.mean([q.j for q in rows])), "f": float(np.mean([q.f for q in rows]))}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return means over objects."""
    told = {name: float(np.mean([r[name] for r in rows])) if rows else 0.0 for name in ("j", "f", "prompted")}
    return {"objects": len(rows), "j_and_f": (told["j"] + told["f"]) / 2, **told}


def by_text(pipe: gsam.Pipeline, examples: Iterable[heldout_clips.Example], **settings: Any) -> dict[str, Any]:
    """Track by names alone; return what becomes of identities, and J and F of the best tracks."""
    told, rows = [], []
    for example in examples:
        true, ignored = example.tracks(), example.clip.instances == IGNORE
        found = tracked(pipe, example, **settings)
        told.append(tracking.count_identities(found, true, ignored=ignored))
        rows += tracking.qualities(found, true, tracking.assign_tracks(found, true), ends=True, ignored=ignored)
    means = {"j": float(np.mean([q.j for q in rows])), "f": float(np.mean([q.f for q in rows]))} if rows else {}
    return {**tracking.total(told), **means}


def tracked(pipe: gsam.Pipeline, example: heldout_clips.Example, **settings: Any) -> Tracks:
    """Track a clip by the names of its objects."""
    queries = sorted(set(example.clip.names))
    return Tracks.of(pipe.track(example.clip.rgb, queries, **settings), count=len(example.clip.rgb), name=example.name)


def page(report: dict[str, Any]) -> str:
    """Write the page."""
    lines = [
        f"# {report['model']} on held-out clips",
        "",
        f"`{report['command']}`, {report['date']}, {report['machine']}.",
        "",
        f"{report['clips']} clips of {report['frames']} frames with seeds that training never used; every second one has a "
        "kind of background that training never saw. Objects pass over one another and behind occluders, leave and come back. "
        "Each is prompted once, on the first frame it is seen in. J, F: as DAVIS has them, without that frame and the last.",
        "",
        *table(report, asked="redrawn" not in report),
    ]
    if "redrawn" in report:
        lines += [
            "",
            f"With masks that `{report['redraw']}` draws again (`gsam.VideoPredictor(..., redraw=...)`, docs/video.md):",
            "",
            *table(report["redrawn"], asked=True),
        ]
    if "unfollowed" in report:
        lines += [
            "", "Without following, by what is known of each frame alone, and told where an object is not seen:", "",
            "| | J&F | J | F |", "|---|---|---|---|",
            *(f"| {name} | {(told['j'] + told['f']) / 2:.3f} | {told['j']:.3f} | {told['f']:.3f} |"
              for name, told in report["unfollowed"].items()),
        ]  # fmt: skip
    lines += ["", "![clicked once](tracks.png)", "", "What was clicked on once, in one of them."]
    if "text" in report:
        text = report["text"]
        lines += [
            "",
            f"## By text (`{report['pipeline']}`)",
            "",
            "The recipe looks for names in every frame, corrects what is tracked by what it finds, and hides what it keeps "
            "missing; masks are drawn again (`every`, `renew`, `doubt`, `redraw` in pipelines/nano.toml, docs/video.md). Beside "
            "it the same pipeline with what other recipes do: it looks at every tenth frame, and prompts an object once.",
            "",
            "| | corrected | prompted once | asked for |",
            "|---|---|---|---|",
            *(f"| {title} | {told(text)} | {told(report['text_once'])} | {goal} |" for title, told, goal in BY_TEXT),
            "",
            "![found by text](tracks_text.png)",
            "",
            "The same clip by the names of what is in it.",
        ]
    lines += ["", "## What limits it", "", LIMITS]
    return "\n".join([*lines, ""])


def table(report: dict[str, Any], *, asked: bool) -> list[str]:
    """Write a row for each prompt, and for what is there from the start and what enters later."""
    lines = [
        "| prompt | objects | J&F | J | F | J on the frame of the prompt | asked for |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [(PROMPTS[kind], told) for kind, told in report["prompts"].items()]
    rows += [("one click, there from the first frame", report["early"]), ("one click, entering later", report["late"])]
    for title, told in rows:
        met = "met" if told["j_and_f"] >= GOAL else "**missed**"
        goal = f"≥ {GOAL:.2f}: {met}" if asked and title == PROMPTS["click"] else ""
        figures = f"**{told['j_and_f']:.3f}** | {told['j']:.3f} | {told['f']:.3f} | {told['prompted']:.3f}"
        lines.append(f"| {title} | {told['objects']} | {figures} | {goal} |")
    return lines


def by_prompts(
    predictor: gsam.VideoPredictor, examples: Sequence[heldout_clips.Example], kinds: Sequence[str]
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Measure some prompts; return the means that `table` shows, and what is of each object."""
    rows = {kind: list(measure(predictor, examples, kind)) for kind in kinds}
    once = rows[kinds[0]]
    early, late = ([r for r in once if r["late"] == is_late] for is_late in (False, True))
    means = {kind: summary(told) for kind, told in rows.items()}
    return {"prompts": means, "early": summary(early), "late": summary(late)}, rows


def saved(sheet: Image.Image, path: Path) -> None:
    """Save a sheet, small enough for a page."""
    sheet.thumbnail((1600, 1600), Image.Resampling.LANCZOS)
    sheet.quantize(200).save(path, optimize=True)


def main() -> None:
    """Measure, print and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano_sam2", help="a name, a file or a folder of a SAM 2")
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--text", default="nano", help="a pipeline with a tracker; none: only prompts")
    parser.add_argument("--prompts", nargs="+", choices=list(PROMPTS), default=list(PROMPTS))
    parser.add_argument("--redraw", default=SEGMENTER, help="a segmenter that draws masks again; none: nothing does")
    parser.add_argument("--shown", type=int, default=0, help="which clip the sheets show")
    parser.add_argument("--folder", type=Path, help="measure on clips written before")
    parser.add_argument("--out", type=Path, default=PAGES)
    args = parser.parse_args()
    examples = (
        heldout_clips.read(args.folder) if args.folder else list(heldout_clips.examples("test", args.clips, LENGTH))
    )
    examples = examples[: args.clips]
    predictor = gsam.VideoPredictor(args.model, progress=False)
    means, rows = by_prompts(predictor, examples, args.prompts)
    report: dict[str, Any] = {
        "command": f"python -m benchmarks.tracks {' '.join(sys.argv[1:])}".strip(), "date": datetime.date.today().isoformat(),
        "machine": machine.processor(), "model": args.model, "clips": len(examples), "frames": len(examples[0].clip.rgb),
        **means,
    }  # fmt: skip
    if args.redraw != "none":
        again = gsam.VideoPredictor(args.model, redraw=args.redraw, progress=False)
        report |= {"redraw": args.redraw, "redrawn": by_prompts(again, examples, args.prompts)[0]}
    side = 4 * predictor.model.config.grid
    report["unfollowed"] = {
        f"the truth in {side} x {side} cells, which is what this tracker's masks have": unfollowed(
            examples, in_cells(side)
        ),
        f"`{SEGMENTER}`, clicked on every object in every frame": unfollowed(
            examples, clicked(gsam.Predictor(SEGMENTER))
        ),
    }
    pipe = None if args.text == "none" else gsam.load(args.text)
    if pipe is not None:
        both = {"text": by_text(pipe, examples), "text_once": by_text(pipe, examples, **ONCE)}
        report |= {"pipeline": args.text, **both}
    print(page(report))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "tracks.json").write_text(json.dumps({**report, "rows": rows}, indent=1) + "\n")
    (args.out / "tracks.md").write_text(page(report))
    shown = examples[args.shown]
    saved(prompted(predictor, shown).plot(shown.clip.rgb, title="clicked once"), args.out / "tracks.png")
    if pipe is not None:
        saved(tracked(pipe, shown).plot(shown.clip.rgb, title="found by text"), args.out / "tracks_text.png")


if __name__ == "__main__":
    main()
