"""Grey values to pictures, and the files they come in: orientation, slope and intercept, and what
is wrong with them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.errors import ImageError, UsageError
from gsam.inputs import medical


def test_windows() -> None:
    values = np.array([-2000, -160, -60, 40, 140, 239, 240, 3000], np.int16)
    assert medical.window(values).tolist() == [0, 0, 63, 127, 191, 254, 255, 255]
    assert medical.window(values, 40, 80).tolist() == [0, 0, 0, 127, 255, 255, 255, 255]
    assert medical.window(np.float32(-600), *medical.WINDOWS["lung"]) == 127
    for level, width in medical.WINDOWS.values():
        assert medical.window([level - width / 2, level + width / 2], level, width).tolist() == [0, 255]
    with pytest.raises(ValueError, match="above 0"):
        medical.window(values, 40, 0)


def test_a_window_is_medsam_s_where_something_is_on_both_sides() -> None:
    """What utils/pre_CT_MR.py computes, by its own formula."""
    rng = np.random.default_rng(0)
    ct = rng.integers(-1024, 2000, (3, 20, 30)).astype(np.int16)
    cut = np.clip(ct, 40 - 200.0, 40 + 200.0)
    theirs = np.uint8((cut - cut.min()) / (cut.max() - cut.min()) * 255.0)
    np.testing.assert_array_equal(medical.window(ct), theirs)
    mr = np.where(rng.random((3, 20, 30)) < 0.3, 0, rng.integers(1, 900, (3, 20, 30))).astype(np.int16)
    low, high = np.percentile(mr[mr > 0], 0.5), np.percentile(mr[mr > 0], 99.5)
    cut = np.clip(mr, low, high)
    theirs = np.uint8((cut - cut.min()) / (cut.max() - cut.min()) * 255.0)
    theirs[mr == 0] = 0
    volume = medical.Volume(mr.astype(np.float32), (1, 1, 1), "x", "MR")
    for i, picture in enumerate(volume):
        assert picture.shape == (20, 30, 3)
        np.testing.assert_array_equal(picture, np.repeat(theirs[i][..., None], 3, -1))
    whole = medical.Volume(ct.astype(np.float32), (1, 1, 1), "x", "CT").picture(1)
    np.testing.assert_array_equal(whole[..., 1], medical.window(ct)[1])


def test_any_grey_picture() -> None:
    xray = np.arange(6, dtype=np.uint16).reshape(2, 3) * 10_000
    assert medical.picture(xray)[..., 0].tolist() == [[0, 51, 102], [153, 204, 255]]
    assert medical.picture(xray, (25_000, 10_000))[..., 2].tolist() == [[0, 0, 0], [255, 255, 255]]
    assert medical.picture(np.full((2, 2), 7)).tolist() == np.zeros((2, 2, 3)).tolist()
    assert medical.picture(np.zeros((2, 2)), "percentiles").max() == 0
    assert medical.picture(np.array([[True, False]]))[0, :, 0].tolist() == [255, 0]
    with pytest.raises(ImageError, match=r"\[H, W\]"):
        medical.picture(np.zeros((2, 2, 3)))
    with pytest.raises(ImageError, match="finite"):
        medical.picture(np.array([[np.nan, 1.0]]))
    with pytest.raises(UsageError, match="soft_tissue, lung, bone, brain, percentiles, range"):
        medical.picture(xray, "liver")


# NIfTI


def head(x: int, y: int, z: int) -> np.ndarray:
    """A volume with the axes of the body, right, front and up, in which every voxel is another."""
    return np.arange(x * y * z).reshape(x, y, z).astype(np.int16)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("stored", ["RAS", "LPS", "SAR", "PIL"])
def test_slices_are_axial_however_they_are_stored(tmp_path: Path, stored: str, suffix: str) -> None:
    """Front at the top, the patient's right on the left, feet first."""
    nibabel = pytest.importorskip("nibabel")
    body = head(4, 5, 3)
    image = nibabel.Nifti1Image(body, np.diag([0.5, 0.7, 2.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(stored)
    )
    path = tmp_path / f"head{suffix}"
    nibabel.save(image.as_reoriented(turn), path)
    volume = medical.open_volume(path)
    assert (volume.values.shape, volume.values.dtype, volume.name) == ((3, 5, 4), np.float32, path.name)
    np.testing.assert_allclose(volume.spacing, (2.0, 0.7, 0.5), rtol=1e-6)
    for z in range(3):
        for row in range(5):
            for column in range(4):
                assert volume.values[z, row, column] == body[3 - column, 4 - row, z]


def test_nifti_scales_and_takes_the_first_volume(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(np.stack([head(2, 2, 2), head(2, 2, 2) * 0 + 9], -1), np.eye(4))
    image.header.set_slope_inter(2.0, -1000.0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    stored = nibabel.load(tmp_path / "a.nii.gz")
    volume = medical.open_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(np.sort(volume.values.ravel()), np.sort(stored.get_fdata()[..., 0].ravel()))
    holes = np.array([[[np.nan, 1.0]]], np.float32)
    nibabel.save(nibabel.Nifti1Image(holes, np.eye(4)), tmp_path / "b.nii")
    assert medical.open_volume(tmp_path / "b.nii").values.ravel().tolist() == [0.0, 1.0]


# DICOM


def dicom(path: Path, pixels: np.ndarray, **more: Any) -> Path:
    """A file as a scanner writes it."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.Modality, data.SeriesInstanceUID = "CT", "1.2.3"
    data.Rows, data.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    data.PixelData = pixels.astype("<i2").tobytes()
    for name, value in more.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, **more: Any) -> Path:
    """Three slices whose names and numbers are in no order that helps, with what else lies in such
    folders.
    """
    folder.mkdir()
    for name, z in (("c", 10.0), ("a", 15.0), ("b", 5.0)):
        place = dict(
            ImagePositionPatient=[0, 0, z], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[0.8, 0.6],
            SliceThickness=3.0, RescaleSlope=2.0, RescaleIntercept=-1024.0, InstanceNumber=1,
        )  # fmt: skip
        dicom(folder / f"{name}.dcm", np.full((4, 6), int(z)), **place | more)
    (folder / "DICOMDIR.txt").write_text("not a picture")
    return folder


def test_a_series_in_order_and_in_real_units(tmp_path: Path) -> None:
    volume = medical.open_volume(series(tmp_path / "ct"))
    assert volume.values.shape == (3, 4, 6)
    assert volume.values[:, 0, 0].tolist() == [2 * 5 - 1024, 2 * 10 - 1024, 2 * 15 - 1024]
    assert (volume.spacing, volume.modality) == ((5.0, 0.8, 0.6), "CT")
    np.testing.assert_array_equal(volume.picture(0, (-1014, 2))[..., 0], np.full((4, 6), 127))
    assert volume.picture(1).max() == 0  # of CT, by default soft tissue


def test_one_file_of_dicom(tmp_path: Path) -> None:
    pixels = np.arange(12).reshape(3, 4)
    volume = medical.open_volume(
        dicom(tmp_path / "x.dcm", pixels, Modality="DX", PhotometricInterpretation="MONOCHROME1")
    )
    np.testing.assert_array_equal(volume.values[0], 11 - pixels)  # its least is white
    assert volume.modality == "DX"
    frames = np.arange(24).reshape(2, 3, 4)
    volume = medical.open_volume(dicom(tmp_path / "frames.dcm", frames, RescaleSlope=1.0, RescaleIntercept=-5.0))
    np.testing.assert_array_equal(volume.values, frames - 5)


def test_frames_with_a_scale_of_their_own(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")

    def group(**values: Any) -> Any:
        inner, outer = pydicom.Dataset(), pydicom.Dataset()
        for name, value in values.items():
            setattr(inner, name, value)
        kind = "PixelMeasuresSequence" if "PixelSpacing" in values else "PixelValueTransformationSequence"
        setattr(outer, kind, pydicom.Sequence([inner]))
        return outer

    frames = np.arange(24).reshape(2, 3, 4)
    own = [group(RescaleSlope=float(i + 1), RescaleIntercept=float(-i)) for i in range(2)]
    path = dicom(
        tmp_path / "x.dcm",
        frames,
        PerFrameFunctionalGroupsSequence=pydicom.Sequence(own),
        SharedFunctionalGroupsSequence=pydicom.Sequence([group(PixelSpacing=[0.5, 0.25], SliceThickness=2.0)]),
    )
    volume = medical.open_volume(path)
    np.testing.assert_array_equal(volume.values, np.stack([frames[0], frames[1] * 2 - 1]))
    assert volume.spacing == (2.0, 0.5, 0.25)


def test_one_of_several_series(tmp_path: Path) -> None:
    folder = series(tmp_path / "both")
    dicom(folder / "d.dcm", np.ones((4, 6)), SeriesInstanceUID="9.9", Modality="MR")
    with pytest.raises(UsageError, match=r"2 series.*1\.2\.3, 9\.9"):
        medical.open_volume(folder)
    assert medical.open_volume(folder, "9.9").modality == "MR"
    assert len(medical.open_volume(folder, series="1.2.3")) == 3
    with pytest.raises(UsageError, match=r"no series '7'"):
        medical.open_volume(folder, "7")


def test_bad_files(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")

    def refused(path: Path, code: str, text: str) -> None:
        with pytest.raises(ImageError, match=text) as caught:
            medical.open_volume(path)
        assert caught.value.code == code
        assert "\n" not in str(caught.value)

    refused(tmp_path / "none.nii", "image_missing", "no such file")
    (tmp_path / "text.nii.gz").write_text("a text")
    refused(tmp_path / "text.nii.gz", "image_unreadable", "no NIfTI file")
    (tmp_path / "text.dcm").write_text("a text")
    refused(tmp_path / "text.dcm", "image_unreadable", "neither NIfTI nor DICOM")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "image_missing", "no DICOM picture")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4), np.int16), np.eye(4)), tmp_path / "flat.nii")
    refused(tmp_path / "flat.nii", "image_shape", r"shape is \[3, 4\]")
    whole = dicom(tmp_path / "x.dcm", np.ones((30, 40))).read_bytes()
    (tmp_path / "short.dcm").write_bytes(whole[:-500])
    refused(tmp_path / "short.dcm", "image_unreadable", "short.dcm")
    refused(dicom(tmp_path / "rgb.dcm", np.ones((4, 6)), SamplesPerPixel=3), "image_shape", "colour DICOM")
    mixed = series(tmp_path / "mixed")
    dicom(mixed / "d.dcm", np.ones((5, 6)))
    refused(mixed, "image_unreadable", "pixels cannot be read")


@pytest.mark.parametrize(("package", "name"), [("nibabel", "a.nii.gz"), ("pydicom", "a.dcm")])
def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str) -> None:
    (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"needs {package}: pip install 'gsam-jax\[medical\]'") as caught:
        medical.open_volume(tmp_path / name)
    assert caught.value.code == "extra_missing"


def test_it_is_public_and_light() -> None:
    import subprocess

    heavy = ["jax", "flax", "nibabel", "pydicom", "scipy"]
    code = f"import sys, gsam; gsam.medical.picture([[1, 2]]); print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
