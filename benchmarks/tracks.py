"""A tracker on held-out clips of moving pictograms: ``python -m benchmarks.tracks --model FILE [--clips 30] [--text PIPELINE]``.

Click-prompted: every object is clicked once, in its middle, on the first frame it is seen in, and followed to the end; J, F
and their mean as DAVIS has them.  With ``--text`` a pipeline finds the objects by their names instead: identity switches,
objects that enter late.  Clips are drawn, so Noto Color Emoji is needed; ``--folder tests/data/clips`` measures on those that
ship.  Prints, and with ``--out DIR`` writes ``tracks.json`` and a contact sheet of one clip.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import gsam
from benchmarks import page
from benchmarks.clicks import farthest
from gsam.evaluation import clips, tracking
from gsam.formats import contact_sheet
from gsam.tracks import TrackedFrame, Tracks
from gsam.training.nano.scenes import IGNORE


def clicked(predictor: gsam.VideoPredictor, example: clips.Example) -> Tracks:
    """Every object clicked once and followed from there on; ids are the truth's."""
    frames, truth = example.clip.rgb, example.clip.instances
    state = predictor.init_state(frames)
    starts = {}
    for k in range(len(example.clip.names)):
        seen = np.flatnonzero((truth == k + 1).any((1, 2)))
        if len(seen):
            starts[k + 1] = int(seen[0])
            (x, y), _ = farthest(truth[seen[0]] == k + 1)
            predictor.add_new_points_or_box(state, starts[k + 1], k + 1, [[x + 0.5, y + 0.5]], [1])
    told = []
    for frame, ids, logits in predictor.propagate_in_video(state, 0) if starts else ():
        begun = [i for i, number in enumerate(ids) if starts[number] <= frame]
        masks = logits[begun, 0] > 0
        told.append(TrackedFrame.of(frame, masks, [ids[i] for i in begun]))
    size = (frames.shape[1], frames.shape[2])
    return Tracks(told, size, len(frames), name=example.name)


def measure(predictor: gsam.VideoPredictor, examples: Iterable[clips.Example]) -> Iterator[dict[str, Any]]:
    """J and F of every object of every clip."""
    for example in examples:
        found = clicked(predictor, example)
        ignored = example.clip.instances == IGNORE
        for quality in tracking.qualities(found, example.tracks(), ignored=ignored):
            yield {"clip": example.name, "object": quality.id, "j": quality.j, "f": quality.f, "frames": quality.frames}


def by_text(pipe: gsam.Pipeline, examples: Iterable[clips.Example], **settings: Any) -> dict[str, Any]:
    """What becomes of identities where the names are all that is given."""
    told = []
    for example in examples:
        true = example.tracks()
        found = Tracks.of(pipe.track(example.clip.rgb, true.queries, **settings), count=len(example.clip.rgb))
        told.append(tracking.followed(found, true, ignored=example.clip.instances == IGNORE))
    return {**tracking.total(told), "clips": len(told)}


def sheet(predictor: gsam.VideoPredictor, example: clips.Example) -> Any:
    """What was followed through a clip, as a picture."""
    found = clicked(predictor, example)
    drawn = np.zeros(example.clip.instances.shape, np.int64)
    for frame in found:
        for i in range(len(frame)):
            drawn[frame.index][frame.mask(i)] = frame.ids[i]
    return contact_sheet.draw(
        example.clip.rgb, drawn, names=example.clip.names, title=f"clip {example.name}, clicked once"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a name, a file or a folder of a SAM 2")
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--text", help="a pipeline with a tracker")
    parser.add_argument("--folder", type=Path, help="measure on clips written before")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    examples = clips.read(args.folder)[: args.clips] if args.folder else list(clips.examples("test", args.clips))
    predictor = gsam.VideoPredictor(args.model)
    rows = list(measure(predictor, examples))
    report: dict[str, Any] = {
        "date": datetime.date.today().isoformat(), "machine": page.machine(), "model": args.model, "clips": len(examples),
        "objects": len(rows), "j": float(np.mean([r["j"] for r in rows])), "f": float(np.mean([r["f"] for r in rows])),
    }  # fmt: skip
    report["j_and_f"] = (report["j"] + report["f"]) / 2
    if args.text:
        report["text"] = by_text(gsam.load(args.text), examples)
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "tracks.json").write_text(json.dumps({**report, "rows": rows}, indent=1) + "\n")
        sheet(predictor, examples[0]).save(args.out / "tracks.png")


if __name__ == "__main__":
    main()
