"""The photo's own bytes for the record, where its file is already what the codec stores.

Encoding a photo again would cost time and change its pixels. What a file says beside its pixels (place, time, names,
thumbnails, profiles) is left out: decoders of datasets look at none of it.

References:
    ITU-T T.81 (JPEG), annex B; T.871 (JFIF). PNG: ISO/IEC 15948, chapter 5.
"""

import re
import struct
import zlib
from collections.abc import Iterator

from hazegen.images import Codec

_PNG = b"\x89PNG\r\n\x1a\n"
# JPEG markers.
_SOI, _EOI, _SOS, _APP0, _APP14, _COM = 0xD8, 0xD9, 0xDA, 0xE0, 0xEE, 0xFE
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, all Huffman-coded
_TABLES = (0xC4, 0xDB, 0xDD)  # Huffman, quantisation, restart interval
_APPLICATION = range(0xE0, 0xF0)
# Where coded data ends: at a marker that is no stuffed zero and no restart.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Brightness at one, two or four times the resolution of both colours, in every way that decoders agree on.
_SAMPLINGS = (0x11, 0x21, 0x12, 0x22)
_JFIF_BYTES = 14


def stored(photo: bytes, codec: Codec, height: int, width: int) -> bytes | None:
    """The file as it goes into the record; None where the picture has to be encoded.

    Args:
        photo: The file's bytes, which have been decoded without an error; may be empty.
        codec: That of the dataset.
        height, width: Of the decoded picture [px].
    """
    if codec == "raw":
        return None
    parts = _png_parts(photo, height, width) if codec == "png" else _jpeg_parts(photo, height, width)
    try:
        return b"".join(parts)
    except (ValueError, IndexError, struct.error):
        return None


def _jpeg_parts(data: bytes, height: int, width: int) -> Iterator[bytes]:
    """The parts of a JPEG file that its pixels come from.

    Raises:
        ValueError: Another kind of file, or of JPEG.
    """
    _expect(data[:2] == bytes((0xFF, _SOI)))
    yield data[:2]
    jfif = adobe = scans = False
    components = b""
    for marker, content, whole in _segments(data):
        if marker == _APP0 and content[:5] == b"JFIF\0" and not jfif:
            jfif = True
            yield _without_thumbnail(content)
        elif marker == _APP14 and content[:5] == b"Adobe":
            # Its last byte says what the components are: 1 is brightness and two colours.
            _expect(len(content) == 12 and content[11] == 1)
            adobe = True
            yield whole
        elif marker in _FRAMES:
            _expect(not components and content[:6] == struct.pack(">BHHB", 8, height, width, 3))
            components = content[6:15]
            _expect(components[1] in _SAMPLINGS and components[4] == components[7] == 0x11)
            yield whole
        elif marker == _SOS:
            _expect(len(components) == 9)
            # Decoders go by these numbers where neither JFIF nor Adobe says what the components are.
            _expect(jfif or adobe or components[::3] == b"\1\2\3")
            scans = True
            yield whole
        elif marker in _TABLES:
            yield whole
        else:
            _expect(marker in _APPLICATION or marker == _COM)
    _expect(scans)
    yield bytes((0xFF, _EOI))


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, content and all bytes of each segment up to the end of the image; a scan's with its coded data."""
    at = 2
    while True:
        _expect(data[at] == 0xFF)
        while data[at + 1] == 0xFF:  # any number of these may stand before a marker
            at += 1
        marker = data[at + 1]
        if marker == _EOI:
            return
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        _expect(length >= 2 and end <= len(data))
        content = data[at + 4 : end]
        if marker == _SOS:
            found = _NEXT_MARKER.search(data, end)
            _expect(found is not None)
            assert found is not None
            end = found.start()
        yield marker, content, data[at:end]
        at = end


def _without_thumbnail(content: bytes) -> bytes:
    _expect(len(content) >= _JFIF_BYTES)
    return struct.pack(">BBH", 0xFF, _APP0, 2 + _JFIF_BYTES) + content[: _JFIF_BYTES - 2] + b"\0\0"


def _png_parts(data: bytes, height: int, width: int) -> Iterator[bytes]:
    """The parts of a PNG file that its pixels come from.

    Raises:
        ValueError: Another kind of file, or of PNG, or one that is damaged.
    """
    _expect(data[:8] == _PNG)
    yield data[:8]
    at, last = 8, b""
    while last != b"IEND":
        length, last = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        _expect(end <= len(data) and (at > 8) == (last != b"IHDR"))
        whole = data[at:end]
        if last in (b"IHDR", b"IDAT", b"IEND"):
            _expect(struct.unpack(">I", whole[-4:])[0] == zlib.crc32(memoryview(whole)[4:-4]))
            yield whole
        if last == b"IHDR":
            # 8 bits, R G B, the one method of compression and of filters, not interlaced
            _expect(whole[8:21] == struct.pack(">II5B", width, height, 8, 2, 0, 0, 0))
        # Transparent colours, the frames of an animation, and what only newer readers know would change the picture.
        _expect(last not in (b"tRNS", b"acTL") and (last in (b"IHDR", b"PLTE", b"IDAT", b"IEND") or bool(last[0] & 32)))
        at = end


def _expect(fits: bool) -> None:
    if not fits:
        raise ValueError("not stored as it is")
