"""Writes hdf5/: small HDF5 files, each with one corner of the format, and what h5py reads from them.

    pip install h5py
    python make_hdf5.py

hdf5/expected.json, by file:

    "superblock"   the file's superblock version
    "datasets"     path -> {"type", "shape" (null: null dataspace), "stride", "values"}; the values are every
                   stride-th element, in row-major order. "unsupported": true marks what a reader of
                   weights need not understand, but must refuse with an error.
    "attributes"   path -> name -> the same
    "groups"       path -> the names in it, sorted
    "dangling"     soft links whose target does not exist, and links that lead in a circle

Of several hard links to one object only the first, in sorted order, is described: the others, soft links and
named datatypes are in "groups" alone. Running the script again gives the same files, except for the dates which
object headers hold from 1.8 on.
"""

import ctypes
import json
from pathlib import Path

import h5py
import numpy as np

FOLDER = Path(__file__).parent / "hdf5"
VERSIONS = {"earliest": "earliest", "v108": ("v108", "v108"), "v110": ("v110", "v110"), "latest": "latest"}
UTF8 = h5py.string_dtype()
ASCII = h5py.string_dtype("ascii")
NAMES = ["alpha", "", "gamma delta", "épsilon", "ζ"]

random = np.random.default_rng(5)


def floats(*shape, dtype="<f4"):
    return random.standard_normal(shape).astype(dtype)


def counted(*shape):
    return np.arange(np.prod(shape), dtype="<f4").reshape(shape) + 0.5


# What goes into every version of the format


def numbers(file):
    for order in "<>":
        for size in (2, 4, 8):
            file[f"float{8 * size}{'le' if order == '<' else 'be'}"] = floats(3, 4, dtype=f"{order}f{size}")
    for kind in "iu":
        for size in (1, 2, 4, 8):
            for order in "<>"[:1 if size == 1 else 2]:
                low = -3 if kind == "i" else 0
                file[f"{kind}{8 * size}{'le' if order == '<' else 'be'}"] = np.array(
                    [low, 1, 3 + 2 ** min(8 * size - 2, 50)], f"{order}{kind}{size}")
    file["special"] = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-42, 3.4e38], "<f4")
    file["half_special"] = np.array([np.nan, np.inf, -np.inf, -0.0, 6e-8, 65504], "<f2")
    file["scalar"] = np.float32(2.5)
    file["no_elements"] = np.zeros((0, 3), "<f4")
    file["null"] = h5py.Empty("<f4")


def fixed_string(size, charset=h5py.h5t.CSET_ASCII, padding=h5py.h5t.STR_NULLPAD):
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(size)
    kind.set_cset(charset)
    kind.set_strpad(padding)
    return kind


def strings(file):
    group = file.create_group("text")
    group["variable_utf8"] = np.array(NAMES, dtype=UTF8)
    group["variable_ascii"] = np.array(["one", "two"], dtype=ASCII)
    group["variable_scalar"] = "a single string, variable"
    group["fixed"] = np.array([b"ab", b"", b"abcdef"], "S6")
    group["fixed_scalar"] = np.bytes_(b"fixed")
    group.attrs["variable"] = "Grüße"
    group.attrs["variable_ascii"] = np.array("plain", dtype=ASCII)
    group.attrs["variable_list"] = NAMES
    group.attrs["fixed"] = np.bytes_(b"fixed attribute")
    group.attrs["fixed_list"] = [b"dense/kernel:0", b"dense/bias:0"]
    group.attrs["fixed_utf8"] = np.array("épsilon".encode(), dtype=h5py.string_dtype(length=8))
    for name, padding in (("nul_ended", h5py.h5t.STR_NULLTERM), ("space_padded", h5py.h5t.STR_SPACEPAD)):
        kind = fixed_string(8, padding=padding)
        attribute = h5py.h5a.create(group.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR))
        attribute.write(np.array(b"word\0\0\0\0" if name == "nul_ended" else b"word    ", "S8"), mtype=kind)
    group.attrs["many"] = [f"layer_{i}/kernel with a long enough name to fill the heap" for i in range(150)]
    group.attrs["no_names"] = np.zeros(0, "<f8")
    group.attrs["empty"] = h5py.Empty("S1")


def attributes(file):
    group = file.create_group("few")
    group.attrs["int"], group.attrs["float"] = 7, np.float32(0.25)
    group.attrs["matrix"] = floats(2, 3, dtype=">f8")
    group = file.create_group("many")  # a header continued elsewhere, or, from 1.8 on, dense storage
    for i in range(25):
        group.attrs[f"attribute_{i}"] = floats(i % 4)


def groups(file):
    weights = file.create_dataset("model/layers/dense/vars/0", data=floats(3, 2))
    many = file.create_group("many")
    for i in range(300):  # several nodes of a symbol table, or dense storage
        many[f"link_{i:03}"] = weights
    file["hard"] = weights
    file["soft"] = h5py.SoftLink("/model/layers/dense")
    file["model/relative"] = h5py.SoftLink("layers/dense/vars/0")
    file["model/layers/up"] = file["model"]
    file["nowhere"] = h5py.SoftLink("/not/there")
    file["circle_a"], file["circle_b"] = h5py.SoftLink("/circle_b"), h5py.SoftLink("/circle_a")
    file["elsewhere"] = h5py.ExternalLink("other.h5", "/data")
    file.create_group("empty")
    few = file.create_group("few")
    few["z"] = few["a"] = floats(2)
    ordered = file.create_group("ordered", track_order=True)
    for name in "zebra", "ant", "mouse":
        ordered[name] = floats(1)
    file["named_type"] = np.dtype("<f4")
    file.create_dataset("typed", data=floats(3), dtype=file["named_type"])
    file.attrs.create("typed", floats(2), dtype=file["named_type"])
    file.create_dataset("timed", data=floats(2), track_times=False)


def compact(file, name, values):
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple(values.shape)
    dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(values.dtype), space, creation)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)


def early(file, name, values, chunks):
    """Chunks of known size at known places: no index at all from 1.10 on ("implicit")."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk(chunks)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    space = h5py.h5s.create_simple(values.shape)
    dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(values.dtype), space, creation)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)


FILTERS = {
    "plain": {},
    "gzip": {"compression": "gzip", "compression_opts": 9},
    "shuffle": {"shuffle": True},
    "shuffle_gzip": {"shuffle": True, "compression": "gzip"},
    "fletcher32": {"fletcher32": True},
    "all": {"shuffle": True, "compression": "gzip", "fletcher32": True},
}


def layouts(file):
    compact(file, "compact", floats(3, 4))
    compact(file, "compact_be", floats(5, dtype=">f8"))
    file["contiguous"] = floats(3, 4)
    early(file, "implicit", counted(7, 5), (2, 3))
    for name, options in FILTERS.items():
        group = file.create_group(name)
        group.create_dataset("single", data=counted(6, 5), chunks=(6, 5), **options)
        group.create_dataset("edges", data=counted(7, 5), chunks=(3, 2), **options)
        group.create_dataset("one_dimension", data=counted(11), chunks=(4,), **options)
        group.create_dataset("three_dimensions", data=counted(3, 4, 5), chunks=(2, 3, 2), **options)
        group.create_dataset("growing", data=counted(7, 5), chunks=(3, 2), maxshape=(None, 5), **options)
        group.create_dataset("growing_both", data=counted(7, 5), chunks=(3, 2), maxshape=(None, None), **options)
        group.create_dataset("doubles_be", data=floats(9, 3, dtype=">f8"), chunks=(4, 2), **options)
    file.create_dataset("larger_chunk", data=counted(3), chunks=(8,), maxshape=(None,))

    # A chunk may say that it skipped a filter of the pipeline.
    skipped = file.create_dataset("skipped_filter", (4, 4), "<f4", chunks=(2, 4), compression="gzip")
    skipped[:2] = counted(2, 4)
    skipped.id.write_direct_chunk((2, 0), counted(2, 4).tobytes(), filter_mask=1)


def many_chunks(file):
    """Enough chunks for an index of several levels or pages (a fixed array's pages hold 1024)."""
    file.create_dataset("fixed", data=counted(1100), chunks=(1,))
    for name, limit in (("growing", (None, 2)), ("growing_both", (None, None))):
        file.create_dataset(name, data=counted(300, 2), chunks=(1, 2), maxshape=limit)
    file.create_dataset("gzip", data=counted(200, 2), chunks=(1, 2), compression="gzip")


def fills(file):
    file.create_dataset("nothing_written", (3, 2), "<f4")
    file.create_dataset("nothing_written_filled", (3, 2), "<f4", fillvalue=7.5)
    file.create_dataset("nothing_written_be", (4,), ">f8", fillvalue=-2.25)
    for name, options in (("chunks", {}), ("chunks_gzip", {"compression": "gzip", "shuffle": True})):
        file.create_dataset(name + "_none", (5, 4), "<f4", chunks=(2, 2), fillvalue=7.5, **options)
        some = file.create_dataset(name + "_some", (5, 4), "<f4", chunks=(2, 2), fillvalue=7.5, **options)
        some[2:4, 2:] = floats(2, 2)
        grown = file.create_dataset(name + "_grown", (2, 4), "<f4", chunks=(2, 2), maxshape=(None, 4), **options)
        grown[...] = floats(2, 4)
        grown.resize((7, 4))


CONTENTS = {"numbers": numbers, "strings": strings, "attributes": attributes, "groups": groups, "layouts": layouts,
            "many_chunks": many_chunks, "fills": fills}


# Single files


def properties():
    return h5py.h5p.create(h5py.h5p.FILE_CREATE)


def create(name, creation):
    return h5py.File(h5py.h5f.create(str(FOLDER / name).encode(), h5py.h5f.ACC_TRUNC, creation))


def other_files():
    with h5py.File(FOLDER / "userblock.h5", "w", userblock_size=1024) as file:
        file["group/data"] = floats(3, 2)
        file.create_dataset("chunks", data=counted(5, 3), chunks=(2, 2))
        file.attrs["text"] = NAMES
    with open(FOLDER / "userblock.h5", "r+b") as file:
        file.write(b"anything may stand before the superblock")

    with h5py.File(FOLDER / "userblock_latest.h5", "w", userblock_size=512, libver="latest") as file:
        file["group/data"] = floats(3, 2)

    creation = properties()
    creation.set_sizes(4, 4)
    with create("four_byte_offsets.h5", creation) as file:
        file["group/data"] = floats(3, 2)
        file.create_dataset("chunks", data=counted(5, 3), chunks=(2, 2), compression="gzip")
        file.attrs["text"] = NAMES

    # h5py does not offer H5Pset_istore_k, whose only trace is superblock version 1.
    creation = properties()
    library = ctypes.CDLL(h5py.h5p.__file__)
    library.H5Pset_istore_k.argtypes = [ctypes.c_int64, ctypes.c_uint]
    library.H5Pset_sym_k.argtypes = [ctypes.c_int64, ctypes.c_uint, ctypes.c_uint]
    assert library.H5Pset_istore_k(creation.id, 3) >= 0 and library.H5Pset_sym_k(creation.id, 2, 2) >= 0
    with create("superblock_1.h5", creation) as file:
        file.create_dataset("chunks", data=counted(90), chunks=(1,))
        for i in range(40):
            file[f"group/data_{i}"] = floats(2)

    with h5py.File(FOLDER / "large_attribute.h5", "w", libver="latest") as file:
        file.attrs["large"] = counted(17000)

    with h5py.File(FOLDER / "unsupported.h5", "w", libver="latest") as file:
        file["supported"] = floats(2)
        file.create_dataset("lzf", data=counted(8, 8), chunks=(8, 8), compression="lzf")
        file.create_dataset("scale_offset", data=np.arange(64), chunks=(64,), scaleoffset=0)
        file["compound"] = np.zeros(2, [("a", "<f4"), ("b", "<i4")])
        file["complex"] = np.zeros(2, "<c8")
        file["boolean"] = np.array([True, False])
        file["opaque"] = np.zeros(2, "V3")
        file.create_dataset("ragged", (2,), h5py.vlen_dtype("<f4"))
        file["reference"] = file["supported"].ref
        virtual = h5py.VirtualLayout((2,), "<f4")
        virtual[:] = h5py.VirtualSource(".", "supported", (2,))
        file.create_virtual_dataset("virtual", virtual)
        file.create_dataset("external", (2,), "<f4", external=[("other.bin", 0, 8)])


# What h5py reads from them

MOST_VALUES = 120


def plain(value):
    """A number as JSON has it; text for what it has not."""
    if isinstance(value, bytes):
        return value.rstrip(b" ").decode()
    if isinstance(value, float) and not np.isfinite(value):
        return repr(value)
    return value


def described(value, kind):
    if isinstance(value, h5py.Empty):
        return {"type": kind, "shape": None, "stride": 1, "values": []}
    array = np.asarray(value)
    stride = max(1, -(-array.size // MOST_VALUES))
    values = [plain(element) for element in array.ravel()[::stride].tolist()]
    return {"type": kind, "shape": list(array.shape), "stride": stride, "values": values}


def type_name(identifier):
    if isinstance(identifier, h5py.h5t.TypeStringID):
        return "string"
    return identifier.dtype.newbyteorder("=").name


def attributes_of(node):
    found = {}
    for name in sorted(node.attrs):
        identifier = node.attrs.get_id(name)
        found[name] = described(node.attrs[name], type_name(identifier.get_type()))
    return found


def visit(group, result, seen):
    names = sorted(group)
    result["groups"][group.name] = names
    for name in names:
        path = f"{group.name.rstrip('/')}/{name}"
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            result["datasets"][path] = {"unsupported": True}
            continue
        try:
            node = group[name]
        except (KeyError, RuntimeError, OSError):
            result["dangling"].append(path)
            continue
        if isinstance(group.get(name, getlink=True), h5py.SoftLink) or node in seen:
            continue
        seen.append(node)
        if node.attrs:
            result["attributes"][path] = attributes_of(node)
        if isinstance(node, h5py.Group):
            visit(node, result, seen)
        elif isinstance(node, h5py.Dataset):
            if node.file.filename.endswith("unsupported.h5") and name != "supported":
                result["datasets"][path] = {"unsupported": True}
            else:
                result["datasets"][path] = described(node[()], type_name(node.id.get_type()))


def expected(path):
    data = path.read_bytes()
    start = data.index(b"\x89HDF\r\n\x1a\n")
    result = {"superblock": data[start + 8], "datasets": {}, "attributes": {}, "groups": {}, "dangling": []}
    with h5py.File(path) as file:
        if file.attrs:
            result["attributes"]["/"] = attributes_of(file)
        visit(file, result, [file["/"]])
    return result


def main():
    global random
    FOLDER.mkdir(exist_ok=True)
    for version, libver in VERSIONS.items():
        for name, fill in CONTENTS.items():
            if fill is many_chunks and version in ("v108", "v110"):
                continue  # as in "earliest" and "latest"
            random = np.random.default_rng(5)
            with h5py.File(FOLDER / f"{name}_{version}.h5", "w", libver=libver) as file:
                fill(file)
    other_files()
    files = {path.name: expected(path) for path in sorted(FOLDER.glob("*.h5"))}
    lines = [f"{json.dumps(name)}: {json.dumps(files[name], separators=(',', ':'))}" for name in files]
    (FOLDER / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
