"""Law: the header is the library: what cadenza.h declares is what Python binds, and with the same types."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import header
import pytest

from cadenza import __version__, _bindings, errors

FUNCTIONS = {value.__name__: value for value in vars(_bindings).values() if isinstance(value, ctypes._CFuncPtr)}

STRUCTS = {
    "cadenza_load_options": _bindings.LoadOptions,
    "cadenza_tensor_info": _bindings.TensorInfo,
    "cadenza_layer_info": _bindings.LayerInfo,
    "cadenza_weight_info": _bindings.WeightInfo,
    "cadenza_shape": _bindings.Shape,
    "cadenza_state_info": _bindings.StateInfo,
    "cadenza_sampler": _bindings.Sampler,
    "cadenza_stop": _bindings.Stop,
    "cadenza_generator_options": _bindings.GeneratorOptions,
    "cadenza_run_info": _bindings.RunInfo,
    "cadenza_selffeeding_info": _bindings.SelfFeedingInfo,
    "cadenza_beam_options": _bindings.BeamOptions,
    "cadenza_ragged_info": _bindings.RaggedInfo,
    "cadenza_level": _bindings.Level,
    "cadenza_nested_info": _bindings.NestedInfo,
    "cadenza_nested_item": _bindings.NestedItem,
    "cadenza_tape_options": _bindings.TapeOptions,
    "cadenza_unrolled_options": _bindings.UnrolledOptions,
    "cadenza_unrolled_batch": _bindings.UnrolledBatch,
    "cadenza_loss": _bindings.Loss,
    "cadenza_optimizer": _bindings.Optimizer,
    "cadenza_trainer_options": _bindings.TrainerOptions,
    "cadenza_batch": _bindings.Batch,
}

HANDLES = {
    "cadenza_model": _bindings.ModelHandle,
    "cadenza_builder": _bindings.BuilderHandle,
    "cadenza_stream": _bindings.StreamHandle,
    "cadenza_pool": _bindings.PoolHandle,
    "cadenza_selffeeding": _bindings.SelfFeedingHandle,
    "cadenza_ragged": _bindings.RaggedHandle,
    "cadenza_nested": _bindings.NestedHandle,
    "cadenza_tape": _bindings.TapeHandle,
    "cadenza_unrolled": _bindings.UnrolledHandle,
    "cadenza_trainer": _bindings.TrainerHandle,
}

VALUES = {
    "size_t": ctypes.c_size_t,
    "uint64_t": ctypes.c_uint64,
    "int32_t": ctypes.c_int32,
    "uint8_t": ctypes.c_uint8,
    "double": ctypes.c_double,
    "int": ctypes.c_int,
    "cadenza_layout": ctypes.c_int,
    "cadenza_status": ctypes.c_int,
    "cadenza_verdict": ctypes.c_int,
    "const char *": ctypes.c_char_p,
    "char *": ctypes.c_void_p,
    "float *": ctypes.c_void_p,
    "void *": ctypes.c_void_p,
}


def expected_type(kind: str) -> type:
    """The ctypes type for a C type."""
    if kind in VALUES:
        return VALUES[kind]
    target = kind.removesuffix(" *")
    if target in HANDLES:
        return HANDLES[target]
    return ctypes.POINTER(STRUCTS.get(target) or expected_type(target))


def test_bound_functions_are_the_declared_ones():
    declared = [function.name for function in header.functions()]
    assert len(declared) > 60
    assert sorted(declared) == sorted(FUNCTIONS)


def test_each_function_is_bound_once():
    bound = [value.__name__ for value in vars(_bindings).values() if isinstance(value, ctypes._CFuncPtr)]
    assert len(bound) == len(set(bound))


@pytest.mark.parametrize("declared", header.functions(), ids=lambda function: function.name)
def test_types_match(declared):
    bound = FUNCTIONS[declared.name]
    for position, (kind, argument) in enumerate(zip(declared.arguments, bound.argtypes, strict=True)):
        assert argument is expected_type(kind), f"argument {position}: {kind}"
    if declared.result == "void":
        assert bound.restype is None
    else:
        assert bound.restype is expected_type(declared.result)
    fallible = declared.result == "cadenza_status"
    assert (getattr(bound, "errcheck", None) is not None) == fallible


def test_structs_have_the_headers_fields():
    declared = header.structs()
    assert sorted(declared) == sorted(STRUCTS)
    for name, struct in STRUCTS.items():
        assert [field[0] for field in struct._fields_] == declared[name]
        if issubclass(struct, _bindings.SizedStructure):
            assert struct().struct_size == ctypes.sizeof(struct)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_structs_have_the_compilers_layout(tmp_path):
    lines = []
    for name, struct in STRUCTS.items():
        lines.append(f'printf("%zu\\n", sizeof({name}));')
        lines += [f'printf("%zu\\n", offsetof({name}, {field[0]}));' for field in struct._fields_]
    source = tmp_path / "layout.c"
    source.write_text('#include "cadenza.h"\n#include <stdio.h>\nint main(void) {\n' + "\n".join(lines) + "\n}\n")
    program = tmp_path / "layout"
    subprocess.run(["cc", "-I", header.PATH.parent, source, "-o", program], check=True)
    printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()
    ours = []
    for struct in STRUCTS.values():
        ours += [ctypes.sizeof(struct), *(getattr(struct, field[0]).offset for field in struct._fields_)]
    assert ours == [int(number) for number in printed]


def test_statuses_have_exceptions():
    statuses = header.enumeration("cadenza_status")
    assert statuses.pop("CADENZA_OK") == 0
    assert sorted(statuses.values()) == sorted(errors._BY_STATUS)
    for name, status in statuses.items():
        assert _bindings.status_name(status).decode() == name
        assert errors.error_for(status, "why").status == status


def test_constants():
    assert int(header.macro("CADENZA_MAX_RANK")) == _bindings.MAX_RANK
    assert header.macro("CADENZA_VERSION").strip('"') == __version__ == _bindings.version().decode()
    assert header.enumeration("cadenza_verdict")["CADENZA_STREAMS"] == 0
