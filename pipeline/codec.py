"""Bytes to arrays and back: sniff, check, decode, turn upright, resize, encode.

Nothing here touches Pillow's global state. Files are given to the one plugin that their first bytes name, so no other
of Pillow's parsers ever sees foreign data, and sizes are read from the header and checked before any pixel is made.

Colour: samples are taken as sRGB. Embedded ICC profiles are not applied; CMYK and YCCK go through Pillow's plain
conversion. Transparency is composited over white. Of a JPEG that holds several pictures (MPO) the first counts.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from methods.errors import BadSample

DEFAULT_MAX_PIXELS = 1024**3 // 12
"""89.5 megapixels: a quarter GiB of RGB, and the size at which Pillow itself begins to warn."""

EncodedFormat = Literal["jpeg", "png", "webp"]
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]

_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
}
_FORMATS = (*_PLUGINS, "HEIC")
_AVIF_BRANDS, _HEIC_BRANDS = {b"avif", b"avis"}, {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323
_TIFF_BITS_PER_SAMPLE = 258
_EXIF_ORIENTATION = 274
_RESAMPLING = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_LONGEST_SIDE = {"jpeg": 65_500, "webp": 16_383}


@dataclass(frozen=True)
class Decoded:
    """One decoded picture.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright.
        orientation: EXIF orientation 1 to 8 that was applied (1: none).
        raw_size: (width, height) as stored, before the orientation was applied.
        doubt: what may be wrong with the pixels though they could be decoded, as a sentence; mostly ``None``.
    """

    pixels: np.ndarray
    orientation: int
    raw_size: tuple[int, int]
    doubt: str | None = None


def decode(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Decoded:
    """Decode one JPEG, PNG, WebP, BMP, TIFF, AVIF, PPM / PGM / PBM, HEIC (with pillow-heif) or single-frame GIF file.

    16-bit samples are scaled to 8 bits, not clipped: by the number of bits that the file says are in use (the sBIT
    chunk of a PNG, BitsPerSample of a TIFF), else by 16, with a ``doubt`` where less than a sixteenth of that is used.
    TIFF is held to ``DEFAULT_MAX_PIXELS`` even where ``max_pixels`` allows more.

    Raises:
        BadSample: reason ``empty``, ``not_an_image``, ``truncated``, ``corrupt``, ``too_large``, ``animated``,
            ``no_reader`` (HEIC without pillow-heif) or ``unsupported_mode`` (floating point, 32-bit integers, CIELAB:
            their range cannot be known).
    """
    kind, image, orientation = _load(data, max_pixels)
    pixels = _rgb(kind, image, data)
    return replace(_decoded(pixels, kind, orientation), doubt=_doubt(kind, image, data, pixels))


def decode_mask(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """Decode a label map: numbers stay as they are stored.

    Returns:
        (H, W) uint8 (grey values or palette indices; 0 and 1 of a 1-bit file), (H, W) uint16 of a 16-bit file, or
        (H, W, 3) uint8 of a colour file. Alpha is dropped. Upright, as :func:`decode`.

    Raises:
        BadSample: as :func:`decode`.
    """
    kind, image, orientation = _load(data, max_pixels)
    return _decoded(_numbers(kind, image, data), kind, orientation).pixels


def decode_rgba(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """(H, W, 4) uint8 of a PNG whose four channels are numbers, as they are stored.

    Raises:
        BadSample: as :func:`decode`; ``unsupported_mode`` for a picture without four channels.
    """
    kind, image, _ = _load(data, max_pixels)
    if image.mode != "RGBA":
        raise BadSample("unsupported_mode", f"{kind} with pixels of mode '{image.mode}', not of four channels")
    return np.asarray(image)


def encode(pixels: np.ndarray, format: EncodedFormat, quality: int = 95) -> bytes:
    """Encode (H, W, 3) uint8 RGB. The bytes depend on pixels, format and quality alone; no metadata is written.

    JPEG keeps full colour resolution (4:4:4) from quality 90 on and halves it (4:2:0) below. PNG ignores ``quality``
    (1 to 100); WebP is lossy.

    Raises:
        BadSample: reason ``too_large`` when a side is longer than the format allows.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"encode takes (H, W, 3) uint8, not {pixels.shape} {pixels.dtype}")
    longest = _LONGEST_SIDE.get(format)
    if longest is not None and max(pixels.shape[:2]) > longest:
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise BadSample("too_large", f"{size} does not fit into a {format} file (at most {longest} a side)")
    if format == "jpeg":
        return _jpeg(pixels, quality)
    image, out = Image.fromarray(pixels), io.BytesIO()
    if format == "webp":
        image.save(out, format="WEBP", quality=quality, method=4)
    elif format == "png":
        image.save(out, format="PNG", compress_level=6)
    else:
        raise ValueError(f"unknown image format '{format}'")
    return out.getvalue()


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    # The bytes that Pillow writes, both being libjpeg-turbo, but other threads go on meanwhile; a test compares them.
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if quality >= 90 else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise BadSample("unwritable", f"{pixels.shape[1]}x{pixels.shape[0]} pixels cannot be written as JPEG")
    return data.tobytes()


def encode_mask(mask: np.ndarray) -> bytes:
    """Encode a label map, (H, W) uint8 or uint16 or (H, W, 3) uint8, as a PNG from which it reads back exactly."""
    grey = mask.ndim == 2 and mask.dtype in (np.uint8, np.uint16)
    if not grey and not (mask.ndim == 3 and mask.shape[2] == 3 and mask.dtype == np.uint8):
        raise ValueError(f"encode_mask takes (H, W) uint8 or uint16 or (H, W, 3) uint8, not {mask.shape} {mask.dtype}")
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(mask)).save(out, format="PNG", compress_level=6)
    return out.getvalue()


def resize(pixels: np.ndarray, size: tuple[int, int], filter: Filter = "lanczos") -> np.ndarray:
    """Resize to ``size`` = (width, height), without torch; the very same array if the size is already right.

    All filters but ``nearest`` widen when shrinking (antialiased) and take uint8 only. ``nearest`` takes any dtype and
    picks the source pixel under the middle of each new one: the filter for label maps.
    """
    width, height = size
    if pixels.shape[1] == width and pixels.shape[0] == height:
        return pixels
    if filter == "nearest":
        return pixels[nearest_index(pixels.shape[0], height)[:, None], nearest_index(pixels.shape[1], width)[None, :]]
    return np.array(Image.fromarray(pixels).resize(size, _RESAMPLING[filter]))


def nearest_index(source: int, target: int) -> np.ndarray:
    """For each of ``target`` pixels along one side, the index of the one of ``source`` pixels under its middle."""
    return ((2 * np.arange(target, dtype=np.int64) + 1) * source) // (2 * target)


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Apply EXIF orientation 1 to 8 to an (H, W, ...) array, as a contiguous array."""
    if orientation == 2:
        array = array[:, ::-1]
    elif orientation == 3:
        array = array[::-1, ::-1]
    elif orientation == 4:
        array = array[::-1]
    elif orientation == 5:
        array = array.swapaxes(0, 1)
    elif orientation == 6:
        array = np.rot90(array, -1)
    elif orientation == 7:
        array = array[::-1, ::-1].swapaxes(0, 1)
    elif orientation == 8:
        array = np.rot90(array)
    return np.ascontiguousarray(array)


def _decoded(array: np.ndarray, kind: str, orientation: int) -> Decoded:
    # Pillow turns TIFF itself while loading, and no other format.
    array = np.ascontiguousarray(array) if kind == "TIFF" else upright(array, orientation)
    height, width = array.shape[:2]
    return Decoded(array, orientation, (height, width) if orientation >= 5 else (width, height))


def _load(data: bytes, max_pixels: int) -> tuple[str, ImageFile.ImageFile, int]:
    """Check the header, then decode: (format, loaded image, orientation)."""
    if not data:
        raise BadSample("empty", "the file is empty (0 bytes)")
    kind = kind_of(data)
    if kind is None:
        raise BadSample("not_an_image", f"not a {', '.join(_FORMATS)} file (it begins with {bytes(data[:8])!r})")
    if kind == "TIFF":
        max_pixels = min(max_pixels, DEFAULT_MAX_PIXELS)
    try:
        # These two plugins allocate, or warn, as soon as they are opened, so their header is read here.
        if kind == "WebP":
            _check_size(_webp_size(data), max_pixels)
        elif kind == "GIF":
            _check_size(_gif_size(data), max_pixels)
        image = _plugin(kind)(io.BytesIO(data))
        _check_size(image.size, max_pixels)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            tile = image.tag_v2.get(_TIFF_TILE_WIDTH, 1), image.tag_v2.get(_TIFF_TILE_LENGTH, 1)
            _check_size(tile, max_pixels)
        if getattr(image, "is_animated", False):
            raise BadSample("animated", f"{kind} with more than one frame or page")
        orientation = _orientation(image) if kind == "TIFF" else 1
        image.load()
        if kind != "TIFF":
            orientation = _orientation(image)
    except (BadSample, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise BadSample("too_large", f"{kind} holds more pixels than allowed") from None
    except Exception as error:
        # Pillow's parsers answer broken data with nearly any exception (OSError, SyntaxError, struct.error, ...).
        said = str(error) or type(error).__name__
        if _is_cut(kind, data, said):
            raise BadSample("truncated", f"{kind} ends early after {len(data)} bytes ({said})") from None
        raise BadSample("corrupt", f"{kind} cannot be decoded ({said})") from None
    return kind, image, orientation


def kind_of(data: bytes) -> str | None:
    """The format of an image file by its first 32 bytes; ``None`` for what is none that is read."""
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:2] == b"BM":
        return "BMP"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if data[4:8] == b"ftyp":
        brands = {data[8:12], data[16:20], data[20:24], data[24:28]}
        return "AVIF" if brands & _AVIF_BRANDS else "HEIC" if brands & _HEIC_BRANDS else None
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "PPM"
    return "GIF" if data[:6] in (b"GIF87a", b"GIF89a") else None


def _plugin(kind: str) -> type[ImageFile.ImageFile]:
    if kind != "HEIC":
        return _PLUGINS[kind]
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError:
        raise BadSample("no_reader", "HEIC pictures need pillow-heif: pip install 'sceneshift[heic]'") from None
    return HeifImageFile


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise BadSample("too_large", f"{width}x{height} is more than {max_pixels} pixels")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Canvas size from the first chunk: VP8X (extended), VP8L (lossless) or VP8 (lossy)."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _gif_size(data: bytes) -> tuple[int, int]:
    """The logical screen, grown by the first frame as Pillow grows it."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 * (2 << (flags & 7)) if flags & 0x80 else 0)
    while data[at] == 0x21:  # an extension: label, then blocks up to an empty one
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    if data[at] == 0x2C:
        left, top, w, h = struct.unpack_from("<HHHH", data, at + 1)
        width, height = max(width, left + w), max(height, top + h)
    return width, height


def _is_cut(kind: str, data: bytes, said: str) -> bool:
    """Whether a file that failed to decode lacks its end."""
    if kind == "JPEG":
        return b"\xff\xd9" not in data[-64:]
    if kind == "PNG":
        return b"IEND" not in data[-64:]
    if kind == "WebP":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    if kind == "BMP":
        return len(data) < int.from_bytes(data[2:6], "little")
    return any(word in said.lower() for word in ("truncated", "not enough", "out of range", "requires a buffer"))


def _orientation(image: ImageFile.ImageFile) -> int:
    try:
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            value = image.tag_v2.get(_EXIF_ORIENTATION, 1)
        else:
            value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        return 1  # a broken EXIF block says nothing about the pixels
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _rgb(kind: str, image: ImageFile.ImageFile, data: bytes) -> np.ndarray:
    """(H, W, 3) uint8 of a loaded image of any mode."""
    mode = image.mode
    if mode.startswith("I;16") or (kind == "PPM" and mode == "I"):
        values = np.asarray(image)
        full = (1 << _bits(image, data, int(values.max(initial=0)))) - 1
        grey = np.minimum((values.astype(np.uint32) * 255 + full // 2) // full, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if mode in ("I", "F", "LAB", "HSV"):
        raise BadSample("unsupported_mode", f"{kind} with pixels of mode '{mode}': save it as 8 or 16 bit grey or RGB")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        top = image.convert("RGBA")
        return np.array(Image.alpha_composite(Image.new("RGBA", top.size, "white"), top).convert("RGB"))
    return np.array(image if mode == "RGB" else image.convert("RGB"))  # array, not asarray: writable, as torch wants it


def _bits(image: ImageFile.ImageFile, data: bytes, greatest: int) -> int:
    """How many bits of a sample a 16-bit picture uses, as far as the file says.

    The PNG standard wants samples of fewer bits spread over all 16, and sBIT to name how many there were; cameras also
    write them as they are. Which of the two it is, the greatest value says.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (16,))[0])
    bits = _significant_bits(data)
    return bits if bits is not None and greatest < 1 << bits else 16


def _significant_bits(data: bytes) -> int | None:
    """The first number of a PNG's sBIT chunk, which stands before the palette and the pixels; ``None`` without one."""
    at = 8
    while data[:4] == b"\x89PNG" and at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"sBIT" and length and 1 <= data[at + 8] <= 16:
            return data[at + 8]
        if name in (b"PLTE", b"IDAT"):
            break
        at += 12 + length
    return None


def _doubt(kind: str, image: ImageFile.ImageFile, data: bytes, pixels: np.ndarray) -> str | None:
    """Whether a picture of 16 bits uses so few of them that its samples are likely to be of 10 or 12 bits."""
    deep = image.mode.startswith("I;16") or (kind == "PNG" and data[24:25] == b"\x10")
    dark = deep and 0 < int(pixels.max(initial=0)) < 16
    return "of 16 bits, with less than 1/16 of their range in use: 10 or 12 bits stored as they are?" if dark else None


def _numbers(kind: str, image: ImageFile.ImageFile, data: bytes) -> np.ndarray:
    """The stored numbers of a loaded label map."""
    mode = image.mode
    if mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65_535:
            raise BadSample("unsupported_mode", f"{kind} label map with values outside 0 to 65535")
        return values.astype(np.uint16)
    if mode == "1":
        return np.asarray(image).astype(np.uint8)
    if mode == "L" and kind == "PNG" and data[24] in (2, 4):
        # Pillow spreads 2- and 4-bit grey over 0 to 255; class numbers must not be spread.
        return np.asarray(image) // (255 // ((1 << data[24]) - 1))
    if mode in ("L", "P", "RGB"):
        return np.array(image)
    if mode in ("LA", "PA"):
        return np.array(image.getchannel(0))
    if mode in ("RGBA", "RGBX"):
        return np.array(image)[:, :, :3]
    raise BadSample(
        "unsupported_mode", f"{kind} label map with pixels of mode '{mode}': save it as grey or palette PNG"
    )
