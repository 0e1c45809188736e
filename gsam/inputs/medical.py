"""Medical images: values of a scanner -> uint8 RGB, by a window of grey levels.

    volume = gsam.medical.open_volume("ct.nii.gz")       # or a DICOM file, or a series' folder
    image = volume.picture(40, "lung")                   # [H, W, 3] uint8, of slice 40
    predictor = gsam.Predictor("medsam_vit_b")
    predictor.set_image(image)
    masks, _, _ = predictor.predict(box=[120, 80, 200, 160])  # x and y: columns and rows

`picture` does the same for any array of grey values, 16-bit X-rays among them, and needs nothing
but numpy; reading NIfTI needs nibabel and reading DICOM pydicom, both in the extra
``gsam-jax[medical]``. Not for diagnosis.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gsam.errors import ImageError, UsageError
from gsam.inputs.paths import expanded, missing

WINDOWS: dict[str, tuple[float, float]] = {
    "soft_tissue": (40.0, 400.0),
    "lung": (-600.0, 1500.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
}
"""Level and width in Hounsfield units, of CT."""
Window = str | tuple[float, float]
"""A name of `WINDOWS`, a level and a width, or a measure: ``"percentiles"`` (MR) or ``"range"``."""


def window(values: ArrayLike, level: float = 40.0, width: float = 400.0) -> NDArray[np.uint8]:
    """Cut grey values to a window and scale them to 0..255.

    The default is MedSAM's for CT (``utils/pre_CT_MR.py``). That scales what is left after cutting
    to its own range, which is the same wherever something lies on both sides of the window; here
    slices of one volume always get the same greys.

    Args:
        values: Grey values of any shape, Hounsfield units for CT.
        level: The middle of the window; ``level - width / 2`` is black.
        width: The width of the window; ``level + width / 2`` is white.

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: ``width`` is not above 0.

    Example:
        >>> gsam.medical.window([-160, 40, 240]).tolist()
        [0, 127, 255]
    """
    if not width > 0:
        raise ValueError(f"a window is as wide as a number above 0, not {width}")
    return _grey(np.asarray(values), level - width / 2, level + width / 2)


def percentiles(values: ArrayLike) -> tuple[float, float]:
    """Measure the 0.5th and the 99.5th percentile of the values above 0.

    MedSAM makes these black and white in anything but CT.

    Args:
        values: Grey values of any shape.

    Returns:
        The two values; 0 and 1 if nothing is above 0.
    """
    values = np.asarray(values)
    seen = values[values > 0].astype(np.float64)
    if not seen.size:
        return 0.0, 1.0
    low, high = np.percentile(seen, (0.5, 99.5))
    return float(low), float(high)


def picture(values: ArrayLike, window: Window = "range") -> NDArray[np.uint8]:
    """Turn a slice or an X-ray of any number of bits into an image.

    Args:
        values: [H, W] finite numbers.
        window: A name of `WINDOWS`, a level and a width, ``"range"`` (the least is black, the most
            white) or ``"percentiles"`` (see `percentiles`; 0 stays black).

    Returns:
        [H, W, 3] uint8, grey.

    Raises:
        gsam.errors.ImageError: The values are no grey image of finite numbers.
        gsam.errors.UsageError: There is no such window.

    Example:
        >>> gsam.medical.picture(np.arange(6).reshape(2, 3)).shape
        (2, 3, 3)
    """
    array = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape:
        raise ImageError(f"grey values must be [H, W], these are {list(array.shape)}", "image_shape")
    if array.dtype.kind not in "uifb" or not np.isfinite(array).all():
        raise ImageError(f"grey values must be finite numbers, these are {array.dtype}", "image_float")
    return _rgb(array, _bounds(window, array), window == "percentiles")


@dataclasses.dataclass(frozen=True, eq=False)
class Volume:
    """Slices as a radiologist looks at them.

    Axial ones go from the feet to the head, with the patient's right on the left.
    """

    values: NDArray[np.float32]
    """[D, H, W], with the file's slope and intercept applied: Hounsfield units of CT."""
    spacing: tuple[float, float, float]
    """Millimetres from slice to slice, row to row, column to column."""
    name: str
    """The name of the file or folder."""
    modality: str = ""
    """``"CT"``, ``"MR"``, ... as DICOM says it; NIfTI does not say."""

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """The slices as images."""
        return (self.picture(i) for i in range(len(self)))

    def picture(self, index: int, window: Window | None = None) -> NDArray[np.uint8]:
        """Turn a slice into an image.

        Args:
            index: The slice, from 0.
            window: As `picture` takes it; by default MedSAM's, ``"soft_tissue"`` for CT and
                ``"percentiles"`` for all else. NIfTI does not say that it is CT: say
                ``"soft_tissue"`` yourself. What is measured is measured on the whole volume.

        Returns:
            [H, W, 3] uint8, grey.

        Raises:
            gsam.errors.UsageError: There is no such window.
            IndexError: There is no such slice.
        """
        window = window or ("soft_tissue" if self.modality == "CT" else "percentiles")
        bounds = self._percentiles if window == "percentiles" else _bounds(window, self.values)
        return _rgb(self.values[index], bounds, window == "percentiles")

    @functools.cached_property
    def _percentiles(self) -> tuple[float, float]:
        return percentiles(self.values)


def open_volume(path: str | os.PathLike[str], series: str | None = None) -> Volume:
    """Open a NIfTI file, a DICOM file, or the folder of a DICOM series.

    NIfTI is brought to its closest anatomical axes first, so that slices are axial whatever the
    order in the file; of a fourth axis the first volume is taken, and what is no number becomes 0.
    DICOM keeps the plane it was taken in, and the files of a series are sorted by where they lie
    (frames of one file stay as they are).

    Args:
        path: ``.nii``, ``.nii.gz``, a DICOM file, or a folder.
        series: The SeriesInstanceUID that is wanted where a folder has several.

    Returns:
        The volume.

    Raises:
        gsam.errors.ImageError: The file cannot be read.
        gsam.errors.UsageError: nibabel or pydicom is missing, or there are several series.
    """
    path = expanded(path)
    if not path.exists():
        raise missing(path)
    if path.name.endswith((".nii", ".nii.gz")):
        return _nifti(path)
    return _dicom(path, series)


def _nifti(path: Path) -> Volume:
    nibabel = _extra("nibabel")
    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        values = np.asarray(image.get_fdata(dtype=np.float32))  # with slope and intercept; x right, y forward, z up
        spacing = [float(x) for x in image.header.get_zooms()[:3]]
    except Exception as error:  # nibabel, gzip and zlib have errors of their own for damaged files
        raise ImageError(f"{path}: is no NIfTI file that can be read ({error})") from None
    values = np.where(np.isnan(values), np.float32(0), values)
    values = values.reshape(*values.shape[:3], -1)[..., 0] if values.ndim > 3 and values.size else values
    if values.ndim != 3 or 0 in values.shape:
        raise ImageError(f"{path}: is no volume, its shape is {list(values.shape)}", "image_shape")
    turned = np.ascontiguousarray(values.transpose(2, 1, 0)[:, ::-1, ::-1])
    return _volume(turned, (spacing[2], spacing[1], spacing[0]), path)


def _dicom(path: Path, series: str | None) -> Volume:
    pydicom = _extra("pydicom")
    files = sorted(f for f in path.iterdir() if f.is_file()) if path.is_dir() else [path]
    found: dict[str, list[Any]] = {}
    for file in files:
        try:
            read = pydicom.dcmread(file)
        except pydicom.errors.InvalidDicomError:
            if path.is_dir():
                continue  # what else lies in such folders
            raise ImageError(f"{file}: is neither NIfTI nor DICOM") from None
        except Exception as error:  # a damaged file may trip any line of a parser
            raise ImageError(f"{file}: cannot be read ({error})") from None
        if "PixelData" in read:
            found.setdefault(str(read.get("SeriesInstanceUID", "")), []).append(read)
    if not found:
        raise ImageError(f"{path}: holds no DICOM picture", "image_missing")
    if series is None and len(found) > 1:
        raise UsageError(f"{path} holds {len(found)} series, choose one with series=: {', '.join(sorted(found))}")
    if series is not None and series not in found:
        raise UsageError(f"{path} holds no series {series!r}; there are {', '.join(sorted(found))}")
    slices = found[series or next(iter(found))]
    if len(slices) > 1:
        slices.sort(key=_place)
    try:
        values = np.concatenate([_pixels(pydicom, s) for s in slices])
    except ImageError:
        raise
    except Exception as error:  # what the decoders of compressed pixels raise, and shapes that differ
        raise ImageError(f"{path}: its pixels cannot be read ({error})") from None
    return _volume(values, _spacing(slices), path, str(slices[0].get("Modality", "")))


def _pixels(pydicom: ModuleType, image: Any) -> NDArray[np.float32]:
    """One or more slices of a file, [D, H, W], in real units."""
    if image.get("SamplesPerPixel", 1) != 1:
        raise ImageError("colour DICOM has no grey values: save it as PNG and open that", "image_shape")
    values = np.asarray(pydicom.pixels.apply_modality_lut(image.pixel_array, image), np.float32)
    values = values.reshape(-1, *values.shape[-2:])
    if "RescaleSlope" not in image:  # of enhanced files every frame may have its own
        for i in range(len(values)):
            if (own := _of_frame(image, i, "PixelValueTransformationSequence")) is not None:
                values[i] = values[i] * float(own.RescaleSlope) + float(own.RescaleIntercept)
    if image.get("PhotometricInterpretation") == "MONOCHROME1":  # the least is white
        values = values.max() + values.min() - values
    return values


def _of_frame(image: Any, index: int, name: str) -> Any:
    """Look up an attribute of a frame, or of all frames, in an enhanced file; None if absent."""
    frames, shared = (
        image.get("PerFrameFunctionalGroupsSequence") or (),
        image.get("SharedFunctionalGroupsSequence") or (),
    )
    for group in (*frames[index : index + 1], *shared[:1]):
        if name in group and len(group[name].value):
            return group[name].value[0]
    return None


def _place(image: Any) -> float:
    """Where a slice lies along the normal of its plane; without positions, its number."""
    position, axes = image.get("ImagePositionPatient"), image.get("ImageOrientationPatient")
    if position is None or axes is None:
        return float(image.get("InstanceNumber") or 0)
    normal = np.cross(np.asarray(axes[:3], float), np.asarray(axes[3:], float))
    return float(normal @ np.asarray(position, float))


def _spacing(slices: Sequence[Any]) -> tuple[float, float, float]:
    first = slices[0]
    measured = first if "PixelSpacing" in first else _of_frame(first, 0, "PixelMeasuresSequence") or {}
    rows, columns = (float(x) for x in measured.get("PixelSpacing") or (1.0, 1.0))
    places = [_place(s) for s in slices]
    between = (places[-1] - places[0]) / (len(places) - 1) if len(places) > 1 else 0.0
    known = between if "ImagePositionPatient" in first and between > 0 else measured.get("SliceThickness")
    return float(known or 1.0), rows, columns


def _volume(values: NDArray[np.float32], spacing: tuple[float, float, float], path: Path, modality: str = "") -> Volume:
    if not np.isfinite(values).all():
        raise ImageError(f"{path}: holds numbers that are not finite", "image_float")
    return Volume(values, spacing, path.name, modality)


def _extra(package: str) -> ModuleType:
    try:
        if package == "nibabel":
            import nibabel

            return nibabel
        import pydicom
        import pydicom.pixels

        return pydicom
    except ImportError:
        raise UsageError(f"this needs {package}: pip install 'gsam-jax[medical]'", "extra_missing") from None


def _bounds(window: Window, values: np.ndarray) -> tuple[float, float]:
    """Return the values that become black and white."""
    if window == "percentiles":
        return percentiles(values)
    if window == "range":
        return float(values.min()), float(values.max())
    if isinstance(window, str):
        if window not in WINDOWS:
            known = ", ".join([*WINDOWS, "percentiles", "range"])
            raise UsageError(f"no window {window!r}; there are {known}, or give (level, width)")
        window = WINDOWS[window]
    level, width = window
    if not width > 0:
        raise ValueError(f"a window is as wide as a number above 0, not {width}")
    return level - width / 2, level + width / 2


def _grey(values: np.ndarray, low: float, high: float) -> NDArray[np.uint8]:
    spread = (np.clip(values.astype(np.float64), low, high) - low) / max(high - low, 1e-12)
    return np.asarray(spread * 255.0).astype(np.uint8)


def _rgb(values: np.ndarray, bounds: tuple[float, float], keep_black: bool) -> NDArray[np.uint8]:
    grey = _grey(values, *bounds)
    if keep_black:
        grey[values == 0] = 0
    return np.repeat(grey[..., None], 3, -1)
