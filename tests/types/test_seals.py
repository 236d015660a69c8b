"""Seals: what carries one is as it was written, and any change breaks it."""

import struct
import zlib

import pytest


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


PNG = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + chunk(b"IDAT", bytes(200))
CONTENTS = {".png": PNG + chunk(b"IEND", b""), ".html": b"<p>text", ".js": b"let x\n"}


@pytest.mark.parametrize("ending", CONTENTS)
def test_a_seal_holds_until_a_byte_is_changed(tmp_path, ending):
    from sadi_lens.types.seals import is_sealed, seal

    path, data = tmp_path / f"file{ending}", seal(CONTENTS[ending], ending)
    path.write_bytes(data)
    assert is_sealed(path)
    kind = data.rindex(b"sadi_lens") + len(b"sadi_lens ")
    for at in (0, len(CONTENTS[ending]) // 2, kind - 2, kind + 1, len(data) - 1):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert not is_sealed(path), at
    path.write_bytes(CONTENTS[ending])
    assert not is_sealed(path)


def test_the_seal_of_a_picture_is_a_text_chunk_before_its_last():
    from sadi_lens.types.seals import seal, sha256

    whole = CONTENTS[".png"]
    text = chunk(b"tEXt", b"sadi_lens\0" + sha256(whole).encode())
    assert seal(whole, ".png") == PNG + text + chunk(b"IEND", b"")
