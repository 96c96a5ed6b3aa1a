"""Every function and struct of cadenza.h, in its order: name, result, arguments."""

from __future__ import annotations

from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint64,
    c_void_p,
    sizeof,
)
from typing import Any, ClassVar

from ._library import STATUS, function, require_version
from ._library import last_message as last_message

MAX_RANK = 8

BYTES = c_void_p
FLOATS = c_void_p
FLOAT_ARRAYS = POINTER(c_void_p)
SIZE = c_size_t
SIZES = POINTER(c_size_t)
TEXT = c_char_p


class Handle(c_void_p):
    """Owns one reference to an object of the library, and gives it back when nothing refers to the handle any more:
    never while a call is using it."""

    release: ClassVar[Any]

    def __del__(self) -> None:
        self.release(self)


class ModelHandle(Handle):
    """A `cadenza_model *`."""


class BuilderHandle(Handle):
    """A `cadenza_builder *`."""


class StreamHandle(Handle):
    """A `cadenza_stream *`."""


class PoolHandle(Handle):
    """A `cadenza_pool *`."""


class SelfFeedingHandle(Handle):
    """A `cadenza_selffeeding *`."""


class RaggedHandle(Handle):
    """A `cadenza_ragged *`."""


class NestedHandle(Handle):
    """A `cadenza_nested *`."""


class TapeHandle(Handle):
    """A `cadenza_tape *`."""


class UnrolledHandle(Handle):
    """A `cadenza_unrolled *`."""


class TrainerHandle(Handle):
    """A `cadenza_trainer *`."""


class SizedStructure(Structure):
    """A struct that begins with its own size."""

    def __init__(self) -> None:
        super().__init__(sizeof(type(self)))


class LoadOptions(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("architecture", c_char_p),
        ("architecture_size", c_size_t),
        ("precision", c_int32),
        ("reserved", c_int32),
    ]


class TensorInfo(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("rank", c_int32),
        ("has_time", c_int32),
        ("dims", c_int64 * MAX_RANK),
        ("step_size", c_size_t),
    ]


class LayerInfo(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("class_name", c_char_p),
        ("rank", c_int32),
        ("verdict", c_int32),
        ("dims", c_int64 * MAX_RANK),
        ("parameter_count", c_uint64),
        ("reason", c_char_p),
    ]


class WeightInfo(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("layer", c_size_t),
        ("rank", c_int32),
        ("trainable", c_int32),
        ("dims", c_int64 * MAX_RANK),
        ("count", c_size_t),
    ]


class Shape(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("rank", c_int32),
        ("reserved", c_int32),
        ("dims", c_size_t * (MAX_RANK + 1)),
        ("count", c_size_t),
    ]


class StateInfo(SizedStructure):
    _fields_ = [("struct_size", c_size_t), ("layer", c_char_p), ("name", c_char_p), ("units", c_size_t)]


CALLBACK = CFUNCTYPE(c_int, c_void_p, c_size_t, c_size_t, POINTER(c_float), c_size_t, POINTER(c_float))


class Sampler(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("kind", c_int32),
        ("from_probabilities", c_int32),
        ("output", c_size_t),
        ("variance_output", c_int64),
        ("temperature", c_float),
        ("top_p", c_float),
        ("min_p", c_float),
        ("repetition_penalty", c_float),
        ("top_k", c_size_t),
        ("logit_bias", c_void_p),
        ("logit_bias_count", c_size_t),
        ("forbidden", SIZES),
        ("forbidden_count", c_size_t),
        ("sigma", c_float),
        ("reserved", c_int32),
        ("components", c_size_t),
        ("width", c_size_t),
        ("callback", CALLBACK),
        ("context", c_void_p),
    ]


class Stop(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("kind", c_int32),
        ("of_state", c_int32),
        ("index", c_size_t),
        ("element", c_size_t),
        ("token", c_size_t),
        ("threshold", c_float),
        ("from_probabilities", c_int32),
        ("through", c_void_p),
        ("callback", CALLBACK),
        ("context", c_void_p),
    ]


class GeneratorOptions(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("output", c_size_t),
        ("feedback", c_int32),
        ("stopping_step", c_int32),
        ("feedback_output", c_size_t),
        ("feedback_first", c_size_t),
        ("feedback_count", c_size_t),
        ("one_hot", c_size_t),
        ("feedback_model", c_void_p),
        ("feedback_callback", CALLBACK),
        ("feedback_context", c_void_p),
        ("feedback_callback_width", c_size_t),
        ("feedback_input", c_size_t),
        ("start", c_void_p),
        ("start_count", c_size_t),
        ("sampler", POINTER(Sampler)),
        ("stops", POINTER(Stop)),
        ("stop_count", c_size_t),
        ("limit", c_size_t),
        ("minimum", c_size_t),
        ("seeds", POINTER(c_uint64)),
        ("seed_count", c_size_t),
        ("exogenous_size", c_size_t),
        ("exogenous_input", c_size_t),
    ]


class RunInfo(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("running", c_int32),
        ("reason", c_int32),
        ("rule", c_size_t),
        ("length", c_size_t),
        ("cut", c_uint64),
    ]


class SelfFeedingInfo(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("batch", c_size_t),
        ("width", c_size_t),
        ("drawn_width", c_size_t),
        ("exogenous_size", c_size_t),
        ("steps", c_uint64),
    ]


class BeamOptions(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("width", c_size_t),
        ("maximum_length", c_size_t),
        ("end_token", c_int64),
        ("length_penalty", c_float),
        ("reserved", c_int32),
    ]


class RaggedInfo(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("width", c_size_t),
        ("value_count", c_size_t),
        ("level_count", c_size_t),
        ("series_count", c_size_t),
        ("longest", c_size_t),
    ]


class Level(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("model", c_void_p),
        ("options", POINTER(GeneratorOptions)),
        ("driver_output", c_size_t),
        ("driver_input", c_size_t),
        ("drive", c_int32),
        ("policy", c_int32),
        ("initial_state", c_void_p),
        ("is_counted", c_int32),
        ("upward", c_int32),
        ("upward_index", c_size_t),
        ("upward_input", c_size_t),
        ("counts", SIZES),
        ("count_count", c_size_t),
    ]


class NestedInfo(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("batch", c_size_t),
        ("levels", c_size_t),
        ("sample_size", c_size_t),
        ("width", c_size_t),
        ("drawn_width", c_size_t),
        ("pending", c_size_t),
    ]


class NestedItem(Structure):
    _fields_ = [
        ("row", c_size_t),
        ("outer", c_size_t),
        ("middle", c_size_t),
        ("inner", c_size_t),
        ("log_probability", c_float),
        ("reserved", c_int32),
    ]


class TapeOptions(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("input_gradients", c_int32),
        ("reserved", c_int32),
        ("frozen", SIZES),
        ("frozen_count", c_size_t),
        ("threads", c_size_t),
        ("memory_limit", c_size_t),
    ]


class UnrolledOptions(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("feedback_first", c_size_t),
        ("feedback_count", c_size_t),
        ("choice", c_int32),
        ("from_probabilities", c_int32),
        ("as_number", c_int32),
        ("straight_through", c_int32),
        ("below", c_void_p),
        ("initial_state", c_void_p),
        ("policy", c_int32),
        ("feedback", c_int32),
        ("upward", c_int32),
        ("state_gradients", c_int32),
    ]


class UnrolledBatch(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("batch", c_size_t),
        ("steps", c_size_t),
        ("x", FLOATS),
        ("states", FLOAT_ARRAYS),
        ("outputs", c_size_t),
        ("targets", FLOATS),
        ("teacher_forcing", FLOATS),
        ("taught", POINTER(c_uint8)),
        ("counts", SIZES),
        ("counts_per_row", c_int32),
        ("training", c_int32),
        ("seed", c_uint64),
    ]


class Loss(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("kind", c_int32),
        ("reduction", c_int32),
        ("from_logits", c_int32),
        ("reserved", c_int32),
        ("label_smoothing", c_float),
        ("delta", c_float),
        ("weight", c_float),
        ("sigma", c_float),
        ("components", c_size_t),
        ("output", c_size_t),
    ]


class Optimizer(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("kind", c_int32),
        ("nesterov", c_int32),
        ("amsgrad", c_int32),
        ("centered", c_int32),
        ("use_ema", c_int32),
        ("reserved", c_int32),
        ("learning_rate", c_double),
        ("beta_1", c_double),
        ("beta_2", c_double),
        ("epsilon", c_double),
        ("momentum", c_double),
        ("rho", c_double),
        ("initial_accumulator_value", c_double),
        ("decay", c_double),
        ("weight_decay", c_double),
        ("clipnorm", c_double),
        ("global_clipnorm", c_double),
        ("clipvalue", c_double),
        ("ema_momentum", c_double),
        ("ema_overwrite_frequency", c_size_t),
        ("gradient_accumulation_steps", c_size_t),
    ]


class TrainerOptions(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("losses", POINTER(Loss)),
        ("loss_count", c_size_t),
        ("optimizer", POINTER(Optimizer)),
        ("frozen", SIZES),
        ("frozen_count", c_size_t),
        ("seed", c_uint64),
        ("threads", c_size_t),
        ("memory_limit", c_size_t),
    ]


class Batch(SizedStructure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("batch", c_size_t),
        ("times", SIZES),
        ("inputs", FLOAT_ARRAYS),
        ("targets", FLOAT_ARRAYS),
        ("weights", FLOAT_ARRAYS),
        ("weights_per_step", c_int32),
        ("carry_state", c_int32),
        ("states", FLOAT_ARRAYS),
    ]


version = function("cadenza_version", TEXT)
require_version(version())

status_name = function("cadenza_status_name", TEXT, c_int)

kernels_name = function("cadenza_kernels_name", TEXT)
kernels_available = function("cadenza_kernels_available", TEXT, SIZE)
kernels_force = function("cadenza_kernels_force", STATUS, TEXT)

MODEL, MODEL_OUT = ModelHandle, POINTER(ModelHandle)
load_options_init = function("cadenza_load_options_init", None, POINTER(LoadOptions))
model_load_file = function("cadenza_model_load_file", STATUS, TEXT, POINTER(LoadOptions), MODEL_OUT)
model_load_memory = function("cadenza_model_load_memory", STATUS, BYTES, SIZE, POINTER(LoadOptions), MODEL_OUT)
model_create = function("cadenza_model_create", STATUS, TEXT, SIZE, c_uint64, MODEL_OUT)
model_save_file = function("cadenza_model_save_file", STATUS, MODEL, TEXT)
model_save_memory = function("cadenza_model_save_memory", STATUS, MODEL, BYTES, SIZE, SIZES)
model_quantize = function("cadenza_model_quantize", STATUS, MODEL, c_int32, MODEL_OUT)
model_precision = function("cadenza_model_precision", c_int32, MODEL)
model_lock = function("cadenza_model_lock", STATUS, MODEL)
model_retain = function("cadenza_model_retain", ModelHandle, MODEL)
model_release = ModelHandle.release = function("cadenza_model_release", None, MODEL)

BUILDER, BUILDER_OUT = BuilderHandle, POINTER(BuilderHandle)
builder_create = function("cadenza_builder_create", STATUS, SIZE, SIZE, BUILDER_OUT)
builder_create_for_ids = function("cadenza_builder_create_for_ids", STATUS, SIZE, BUILDER_OUT)
builder_add = function("cadenza_builder_add", STATUS, BUILDER, TEXT, TEXT)
builder_build = function("cadenza_builder_build", STATUS, BUILDER, c_uint64, MODEL_OUT)
builder_release = BuilderHandle.release = function("cadenza_builder_release", None, BUILDER)

model_input_count = function("cadenza_model_input_count", SIZE, MODEL)
model_output_count = function("cadenza_model_output_count", SIZE, MODEL)
model_input_info = function("cadenza_model_input_info", STATUS, MODEL, SIZE, POINTER(TensorInfo))
model_output_info = function("cadenza_model_output_info", STATUS, MODEL, SIZE, POINTER(TensorInfo))
model_layer_count = function("cadenza_model_layer_count", SIZE, MODEL)
model_layer_info = function("cadenza_model_layer_info", STATUS, MODEL, SIZE, POINTER(LayerInfo))
model_streamability = function("cadenza_model_streamability", STATUS, MODEL, POINTER(c_int), POINTER(c_char_p))
model_summary = function("cadenza_model_summary", STATUS, MODEL, BYTES, SIZE, SIZES)
model_architecture = function("cadenza_model_architecture", STATUS, MODEL, BYTES, SIZE, SIZES)
model_fingerprint = function("cadenza_model_fingerprint", STATUS, MODEL, POINTER(c_uint64))

model_weight_count = function("cadenza_model_weight_count", SIZE, MODEL)
model_weight_info = function("cadenza_model_weight_info", STATUS, MODEL, SIZE, POINTER(WeightInfo))
model_weight_find = function("cadenza_model_weight_find", STATUS, MODEL, TEXT, SIZES)
model_weight_get = function("cadenza_model_weight_get", STATUS, MODEL, SIZE, FLOATS, SIZE)
model_weight_set = function("cadenza_model_weight_set", STATUS, MODEL, SIZE, FLOATS, SIZE)
model_nonfinite_weights = function("cadenza_model_nonfinite_weights", STATUS, MODEL, SIZES)

model_run = function("cadenza_model_run", STATUS, MODEL, SIZE, SIZE, FLOATS, FLOATS)
model_run_multi = function("cadenza_model_run_multi", STATUS, MODEL, SIZE, SIZES, FLOAT_ARRAYS, FLOAT_ARRAYS)
model_run_threads = function("cadenza_model_run_threads", STATUS, MODEL, SIZE, SIZES, FLOAT_ARRAYS, FLOAT_ARRAYS, SIZE)
model_output_shape = function("cadenza_model_output_shape", STATUS, MODEL, SIZE, SIZES, SIZE, POINTER(Shape))

STREAM, STREAM_OUT = StreamHandle, POINTER(StreamHandle)
stream_create = function("cadenza_stream_create", STATUS, MODEL, SIZE, STREAM_OUT)
stream_retain = function("cadenza_stream_retain", StreamHandle, STREAM)
stream_release = StreamHandle.release = function("cadenza_stream_release", None, STREAM)
stream_fork = function("cadenza_stream_fork", STATUS, STREAM, STREAM_OUT)
stream_batch = function("cadenza_stream_batch", SIZE, STREAM)
stream_model = function("cadenza_stream_model", STATUS, STREAM, MODEL_OUT)
stream_step = function("cadenza_stream_step", STATUS, STREAM, FLOATS, FLOATS)
stream_run = function("cadenza_stream_run", STATUS, STREAM, SIZE, FLOATS, FLOATS)
stream_peek = function("cadenza_stream_peek", STATUS, STREAM, FLOATS, FLOATS)
stream_step_multi = function("cadenza_stream_step_multi", STATUS, STREAM, FLOAT_ARRAYS, FLOAT_ARRAYS)
stream_run_multi = function("cadenza_stream_run_multi", STATUS, STREAM, SIZE, FLOAT_ARRAYS, FLOAT_ARRAYS, FLOAT_ARRAYS)
stream_peek_multi = function("cadenza_stream_peek_multi", STATUS, STREAM, FLOAT_ARRAYS, FLOAT_ARRAYS)
stream_reset = function("cadenza_stream_reset", STATUS, STREAM)
stream_reset_row = function("cadenza_stream_reset_row", STATUS, STREAM, SIZE)
stream_position = function("cadenza_stream_position", STATUS, STREAM, SIZE, POINTER(c_uint64))
model_state_count = function("cadenza_model_state_count", SIZE, MODEL)
model_state_info = function("cadenza_model_state_info", STATUS, MODEL, SIZE, POINTER(StateInfo))
stream_state_get = function("cadenza_stream_state_get", STATUS, STREAM, SIZE, FLOATS)
stream_state_set = function("cadenza_stream_state_set", STATUS, STREAM, SIZE, FLOATS)
stream_health = function("cadenza_stream_health", STATUS, STREAM, SIZE, SIZES)
stream_snapshot = function("cadenza_stream_snapshot", STATUS, STREAM, BYTES, SIZE, SIZES)
stream_snapshot_file = function("cadenza_stream_snapshot_file", STATUS, STREAM, TEXT)
stream_restore = function("cadenza_stream_restore", STATUS, STREAM, BYTES, SIZE)
stream_restore_file = function("cadenza_stream_restore_file", STATUS, STREAM, TEXT)

POOL, POOL_OUT = PoolHandle, POINTER(PoolHandle)
ID, IDS = c_uint64, POINTER(c_uint64)
pool_create = function("cadenza_pool_create", STATUS, MODEL, SIZE, POOL_OUT)
pool_release = PoolHandle.release = function("cadenza_pool_release", None, POOL)
pool_count = function("cadenza_pool_count", SIZE, POOL)
pool_join = function("cadenza_pool_join", STATUS, POOL, IDS)
pool_leave = function("cadenza_pool_leave", STATUS, POOL, ID)
pool_reset = function("cadenza_pool_reset", STATUS, POOL, ID)
pool_fork = function("cadenza_pool_fork", STATUS, POOL, ID, IDS)
pool_position = function("cadenza_pool_position", STATUS, POOL, ID, IDS)
pool_snapshot = function("cadenza_pool_snapshot", STATUS, POOL, ID, BYTES, SIZE, SIZES)
pool_restore = function("cadenza_pool_restore", STATUS, POOL, ID, BYTES, SIZE)
pool_step = function("cadenza_pool_step", STATUS, POOL, SIZE, IDS, FLOATS, FLOATS)
pool_step_multi = function("cadenza_pool_step_multi", STATUS, POOL, SIZE, IDS, FLOAT_ARRAYS, FLOAT_ARRAYS)

sampler_init = function("cadenza_sampler_init", None, POINTER(Sampler))
stop_init = function("cadenza_stop_init", None, POINTER(Stop))
generator_options_init = function("cadenza_generator_options_init", None, POINTER(GeneratorOptions))

SELFFEEDING, SELFFEEDING_OUT = SelfFeedingHandle, POINTER(SelfFeedingHandle)
selffeeding_create = function(
    "cadenza_selffeeding_create", STATUS, MODEL, SIZE, POINTER(GeneratorOptions), SELFFEEDING_OUT
)
selffeeding_release = SelfFeedingHandle.release = function("cadenza_selffeeding_release", None, SELFFEEDING)
selffeeding_fork = function("cadenza_selffeeding_fork", STATUS, SELFFEEDING, SELFFEEDING_OUT)
selffeeding_describe = function("cadenza_selffeeding_describe", STATUS, SELFFEEDING, POINTER(SelfFeedingInfo))
selffeeding_row = function("cadenza_selffeeding_row", STATUS, SELFFEEDING, SIZE, POINTER(RunInfo))
selffeeding_reset = function("cadenza_selffeeding_reset", STATUS, SELFFEEDING)
selffeeding_reset_row = function("cadenza_selffeeding_reset_row", STATUS, SELFFEEDING, SIZE)
selffeeding_prime = function("cadenza_selffeeding_prime", STATUS, SELFFEEDING, SIZE, FLOAT_ARRAYS, SIZES)
selffeeding_run = function("cadenza_selffeeding_run", STATUS, SELFFEEDING, SIZE, FLOATS, FLOATS, FLOATS, FLOATS, SIZES)
selffeeding_score = function("cadenza_selffeeding_score", STATUS, SELFFEEDING, SIZE, FLOATS, SIZES, FLOATS, FLOATS)
selffeeding_snapshot = function("cadenza_selffeeding_snapshot", STATUS, SELFFEEDING, BYTES, SIZE, SIZES)
selffeeding_restore = function("cadenza_selffeeding_restore", STATUS, SELFFEEDING, BYTES, SIZE)
beam_options_init = function("cadenza_beam_options_init", None, POINTER(BeamOptions))
beam_search = function(
    "cadenza_beam_search",
    STATUS,
    MODEL,
    SIZE,
    POINTER(GeneratorOptions),
    POINTER(BeamOptions),
    SIZE,
    FLOAT_ARRAYS,
    SIZES,
    SIZES,
    SIZES,
    FLOATS,
)

RAGGED, RAGGED_OUT = RaggedHandle, POINTER(RaggedHandle)
ragged_create = function("cadenza_ragged_create", STATUS, SIZE, FLOATS, SIZE, SIZES, SIZE, RAGGED_OUT)
ragged_from_padded = function(
    "cadenza_ragged_from_padded", STATUS, FLOATS, SIZES, SIZE, SIZE, SIZE, SIZE, c_int, RAGGED_OUT
)
ragged_release = RaggedHandle.release = function("cadenza_ragged_release", None, RAGGED)
ragged_describe = function("cadenza_ragged_describe", STATUS, RAGGED, POINTER(RaggedInfo))
ragged_values = function("cadenza_ragged_values", STATUS, RAGGED, FLOATS, SIZE)
ragged_splits = function("cadenza_ragged_splits", STATUS, RAGGED, SIZE, SIZES, SIZE, SIZES)
ragged_pad = function("cadenza_ragged_pad", STATUS, RAGGED, SIZE, SIZE, c_int, FLOATS, POINTER(c_uint8))
level_init = function("cadenza_level_init", None, POINTER(Level))

NESTED, NESTED_OUT = NestedHandle, POINTER(NestedHandle)
nested_create = function("cadenza_nested_create", STATUS, MODEL, POINTER(Level), SIZE, SIZE, NESTED_OUT)
nested_release = NestedHandle.release = function("cadenza_nested_release", None, NESTED)
nested_fork = function("cadenza_nested_fork", STATUS, NESTED, NESTED_OUT)
nested_describe = function("cadenza_nested_describe", STATUS, NESTED, POINTER(NestedInfo))
nested_steps = function("cadenza_nested_steps", STATUS, NESTED, SIZE, POINTER(c_uint64))
nested_row = function("cadenza_nested_row", STATUS, NESTED, SIZE, SIZE, POINTER(RunInfo))
nested_reset = function("cadenza_nested_reset", STATUS, NESTED)
nested_push = function("cadenza_nested_push", STATUS, NESTED, SIZE, FLOATS, SIZES, SIZES, c_int)
nested_pull = function("cadenza_nested_pull", STATUS, NESTED, SIZE, FLOATS, FLOATS, POINTER(NestedItem), SIZES)
nested_run = function("cadenza_nested_run", STATUS, NESTED, RAGGED_OUT, RAGGED_OUT, RAGGED_OUT)
nested_gathered = function("cadenza_nested_gathered", STATUS, NESTED, RAGGED_OUT, RAGGED_OUT, RAGGED_OUT)
nested_reasons = function("cadenza_nested_reasons", STATUS, NESTED, SIZE, POINTER(c_int32), SIZES, SIZE, SIZES)
nested_snapshot = function("cadenza_nested_snapshot", STATUS, NESTED, BYTES, SIZE, SIZES)
nested_restore = function("cadenza_nested_restore", STATUS, NESTED, BYTES, SIZE)

TAPE, TAPE_OUT = TapeHandle, POINTER(TapeHandle)
tape_options_init = function("cadenza_tape_options_init", None, POINTER(TapeOptions))
tape_create = function("cadenza_tape_create", STATUS, MODEL, POINTER(TapeOptions), TAPE_OUT)
tape_release = TapeHandle.release = function("cadenza_tape_release", None, TAPE)
tape_fork = function("cadenza_tape_fork", STATUS, TAPE, TAPE_OUT)
tape_forward = function("cadenza_tape_forward", STATUS, TAPE, SIZE, SIZES, FLOAT_ARRAYS, FLOAT_ARRAYS, c_int, c_uint64)
tape_output_shape = function("cadenza_tape_output_shape", STATUS, TAPE, SIZE, POINTER(Shape))
tape_output = function("cadenza_tape_output", STATUS, TAPE, SIZE, FLOATS, SIZE)
tape_output_mask = function("cadenza_tape_output_mask", STATUS, TAPE, SIZE, POINTER(c_uint8), SIZE, POINTER(c_int))
tape_state = function("cadenza_tape_state", STATUS, TAPE, SIZE, FLOATS, SIZE)
tape_backward = function("cadenza_tape_backward", STATUS, TAPE, FLOAT_ARRAYS, FLOAT_ARRAYS, c_int)
tape_weight_gradient = function("cadenza_tape_weight_gradient", STATUS, TAPE, SIZE, FLOATS, SIZE)
tape_input_gradient = function("cadenza_tape_input_gradient", STATUS, TAPE, SIZE, FLOATS, SIZE)
tape_state_gradient = function("cadenza_tape_state_gradient", STATUS, TAPE, SIZE, FLOATS, SIZE)
tape_zero_gradients = function("cadenza_tape_zero_gradients", STATUS, TAPE)
tape_commit_statistics = function("cadenza_tape_commit_statistics", STATUS, TAPE)

UNROLLED = UnrolledHandle
unrolled_options_init = function("cadenza_unrolled_options_init", None, POINTER(UnrolledOptions))
unrolled_create = function("cadenza_unrolled_create", STATUS, TAPE, POINTER(UnrolledOptions), POINTER(UnrolledHandle))
unrolled_release = UnrolledHandle.release = function("cadenza_unrolled_release", None, UNROLLED)
unrolled_forward = function("cadenza_unrolled_forward", STATUS, UNROLLED, POINTER(UnrolledBatch))
unrolled_size = function("cadenza_unrolled_size", STATUS, UNROLLED, c_int32, SIZE, SIZES)
unrolled_values = function("cadenza_unrolled_values", STATUS, UNROLLED, c_int32, SIZE, FLOATS, SIZE)
unrolled_backward = function("cadenza_unrolled_backward", STATUS, UNROLLED, FLOATS, FLOATS, FLOAT_ARRAYS, c_int)
unrolled_gradient = function("cadenza_unrolled_gradient", STATUS, UNROLLED, c_int32, SIZE, FLOATS, SIZE)

loss_init = function("cadenza_loss_init", None, POINTER(Loss), c_int32)
optimizer_init = function("cadenza_optimizer_init", None, POINTER(Optimizer), c_int32)

TRAINER, TRAINER_OUT, DOUBLES = TrainerHandle, POINTER(TrainerHandle), POINTER(c_double)
trainer_create = function("cadenza_trainer_create", STATUS, MODEL, POINTER(TrainerOptions), TRAINER_OUT)
trainer_release = TrainerHandle.release = function("cadenza_trainer_release", None, TRAINER)
trainer_update = function("cadenza_trainer_update", STATUS, TRAINER, POINTER(Batch), DOUBLES, DOUBLES)
trainer_evaluate = function("cadenza_trainer_evaluate", STATUS, TRAINER, POINTER(Batch), DOUBLES, DOUBLES)
trainer_differentiate = function("cadenza_trainer_differentiate", STATUS, TRAINER, POINTER(Batch), DOUBLES, DOUBLES)
trainer_apply = function("cadenza_trainer_apply", STATUS, TRAINER, FLOAT_ARRAYS)
trainer_apply_tape = function("cadenza_trainer_apply_tape", STATUS, TRAINER, TAPE)
trainer_output = function("cadenza_trainer_output", STATUS, TRAINER, SIZE, FLOATS, SIZE)
trainer_output_mask = function(
    "cadenza_trainer_output_mask", STATUS, TRAINER, SIZE, POINTER(c_uint8), SIZE, POINTER(c_int)
)
trainer_state = function("cadenza_trainer_state", STATUS, TRAINER, SIZE, FLOATS, SIZE)
trainer_gradient = function("cadenza_trainer_gradient", STATUS, TRAINER, SIZE, FLOATS, SIZE)
trainer_reset_states = function("cadenza_trainer_reset_states", STATUS, TRAINER)
trainer_learning_rate = function("cadenza_trainer_learning_rate", c_double, TRAINER)
trainer_set_learning_rate = function("cadenza_trainer_set_learning_rate", STATUS, TRAINER, c_double)
trainer_updates = function("cadenza_trainer_updates", c_uint64, TRAINER)
trainer_finish_averages = function("cadenza_trainer_finish_averages", STATUS, TRAINER)
trainer_checkpoint = function("cadenza_trainer_checkpoint", STATUS, TRAINER, BYTES, SIZE, SIZES)
trainer_checkpoint_file = function("cadenza_trainer_checkpoint_file", STATUS, TRAINER, TEXT)
trainer_restore = function("cadenza_trainer_restore", STATUS, TRAINER, BYTES, SIZE)
trainer_restore_file = function("cadenza_trainer_restore_file", STATUS, TRAINER, TEXT)

model_export_file = function("cadenza_model_export_file", STATUS, MODEL, c_int32, TEXT)
model_export_memory = function("cadenza_model_export_memory", STATUS, MODEL, c_int32, BYTES, SIZE, SIZES)
