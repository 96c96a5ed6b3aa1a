/*
 * cadenza.h — recurrent models that live in time.
 *
 * Cadenza opens a trained Keras model (LSTM, GRU, SimpleRNN and the layers around them) and runs it whole, or
 * one sample at a time with its state carried:
 *
 *     #include <cadenza.h>
 *     #include <stdio.h>
 *
 *     int main(void) {
 *         cadenza_model *model = NULL;
 *         cadenza_stream *stream = NULL;
 *         float sample[3] = {0.4f, 0.6f, 0.3f}, probability[1];
 *
 *         if (cadenza_model_load_file("rain.keras", NULL, &model) != CADENZA_OK ||
 *             cadenza_stream_create(model, 1, &stream) != CADENZA_OK ||
 *             cadenza_stream_step(stream, sample, probability) != CADENZA_OK) {
 *             fprintf(stderr, "%s\n", cadenza_last_message());
 *             return 1;
 *         }
 *         printf("%g\n", probability[0]);
 *         cadenza_stream_release(stream);
 *         cadenza_model_release(model);
 *         return 0;
 *     }
 *
 * Errors.     Every call that can fail returns a cadenza_status; CADENZA_OK is 0. A failed call changes nothing:
 *             state, outputs and out-pointers are as they were. cadenza_last_message() says in a sentence what
 *             was expected and what came. No call prints, exits or aborts, whatever it is given.
 * Ownership.  What create, load, build and fork give, release takes; release(NULL) does nothing. A stream keeps
 *             its model alive, so any order of release is fine. Arrays are borrowed for the duration of a call.
 *             The library never hands out memory to free: ask for the size, then give a buffer. Texts behind a
 *             `const char *` belong to the object that they were asked of and live as long as it does.
 * Threads.    A model may be used by any number of threads at once, except while cadenza_model_weight_set runs.
 *             A stream or a builder is used by one thread at a time. Messages are per thread.
 * Numbers.    All values are 32-bit floats, class and token ids included (exact up to 2^24). The same model and
 *             the same samples give the same bits, however they are cut into steps, chunks, batches or threads.
 * Shapes.     Row-major, in the order [batch, time, features]. "Row" is a row of the batch: one sequence.
 * Structs.    Structs that the library reads or fills begin with struct_size: set it to sizeof the struct. Later
 *             versions add fields only at the end.
 *
 * Words (step, chunk, state, primer, kernel, recurrent_kernel …) are Keras's. Layer formulas are those of
 * Keras 3 (keras.layers), or of Keras 2 where the file was written by it and the two differ.
 */
#ifndef CADENZA_H
#define CADENZA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ── Version ─────────────────────────────────────────────────────────────────────────────────────────── */

#define CADENZA_VERSION_MAJOR 0
#define CADENZA_VERSION_MINOR 1
#define CADENZA_VERSION_PATCH 0
#define CADENZA_VERSION "0.1.0"

/* The version of the library that is loaded, as "major.minor.patch"; compare it with CADENZA_VERSION. */
const char *cadenza_version(void);

/* ── Status and message ──────────────────────────────────────────────────────────────────────────────── */

/* Pinned numbers: they never change, new ones are added. */
typedef enum cadenza_status {
    CADENZA_OK = 0,
    CADENZA_INVALID_ARGUMENT = 1, /* an argument is NULL, out of range or of the wrong size */
    CADENZA_INVALID_FILE = 2,     /* a file or buffer is not what it should be: cut short, damaged, contradictory */
    CADENZA_UNSUPPORTED = 3,      /* a layer, option or format that Cadenza does not have; the message names it */
    CADENZA_NOT_FOUND = 4,        /* no such layer, weight or name */
    CADENZA_SYSTEM = 5,           /* the operating system refused: open, read, write, rename */
    CADENZA_OUT_OF_MEMORY = 6,
    CADENZA_CANNOT_STREAM = 7,    /* the model needs the whole sequence; the message names the layer and the mend */
    CADENZA_MISMATCH = 8          /* a snapshot of another model, or of another batch size */
} cadenza_status;

/* The status's name, such as "CADENZA_INVALID_ARGUMENT"; "unknown status" for any other number. Never NULL. */
const char *cadenza_status_name(cadenza_status status);

/* What the calling thread's last failed call had to say, in English, without a newline. Valid until that
 * thread's next failing call. Never NULL; empty before the first failure. */
const char *cadenza_last_message(void);

/* ── Processor ───────────────────────────────────────────────────────────────────────────────────────── */

/* The SIMD kernels in use: "x86-64-v2", "x86-64-v3" or "x86-64-v4". Chosen once by what the processor has;
 * the environment variable CADENZA_KERNELS names another choice. v3 and v4 give the same bits; v2 has no fused
 * multiply-add and differs in the last ones. */
const char *cadenza_kernels_name(void);

/* The names this processor can run, index 0 up; NULL past the last. */
const char *cadenza_kernels_available(size_t index);

/* Chooses the kernels by name for models loaded from now on. For tests and comparisons.
 * Fails with CADENZA_NOT_FOUND where this processor cannot run them. */
cadenza_status cadenza_kernels_force(const char *name);

/* ── Model ───────────────────────────────────────────────────────────────────────────────────────────── */

/* A model: an immutable plan of layers with their weights, shared by its streams. */
typedef struct cadenza_model cadenza_model;

typedef struct cadenza_load_options {
    size_t struct_size;
    /* The architecture, as model.to_json() writes it, for files that hold weights only (.weights.h5). NULL
     * where the file has its own. */
    const char *architecture;
    size_t architecture_size; /* bytes, without a terminating zero */
} cadenza_load_options;

/* Fills the defaults and struct_size. NULL does nothing. */
void cadenza_load_options_init(cadenza_load_options *options);

/* Loads a model from a file: .keras (Keras 3), .h5 or .hdf5 (whole models of Keras 2.0 to 3.x), .weights.h5 with
 * the architecture in the options, or Cadenza's own .safetensors. The format is told by the content, not by
 * the name. options may be NULL. Own files are mapped: keep them unchanged while the model lives.
 * Fails with CADENZA_SYSTEM (cannot be read), CADENZA_INVALID_FILE, or CADENZA_UNSUPPORTED, naming the layer and the
 * option that cannot be honoured. *model is set only on success. */
cadenza_status cadenza_model_load_file(const char *path, const cadenza_load_options *options, cadenza_model **model);

/* The same from memory; the bytes are not needed after the call. */
cadenza_status cadenza_model_load_memory(const void *bytes, size_t size, const cadenza_load_options *options,
                                         cadenza_model **model);

/* Creates a model from a Keras architecture (model.to_json(), Keras 2 or 3) with freshly initialized weights:
 * each by the initializer that its layer names, drawn from `seed`. The same seed gives the same weights. */
cadenza_status cadenza_model_create(const char *architecture, size_t size, uint64_t seed, cadenza_model **model);

/* Writes the model as one safetensors file: weights under their Keras paths, 64-byte aligned, the architecture
 * in the metadata. Whole or not at all: a file that stood there stays until the new one is complete. */
cadenza_status cadenza_model_save_file(const cadenza_model *model, const char *path);

/* The same to memory. *size receives the bytes needed; with buffer NULL that is all that happens. A buffer of
 * less capacity is an error and is left as it was. */
cadenza_status cadenza_model_save_memory(const cadenza_model *model, void *buffer, size_t capacity, size_t *size);

/* One more owner, who must release it too. Returns the model; NULL gives NULL. Any thread. */
cadenza_model *cadenza_model_retain(cadenza_model *model);
void cadenza_model_release(cadenza_model *model);

/* ── Building a sequential model by calls ────────────────────────────────────────────────────────────── */

typedef struct cadenza_builder cadenza_builder;

/* A sequential model to be: first the size of one sample, then layer by layer.
 * features: values of one time step, 1 or more. steps: time steps of the window, 0 for any length. */
cadenza_status cadenza_builder_create(size_t steps, size_t features, cadenza_builder **builder);

/* The same for a model that begins with an Embedding: its input is [batch, time] ids. */
cadenza_status cadenza_builder_create_for_ids(size_t steps, cadenza_builder **builder);

/* Adds a layer by its Keras class name with options in Keras's words, each `name=value`, separated by commas:
 *     cadenza_builder_add(builder, "LSTM", "units=32, return_sequences=True, activation=tanh");
 * Values are numbers, True, False, None, words, "quoted text" or any JSON value. What is not given has Keras 3's
 * default. options may be NULL. An unknown class or option is refused by name (CADENZA_UNSUPPORTED), at
 * the latest by cadenza_builder_build. */
cadenza_status cadenza_builder_add(cadenza_builder *builder, const char *class_name, const char *options);

/* Makes the model, with weights initialized from `seed` as in cadenza_model_create. The builder stays as it is. */
cadenza_status cadenza_builder_build(const cadenza_builder *builder, uint64_t seed, cadenza_model **model);

void cadenza_builder_release(cadenza_builder *builder);

/* ── What a model is ─────────────────────────────────────────────────────────────────────────────────── */

#define CADENZA_MAX_RANK 8

/* A shape without the batch axis. dims[i] is -1 where any length is fine (a flexible time axis). */
typedef struct cadenza_tensor_info {
    size_t struct_size;
    const char *name;               /* the Keras name of the input, or of the layer that gives the output */
    int32_t rank;                   /* without batch: 2 for [time, features] */
    int32_t has_time;               /* 1 where the first axis is time, so that a stream has one step of it at a time */
    int64_t dims[CADENZA_MAX_RANK]; /* as in the file */
    size_t step_size;               /* floats per row and step in a stream */
} cadenza_tensor_info;

size_t cadenza_model_input_count(const cadenza_model *model);  /* 0 for NULL */
size_t cadenza_model_output_count(const cadenza_model *model); /* 0 for NULL */
cadenza_status cadenza_model_input_info(const cadenza_model *model, size_t index, cadenza_tensor_info *info);
cadenza_status cadenza_model_output_info(const cadenza_model *model, size_t index, cadenza_tensor_info *info);

typedef enum cadenza_verdict {
    CADENZA_STREAMS = 0,            /* answers step by step what it answers on the whole */
    CADENZA_NEEDS_WHOLE_SEQUENCE = 1
} cadenza_verdict;

typedef struct cadenza_layer_info {
    size_t struct_size;
    const char *name;               /* nested models: "outer/inner" */
    const char *class_name;         /* as Keras names it */
    int32_t rank;                   /* of its first output, without batch */
    int32_t verdict;                /* cadenza_verdict */
    int64_t dims[CADENZA_MAX_RANK];
    uint64_t parameter_count;
    const char *reason;             /* why it needs the whole sequence and what would mend it; "" where it streams */
} cadenza_layer_info;

/* The layers in the order in which they run, inputs included. */
size_t cadenza_model_layer_count(const cadenza_model *model);
cadenza_status cadenza_model_layer_info(const cadenza_model *model, size_t index, cadenza_layer_info *info);

/* Whether the model as a whole can stream; *reason (may be NULL) receives "" or the first layer's reason. */
cadenza_status cadenza_model_streamability(const cadenza_model *model, cadenza_verdict *verdict, const char **reason);

/* The table that Keras's summary() prints, with a column for streamability, zero-terminated. *size receives the
 * bytes needed, the zero included; buffer NULL only asks. */
cadenza_status cadenza_model_summary(const cadenza_model *model, char *buffer, size_t capacity, size_t *size);

/* The architecture as JSON (what model.to_json() had), zero-terminated; sizes as in cadenza_model_summary. */
cadenza_status cadenza_model_architecture(const cadenza_model *model, char *buffer, size_t capacity, size_t *size);

/* A hash of architecture and weights: equal for equal models, whatever file they came from. Takes time in the
 * weights' size, once; it is asked anew after cadenza_model_weight_set. */
cadenza_status cadenza_model_fingerprint(const cadenza_model *model, uint64_t *fingerprint);

/* ── Weights, by Keras name, order and shape ─────────────────────────────────────────────────────────── */

typedef struct cadenza_weight_info {
    size_t struct_size;
    const char *name;               /* "lstm/kernel": layer path and variable */
    size_t layer;                   /* index for cadenza_model_layer_info */
    int32_t rank;
    int32_t trainable;              /* 0 for moving statistics and layers that were frozen */
    int64_t dims[CADENZA_MAX_RANK]; /* Keras's shape: LSTM kernel (features, 4·units), gates i f c o; GRU z r h */
    size_t count;                   /* floats */
} cadenza_weight_info;

/* In the order of Keras's model.get_weights(). */
size_t cadenza_model_weight_count(const cadenza_model *model);
cadenza_status cadenza_model_weight_info(const cadenza_model *model, size_t index, cadenza_weight_info *info);

/* The index of a weight by name; CADENZA_NOT_FOUND where there is none. */
cadenza_status cadenza_model_weight_find(const cadenza_model *model, const char *name, size_t *index);

/* Copies a weight out, or in. count must be the weight's. Setting changes what every stream of the model computes
 * from its next step on; no other thread may use the model or its streams meanwhile. */
cadenza_status cadenza_model_weight_get(const cadenza_model *model, size_t index, float *values, size_t count);
cadenza_status cadenza_model_weight_set(cadenza_model *model, size_t index, const float *values, size_t count);

/* How many weights are NaN or infinite. Such a model loads and computes; this tells. */
cadenza_status cadenza_model_nonfinite_weights(const cadenza_model *model, size_t *count);

/* ── Whole sequences ─────────────────────────────────────────────────────────────────────────────────── */

/* What keras.Model.predict answers: one input [batch, time, features] ([batch, time] ids for an Embedding,
 * [batch, features] where the model has no time axis: time is then ignored), one output of the shape that
 * cadenza_model_output_shape tells. Every row starts from a zero state, stateful models too. `time` need not
 * be the window that the model was trained on, unless a layer (Flatten …) holds it to that.
 * output must not overlap input. Takes memory for the whole; threads: any. */
cadenza_status cadenza_model_run(const cadenza_model *model, size_t batch, size_t time, const float *input,
                                 float *output);

/* The same for several inputs and outputs. times[i] is the length of input i's time axis, ignored where it has
 * none; times NULL: the lengths in the file. outputs[i] may be NULL where it is not wanted. */
cadenza_status cadenza_model_run_multi(const cadenza_model *model, size_t batch, const size_t *times,
                                       const float *const *inputs, float *const *outputs);

/* A whole shape, batch first. */
typedef struct cadenza_shape {
    size_t struct_size;
    int32_t rank;
    int32_t reserved;
    size_t dims[CADENZA_MAX_RANK + 1];
    size_t count; /* product of dims */
} cadenza_shape;

/* The shape of output `index` for such a run. */
cadenza_status cadenza_model_output_shape(const cadenza_model *model, size_t batch, const size_t *times, size_t index,
                                          cadenza_shape *shape);

/* ── Stream ──────────────────────────────────────────────────────────────────────────────────────────── */

/* A model running in time: its state, carried from step to step, for `batch` rows that step together. */
typedef struct cadenza_stream cadenza_stream;

/* Any batch size, whatever window or batch the model was trained with. The state starts at zero. Everything that a
 * step needs is allocated here: steps allocate nothing, lock nothing and make no system call.
 * Fails with CADENZA_CANNOT_STREAM, naming the layer and the mend. */
cadenza_status cadenza_stream_create(const cadenza_model *model, size_t batch, cadenza_stream **stream);

/* One more owner, who must release it too. Returns the stream; NULL gives NULL. */
cadenza_stream *cadenza_stream_retain(cadenza_stream *stream);
void cadenza_stream_release(cadenza_stream *stream);

/* A copy with a state of its own, going on from here. */
cadenza_status cadenza_stream_fork(const cadenza_stream *stream, cadenza_stream **fork);

size_t cadenza_stream_batch(const cadenza_stream *stream); /* 0 for NULL */

/* The stream's model, with one more owner: release it. */
cadenza_status cadenza_stream_model(const cadenza_stream *stream, cadenza_model **model);

/* One step of every row: input [batch, step_size], output [batch, step_size of the output]. After step t the answer
 * is the one that the full model gives on the first t samples. A masked sample (Masking, mask_zero) leaves the
 * state as it was. output must not overlap input. NaN goes in and through: see cadenza_stream_health. */
cadenza_status cadenza_stream_step(cadenza_stream *stream, const float *input, float *output);

/* A chunk: input [batch, steps, …] to output [batch, steps, …], an answer for each step; the same bits as step by
 * step. steps 0 does nothing. */
cadenza_status cadenza_stream_run(cadenza_stream *stream, size_t steps, const float *input, float *output);

/* Answers a step without advancing. */
cadenza_status cadenza_stream_peek(cadenza_stream *stream, const float *input, float *output);

/* The same three for several inputs and outputs. An input without a time axis (has_time 0) is given for each step
 * too: [batch, steps, …]. outputs[i] may be NULL where it is not wanted, outputs itself too.
 * states: NULL, or an array with a place for each state (cadenza_model_state_info), each NULL or
 * [batch, steps, units]: receives the state after every step of the chunk. */
cadenza_status cadenza_stream_step_multi(cadenza_stream *stream, const float *const *inputs, float *const *outputs);
cadenza_status cadenza_stream_run_multi(cadenza_stream *stream, size_t steps, const float *const *inputs,
                                        float *const *outputs, float *const *states);
cadenza_status cadenza_stream_peek_multi(cadenza_stream *stream, const float *const *inputs, float *const *outputs);

/* Back to the zero state: all rows, or one. */
cadenza_status cadenza_stream_reset(cadenza_stream *stream);
cadenza_status cadenza_stream_reset_row(cadenza_stream *stream, size_t row);

/* Steps that the row has made since its reset, masked ones included. */
cadenza_status cadenza_stream_position(const cadenza_stream *stream, size_t row, uint64_t *position);

typedef struct cadenza_state_info {
    size_t struct_size;
    const char *layer;              /* the layer's name */
    const char *name;               /* "h" or "c"; cells of a stack: "0/h", "0/c", "1/h" … */
    size_t units;
} cadenza_state_info;

/* The states that a stream of this model carries, in the order of the layers, h before c. */
size_t cadenza_model_state_count(const cadenza_model *model);
cadenza_status cadenza_model_state_info(const cadenza_model *model, size_t index, cadenza_state_info *info);

/* Copies a state out, or in: [batch, units]. */
cadenza_status cadenza_stream_state_get(const cadenza_stream *stream, size_t index, float *values);
cadenza_status cadenza_stream_state_set(cadenza_stream *stream, size_t index, const float *values);

/* How many values of the row's state are NaN or infinite; 0 is healthy. */
cadenza_status cadenza_stream_health(const cadenza_stream *stream, size_t row, size_t *nonfinite);

/* The whole state as bytes: versioned, checksummed, bound to the model's fingerprint, the same on every machine.
 * *size receives the bytes needed; buffer NULL only asks. To a file: whole or not at all. */
cadenza_status cadenza_stream_snapshot(const cadenza_stream *stream, void *buffer, size_t capacity, size_t *size);
cadenza_status cadenza_stream_snapshot_file(const cadenza_stream *stream, const char *path);

/* Continues from a snapshot, taken of any stream of the same model with the same batch size. Fails with
 * CADENZA_MISMATCH (another model or batch) or CADENZA_INVALID_FILE (damaged). */
cadenza_status cadenza_stream_restore(cadenza_stream *stream, const void *bytes, size_t size);
cadenza_status cadenza_stream_restore_file(cadenza_stream *stream, const char *path);

#ifdef __cplusplus
}
#endif

#endif
