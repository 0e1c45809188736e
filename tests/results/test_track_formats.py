"""Tracks there and back: JSON lines that survive being cut off, YouTube-VIS, MOTS."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsam.errors import UsageError
from gsam.results.formats import mots, tracks_jsonl, youtube_vis
from gsam.results.formats.tracks_jsonl import Head, TracksWriter
from gsam.results.masks import rle
from gsam.results.tracks import TrackedFrame, Tracks

SIZE = (12, 16)


def square(x: int, y: int, side: int = 4) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def example() -> Tracks:
    """Object 2 (a dog) in frames 0 and 2, object 5 (a cat) in frames 2 and 3; they overlap in frame
    2.
    """
    frames = [
        TrackedFrame.of(0, square(0, 0)[None], [2], ["dog"], [0.75], 0.0),
        TrackedFrame.of(1, np.zeros((0, *SIZE), bool), [], [], [], 0.1),
        TrackedFrame.of(2, np.stack([square(4, 4), square(2, 2)]), [5, 2], ["cat", "dog"], [0.5, 0.25], 0.2),
        TrackedFrame.of(3, square(8, 8)[None], [5], ["cat"], [1.0], 0.3),
    ]
    return Tracks.of(frames, rate=Fraction(10), name="a/비디오", queries=["cat", "dog", "bird"])


def same(a: Tracks, b: Tracks, *, scores: bool = True) -> None:
    assert (a.size, a.count) == (b.size, b.count)
    for x, y in zip(a, b, strict=True):
        order, other = np.argsort(x.ids), np.argsort(y.ids)
        assert (x.index, x.ids[order].tolist()) == (y.index, y.ids[other].tolist())
        assert [x.labels[i] for i in order] == [y.labels[i] for i in other]
        np.testing.assert_array_equal(x.masks[order], y.masks[other])
        if scores:
            np.testing.assert_allclose(x.scores[order], y.scores[other], atol=1e-5)


HEAD = Head(SIZE, "a/비디오", Fraction(10), 4, ("cat", "dog", "bird"))


def test_lines_there_and_back(tmp_path: Path) -> None:
    tracks = example()
    tracks_jsonl.write(tracks, tmp_path / "a.jsonl")
    found = tracks_jsonl.read(tmp_path / "a.jsonl")
    same(found, tracks)
    assert (found.rate, found.name, found.queries) == (Fraction(10), "a/비디오", ["cat", "dog", "bird"])
    assert [f.time for f in found] == [0.0, 0.1, 0.2, 0.3]
    first, *lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert first == {
        "format": "gsam tracks 1", "video": "a/비디오", "width": 16, "height": 12, "rate": "10", "count": 4,
        "queries": ["cat", "dog", "bird"],
    }  # fmt: skip
    assert lines[1] == {"frame": 1, "time": 0.1, "objects": []}
    assert lines[0]["objects"] == [
        {"id": 2, "label": "dog", "score": 0.75, "box": [0, 0, 4, 4], "mask": rle.encode(square(0, 0))}
    ]
    with TracksWriter(tmp_path / "b.jsonl", HEAD) as out:
        for frame in tracks:
            out.add(frame)
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()


def test_wherever_a_file_is_cut_what_was_finished_stays_and_it_is_gone_on_with(tmp_path: Path) -> None:
    tracks = example()
    tracks_jsonl.write(tracks, tmp_path / "whole.jsonl")
    whole, path = (tmp_path / "whole.jsonl").read_bytes(), tmp_path / "a.jsonl"
    ends = [i + 1 for i, b in enumerate(whole) if b == 10]
    for cut in [*range(0, len(whole), 11), *ends]:
        path.write_bytes(whole[:cut])
        done = [k for k, end in enumerate(ends[1:]) if end <= cut]
        assert tracks_jsonl.complete(path) == done
        with TracksWriter(path, HEAD) as out:
            assert out.complete == set(done)
            for frame in tracks:
                if frame.index not in out.complete:
                    out.add(frame)
        assert path.read_bytes() == whole


def test_what_is_added_is_on_the_disk_at_once(tmp_path: Path) -> None:
    out = TracksWriter(tmp_path / "a.jsonl", HEAD)
    for k, frame in enumerate(example()):
        out.add(frame)
        assert tracks_jsonl.complete(tmp_path / "a.jsonl") == list(range(k + 1))
    out.close()


def test_zeros_at_the_end_are_a_torn_line(tmp_path: Path) -> None:
    tracks_jsonl.write(example(), tmp_path / "a.jsonl")
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(bytes(20) + b"\n")
    assert tracks_jsonl.complete(tmp_path / "a.jsonl") == [0, 1, 2, 3]
    assert tracks_jsonl.complete(tmp_path / "nothing.jsonl") == []


def test_a_frame_that_comes_twice_counts_as_it_came_last(tmp_path: Path) -> None:
    with TracksWriter(tmp_path / "a.jsonl", HEAD) as out:
        for frame in reversed(example().frames):
            out.add(frame)
        out.add(TrackedFrame.of(0, square(1, 1)[None], [9], ["bird"]))
    found = tracks_jsonl.read(tmp_path / "a.jsonl")
    assert [f.index for f in found] == [0, 1, 2, 3]
    assert found.frames[0].ids.tolist() == [9]
    assert [f.index for f in tracks_jsonl.frames(tmp_path / "a.jsonl")] == [3, 2, 1, 0, 0]


def test_files_that_are_not_these_tracks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    tracks_jsonl.write(example(), path)
    before = path.read_bytes()
    for other in (Head((12, 17), *list(vars(HEAD).values())[1:]), Head(SIZE, "a/비디오", Fraction(10), 4, ("cow",))):
        with pytest.raises(UsageError, match="another video or other queries") as caught:
            TracksWriter(path, other)
        assert caught.value.code == "tracks_of_another"
    assert path.read_bytes() == before
    lines = before.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:10] + b"\n", *lines[3:]]))
    for use in (tracks_jsonl.read, tracks_jsonl.complete, lambda p: TracksWriter(p, HEAD)):
        with pytest.raises(UsageError, match="line 3 is broken, and others follow it"):
            use(path)
    path.write_text('{"image": 3}\n')
    for use in (tracks_jsonl.read, tracks_jsonl.complete, lambda p: TracksWriter(p, HEAD)):
        with pytest.raises(UsageError, match="no file of tracks"):
            use(path)
    assert path.read_text() == '{"image": 3}\n'


def test_youtube_vis_there_and_back(tmp_path: Path) -> None:
    tracks = example()
    data = youtube_vis.YouTubeVis()
    assert data.add(tracks) == 1
    assert data.add(tracks, [f"b/{i}.png" for i in range(4)]) == 2
    data.write(tmp_path / "a.json")
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["videos"][0] == {
        "id": 1, "width": 16, "height": 12, "length": 4, "file_names": [f"a/비디오/{i:05d}.jpg" for i in range(4)],
    }  # fmt: skip
    assert [(c["id"], c["name"]) for c in told["categories"]] == [(1, "cat"), (2, "dog"), (3, "bird")]
    assert [a["id"] for a in told["annotations"]] == [1, 2, 3, 4]
    dog = told["annotations"][0]
    assert (dog["video_id"], dog["category_id"], dog["track_id"], dog["score"], dog["iscrowd"]) == (1, 2, 2, 0.5, 0)
    assert dog["bboxes"] == [[0, 0, 4, 4], None, [2, 2, 4, 4], None]
    assert dog["areas"] == [16, None, 16, None]
    assert [s is None for s in dog["segmentations"]] == [False, True, False, True]
    assert dog["segmentations"][0]["counts"] == [0, 4, *3 * [8, 4], 152]
    assert dog["segmentations"][2]["counts"] == [26, 4, *3 * [8, 4], 126]
    one, two = youtube_vis.read(tmp_path / "a.json")
    same(one, tracks, scores=False)
    assert one.scores == pytest.approx({2: 0.5, 5: 0.75})
    assert (one.name, two.name) == ("a/비디오", "b")


def test_youtube_vis_results(tmp_path: Path) -> None:
    data = youtube_vis.YouTubeVis(["dog", "cat"])
    data.add(example())
    data.write(tmp_path / "a.json")
    data.write(tmp_path / "results.json", results=True)
    told = json.loads((tmp_path / "results.json").read_text())
    assert [set(r) for r in told] == [{"video_id", "category_id", "segmentations", "score"}] * 2
    assert [r["category_id"] for r in told] == [1, 2]
    (found,) = youtube_vis.read_results(tmp_path / "results.json", tmp_path / "a.json")
    assert found.labels == {1: "dog", 2: "cat"}
    for identity, own in ((1, 2), (2, 5)):
        assert found.masks_of(identity) == example().masks_of(own)


def test_youtube_vis_with_runs_as_numbers_and_polygons(tmp_path: Path) -> None:
    runs = [0]
    flat = square(3, 2).T.ravel()  # column by column, as COCO has them
    for a, b in itertools.pairwise(flat):
        runs[-1] += 1
        if a != b:
            runs.append(0)
    runs[-1] += 1
    polygon = [[3, 2, 7, 2, 7, 6, 3, 6]]
    value = {
        "videos": [{"id": 7, "width": 16, "height": 12, "length": 3, "file_names": ["v/0.jpg", "v/1.jpg", "v/2.jpg"]}],
        "categories": [{"id": 4, "name": "cow"}],
        "annotations": [
            {
                "id": 31,
                "video_id": 7,
                "category_id": 4,
                "segmentations": [{"size": [12, 16], "counts": runs}, None, polygon],
            }
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(value))
    (tracks,) = youtube_vis.read(tmp_path / "a.json")
    assert (tracks.name, tracks.labels, tracks.count) == ("v", {31: "cow"}, 3)
    np.testing.assert_array_equal(tracks.frames[0].mask(0), square(3, 2))
    assert len(tracks.frames[1]) == 0
    np.testing.assert_array_equal(tracks.frames[2].mask(0), square(3, 2))


def test_youtube_vis_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(UsageError, match="not in YouTube-VIS's format"):
        youtube_vis.read(tmp_path / "a.json")
    video = {"id": 1, "width": 16, "height": 12, "length": 2, "file_names": []}
    entry = {"id": 1, "video_id": 1, "category_id": 1, "segmentations": [None]}
    value = {"videos": [video], "categories": [{"id": 1, "name": "a"}], "annotations": [entry]}
    (tmp_path / "a.json").write_text(json.dumps(value))
    with pytest.raises(UsageError, match="1 masks for 2 frames"):
        youtube_vis.read(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(json.dumps(value | {"videos": []}))
    with pytest.raises(UsageError, match="video 1 or category 1 does not exist"):
        youtube_vis.read(tmp_path / "a.json")
    far = value | {"annotations": [entry | {"segmentations": [None, [[1, 1, 1e9, 1, 1, 5]]]}]}
    (tmp_path / "a.json").write_text(json.dumps(far))
    with pytest.raises(UsageError, match="a mask of video 1: its polygon has numbers that are none, or are far"):
        youtube_vis.read(tmp_path / "a.json")  # pycocotools would end the process
    with pytest.raises(ValueError, match="3 file names for 4 frames"):
        youtube_vis.YouTubeVis().add(example(), ["a", "b", "c"])


@pytest.mark.parametrize("first", [0, 1])
def test_mots_text_there_and_back(first: int, tmp_path: Path) -> None:
    tracks = example()
    classes = mots.write_txt(tracks, tmp_path / "a.txt", first=first)
    assert classes == {"cat": 1, "dog": 2, "bird": 3}
    lines = [line.split(" ") for line in (tmp_path / "a.txt").read_text().splitlines()]
    assert [line[:5] for line in lines] == [
        [str(0 + first), "2002", "2", "12", "16"], [str(2 + first), "1005", "1", "12", "16"],
        [str(2 + first), "2002", "2", "12", "16"], [str(3 + first), "1005", "1", "12", "16"],
    ]  # fmt: skip
    names = {number: label for label, number in classes.items()}
    found = mots.read_txt(tmp_path / "a.txt", names, first=first, count=4)
    assert found.labels == {1005: "cat", 2002: "dog"}
    np.testing.assert_array_equal(found.frames[0].mask(0), square(0, 0))
    middle = found.frames[1]
    assert middle.index == 2
    assert middle.masks.sum(0).max() == 1  # no pixel twice: the lower object id, the dog's, has it
    np.testing.assert_array_equal(middle.masks[middle.ids == 2002][0], square(2, 2))
    np.testing.assert_array_equal(middle.masks[middle.ids == 1005][0], square(4, 4) & ~square(2, 2))


def test_mots_pictures_there_and_back(tmp_path: Path) -> None:
    mots.write_png(example(), tmp_path / "v", {"dog": 60, "cat": 2})
    assert sorted(p.name for p in (tmp_path / "v").iterdir()) == [f"{i:06d}.png" for i in range(4)]
    with Image.open(tmp_path / "v" / "000002.png") as image:
        assert image.mode == "I;16"
        pixels = np.array(image)
    assert np.unique(pixels).tolist() == [0, 2005, 60002]
    assert pixels[5, 5] == 60002
    found = mots.read_png(tmp_path / "v", {60: "dog"})
    assert found.count == 4
    assert found.labels == {2005: "2", 60002: "dog"}
    np.testing.assert_array_equal(found.frames[3].mask(0), square(8, 8))


def test_mots_leaves_out_what_is_not_judged(tmp_path: Path) -> None:
    pixels = np.zeros(SIZE, np.uint16)
    pixels[0], pixels[1] = 10000, 1001
    (tmp_path / "v").mkdir()
    Image.fromarray(pixels).save(tmp_path / "v" / "000000.png")
    assert mots.read_png(tmp_path / "v").ids == [1001]
    counts = rle.encode(square(0, 0))["counts"]
    (tmp_path / "a.txt").write_text(f"0 10000 10 12 16 {counts}\n1 1001 1 12 16 {counts}\n")
    found = mots.read_txt(tmp_path / "a.txt")
    assert [f.ids.tolist() for f in found] == [[], [1001]]


def crowd(ids: list[int], labels: list[str]) -> Tracks:
    """An object a frame."""
    frames = [TrackedFrame.of(i, square(0, 0)[None], [n], [labels[i]]) for i, n in enumerate(ids)]
    return Tracks.of(frames, queries=["dog", "cat"])


def test_ids_above_999_are_numbered_by_class(tmp_path: Path) -> None:
    tracks = crowd([4, 998, 1000, 70_000], ["dog", "cat", "dog", "cat"])
    classes = mots.write_txt(tracks, tmp_path / "a.txt")
    assert mots.ids_of(tracks, classes) == {4: 1001, 998: 2001, 1000: 1002, 70_000: 2002}
    found = mots.read_txt(tmp_path / "a.txt", {1: "dog", 2: "cat"})
    assert [(f.index, f.ids.tolist(), f.labels) for f in found] == [
        (0, [1001], ["dog"]), (1, [2001], ["cat"]), (2, [1002], ["dog"]), (3, [2002], ["cat"])
    ]  # fmt: skip
    mots.write_png(tracks, tmp_path / "png")
    assert mots.read_png(tmp_path / "png").ids == [1001, 1002, 2001, 2002]
    full = crowd(list(range(1, 1001)), ["dog"] * 999 + ["cat"])
    assert max(mots.ids_of(full, classes).values()) == 2001
    with pytest.raises(UsageError, match="more objects called 'dog' than the 999") as caught:
        mots.ids_of(crowd(list(range(1, 1001)), ["dog"] * 1000), classes)
    assert caught.value.code == "mots_too_many"


def test_mots_that_is_none_or_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text, says in [
        ("", "has no line"),
        ("0 1001 1 12 16\n", "line 1 is not"),
        ("0 1001 1 12 16 00\n\n1 1001 1 13 16 00\n", "line 3 is of a frame of"),
        ("zero 1001 1 12 16 00\n", "line 1 is not"),
    ]:
        path.write_text(text)
        with pytest.raises(UsageError, match=says):
            mots.read_txt(path)
    with pytest.raises(UsageError, match="no numbered PNG"):
        mots.read_png(tmp_path)
    Image.new("L", (4, 4)).save(tmp_path / "0.png")
    with pytest.raises(UsageError, match="16 bits a pixel"):
        mots.read_png(tmp_path)
    with pytest.raises(UsageError, match="'dog', which is no class: cow"):
        mots.write_txt(example(), path, {"cow": 1})
    many = Tracks.of(example().frames, queries=[str(i) for i in range(70)])
    with pytest.raises(UsageError, match="72 labels are more than the 63"):
        mots.classes_of(many)
    twelve = Tracks.of(example().frames, queries=[str(i) for i in range(10)])
    assert 10 not in mots.classes_of(twelve).values()
