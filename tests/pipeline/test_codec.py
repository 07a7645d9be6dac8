"""The codec: every kind of file is decoded right or refused with a reason, never anything else."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from methods.errors import BadSample
from pipeline import codec

ROOT = Path(__file__).resolve().parents[2]


def gradient(width: int = 40, height: int = 24) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 3 % 256], axis=2).astype(np.uint8)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format=format, **options)
    return out.getvalue()


def refused(data: bytes, **options: int) -> str:
    with pytest.raises(BadSample) as caught:
        codec.decode(data, **options)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand, so that headers may lie and bit depths may be rare."""

    def chunk(tag: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_decode_exactly(format: str) -> None:
    got = codec.decode(saved(Image.fromarray(gradient()), format))
    np.testing.assert_array_equal(got.pixels, gradient())
    assert got.orientation == 1
    assert got.raw_size == (40, 24)
    assert got.pixels.flags.writeable
    assert got.pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("format", "options"), [("JPEG", {"quality": 98, "subsampling": 0}), ("WEBP", {"quality": 98})]
)
def test_lossy_formats_decode_closely(format: str, options: dict[str, int]) -> None:
    got = codec.decode(saved(Image.fromarray(gradient()), format, **options)).pixels
    assert got.shape == (24, 40, 3)
    assert np.abs(got.astype(int) - gradient()).mean() < 6


def test_lossless_webp_and_single_gif_and_palette() -> None:
    np.testing.assert_array_equal(
        codec.decode(saved(Image.fromarray(gradient()), "WEBP", lossless=True)).pixels, gradient()
    )
    palette = Image.fromarray(gradient()).quantize(32)
    expected = np.asarray(palette.convert("RGB"))
    for format in ("PNG", "GIF", "BMP", "TIFF"):
        np.testing.assert_array_equal(codec.decode(saved(palette, format)).pixels, expected)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 40 * 24).reshape(24, 40).astype(np.uint16)
    for format in ("PNG", "TIFF"):
        got = codec.decode(saved(Image.fromarray(ramp), format)).pixels
        np.testing.assert_array_equal(got[:, :, 0], np.round(ramp / 257).astype(np.uint8))
        np.testing.assert_array_equal(got[:, :, 0], got[:, :, 2])


def test_sixteen_bit_rgb_is_scaled_not_clipped() -> None:
    wide = gradient().astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    np.testing.assert_array_equal(codec.decode(png(40, 24, 16, 2, rows)).pixels, gradient())


def test_big_endian_sixteen_bit_tiff() -> None:
    ramp = np.linspace(0, 65535, 64).reshape(8, 8).astype(">u2")
    entries = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 134)]
    entries += [(277, 3, 1, 1), (278, 3, 1, 8), (279, 4, 1, 128), (274, 3, 1, 6)]
    body = b"".join(
        struct.pack(">HHI", tag, kind, count)
        + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
        for tag, kind, count, value in sorted(entries)
    )
    data = b"MM\0*" + struct.pack(">IH", 8, len(entries)) + body + struct.pack(">I", 0)
    assert len(data) == 134
    got = codec.decode(data + ramp.tobytes())
    assert got.orientation == 6
    np.testing.assert_array_equal(got.pixels[:, :, 1], np.rot90(np.round(ramp / 257).astype(np.uint8), -1))


def test_one_bit_grey_and_cmyk() -> None:
    bits = Image.fromarray(gradient()[:, :, 0] > 100)
    assert set(np.unique(codec.decode(saved(bits, "PNG")).pixels)) == {0, 255}
    grey = Image.fromarray(gradient()[:, :, 0])
    np.testing.assert_array_equal(codec.decode(saved(grey, "PNG")).pixels[:, :, 1], gradient()[:, :, 0])
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # red
    got = codec.decode(saved(ink, "JPEG", quality=95)).pixels
    assert got[:, :, 0].min() > 245
    assert got[:, :, 1:].max() < 10
    np.testing.assert_array_equal(codec.decode(saved(ink, "TIFF")).pixels[0, 0], [255, 0, 0])


def test_transparency_is_composited_over_white() -> None:
    rgba = np.dstack([gradient(), np.full((24, 40), 255, np.uint8)])
    rgba[:4] = (10, 20, 30, 0)
    rgba[4:8] = (0, 0, 0, 128)
    for format in ("PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if format == "WEBP" else {}
        got = codec.decode(saved(Image.fromarray(rgba), format, **options)).pixels
        assert (got[:4] == 255).all()
        assert (np.abs(got[4:8].astype(int) - 127) <= 1).all()
        np.testing.assert_array_equal(got[8:], gradient()[8:])
    grey_alpha = Image.merge("LA", [Image.new("L", (4, 4), 77), Image.new("L", (4, 4), 0)])
    assert (codec.decode(saved(grey_alpha, "PNG")).pixels == 255).all()
    keyed = Image.fromarray(gradient()).quantize(16)
    see_through = saved(keyed, "PNG", transparency=int(np.asarray(keyed)[0, 0]))
    assert (codec.decode(see_through).pixels[0, 0] == 255).all()


def test_one_pixel() -> None:
    for format in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"):
        assert codec.decode(saved(Image.new("RGB", (1, 1), "white"), format)).pixels.shape == (1, 1, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(format: str, orientation: int) -> None:
    upright = Image.fromarray(gradient())
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's Transpose methods that turn upright into stored
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[274] = orientation
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format, {})
    got = codec.decode(saved(stored, format, exif=exif, **options))
    assert got.orientation == orientation
    assert got.raw_size == stored.size
    assert got.pixels.shape == (24, 40, 3)
    assert np.abs(got.pixels.astype(int) - gradient()).mean() < (6 if format == "JPEG" else 0.01)
    np.testing.assert_array_equal(codec.upright(np.asarray(stored), orientation), gradient())


@pytest.mark.filterwarnings("ignore::UserWarning")  # what Pillow says of broken TIFF and EXIF
def test_broken_exif_is_no_orientation() -> None:
    data = saved(Image.fromarray(gradient()), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff")
    assert codec.decode(data).orientation == 1


def test_what_is_no_image() -> None:
    assert refused(b"") == "empty"
    for data in (
        b"\0",
        b"hello world",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"RIFF\0\0\0\0WAVEfmt ",
        bytes(500),
    ):
        assert refused(data) == "not_an_image"
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"  # Pillow would start Ghostscript
    assert refused(eps) == "not_an_image"


def test_headers_alone_are_refused() -> None:
    for data in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\0\0\0WEBPVP8 ", b"GIF89a", b"BM", b"II*\0"):
        assert refused(data) in ("truncated", "corrupt")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_cut_files_are_called_truncated(format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    options = {"compression": "raw"} if format == "TIFF" else {}
    data = saved(noise, format, **options)
    if format == "TIFF":  # Pillow writes the directory last; cut the strip by pointing it past the end instead
        assert refused(data[: len(data) // 2]) in ("truncated", "corrupt")
    else:
        assert refused(data[: len(data) // 2]) == "truncated"


_SAMPLES = {
    format: saved(Image.fromarray(gradient(33, 17)), format) for format in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # what Pillow says of broken TIFF and EXIF
@settings(max_examples=150, deadline=None)
@given(format=st.sampled_from(sorted(_SAMPLES)), share=st.floats(0, 1))
def test_a_cut_anywhere_is_refused_or_harmless(format: str, share: float) -> None:
    whole = _SAMPLES[format]
    cut = whole[: int(share * len(whole))]
    try:
        got = codec.decode(cut)
    except BadSample:
        return
    np.testing.assert_array_equal(got.pixels, codec.decode(whole).pixels)


@pytest.mark.filterwarnings("ignore::UserWarning")  # what Pillow says of broken TIFF and EXIF
@settings(max_examples=300, deadline=None)
@given(
    format=st.sampled_from(sorted(_SAMPLES)),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_flipped_bytes_never_raise_anything_but_bad_sample(format: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(_SAMPLES[format])
    for at, value in changes:
        data[at % len(data)] = value
    for read in (codec.decode, codec.decode_mask):
        with contextlib.suppress(BadSample):
            read(bytes(data), max_pixels=1_000_000)


def bombs() -> dict[str, bytes]:
    side = 30_000
    webp = bytearray(saved(Image.new("RGBA", (2, 2)), "WEBP", exif=b"Exif\0\0"))
    assert webp[12:16] == b"VP8X"
    webp[24:30] = (16_383 - 1).to_bytes(3, "little") * 2
    lossless = bytearray(saved(Image.new("RGB", (2, 2)), "WEBP", lossless=True))
    lossless[21:25] = (16_382 | 16_382 << 14).to_bytes(4, "little")
    jpeg = bytearray(saved(Image.new("RGB", (8, 8)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    bmp = bytearray(saved(Image.new("RGB", (8, 8)), "BMP"))
    bmp[18:26] = struct.pack("<ii", side, side)
    gif = bytearray(saved(Image.new("L", (8, 8)), "GIF"))
    gif[6:10] = struct.pack("<HH", side, side)
    frame_gif = bytearray(saved(Image.new("L", (8, 8)), "GIF"))
    at = frame_gif.rindex(b"\x2c\0\0\0\0\x08\0\x08\0")
    frame_gif[at + 5 : at + 9] = struct.pack("<HH", 9_600, 9_600)  # where Pillow would print a warning
    tiff = bytearray(saved(Image.new("RGB", (8, 8)), "TIFF"))
    for tag in (256, 257):
        entry = tiff.index(struct.pack("<HHI", tag, 4, 1))
        tiff[entry + 8 : entry + 12] = struct.pack("<I", 9_600)
    return {
        "png": png(side, side, 1, 0, bytes(side // 8 + 1) * 64),
        "jpeg": bytes(jpeg),
        "webp": bytes(webp),
        "webp_lossless": bytes(lossless),
        "bmp": bytes(bmp),
        "gif": bytes(gif),
        "gif_frame": bytes(frame_gif),
        "tiff": bytes(tiff),
    }


@pytest.mark.parametrize("name", sorted(bombs()))
@pytest.mark.filterwarnings("error")
def test_decompression_bombs_are_refused_from_the_header(name: str) -> None:
    assert refused(bombs()[name]) == "too_large"


def test_bombs_cost_no_memory_and_print_nothing(tmp_path) -> None:
    for name, data in bombs().items():
        (tmp_path / name).write_bytes(data)
    script = """
import pathlib, sys
from methods.errors import BadSample
from pipeline import codec
from tests.support.memory import peak_mib
codec.decode(codec.encode(codec.np.zeros((8, 8, 3), "uint8"), "png"))
before = peak_mib()
for path in pathlib.Path(sys.argv[1]).iterdir():
    try:
        codec.decode(path.read_bytes())
    except BadSample as error:
        assert error.reason == "too_large", error
print(peak_mib() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert int(done.stdout) < 20  # MiB


def test_the_limit_can_be_set() -> None:
    data = saved(Image.fromarray(gradient()), "PNG")
    assert refused(data, max_pixels=40 * 24 - 1) == "too_large"
    assert codec.decode(data, max_pixels=40 * 24).pixels.shape == (24, 40, 3)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_are_refused(format: str) -> None:
    frames = [Image.fromarray(np.roll(gradient(), step, axis=1)) for step in (0, 5, 9)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    assert refused(data) == "animated"


def test_unknown_ranges_are_refused() -> None:
    assert refused(saved(Image.new("F", (4, 4), 0.5), "TIFF")) == "unsupported_mode"
    assert refused(saved(Image.new("I", (4, 4), 70_000), "TIFF")) == "unsupported_mode"


def test_masks_keep_their_numbers() -> None:
    classes = (gradient()[:, :, 0] // 16).astype(np.uint8)
    palette = Image.fromarray(classes)
    palette.putpalette(list(np.random.default_rng(1).integers(0, 256, 768)))
    got = codec.decode_mask(saved(palette, "PNG"))
    np.testing.assert_array_equal(got, classes)
    wide = np.arange(24 * 40, dtype=np.uint16).reshape(24, 40) * 68
    np.testing.assert_array_equal(codec.decode_mask(saved(Image.fromarray(wide), "PNG")), wide)
    np.testing.assert_array_equal(codec.decode_mask(saved(Image.fromarray(gradient()), "PNG")), gradient())
    rgba = Image.fromarray(np.dstack([gradient(), np.zeros((24, 40), np.uint8)]))
    np.testing.assert_array_equal(codec.decode_mask(saved(rgba, "PNG")), gradient())
    flags = np.asarray(classes > 3)
    np.testing.assert_array_equal(codec.decode_mask(saved(Image.fromarray(flags), "PNG")), flags.astype(np.uint8))
    integers = Image.fromarray(wide.astype(np.int32))
    np.testing.assert_array_equal(codec.decode_mask(saved(integers, "TIFF")), wide)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_masks_of_few_bits_are_not_spread(depth: int) -> None:
    values = np.arange(1 << depth, dtype=np.uint8)
    row = values.tolist() * (8 // depth)
    bits = "".join(format(value, f"0{depth}b") for value in row)
    packed = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    got = codec.decode_mask(png(len(row), 1, depth, 0, b"\0" + packed))
    np.testing.assert_array_equal(got, [row])


def test_mask_round_trip() -> None:
    rng = np.random.default_rng(2)
    for mask in (
        rng.integers(0, 256, (9, 7), np.uint8),
        rng.integers(0, 65536, (9, 7), np.uint16),
        rng.integers(0, 256, (9, 7, 3), np.uint8),
    ):
        np.testing.assert_array_equal(codec.decode_mask(codec.encode_mask(mask)), mask)
    with pytest.raises(ValueError, match="encode_mask"):
        codec.encode_mask(np.zeros((2, 2), np.float32))


def test_encoding_is_deterministic_and_bare() -> None:
    for format in ("jpeg", "png", "webp"):
        first = codec.encode(gradient(), format, 95)
        assert first == codec.encode(np.asfortranarray(gradient()), format, 95)
        image = Image.open(io.BytesIO(first))
        assert not dict(image.getexif())
        assert not {"icc_profile", "comment", "xmp", "Software"} & set(image.info)
    np.testing.assert_array_equal(codec.decode(codec.encode(gradient(), "png")).pixels, gradient())


@settings(max_examples=60)
@given(st.integers(1, 80), st.integers(1, 80), st.sampled_from([1, 30, 75, 89, 90, 95, 100]), st.integers(0, 99))
def test_a_jpeg_is_what_pillow_writes(height: int, width: int, quality: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.clip(rng.normal(128, 1 + seed, (height, width, 3)), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)
    assert codec.encode(pixels, "jpeg", quality) == out.getvalue()


def test_jpeg_keeps_full_colour_at_high_quality() -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 0, 255)

    def error(quality: int) -> float:
        return float(np.abs(codec.decode(codec.encode(stripes, "jpeg", quality)).pixels.astype(int) - stripes).mean())

    assert error(95) < 5
    assert error(89) > 50


def test_encode_refuses_what_a_format_cannot_hold() -> None:
    with pytest.raises(BadSample) as caught:
        codec.encode(np.zeros((1, 16_384, 3), np.uint8), "webp")
    assert caught.value.reason == "too_large"
    with pytest.raises(ValueError, match="encode takes"):
        codec.encode(np.zeros((4, 4), np.uint8), "png")


def test_resize() -> None:
    pixels = gradient()
    assert codec.resize(pixels, (40, 24)) is pixels
    assert codec.resize(pixels, (20, 12)).shape == (12, 20, 3)
    for filter in ("box", "bilinear", "bicubic", "lanczos", "hamming"):
        assert abs(codec.resize(pixels, (20, 12), filter).mean() - pixels.mean()) < 2
    mask = np.random.default_rng(3).integers(0, 60_000, (24, 40), np.uint16)
    small = codec.resize(mask, (13, 7), "nearest")
    assert small.dtype == np.uint16
    assert set(small.ravel().tolist()) <= set(mask.ravel().tolist())
    by_pillow = np.asarray(Image.fromarray(pixels).resize((13, 7), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(codec.resize(pixels, (13, 7), "nearest"), by_pillow)


def test_threads_get_the_same_pixels() -> None:
    files = list(_SAMPLES.values())
    expected = [codec.decode(data).pixels for data in files]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            for at, data in enumerate(files):
                if not np.array_equal(codec.decode(data).pixels, expected[at]):
                    wrong.append(at)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert Image.MAX_IMAGE_PIXELS == codec.DEFAULT_MAX_PIXELS
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
