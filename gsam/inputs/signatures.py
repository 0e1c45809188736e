"""The kind of a file that no allowed format claims, by its first bytes."""

from __future__ import annotations

from collections.abc import Sequence

_HEIC = (b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis", b"hevc", b"hevx")
_STARTS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"\x8b\xc4\xc0\xc5", b"%!PS", b"\xc5\xd0\xd3\xc6"), "PostScript, which is a program and not run"),
    ((b"%PDF", b"%pdf"), "a PDF, not a picture"),
    ((b"\xff\x0a", b"\0\0\0\x0cJXL "), "JPEG XL: convert it to PNG or JPEG"),
    ((b"8BPS",), "a Photoshop document: export it as PNG or TIFF"),
    ((b"v/1\x01",), "OpenEXR: convert it to a float TIFF and open that with stretch=True"),
    ((b"#?RADIANCE", b"#?RGBE"), "Radiance HDR: convert it to PNG"),
    ((b"SIMPLE  =",), "FITS: read it with astropy and give the array, with stretch=True"),
    ((b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02"), "HDF5 or NetCDF: read an array out of it and give that"),
    ((b"\x93NUMPY",), "a NumPy file: give numpy.load(path), an array"),
    ((b"gimp xcf",), "a GIMP document: export it as PNG"),
    ((b"\x00\x00\x01\x00", b"\x00\x00\x02\x00"), "an icon: convert it to PNG"),
    ((b"DDS ",), "a DDS texture: convert it to PNG"),
    ((b"FUJIFILMCCD-RAW", b"FOVb", b"IIRO", b"IIRS", b"IIU\0"), "a camera's raw file: develop it to TIFF or JPEG"),
    ((b"\x1f\x8b", b"PK\x03\x04", b"7z\xbc\xaf", b"Rar!", b"\xfd7zXZ", b"BZh"), "an archive: unpack it first"),
    ((b"\x1aE\xdf\xa3", b"OggS", b"FLV", b"\0\0\x01\xba", b"\0\0\x01\xb3"), "a video: gsam track, or pipe.track"),
)


def refusal(start: bytes, formats: Sequence[str]) -> str:
    """Say what a file is.

    Args:
        start: Its first 512 bytes.
        formats: The formats that can be opened.

    Returns:
        The rest of a message that begins with the file's name.
    """
    text = start.lstrip().lower()
    if not start:
        return "an empty file"
    if start[4:8] == b"ftyp":
        if start[8:12] in _HEIC:
            return "HEIC: convert it to JPEG or PNG, or pass what pillow-heif opens"
        if start[8:12] == b"crx ":
            return "a camera's raw file: develop it to TIFF or JPEG"
        if start[8:12] not in (b"avif", b"avis"):
            return "a video: gsam track, or pipe.track"
    if start[:4] == b"RIFF" and start[8:12] in (b"AVI ", b"WAVE"):
        return "a video: gsam track, or pipe.track" if start[8:12] == b"AVI " else "sound, not a picture"
    if start[128:132] == b"DICM":
        return "DICOM: gsam.medical.open_volume(path).picture(0) opens it"
    if start[344:348] in (b"n+1\0", b"ni1\0"):
        return "NIfTI: gsam.medical.open_volume(path).picture(0) opens it"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, not a picture"
    if text.startswith(b"<svg") or b"<svg" in text:
        return "an SVG, a drawing without pixels"
    for starts, told in _STARTS:
        if start.startswith(starts) or text.startswith(starts):
            return told
    return f"not a picture of a known format ({', '.join(formats)})"
