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
 *             the same samples give the same bits, however they are cut into steps, chunks, batches or threads,
 *             and whatever rounding mode the caller has set. Numbers below 2^-126 count as zero on the way.
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
 * the environment variable CADENZA_KERNELS names another choice, and where this processor cannot run that, or there is none
 * of this name, it is as if it were not set: what is in use is told here. v3 and v4 give the same bits; v2 has no fused
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

/* How the large weights are kept: kernels and recurrent kernels of LSTM, GRU, SimpleRNN and Dense, tables of Embedding. */
typedef enum cadenza_precision {
    CADENZA_FLOAT32 = 0,
    CADENZA_BF16 = 1,         /* the upper halves of floats, rounded to nearest, ties to even */
    CADENZA_INT8 = 2          /* whole numbers from -127 to 127 times a float of each output (of each row of a table): the
                               * output's largest weight, divided by 127 */
} cadenza_precision;

typedef struct cadenza_load_options {
    size_t struct_size;
    /* The architecture, as model.to_json() writes it, for files that hold weights only (.weights.h5). NULL
     * where the file has its own. */
    const char *architecture;
    size_t architecture_size; /* bytes, without a terminating zero */
    int32_t precision;        /* cadenza_precision: the model is quantized to it as cadenza_model_quantize does, unless the file
                               * has it already; CADENZA_FLOAT32: the model is as in the file */
    int32_t reserved;
} cadenza_load_options;

/* Fills the defaults and struct_size. NULL does nothing. */
void cadenza_load_options_init(cadenza_load_options *options);

/* Loads a model from a file: .keras (Keras 3), .h5 or .hdf5 (whole models of Keras 2.0 to 3.x), .weights.h5 with
 * the architecture in the options, or Cadenza's own .safetensors. The format is told by the content, not by
 * the name. options may be NULL. Own files are mapped: keep them unchanged while the model lives.
 * Fails with CADENZA_SYSTEM (cannot be read), CADENZA_INVALID_FILE, CADENZA_INVALID_ARGUMENT (weights without an
 * architecture), or CADENZA_UNSUPPORTED, naming the layer and the option that cannot be honoured. *model is set only
 * on success. */
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

/* Makes a model with the same weights, the large ones narrow: a large model's steps read half or a quarter of the bytes, and so
 * are faster. The model itself stays as it is. Biases, states and all else are floats, and so is what is computed. bf16 gives
 * the bits of a float32 model whose weights are so rounded; int8 sums products with the whole numbers and multiplies the sum,
 * which overflows beyond 2^104. Chunks, batches, threads and snapshots change no bit here either. Its memory is half or a quarter
 * of the model's too: no floats are kept. Reading a weight gives as floats what is computed with; setting one rounds it anew.
 * Files of cadenza_model_save_file hold weights narrow; Keras's get them as floats. Such a model cannot be trained
 * (CADENZA_UNSUPPORTED).
 * precision: cadenza_precision.
 * Fails with CADENZA_INVALID_ARGUMENT for a model that is narrow already, for a precision that is not CADENZA_BF16 or
 * CADENZA_INT8, and where int8 would have to hold a weight that is NaN or infinite. */
cadenza_status cadenza_model_quantize(const cadenza_model *model, int32_t precision, cadenza_model **quantized);

/* The model's cadenza_precision; CADENZA_FLOAT32 for NULL. */
int32_t cadenza_model_precision(const cadenza_model *model);

/* Locks into memory (mlock) what steps read of the model and, for streams, pools and generators that are made of it from now on,
 * their states and what they compute in: while nothing runs the system does not page it out, and a step after a long pause finds
 * it there. Memory is unlocked as it is freed; a forked process has it unlocked. Code, stack and small objects are not locked;
 * mlockall(2) does that for the whole process, and then this is not called. Where a trainer has been made of the model, or
 * restored, call it anew after that; once locked, a model has nothing to lose by it. No other thread may use the model meanwhile.
 * Fails with CADENZA_SYSTEM where the system allows no more (RLIMIT_MEMLOCK): a model that was not locked is not locked then. So
 * fails, too, what creates or grows streams, pools and generators of a locked model, and what sets a table or another weight
 * that steps read as it is: for a moment the old one and the new one are locked. */
cadenza_status cadenza_model_lock(cadenza_model *model);

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

/* The same, its rows shared out to `threads` threads, the calling one among them; the others are started for the call and end
 * with it, so it is for calls of milliseconds. Where there are twice as many threads as rows or more, layers are shared out, too:
 * recurrent layers one behind the other go through time together, each some steps behind the one that it reads. Each row has the
 * bits that it has with one thread. */
cadenza_status cadenza_model_run_threads(const cadenza_model *model, size_t batch, const size_t *times,
                                         const float *const *inputs, float *const *outputs, size_t threads);

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
 * state as it was. output must not overlap input. NaN goes in and through: see cadenza_stream_health.
 * A step reads and writes only what cadenza_stream_create and the model's loading have touched: after mlockall(MCL_CURRENT)
 * it meets no page fault. cadenza_model_lock locks less, but within what an ordinary process may. */
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

/* Copies a state out, or in: [batch, units]. Where a masked step comes next, its answer is the h that was copied in. */
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

/* ── Pool ────────────────────────────────────────────────────────────────────────────────────────────── */

/*
 * Thousands of streams of one row each on one model. A step computes just those that are ready, as one product of many
 * rows; each has the same bits as a stream of its own.
 *
 *     cadenza_pool_create(model, 2, &pool);
 *     cadenza_pool_join(pool, &id);
 *     cadenza_pool_step(pool, ready, ids, inputs, outputs);
 *
 * A pool is used by one thread at a time; it may have threads of its own, which sleep between steps.
 */
typedef struct cadenza_pool cadenza_pool;

/* threads: how many compute, the calling one among them; 1 starts none. Fails with CADENZA_CANNOT_STREAM as
 * cadenza_stream_create does, and with CADENZA_SYSTEM where threads cannot be had. */
cadenza_status cadenza_pool_create(const cadenza_model *model, size_t threads, cadenza_pool **pool);
void cadenza_pool_release(cadenza_pool *pool);

/* How many streams there are. 0 for NULL. */
size_t cadenza_pool_count(const cadenza_pool *pool);

/* A new stream in the zero state. Its id is never 0 and never given twice. Memory is taken for 256 streams at a time and
 * stays with the pool: the floats of the state and some 21 bytes for each. */
cadenza_status cadenza_pool_join(cadenza_pool *pool, uint64_t *id);

/* These fail with CADENZA_NOT_FOUND where the pool has no such stream. */
cadenza_status cadenza_pool_leave(cadenza_pool *pool, uint64_t id);
cadenza_status cadenza_pool_reset(cadenza_pool *pool, uint64_t id);
cadenza_status cadenza_pool_fork(cadenza_pool *pool, uint64_t id, uint64_t *fork);

/* Steps that the stream has made since it joined or was reset. */
cadenza_status cadenza_pool_position(const cadenza_pool *pool, uint64_t id, uint64_t *position);

/* As for streams, with which snapshots can be exchanged: those of streams of one row. To write idle streams out, take their
 * snapshots and let them leave; to read one back, join and restore. */
cadenza_status cadenza_pool_snapshot(const cadenza_pool *pool, uint64_t id, void *buffer, size_t capacity, size_t *size);
cadenza_status cadenza_pool_restore(cadenza_pool *pool, uint64_t id, const void *bytes, size_t size);

/* One step of `count` streams. inputs: [count, features], outputs: [count, units], in the order of the ids; for models with one
 * input and one output. A stream may be named once. Fails before anything has changed, or not at all. Allocates only where more
 * streams are named than ever before. */
cadenza_status cadenza_pool_step(cadenza_pool *pool, size_t count, const uint64_t *ids, const float *inputs, float *outputs);

/* The same for any model: an array of inputs and one of outputs, each NULL where not wanted; outputs NULL: none. */
cadenza_status cadenza_pool_step_multi(cadenza_pool *pool, size_t count, const uint64_t *ids, const float *const *inputs,
                                       float *const *outputs);

/* ── Generators: what they share ─────────────────────────────────────────────────────────────────────── */

/*
 * A generator feeds a model with what it gave itself. Two kinds: self-feeding (a primer, then free steps), and nested
 * (each step of one model drives a run of the next, of as many steps as that takes). Both are described by the
 * same options: what goes from a step into the next one, how values are drawn, what ends a row's run.
 *
 *     cadenza_sampler sampler;
 *     cadenza_generator_options options;
 *     cadenza_sampler_init(&sampler);
 *     sampler.kind = CADENZA_SAMPLE_CATEGORICAL;
 *     sampler.temperature = 0.8f;
 *     cadenza_generator_options_init(&options);
 *     options.sampler = &sampler;
 *     options.feedback = CADENZA_FEEDBACK_SAMPLE;      // for a model that begins with an Embedding
 *
 * Options and what they point to are copied at creation; models are kept alive, callbacks and their contexts must
 * live as long as the generator. A generator is used by one thread at a time.
 *
 * Every row has random numbers of its own, numbered from its seed: the same whatever the batch, the chunks or the
 * other rows. Their number is part of a snapshot. A finished row costs nothing; its state stays as it was.
 *
 * A step that fails (a callback's error, NaN among logits) leaves the generator as it was before that step.
 */

/* Reads `count` values of a row, writes `result` (of the width that its place says). `step` counts from the beginning
 * of the row's run. Anything but 0 is an error: CADENZA_INVALID_ARGUMENT comes of it. Must not use the generator. */
typedef int (*cadenza_callback)(void *context, size_t row, size_t step, const float *values, size_t count, float *result);

typedef enum cadenza_sampler_kind {
    CADENZA_SAMPLE_NOTHING = 0,
    CADENZA_SAMPLE_CATEGORICAL = 1, /* a class, as its number */
    CADENZA_SAMPLE_GAUSSIAN = 2,    /* each value normal about its mean */
    CADENZA_SAMPLE_MIXTURE = 3,     /* a vector from a mixture of normal distributions, each value apart */
    CADENZA_SAMPLE_BERNOULLI = 4,   /* each value 0 or 1 */
    CADENZA_SAMPLE_CALLBACK = 5
} cadenza_sampler_kind;

typedef struct cadenza_sampler {
    size_t struct_size;
    int32_t kind;                   /* cadenza_sampler_kind; NOTHING */
    int32_t from_probabilities;     /* categorical, Bernoulli: the output has probabilities (softmax, sigmoid), not logits; 0 */
    size_t output;                  /* the model's output that is read; 0 */
    int64_t variance_output;        /* Gaussian: the output with log variances; -1: the second half of `output` */
    float temperature;              /* 0: the likeliest; Gaussian, mixture: a factor on sigma; 1 */
    float top_p;                    /* only the likeliest that together have this share of what top_k left; 1: all */
    float min_p;                    /* only what has this share of the likeliest one's probability; 0: all */
    float repetition_penalty;       /* log-probabilities of classes that the row has drawn are multiplied by it; 1 */
    size_t top_k;                   /* only so many; 0: all */
    const float *logit_bias;        /* added, for each class; NULL: nothing */
    size_t logit_bias_count;
    const size_t *forbidden;        /* classes never drawn */
    size_t forbidden_count;
    float sigma;                    /* Gaussian: given instead of log variances; negative: not given; -1 */
    int32_t reserved;
    size_t components;              /* mixture: the output has so many logits, then all means, then all log variances */
    size_t width;                   /* callback: values that it gives; 1 */
    cadenza_callback callback;
    void *context;
} cadenza_sampler;

/* Fills the defaults and struct_size. NULL does nothing. */
void cadenza_sampler_init(cadenza_sampler *sampler);

typedef enum cadenza_stop_kind {
    CADENZA_STOP_TOKEN = 0,         /* the drawn class, or where none is drawn the output's largest value, is `token` */
    CADENZA_STOP_ABOVE = 1,         /* value `element` is above the threshold */
    CADENZA_STOP_BELOW = 2,
    CADENZA_STOP_NORM_ABOVE = 3,    /* the L2 norm of all values */
    CADENZA_STOP_NORM_BELOW = 4,
    CADENZA_STOP_GATE = 5,          /* by chance: value `element` is a logit, or a probability */
    CADENZA_STOP_CALLBACK = 6       /* result[0] is not 0 */
} cadenza_stop_kind;

typedef struct cadenza_stop {
    size_t struct_size;
    int32_t kind;                   /* cadenza_stop_kind */
    int32_t of_state;               /* looks at state `index` (cadenza_model_state_info) instead of output `index`; 0 */
    size_t index;                   /* 0 */
    size_t element;                 /* 0 */
    size_t token;
    float threshold;
    int32_t from_probabilities;     /* gate; 0 */
    const cadenza_model *through;   /* a model without states that the values go through first, a Dense say; NULL */
    cadenza_callback callback;
    void *context;
} cadenza_stop;

void cadenza_stop_init(cadenza_stop *stop);

typedef enum cadenza_feedback {
    CADENZA_FEEDBACK_NONE = 0,
    CADENZA_FEEDBACK_OUTPUT = 1,    /* values of an output */
    CADENZA_FEEDBACK_SAMPLE = 2     /* the drawn class as its number, or the drawn values */
} cadenza_feedback;

typedef enum cadenza_stopping_step {
    CADENZA_STOPPING_KEEP = 0,      /* a step in which a rule fires is handed out like any other */
    CADENZA_STOPPING_DROP = 1,      /* it is left out; the state stands */
    CADENZA_STOPPING_UNDO = 2       /* it is left out and the row's state is as before it */
} cadenza_stopping_step;

typedef struct cadenza_generator_options {
    size_t struct_size;
    size_t output;                  /* the output that is handed out; 0 */
    int32_t feedback;               /* cadenza_feedback; NONE */
    int32_t stopping_step;          /* cadenza_stopping_step; KEEP */
    size_t feedback_output;         /* for CADENZA_FEEDBACK_OUTPUT; 0 */
    size_t feedback_first;          /* values of it from here on … */
    size_t feedback_count;          /* … so many; 0: the rest */
    size_t one_hot;                 /* classes of the one-hot vector that a class becomes; 0: none */
    const cadenza_model *feedback_model;    /* then stepped on that, with states of its own; its first output goes on; NULL */
    cadenza_callback feedback_callback;     /* then called on that; NULL */
    void *feedback_context;
    size_t feedback_callback_width; /* values that it gives */
    size_t feedback_input;          /* the model's input that it goes to, behind what else goes there; 0 */
    const float *start;             /* stands for output or sample before the first step; NULL: zeros, no class */
    size_t start_count;
    const cadenza_sampler *sampler; /* NULL: nothing is drawn */
    const cadenza_stop *stops;      /* asked in their order */
    size_t stop_count;
    size_t limit;                   /* the most steps of a run; 0: none */
    size_t minimum;                 /* stops are not asked before so many steps */
    const uint64_t *seeds;          /* one for each row; NULL: row r has seed r */
    size_t seed_count;
    size_t exogenous_size;          /* self-feeding: values from outside with every step, before what is fed back; 0 */
    size_t exogenous_input;         /* the model's input that they go to; 0 */
} cadenza_generator_options;

void cadenza_generator_options_init(cadenza_generator_options *options);

typedef enum cadenza_stop_reason {
    CADENZA_NOT_STOPPED = 0,
    CADENZA_STOPPED_BY_COUNT = 1,   /* the given count was made */
    CADENZA_STOPPED_BY_LIMIT = 2,   /* the limit cut it short */
    CADENZA_STOPPED_BY_RULE = 3     /* stops[rule] */
} cadenza_stop_reason;

/* A row's run: the one it is in, or its last. */
typedef struct cadenza_run_info {
    size_t struct_size;
    int32_t running;                /* 1 while it goes on */
    int32_t reason;                 /* cadenza_stop_reason */
    size_t rule;                    /* index of the stop that fired */
    size_t length;                  /* steps handed out since it began */
    uint64_t cut;                   /* nested: runs of the row that limits have cut so far */
} cadenza_run_info;

/* ── Self-feeding generator ──────────────────────────────────────────────────────────────────────────── */

/*
 * Prime, then run: the first step hands out what the model answered to the primer's last sample, draws from it
 * and feeds that back for the second one, and so on.
 *
 *     cadenza_selffeeding_create(model, 1, &options, &generator);
 *     cadenza_selffeeding_prime(generator, 5, &ids, NULL);
 *     cadenza_selffeeding_run(generator, 200, NULL, NULL, drawn, NULL, NULL);
 */
typedef struct cadenza_selffeeding cadenza_selffeeding;

/* Everything that steps need is allocated here. Fails with CADENZA_INVALID_ARGUMENT where sizes do not join or a stop can
 * never fire, and with CADENZA_CANNOT_STREAM. */
cadenza_status cadenza_selffeeding_create(const cadenza_model *model, size_t batch, const cadenza_generator_options *options,
                                          cadenza_selffeeding **generator);
void cadenza_selffeeding_release(cadenza_selffeeding *generator);

/* A generator of its own that goes on from here. */
cadenza_status cadenza_selffeeding_fork(const cadenza_selffeeding *generator, cadenza_selffeeding **fork);

typedef struct cadenza_selffeeding_info {
    size_t struct_size;
    size_t batch;
    size_t width;                   /* floats of the output that is handed out */
    size_t drawn_width;             /* floats of what is drawn; 0 without a sampler */
    size_t exogenous_size;
    uint64_t steps;                 /* steps of the model so far, all rows together */
} cadenza_selffeeding_info;

cadenza_status cadenza_selffeeding_describe(const cadenza_selffeeding *generator, cadenza_selffeeding_info *info);
cadenza_status cadenza_selffeeding_row(const cadenza_selffeeding *generator, size_t row, cadenza_run_info *info);

/* Back to the beginning, random numbers too: all rows, or one. */
cadenza_status cadenza_selffeeding_reset(cadenza_selffeeding *generator);
cadenza_status cadenza_selffeeding_reset_row(cadenza_selffeeding *generator, size_t row);

/* Feeds a prefix: for each of the model's inputs [batch, steps, step_size]. lengths: NULL, or for each row how many of
 * its steps count. A row that has stopped begins a new run; one of length 0 stays as it is. */
cadenza_status cadenza_selffeeding_prime(cadenza_selffeeding *generator, size_t steps, const float *const *inputs,
                                         const size_t *lengths);

/* Up to `steps` steps of each row that has not stopped. exogenous: [batch, steps, exogenous_size]; NULL where that is 0; those
 * of the step that hands out a primer's answer meet no step of the model. Results, each NULL where not wanted:
 * values [batch, steps, width], drawn [batch, steps, drawn_width], log_probabilities [batch, steps] (what the model
 * itself gave, before temperature and filters), zeros behind a row's end; made [batch]: steps handed out. Where a step
 * fails, they have the steps before it, which stand. */
cadenza_status cadenza_selffeeding_run(cadenza_selffeeding *generator, size_t steps, const float *exogenous, float *values,
                                       float *drawn, float *log_probabilities, size_t *made);

/* The log-probability of each step of a given continuation [batch, steps, drawn_width], fed in place of what would be
 * drawn. lengths as in prime. Rows go on behind it. Stops are not asked. */
cadenza_status cadenza_selffeeding_score(cadenza_selffeeding *generator, size_t steps, const float *continuation,
                                         const size_t *lengths, const float *exogenous, float *log_probabilities);

/* Everything, samplers' positions too, as bytes: versioned, checksummed, bound to models, options and seeds. Sizes as
 * in cadenza_stream_snapshot. restore fails with CADENZA_MISMATCH or CADENZA_INVALID_FILE. */
cadenza_status cadenza_selffeeding_snapshot(const cadenza_selffeeding *generator, void *buffer, size_t capacity, size_t *size);
cadenza_status cadenza_selffeeding_restore(cadenza_selffeeding *generator, const void *bytes, size_t size);

typedef struct cadenza_beam_options {
    size_t struct_size;
    size_t width;                   /* continuations followed at once; 4 */
    size_t maximum_length;          /* the most classes of one; must be given */
    int64_t end_token;              /* the class that ends one; -1: none does */
    float length_penalty;           /* scores are divided by length to this power; 0 */
    int32_t reserved;
} cadenza_beam_options;

void cadenza_beam_options_init(cadenza_beam_options *options);

/* The likeliest continuations of each row's prefix, best first. options: a categorical sampler whose classes are fed back;
 * forbidden classes hold, other filters, stops and seeds do not. inputs, lengths: as in prime.
 * classes: [batch, width, maximum_length]; class_counts, scores: [batch, width], counts 0 where fewer were found. */
cadenza_status cadenza_beam_search(const cadenza_model *model, size_t batch, const cadenza_generator_options *options,
                                   const cadenza_beam_options *beam, size_t steps, const float *const *inputs,
                                   const size_t *lengths, size_t *classes, size_t *class_counts, float *scores);

/* ── Ragged ──────────────────────────────────────────────────────────────────────────────────────────── */

/* Series of different lengths: values one after another, and offsets that cut them. Immutable. */
typedef struct cadenza_ragged cadenza_ragged;

typedef enum cadenza_layout {
    CADENZA_BATCH_MAJOR = 0,        /* [batch, outer, longest, width] */
    CADENZA_TIME_MAJOR = 1          /* [outer, longest, batch, width] */
} cadenza_layout;

/* values: [value_count, width]. splits: split_count offsets from 0 to value_count, never falling. */
cadenza_status cadenza_ragged_create(size_t width, const float *values, size_t value_count, const size_t *splits,
                                     size_t split_count, cadenza_ragged **ragged);

/* From padded values and the lengths [batch, outer]: series (row, outer step), row after row. */
cadenza_status cadenza_ragged_from_padded(const float *padded, const size_t *lengths, size_t batch, size_t outer, size_t longest,
                                          size_t width, cadenza_layout layout, cadenza_ragged **ragged);
void cadenza_ragged_release(cadenza_ragged *ragged);

typedef struct cadenza_ragged_info {
    size_t struct_size;
    size_t width;
    size_t value_count;
    size_t level_count;             /* 1; more from nested generators of more than two models */
    size_t series_count;            /* of the last level */
    size_t longest;                 /* of the last level */
} cadenza_ragged_info;

cadenza_status cadenza_ragged_describe(const cadenza_ragged *ragged, cadenza_ragged_info *info);

/* Copies all values out: [value_count, width]; capacity in floats. */
cadenza_status cadenza_ragged_values(const cadenza_ragged *ragged, float *values, size_t capacity);

/* Copies a level's offsets out; *count receives how many there are, splits NULL only asks. Those of a level but the last
 * cut the series of the next one. */
cadenza_status cadenza_ragged_splits(const cadenza_ragged *ragged, size_t level, size_t *splits, size_t capacity, size_t *count);

/* Zero-padded, the last level's series being (row, outer step). mask: NULL, or a byte for each value's place, 1 = there.
 * longest: the series' or more. */
cadenza_status cadenza_ragged_pad(const cadenza_ragged *ragged, size_t batch, size_t longest, cadenza_layout layout,
                                  float *padded, uint8_t *mask);

/* ── Nested generator ────────────────────────────────────────────────────────────────────────────────── */

/*
 * A reads samples. Each of its answers drives a run of B, of a number of steps that counts, a limit or stops decide;
 * B may drive C, and so on. What the last one gives is the generator's output, a ragged series.
 *
 *     cadenza_level level;
 *     cadenza_level_init(&level);
 *     level.model = b;
 *     level.is_counted = 1;
 *     cadenza_nested_create(a, &level, 1, batch, &nested);
 *     cadenza_nested_push(nested, 3, x, NULL, (size_t[]){3, 4, 2}, 0);
 *     cadenza_nested_run(nested, &outputs, NULL, NULL);
 *
 * Or streaming: push what has come, then pull into a buffer of any size until fewer values come than it holds.
 */
typedef struct cadenza_nested cadenza_nested;

typedef enum cadenza_drive {
    CADENZA_DRIVE_INPUT = 0,        /* what drives the model is the input of each of its steps */
    CADENZA_DRIVE_STATE = 1         /* it only gives the state that a run begins from */
} cadenza_drive;

typedef enum cadenza_state_policy {
    CADENZA_STATE_CARRY = 0,        /* a run goes on where the row's run before it ended, feedback included */
    CADENZA_STATE_RESET = 1,        /* each run begins from zero */
    CADENZA_STATE_GIVEN = 2         /* each run begins from the state that what drives it gives */
} cadenza_state_policy;

typedef enum cadenza_upward {
    CADENZA_UPWARD_NONE = 0,
    CADENZA_UPWARD_OUTPUT = 1,      /* the last step's output `upward_index` */
    CADENZA_UPWARD_SAMPLE = 2,      /* what was drawn last */
    CADENZA_UPWARD_STATE = 3        /* state `upward_index` */
} cadenza_upward;

/* A model below the first. */
typedef struct cadenza_level {
    size_t struct_size;
    const cadenza_model *model;
    const cadenza_generator_options *options;   /* NULL: defaults */
    size_t driver_output;           /* the output of the model above that drives this one; 0 */
    size_t driver_input;            /* the input that it goes to, before what is fed back; 0 */
    int32_t drive;                  /* cadenza_drive; INPUT */
    int32_t policy;                 /* cadenza_state_policy; CARRY */
    const cadenza_model *initial_state; /* GIVEN: a model without states that makes all states, one after another in the
                                     * order of cadenza_model_state_info; NULL: what drives it is the states */
    int32_t is_counted;             /* steps are given: with the samples, or by `counts` below the second level; 0 */
    int32_t upward;                 /* cadenza_upward: goes behind all else into the next input of the model above; NONE */
    size_t upward_index;
    size_t upward_input;            /* the input of the model above; 0 */
    const size_t *counts;           /* levels below the second: steps by the step of the model above */
    size_t count_count;
} cadenza_level;

void cadenza_level_init(cadenza_level *level);

/* levels: from the second model down. Fails with CADENZA_INVALID_ARGUMENT where sizes do not join, and where nothing can
 * end a run: neither counts, nor a limit, nor a stop that can fire. */
cadenza_status cadenza_nested_create(const cadenza_model *first, const cadenza_level *levels, size_t level_count, size_t batch,
                                     cadenza_nested **nested);
void cadenza_nested_release(cadenza_nested *nested);
cadenza_status cadenza_nested_fork(const cadenza_nested *nested, cadenza_nested **fork);

typedef struct cadenza_nested_info {
    size_t struct_size;
    size_t batch;
    size_t levels;                  /* models, the first included */
    size_t sample_size;             /* floats of one sample */
    size_t width;                   /* floats of one output */
    size_t drawn_width;             /* floats of what is drawn with it; 0 without a sampler */
    size_t pending;                 /* samples of each row that wait */
} cadenza_nested_info;

cadenza_status cadenza_nested_describe(const cadenza_nested *nested, cadenza_nested_info *info);

/* Steps that the model of a level (0: the first) has made, all rows together. */
cadenza_status cadenza_nested_steps(const cadenza_nested *nested, size_t level, uint64_t *steps);

/* A row's run at a level, from 1. */
cadenza_status cadenza_nested_row(const cadenza_nested *nested, size_t row, size_t level, cadenza_run_info *info);

/* Back to the beginning; samples that wait are dropped. */
cadenza_status cadenza_nested_reset(cadenza_nested *nested);

/* Samples for all rows: [batch, steps, sample_size]. lengths: NULL, or for each row how many of them count. counts, where
 * the second level is counted: [steps], or with counts_per_row [batch, steps]; 0 runs nothing. The memory for samples grows
 * where more wait than ever before; no later step allocates. */
cadenza_status cadenza_nested_push(cadenza_nested *nested, size_t steps, const float *samples, const size_t *lengths,
                                   const size_t *counts, int counts_per_row);

typedef struct cadenza_nested_item {
    size_t row;
    size_t outer;                   /* the row's sample, from 0 */
    size_t middle;                  /* the step of the run above; with two models the same as outer */
    size_t inner;                   /* the step of the run that it belongs to, from 0 */
    float log_probability;          /* of what was drawn */
    int32_t reserved;
} cadenza_nested_item;

/* At most `capacity` outputs from the samples that wait: values [capacity, width], drawn [capacity, drawn_width], items
 * [capacity], each NULL where not wanted. *count: how many came; fewer than capacity: all samples are used up. The rows'
 * outputs come step by step, each row's in its order. Where a step fails, the outputs before it come first and the
 * failure with the next call. Allocates nothing. */
cadenza_status cadenza_nested_pull(cadenza_nested *nested, size_t capacity, float *values, float *drawn,
                                   cadenza_nested_item *items, size_t *count);

/* Uses up all samples that wait: series (row, outer step), row after row, and further splits for more than two
 * models. drawn, log_probabilities: NULL, or what was drawn, with the same splits (needs a sampler). Release them.
 * Where a step fails, what was made before it can be had by cadenza_nested_gathered; the other samples wait on. */
cadenza_status cadenza_nested_run(cadenza_nested *nested, cadenza_ragged **outputs, cadenza_ragged **drawn,
                                  cadenza_ragged **log_probabilities);
cadenza_status cadenza_nested_gathered(const cadenza_nested *nested, cadenza_ragged **outputs, cadenza_ragged **drawn,
                                       cadenza_ragged **log_probabilities);

/* What ended each run of a level (from 1) in the last cadenza_nested_run: cadenza_stop_reason and index of the stop, in the
 * order of the splits; each NULL where not wanted. *count receives how many there are. */
cadenza_status cadenza_nested_reasons(const cadenza_nested *nested, size_t level, int32_t *reasons, size_t *rules,
                                      size_t capacity, size_t *count);

/* Everything, in the middle of a run too; as for self-feeding generators. */
cadenza_status cadenza_nested_snapshot(const cadenza_nested *nested, void *buffer, size_t capacity, size_t *size);
cadenza_status cadenza_nested_restore(cadenza_nested *nested, const void *bytes, size_t size);

/* ── Training: the tape ──────────────────────────────────────────────────────────────────────────────── */

/*
 * A tape runs a model forward over whole sequences and keeps what it needs to run backward: from the outputs'
 * gradients to those of all weights, inputs and initial states.
 *
 *     cadenza_tape_create(model, NULL, &tape);
 *     cadenza_tape_forward(tape, batch, &time, &input, NULL, 1, seed);
 *     cadenza_tape_output(tape, 0, output, count);       … the caller's own loss, and what it says of the output …
 *     cadenza_tape_backward(tape, &output_gradient, NULL, 0);
 *     cadenza_tape_weight_gradient(tape, index, gradient, weight_count);
 *
 * One thread at a time. The weights are the model's: each forward run takes them as they are then.
 */
typedef struct cadenza_tape cadenza_tape;

typedef struct cadenza_tape_options {
    size_t struct_size;
    int32_t input_gradients;        /* whether gradients of inputs and initial states are wanted; 1 */
    int32_t reserved;
    const size_t *frozen;           /* layers (indices for cadenza_model_layer_info) that are not trained, beside those that
                                     * the model says; a BatchNormalization among them keeps its moving statistics */
    size_t frozen_count;
    size_t threads;                 /* how many compute, the calling one among them; 0, 1: no others. The same bits with any number */
    size_t memory_limit;            /* bytes that a run may keep for the way back, weights and their gradients not counted; 0: no
                                     * limit. Where recurrent layers would keep more, they compute it again, part by part, on the
                                     * way back: the same bits later. CADENZA_OUT_OF_MEMORY where even that would pass it */
} cadenza_tape_options;

void cadenza_tape_options_init(cadenza_tape_options *options);

/* options may be NULL. Fails with CADENZA_UNSUPPORTED, naming the layer, where a layer asks for what training does not
 * have: constraints, activity regularizers. */
cadenza_status cadenza_tape_create(const cadenza_model *model, const cadenza_tape_options *options, cadenza_tape **tape);
void cadenza_tape_release(cadenza_tape *tape);

/* A tape of its own that has run nothing yet, and shares the weights' gradients: for loops of steps. One tape a step, states
 * from one to the next; then backward from the last to the first, each with the gradients of its final states that the one
 * behind it gave, all but the first call with accumulate 1. Tapes that share are used by one thread at a time. */
cadenza_status cadenza_tape_fork(const cadenza_tape *tape, cadenza_tape **fork);

/* Runs the model. times, inputs: as in cadenza_model_run_multi. states: NULL, or for each state (cadenza_model_state_info)
 * NULL, which is zeros or what the model gives, or [batch, units]. training: 0 computes as cadenza_model_run does; 1 drops
 * what Dropout and dropout options say, drawn from `seed`, and normalizes batches by their own statistics. */
cadenza_status cadenza_tape_forward(cadenza_tape *tape, size_t batch, const size_t *times, const float *const *inputs,
                                    const float *const *states, int training, uint64_t seed);

/* What the last run gave. count: the floats of `values`, which must be those of the output. */
cadenza_status cadenza_tape_output_shape(const cadenza_tape *tape, size_t index, cadenza_shape *shape);
cadenza_status cadenza_tape_output(const cadenza_tape *tape, size_t index, float *values, size_t count);

/* The output's mask [batch, time], 1 = use, where it has one; has_mask tells. mask may be NULL. */
cadenza_status cadenza_tape_output_mask(const cadenza_tape *tape, size_t index, uint8_t *mask, size_t count, int *has_mask);

/* A state after the last step: [batch, units]. */
cadenza_status cadenza_tape_state(const cadenza_tape *tape, size_t index, float *values, size_t count);

/* Runs backward. outputs: for each output NULL (zeros) or its gradient; states: NULL, or for each state NULL or the
 * gradient of the state after the last step. accumulate: 1 adds to the weights' gradients of earlier calls. A run can be
 * run backward any number of times. */
cadenza_status cadenza_tape_backward(cadenza_tape *tape, const float *const *outputs, const float *const *states, int accumulate);

/* The weights' gradients become zero, for calls that add to them. */
cadenza_status cadenza_tape_zero_gradients(cadenza_tape *tape);

/* The last backward run's gradients; those of weights are shared by forks and by loops of the tape. A weight that is not
 * trained has none: CADENZA_INVALID_ARGUMENT. */
cadenza_status cadenza_tape_weight_gradient(const cadenza_tape *tape, size_t index, float *values, size_t count);
cadenza_status cadenza_tape_input_gradient(const cadenza_tape *tape, size_t index, float *values, size_t count);
cadenza_status cadenza_tape_state_gradient(const cadenza_tape *tape, size_t index, float *values, size_t count);

/* Takes the last training run's batch statistics into the moving ones, once: what Keras does within the run. */
cadenza_status cadenza_tape_commit_statistics(cadenza_tape *tape);

/* ── Training: loops of steps ────────────────────────────────────────────────────────────────────────── */

/*
 * Runs of generators that can be run backward: a model that feeds itself, and one each of whose answers drives a run of another
 * (see "Self-feeding generator", "Nested generator"). The loss is the caller's.
 *
 *     cadenza_tape_create(a, NULL, &first);                   its options: threads, frozen layers, limit of memory
 *     cadenza_tape_create(b, NULL, &second);
 *     options.below = second;
 *     cadenza_unrolled_create(first, &options, &unrolled);
 *     cadenza_unrolled_forward(unrolled, &batch);
 *     cadenza_unrolled_values(unrolled, CADENZA_UNROLLED_OUTPUTS, 0, outputs, count);
 *     cadenza_unrolled_backward(unrolled, gradient, NULL, NULL, 0);
 *     cadenza_trainer_apply_tape(trainer_of_a, first);         … and of b
 *
 * Models have one input and one output, and stream. What can be computed at once is: primers, taught steps and, where nothing
 * is fed back, all of a nested run; rows that have ended cost nothing. The outputs have the bits of the steps one by one, and
 * the number of threads changes none. One thread at a time, as for the tapes.
 */
typedef struct cadenza_unrolled cadenza_unrolled;

/* What is fed back of an output in place of its values. */
typedef enum cadenza_choice {
    CADENZA_CHOICE_NONE = 0,        /* the values */
    CADENZA_CHOICE_LARGEST = 1,     /* the class with the largest one, the first of equals */
    CADENZA_CHOICE_DRAWN = 2        /* a class drawn by the seed */
} cadenza_choice;

typedef struct cadenza_unrolled_options {
    size_t struct_size;
    size_t feedback_first;          /* values of the output from here on go back in … */
    size_t feedback_count;          /* … so many; 0: the rest */
    int32_t choice;                 /* cadenza_choice; NONE. A class goes in as a one-hot row, and the gradient stops there */
    int32_t from_probabilities;     /* drawn: the values are probabilities, not logits; 0 */
    int32_t as_number;              /* a class goes in as its number, for a model that begins with an Embedding; 0 */
    int32_t straight_through;       /* the gradient goes on through a one-hot row as if it were the values; 0 */
    const cadenza_tape *below;      /* of the model that answers drive; NULL: the model feeds itself */
    const cadenza_tape *initial_state; /* as in cadenza_level; may be NULL */
    int32_t policy;                 /* cadenza_state_policy of the model below; CARRY */
    int32_t feedback;               /* the model below: what it gave last goes behind the answer into its input, zeros before its
                                     * first step and, but for CARRY, before the first of each run; 0 */
    int32_t upward;                 /* what the model below gave last goes behind the sample into the first model's input, zeros
                                     * before the first; 0 */
    int32_t state_gradients;        /* whether gradients of CADENZA_UNROLLED_STATES are wanted; 0 */
} cadenza_unrolled_options;

void cadenza_unrolled_options_init(cadenza_unrolled_options *options);

/* Shares the weights' gradients of the tapes; their memory_limit cannot be kept by computing again, and is one that a run may
 * not pass. options may be NULL. Fails with CADENZA_INVALID_ARGUMENT where sizes do not join, CADENZA_CANNOT_STREAM, and
 * CADENZA_UNSUPPORTED, naming the layer, for what has another meaning step by step. */
cadenza_status cadenza_unrolled_create(const cadenza_tape *tape, const cadenza_unrolled_options *options, cadenza_unrolled **unrolled);
void cadenza_unrolled_release(cadenza_unrolled *unrolled);

typedef struct cadenza_unrolled_batch {
    size_t struct_size;
    size_t batch;                   /* rows */
    size_t steps;                   /* of x */
    const float *x;                 /* [batch, steps, features]: the primer; or the first model's samples */
    const float *const *states;     /* NULL, or for each state, those of the first model and then of the one below, NULL (zeros) or
                                     * [batch, units]: before the first step. Below only for CADENZA_STATE_CARRY */
    size_t outputs;                 /* self-feeding: how many are made; the first is the answer to the primer's last sample */
    const float *targets;           /* self-feeding: [batch, outputs, fed back values], of which step t may be fed t - 1; NULL */
    const float *teacher_forcing;   /* [outputs]: the probability that the step that makes output t is fed the target, drawn for
                                     * each row by the seed; that of output 0 counts for nothing. NULL: 0 */
    const uint8_t *taught;          /* instead of that [batch, outputs]: 1 where it is; NULL */
    const size_t *counts;           /* nested: steps of each run below, [steps] or with counts_per_row [batch, steps]; 0 runs nothing */
    int32_t counts_per_row;
    int32_t training;               /* as in cadenza_tape_forward. Recurrent layers drop the same in all of a row's steps, Dropout
                                     * anew in each. CADENZA_UNSUPPORTED for a BatchNormalization that is not frozen */
    uint64_t seed;
} cadenza_unrolled_batch;

/* Where it fails by other than its arguments (NaN among what is drawn from, memory), there is no last run. Buffers are kept
 * from run to run as far as they fit. */
cadenza_status cadenza_unrolled_forward(cadenza_unrolled *unrolled, const cadenza_unrolled_batch *batch);

/* What a run consists of. States are numbered as in cadenza_model_state_info, those of the model below behind the first one's. */
typedef enum cadenza_unrolled_part {
    CADENZA_UNROLLED_X = 0,         /* [batch, steps, features] */
    CADENZA_UNROLLED_ANSWERS = 1,   /* nested: [batch, steps, width] */
    CADENZA_UNROLLED_OUTPUTS = 2,   /* self-feeding: [batch, outputs, width]; nested: as in a cadenza_ragged, the series (row, outer
                                     * step) one after another, of the width of the model below */
    CADENZA_UNROLLED_INITIAL = 3,   /* state `index` before the first step: [batch, units] */
    CADENZA_UNROLLED_FINAL = 4,     /* after the row's last step: [batch, units]; has no gradient */
    CADENZA_UNROLLED_STATES = 5     /* after each step. Self-feeding: [batch, primer steps - 1 + outputs, units]; of a nested run's first
                                     * model laid out as answers, of the one below as outputs */
} cadenza_unrolled_part;

/* Of the last run: how many floats a part has; its values; after a backward run its gradient, which includes what was given and
 * what came through later steps. count: the floats of `values`. index: of a state, else 0. */
cadenza_status cadenza_unrolled_size(const cadenza_unrolled *unrolled, int32_t part, size_t index, size_t *count);
cadenza_status cadenza_unrolled_values(const cadenza_unrolled *unrolled, int32_t part, size_t index, float *values, size_t count);
cadenza_status cadenza_unrolled_gradient(const cadenza_unrolled *unrolled, int32_t part, size_t index, float *values, size_t count);

/* Runs backward, any number of times. The loss's gradients, NULL where zero, laid out as their parts: of outputs, of answers
 * (nested), and for each state of CADENZA_UNROLLED_STATES, NULL where zero. accumulate: 1 adds to the gradients of all models'
 * weights. */
cadenza_status cadenza_unrolled_backward(cadenza_unrolled *unrolled, const float *outputs, const float *answers,
                                         const float *const *states, int accumulate);

/* ── Training: losses, optimizers, trainer ───────────────────────────────────────────────────────────── */

/* Keras's losses. A target has the output's shape, unless said. */
typedef enum cadenza_loss_kind {
    CADENZA_MEAN_SQUARED_ERROR = 0,
    CADENZA_MEAN_ABSOLUTE_ERROR = 1,
    CADENZA_HUBER = 2,
    CADENZA_LOG_COSH = 3,
    CADENZA_BINARY_CROSSENTROPY = 4,
    CADENZA_CATEGORICAL_CROSSENTROPY = 5,
    CADENZA_SPARSE_CATEGORICAL_CROSSENTROPY = 6, /* targets are class numbers: the output's shape without its last axis */
    CADENZA_POISSON = 7,
    CADENZA_GAUSSIAN_NLL = 8,       /* outputs are means, then log variances (means alone beside a given sigma), as for
                                     * CADENZA_SAMPLE_GAUSSIAN; targets are as wide as the means */
    CADENZA_MIXTURE_NLL = 9         /* outputs as for CADENZA_SAMPLE_MIXTURE; targets are as wide as one mean */
} cadenza_loss_kind;

typedef enum cadenza_reduction {
    CADENZA_SUM_OVER_BATCH_SIZE = 0, /* weighted losses divided by how many there are; masked ones do not count */
    CADENZA_SUM = 1,
    CADENZA_MEAN_WITH_SAMPLE_WEIGHT = 2 /* divided by the sum of the weights */
} cadenza_reduction;

typedef struct cadenza_loss {
    size_t struct_size;
    int32_t kind;                   /* cadenza_loss_kind */
    int32_t reduction;              /* cadenza_reduction; SUM_OVER_BATCH_SIZE */
    int32_t from_logits;            /* cross-entropies; 0. Behind a sigmoid or softmax they are computed from what goes into it */
    int32_t reserved;
    float label_smoothing;          /* binary, categorical; 0 */
    float delta;                    /* Huber; 1 */
    float weight;                   /* its part in the sum over outputs; 1 */
    float sigma;                    /* Gaussian: the given deviation; negative: the output has log variances; -1 */
    size_t components;              /* mixture */
    size_t output;                  /* the model's output; 0 */
} cadenza_loss;

void cadenza_loss_init(cadenza_loss *loss, int32_t kind);

/* Keras's optimizers, the same update by update. */
typedef enum cadenza_optimizer_kind {
    CADENZA_SGD = 0,
    CADENZA_RMSPROP = 1,
    CADENZA_ADAM = 2,
    CADENZA_ADAMW = 3,
    CADENZA_NADAM = 4,
    CADENZA_ADAGRAD = 5,
    CADENZA_ADAMAX = 6,
    CADENZA_LION = 7
} cadenza_optimizer_kind;

/* Options in Keras's words; an optimizer heeds those that it has in Keras. */
typedef struct cadenza_optimizer {
    size_t struct_size;
    int32_t kind;                   /* cadenza_optimizer_kind */
    int32_t nesterov;
    int32_t amsgrad;
    int32_t centered;
    int32_t use_ema;                /* keeps moving averages of the weights; see cadenza_trainer_finish_averages */
    int32_t reserved;
    double learning_rate;
    double beta_1;
    double beta_2;
    double epsilon;
    double momentum;
    double rho;
    double initial_accumulator_value;
    double decay;                   /* of Keras 2's legacy optimizers: the rate is divided by 1 + decay · updates; 0 */
    double weight_decay;            /* negative: none */
    double clipnorm;                /* 0: none; of the three the first that is given holds */
    double global_clipnorm;
    double clipvalue;
    double ema_momentum;
    size_t ema_overwrite_frequency; /* the weights become their averages each so many updates; 0: never */
    size_t gradient_accumulation_steps; /* calls that make one update; 1 */
} cadenza_optimizer;

/* The defaults of Keras 3. */
void cadenza_optimizer_init(cadenza_optimizer *optimizer, int32_t kind);

typedef struct cadenza_trainer_options {
    size_t struct_size;
    const cadenza_loss *losses;     /* one for each output that is trained on; none where gradients come from outside */
    size_t loss_count;
    const cadenza_optimizer *optimizer; /* NULL: Adam */
    const size_t *frozen;           /* as in cadenza_tape_options */
    size_t frozen_count;
    uint64_t seed;                  /* of dropout */
    size_t threads;                 /* as in cadenza_tape_options */
    size_t memory_limit;            /* as in cadenza_tape_options */
} cadenza_trainer_options;

/* Changes its model's weights; every stream of the model computes with them from its next step on. While an update runs, no
 * other thread may use the model or its streams. */
typedef struct cadenza_trainer cadenza_trainer;

/* Fails with CADENZA_UNSUPPORTED as cadenza_tape_create does, and with CADENZA_INVALID_ARGUMENT for options that do not fit. */
cadenza_status cadenza_trainer_create(cadenza_model *model, const cadenza_trainer_options *options, cadenza_trainer **trainer);
void cadenza_trainer_release(cadenza_trainer *trainer);

typedef struct cadenza_batch {
    size_t struct_size;
    size_t batch;                   /* rows */
    const size_t *times;            /* as in cadenza_model_run_multi */
    const float *const *inputs;
    const float *const *targets;    /* for each output, NULL where it has no loss */
    const float *const *weights;    /* NULL, or for each output NULL or sample weights [batch] */
    int32_t weights_per_step;       /* 1: sample weights are [batch, steps]; 0 */
    int32_t carry_state;            /* 1: rows begin in the states in which those of the call before ended (the gradient stops
                                     * there: truncated BPTT), and leave theirs; 0 */
    const float *const *states;     /* initial states as in cadenza_tape_forward, where none are carried; NULL */
} cadenza_batch;

/* One update. loss, losses (for each output): NULL where not wanted; the loss includes the weights' regularizers. Where the
 * loss or a gradient is NaN or infinite, or a target is no class, it fails and nothing has changed. */
cadenza_status cadenza_trainer_update(cadenza_trainer *trainer, const cadenza_batch *batch, double *loss, double *losses);

/* One update by gradients computed outside, such as a tape's: for each weight of the model, of its shape, NULL where it is not
 * trained. They are clipped, averaged and so on as those of cadenza_trainer_update; the weights' regularizers are not added.
 * Where one is NaN or infinite, or missing, it fails and nothing has changed. */
cadenza_status cadenza_trainer_apply(cadenza_trainer *trainer, const float *const *gradients);

/* The same by the weights' gradients that runs of a tape, its forks or its loops have left. Fails where the tape is of another
 * model, or does not train what the trainer does. */
cadenza_status cadenza_trainer_apply_tape(cadenza_trainer *trainer, const cadenza_tape *tape);

/* The loss without an update: as the model computes without training; or as in training, with gradients to be read. */
cadenza_status cadenza_trainer_evaluate(cadenza_trainer *trainer, const cadenza_batch *batch, double *loss, double *losses);
cadenza_status cadenza_trainer_differentiate(cadenza_trainer *trainer, const cadenza_batch *batch, double *loss, double *losses);

/* Of the last call: an output, the states after the last step [batch, units], the gradient of a weight (after an update:
 * clipped). count: the floats of `values`. */
cadenza_status cadenza_trainer_output(const cadenza_trainer *trainer, size_t index, float *values, size_t count);
cadenza_status cadenza_trainer_output_mask(const cadenza_trainer *trainer, size_t index, uint8_t *mask, size_t count, int *has_mask);
cadenza_status cadenza_trainer_state(const cadenza_trainer *trainer, size_t index, float *values, size_t count);
cadenza_status cadenza_trainer_gradient(const cadenza_trainer *trainer, size_t index, float *values, size_t count);

/* The next call that carries states begins from zero, with any number of rows. */
cadenza_status cadenza_trainer_reset_states(cadenza_trainer *trainer);

double cadenza_trainer_learning_rate(const cadenza_trainer *trainer); /* 0 for NULL */
cadenza_status cadenza_trainer_set_learning_rate(cadenza_trainer *trainer, double rate);
uint64_t cadenza_trainer_updates(const cadenza_trainer *trainer); /* calls of cadenza_trainer_update and _apply that succeeded */

/* The weights become their moving averages (use_ema), as Keras does at the end of training. */
cadenza_status cadenza_trainer_finish_averages(cadenza_trainer *trainer);

/* Everything: weights, what the optimizer keeps, counters, learning rate, carried states; checksummed. A trainer that goes on
 * from it ends with the same bits as one that never stopped. Sizes as in cadenza_stream_snapshot. restore fails with
 * CADENZA_MISMATCH (another model or optimizer) or CADENZA_INVALID_FILE, and then changes nothing. */
cadenza_status cadenza_trainer_checkpoint(const cadenza_trainer *trainer, void *buffer, size_t capacity, size_t *size);
cadenza_status cadenza_trainer_checkpoint_file(const cadenza_trainer *trainer, const char *path);
cadenza_status cadenza_trainer_restore(cadenza_trainer *trainer, const void *bytes, size_t size);
cadenza_status cadenza_trainer_restore_file(cadenza_trainer *trainer, const char *path);

/* ── Files for Keras ─────────────────────────────────────────────────────────────────────────────────── */

typedef enum cadenza_keras_format {
    CADENZA_KERAS = 0,              /* .keras: architecture and weights */
    CADENZA_WEIGHTS_H5 = 1          /* .weights.h5: weights alone */
} cadenza_keras_format;

/* Writes the model as a file that Keras 3 loads; whole or not at all. Fails with CADENZA_UNSUPPORTED for a model that came
 * from a file of Keras 2. The memory variant's sizes are as in cadenza_model_save_memory. */
cadenza_status cadenza_model_export_file(const cadenza_model *model, int32_t format, const char *path);
cadenza_status cadenza_model_export_memory(const cadenza_model *model, int32_t format, void *buffer, size_t capacity, size_t *size);

#ifdef __cplusplus
}
#endif

#endif
