"""The page of `benchmarks.dataset`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MB = 1e6
SECTIONS = ("speed", "profile", "memory", "kill", "peers")
"""Parts of the page, in order."""
FLAT = 1.15
"""Memory is flat where it is at most this many times that of the fewest images."""
GOALS = {"one": 1.8, "two": 1.5}
"""`gsam label` to a plain loop, and two processes to one."""


def _bullets(notes: Sequence[str]) -> list[str]:
    from benchmarks.harness.report import bullets  # has JAX, which the process that measures shall not hold

    return bullets(notes)


def verdict(met: bool) -> str:
    """Write whether a goal is met."""
    return "met" if met else "**missed**"


def page(report: Mapping[str, Any]) -> str:
    """Write the page.

    Args:
        report: What was measured; a section that was not is absent.
    """
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items() if version != "absent")
    out = [
        "# Whole data sets",
        "",
        f"Made by `{report['command']}` on {report['date']}: {report['machine']}; {versions}. It took "
        f"{report['took']:.0f} s; load before it: {report['load']}.",
        "",
    ]
    writers = (_speed, _profile, _memory, _kill, _peers)
    for name, section in zip(SECTIONS, writers, strict=True):
        if name not in report:
            continue
        title, *lines = section(report[name])
        about = report.get("made", {}).get(name, report)
        if about["command"] != report["command"] or about["date"] != report["date"]:
            lines = ["", f"Made by `{about['command']}` on {about['date']}: {about['machine']}.", *lines]
        out += [title, *lines]
    return "\n".join(out).rstrip() + "\n"


def _speed(found: Mapping[str, Any]) -> list[str]:
    forms = found["forms"]
    out = [
        "## Images per second",
        "",
        "| nano, one machine | images/s | without start-up | processor s per image | peak of a process |",
        "|---|---|---|---|---|",
    ]
    for form in forms.values():
        out.append(
            f"| {form['title']} | {form['rate']:.2f} | {form['steady']:.2f} | {form['processor']:.3f} | "
            f"{form['peak'] / MB:.0f} MB |"
        )
    out += ["", "| ratio | reached | goal | without start-up |", "|---|---|---|---|"]
    for row in found["ratios"]:
        goal = f">= {row['goal']:g}: {verdict(row['ratio'] >= row['goal'])}" if row["goal"] else ""
        out.append(f"| {row['title']} | **{row['ratio']:.2f}** | {goal} | {row['steady']:.2f} |")
    same = found["same"]
    notes = [
        f"{found['images']} {found['what']}, of {found['pixels'] / 1e6:.2f} million pixels on average, asked for nano's "
        f"{found['names']} names at once: {same['objects']} objects. Parts of {found['part_size']} images. Whole processes, "
        f"from their start to the end of the last, with compiled programs in gsam's cache as in every start but the first; "
        f"{'one run' if found['repeats'] == 1 else 'medians of ' + str(found['repeats']) + ' runs'} of each in turns.",
        "The first loop is README's first example, once for each image. The second writes what `gsam label` writes, a line of "
        "JSON with run lengths for each image, and is the like-for-like one: `gsam label` draws overlays only for its "
        "contact sheet and its page of thumbnails, which are in its time. The third draws "
        f"one for each image, on {found['overlays']} of the images.",
        f"Start-up is the time of the same command with one image for each process: {found['starts']}. Without start-up "
        "means that time and those images left out.",
        f"The objects of `gsam label` beside those of the loop: {same['different']} of {same['images']} images differ.",
    ]
    if (most := found.get("others", 0.0)) > 0.1:
        notes.append(
            f"While this was measured others used {most:.2f} cores on average: the ratios of this run are rough."
        )
    return [*out, "", *_bullets(notes), ""]


def _profile(found: Mapping[str, Any]) -> list[str]:
    seconds = found["seconds"]
    out = [
        "## Where the time of one process goes",
        "",
        f"{found['images']} images by one process in {seconds:.1f} s after loading; {found['cores']} cores.",
        "",
        "| threads | at | seconds | share of the time |",
        "|---|---|---|---|",
    ]
    for group in ("main", "readers", "rows", "parts", "lister", "overview"):
        for of, stage, spent in found["stages"]:
            if of == group and spent >= 0.002 * seconds and stage != "waiting":
                out.append(f"| {group} | {stage} | {spent:.1f} | {spent / seconds:.0%} |")
    out += ["", "| threads | processor seconds | share of all cores |", "|---|---|---|"]
    for group, spent in sorted(found["processor"].items(), key=lambda item: -item[1]):
        if spent >= 0.002 * seconds:
            out.append(f"| {group} | {spent:.1f} | {spent / (seconds * found['cores']):.0%} |")
    notes = [
        "The first table is by the clock: every 5 ms it is looked where each thread is, and a thread that is not running, "
        "because it waits for Python's lock or for a core, counts as being where it stands. Threads of one kind are added up, "
        "so that a share may be above 100 %; those that wait for work are "
        "left out. The second table is the processor's time as the system counts it.",
        "The compiled programs run partly in the main thread, which waits for them, and partly in XLA's own.",
    ]
    return [*out, "", *_bullets(notes), ""]


def _memory(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    out = [
        "## Peak memory of one process",
        "",
        "| pipeline | images | peak | to the fewest | flat |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        least = next(one for one in rows if one["pipeline"] == row["pipeline"])
        ratio = row["peak"] / least["peak"]
        flat = "" if row is least else verdict(ratio <= FLAT)
        out.append(f"| {row['pipeline']} | {row['images']} | {row['peak'] / MB:.0f} MB | {ratio:.2f} | {flat} |")
    notes = [
        f"The most that was resident in a whole process of `gsam label`, by the system. Flat: at most {FLAT:g} times that of "
        "the fewest images.",
        "light is a pipeline of two cheap compiled steps on images of 160 x 120 pixels, the same 200 files listed again and "
        "again by a manifest, each time with another id; it runs through `gsam.dataset.label`, as the command does.",
    ]
    return [*out, "", *_bullets(notes), ""]


def _kill(found: Mapping[str, Any]) -> list[str]:
    rows = found["rows"]
    out = [
        "## Killed and resumed",
        "",
        "| workers | SIGKILLs | rounds | seconds | undisturbed run | files left by the killed | differences in the end |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        out.append(
            f"| {row['workers']} | {row['kills']} | {row['rounds']} | {row['seconds']:.0f} | {row['undisturbed']:.1f} s | "
            f"{row['leftovers_met']} | {len(row['differences'])} |"
        )
    kills, differences = sum(r["kills"] for r in rows), [name for r in rows for name in r["differences"]]
    good = kills >= found["asked"] and not differences
    moments: dict[str, int] = {}
    for row in rows:
        for name, count in row["moments"].items():
            moments[name] = moments.get(name, 0) + count
    out += ["", f"{kills} of {found['asked']} kills, byte for byte as an undisturbed run: {verdict(good)}.", ""]
    if differences:
        out += ["Not as they should be: " + ", ".join(differences[:20]) + ".", ""]
    notes = [
        f"The light pipeline over {found['images']} images in parts of {found['part_size']}, {found['milliseconds']:g} ms an "
        f"image. At moments drawn with the seed {found['seed']} from the time of an undisturbed run, one process of a round "
        "(at one moment in five, all) is killed and another is started in its place; when all is labelled, one more process "
        "resumes. Then every file below the folder is compared with those of one undisturbed worker; files that begin with "
        "`.gsam-` and stay are differences too.",
        "The killed were: " + ", ".join(f"{count} {name}" for name, count in sorted(moments.items())) + ".",
    ]
    return [*out, *_bullets(notes), ""]


def _peers(found: Mapping[str, Any]) -> list[str]:
    out = [
        "## Beside the ways of working that people have now",
        "",
        "**It is ways of working that are compared, not packages**: none of them runs here. The model is the same and costs the "
        "same on all sides.",
        "",
        "| way | images | images/s | of it, writing in the end | peak memory |",
        "|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        out.append(
            f"| {row['title']} | {row['images']} | {row['rate']:.1f} | {row['end']:.1f} s | {row['peak'] / MB:.0f} MB |"
        )
    notes = [
        f"The model is the light pipeline, in which a device is at each image for {found['milliseconds']:g} ms without any "
        "work of the host. The images are those of the first section. Times begin when the model is loaded and compiled.",
        "autodistill's way: the files of one ending, one at a time, all detections with their masks in memory, polygons of "
        "YOLO by OpenCV where it is installed; it is given no copying of images. A Hugging Face pipeline's way: a list, one "
        "image at a time, results with their masks in a list, then a line of JSON with run lengths for each. Both are written "
        "from these descriptions (`benchmarks/harness/dataset_peers.py`). They compute one after the other what gsam's "
        "threads do at the same time, and can do neither errors in place nor resume.",
        "A larger batch, or workers that decode, are settings of a Hugging Face pipeline which a list does not use unless "
        "asked for.",
    ]
    return [*out, "", *_bullets(notes), ""]
