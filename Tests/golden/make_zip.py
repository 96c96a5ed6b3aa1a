"""Writes zip/: keras/lstm.keras packed in other ways. Run make_goldens.py first; then

    python make_zip.py

Each file's contents, and so its answers, are those of lstm.keras (see keras/lstm.npz), except that those named
bad_* cannot be honoured and must be refused with an error. Running the script again gives the same bytes.
"""

import io
import zipfile
import zlib
from pathlib import Path
from unittest import mock

FOLDER = Path(__file__).parent / "zip"
SOURCE = Path(__file__).parent / "keras" / "lstm.keras"


class Pipe(io.BytesIO):
    """Cannot seek back to fill in sizes: they go into data descriptors behind each entry."""
    def seekable(self):
        return False

    def seek(self, *_):
        raise OSError

    def tell(self):
        raise OSError


def packed(entries, method=zipfile.ZIP_DEFLATED, comment=b"", extra=b"", target=io.BytesIO, zip64=False):
    target = target()
    with zipfile.ZipFile(target, "w", allowZip64=True) as archive:
        archive.comment = comment
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            info.extra = extra
            with archive.open(info, "w", force_zip64=zip64) as entry:
                entry.write(data)
    return target.getvalue()


def compressed_by(level, strategy):
    """Makes zipfile deflate in this way, for all three kinds of block to occur."""
    return mock.patch("zipfile._get_compressor",
                      lambda *_: zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy))


def patched(data, offset, value):
    return data[:offset] + value + data[offset + len(value):]


def main():
    FOLDER.mkdir(exist_ok=True)
    with zipfile.ZipFile(SOURCE) as source:
        entries = {name: source.read(name) for name in source.namelist()}

    files = {
        "stored": packed(entries, zipfile.ZIP_STORED),
        "deflated": packed(entries),
        "comment": packed(entries, comment=b"a comment, longer than the record before it, at the very end"),
        "extra_field": packed(entries, extra=b"\xfe\xca\x04\x00more"),
        "reordered": packed(dict(sorted(entries.items(), reverse=True))),
        "folders_and_others": packed({"assets/": b"", **entries, "assets/words.txt": b"one\ntwo\n"}),
        "data_descriptors": packed(entries, target=Pipe),
        "data_descriptors_stored": packed(entries, zipfile.ZIP_STORED, target=Pipe),
        "zip64_sizes": packed(entries, zip64=True),
        "prefixed": b"something before the archive, as in a self-extracting one" + packed(entries),
    }
    with compressed_by(0, zlib.Z_DEFAULT_STRATEGY):
        files["blocks_stored"] = packed(entries)
    with compressed_by(9, zlib.Z_FIXED):
        files["blocks_fixed"] = packed(entries)
    with compressed_by(9, zlib.Z_HUFFMAN_ONLY):
        files["blocks_huffman_only"] = packed(entries)
    with mock.patch("zipfile.ZIP64_LIMIT", 100), mock.patch("zipfile.ZIP_FILECOUNT_LIMIT", 1):
        files["zip64_directory"] = packed(entries, zip64=True)
        files["zip64_descriptors"] = packed(entries, target=Pipe, zip64=True)

    stored = files["stored"]
    directory = stored.index(b"PK\x01\x02")
    weights = directory + stored[directory:].rindex(b"PK\x01\x02")  # the last entry's record
    assert stored[weights + 46:].startswith(b"model.weights.h5")
    files |= {
        "bad_method": packed(entries, zipfile.ZIP_BZIP2),
        "bad_encrypted": patched(stored, weights + 8, b"\x01\x00"),
        "bad_checksum": patched(stored, weights + 16, b"\x00\x00\x00\x00"),
        "bad_size": patched(stored, weights + 20, b"\xff\xff\xff\x7f\xff\xff\xff\x7f"),
        "bad_offset": patched(stored, weights + 42, b"\xff\xff\xff\x7f"),
        "bad_no_weights": packed({name: entries[name] for name in ("metadata.json", "config.json")}),
        "bad_no_config": packed({"model.weights.h5": entries["model.weights.h5"]}),
    }
    for name, data in files.items():
        (FOLDER / f"{name}.keras").write_bytes(data)


if __name__ == "__main__":
    main()
