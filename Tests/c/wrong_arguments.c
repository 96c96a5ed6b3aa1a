/* Every function called wrongly on purpose: a status, a message that names the argument, and nothing changed. */
#include "support.h"

static char sentinel;
#define UNTOUCHED ((void *)&sentinel)
#define REFUSED(call, words) CHECK_FAILS(CADENZA_INVALID_ARGUMENT, call, words)

enum { MARK = 0x5a };

static int is_marked(const void *memory, size_t size) {
    const unsigned char *bytes = memory;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != MARK) return 0;
    return 1;
}

static cadenza_model *model;
static cadenza_stream *stream;
static float sample[3] = {0.1f, 0.2f, 0.3f};

static void test_null_is_harmless(void) {
    cadenza_load_options_init(NULL);
    cadenza_model_release(NULL);
    cadenza_builder_release(NULL);
    cadenza_stream_release(NULL);
    CHECK(cadenza_model_retain(NULL) == NULL && cadenza_stream_retain(NULL) == NULL);
    CHECK(cadenza_model_input_count(NULL) == 0 && cadenza_model_output_count(NULL) == 0);
    CHECK(cadenza_model_layer_count(NULL) == 0 && cadenza_model_weight_count(NULL) == 0);
    CHECK(cadenza_model_precision(NULL) == CADENZA_FLOAT32);
    CHECK(cadenza_model_state_count(NULL) == 0 && cadenza_stream_batch(NULL) == 0);
}

static void test_library(void) {
    CHECK(cadenza_kernels_available(SIZE_MAX) == NULL && cadenza_kernels_available((size_t)1 << 40) == NULL);
    CHECK(cadenza_kernels_available(0) != NULL && *cadenza_kernels_name());
    char before[32];
    snprintf(before, sizeof before, "%s", cadenza_kernels_name());
    REFUSED(cadenza_kernels_force(NULL), "name");
    CHECK_FAILS(CADENZA_NOT_FOUND, cadenza_kernels_force("x86-64-v9"), "x86-64-v9");
    CHECK_FAILS(CADENZA_NOT_FOUND, cadenza_kernels_force(""), NULL);
    CHECK(strcmp(before, cadenza_kernels_name()) == 0);
    CHECK(strcmp(cadenza_status_name((cadenza_status)-1), "unknown status") == 0);
    CHECK(strcmp(cadenza_status_name((cadenza_status)0x7fffffff), "unknown status") == 0);
}

static void test_quantizing(void) {
    cadenza_model *made = UNTOUCHED, *narrow = NULL, *loaded = NULL;
    REFUSED(cadenza_model_quantize(NULL, CADENZA_INT8, &made), "model");
    REFUSED(cadenza_model_quantize(model, CADENZA_INT8, NULL), "quantized");
    const int32_t unknown[] = {INT32_MIN, -1, CADENZA_FLOAT32, 3, INT32_MAX};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        REFUSED(cadenza_model_quantize(model, unknown[i], &made), "precision");
    CHECK_OK(cadenza_model_quantize(model, CADENZA_BF16, &narrow));
    CHECK(cadenza_model_precision(model) == CADENZA_FLOAT32 && cadenza_model_precision(narrow) == CADENZA_BF16);
    REFUSED(cadenza_model_quantize(narrow, CADENZA_BF16, &made), "bf16 already");

    cadenza_load_options options;
    cadenza_load_options_init(&options);
    options.precision = CADENZA_BF16;
    CHECK_OK(cadenza_model_load_file(RAIN_KERAS, &options, &loaded));
    uint64_t first = 0, second = 1;
    CHECK_OK(cadenza_model_fingerprint(narrow, &first));
    CHECK_OK(cadenza_model_fingerprint(loaded, &second));
    CHECK(first == second);
    cadenza_tape *tape = UNTOUCHED;
    CHECK_FAILS(CADENZA_UNSUPPORTED, cadenza_tape_create(narrow, NULL, &tape), "bf16");
    CHECK(tape == UNTOUCHED && made == UNTOUCHED);
    cadenza_model_release(narrow);
    cadenza_model_release(loaded);
}

static void test_making(void) {
    cadenza_model *made = UNTOUCHED;
    REFUSED(cadenza_model_load_file(NULL, NULL, &made), "path");
    REFUSED(cadenza_model_load_file(RAIN_KERAS, NULL, NULL), "model");
    REFUSED(cadenza_model_load_memory(NULL, 100, NULL, &made), "bytes");
    REFUSED(cadenza_model_load_memory(sample, sizeof sample, NULL, NULL), "model");
    CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_model_load_memory(sample, 0, NULL, &made), NULL);
    CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_model_load_memory(sample, 5, NULL, &made), NULL);
    REFUSED(cadenza_model_load_memory(sample, SIZE_MAX, NULL, &made), "size");
    REFUSED(cadenza_model_create(NULL, 10, 0, &made), "architecture");
    REFUSED(cadenza_model_create("{}", 2, 0, NULL), "model");
    REFUSED(cadenza_model_create("{}", SIZE_MAX, 0, &made), "size");
    CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_model_create("", 0, 0, &made), NULL);

    cadenza_load_options options = {.struct_size = 3};
    REFUSED(cadenza_model_load_file(RAIN_KERAS, &options, &made), "struct_size");
    cadenza_load_options_init(&options);
    options.architecture = "{}";
    options.architecture_size = SIZE_MAX;
    REFUSED(cadenza_model_load_file(RAIN_KERAS, &options, &made), "architecture_size");
    cadenza_load_options_init(&options);
    CHECK(options.precision == CADENZA_FLOAT32);
    options.precision = 3;
    REFUSED(cadenza_model_load_file(RAIN_KERAS, &options, &made), "precision is 3");
    CHECK(made == UNTOUCHED);

    cadenza_builder *builder = UNTOUCHED;
    REFUSED(cadenza_builder_create(0, 3, NULL), "builder");
    REFUSED(cadenza_builder_create(0, 0, &builder), "features");
    REFUSED(cadenza_builder_create(0, SIZE_MAX, &builder), "features");
    REFUSED(cadenza_builder_create(SIZE_MAX, 3, &builder), "steps");
    REFUSED(cadenza_builder_create_for_ids(0, NULL), "builder");
    REFUSED(cadenza_builder_create_for_ids(SIZE_MAX, &builder), "steps");
    REFUSED(cadenza_builder_add(NULL, "Dense", "units=2"), "builder");
    REFUSED(cadenza_builder_build(NULL, 0, &made), "builder");
    CHECK(builder == UNTOUCHED && made == UNTOUCHED);

    CHECK_OK(cadenza_builder_create(0, 3, &builder));
    REFUSED(cadenza_builder_add(builder, NULL, "units=2"), "class_name");
    REFUSED(cadenza_builder_build(builder, 0, NULL), "model");
    cadenza_builder_release(builder);
}

static void test_describing(void) {
    cadenza_tensor_info tensor = {.struct_size = sizeof tensor};
    cadenza_layer_info layer = {.struct_size = sizeof layer};
    cadenza_weight_info weight = {.struct_size = sizeof weight};
    cadenza_state_info state = {.struct_size = sizeof state};
    cadenza_shape shape = {.struct_size = sizeof shape};
    size_t time = 7, size = 42, number = 42;
    uint64_t hash = 42;
    cadenza_verdict verdict = CADENZA_NEEDS_WHOLE_SEQUENCE;
    const char *reason = UNTOUCHED;
    char text[16];
    memset(text, MARK, sizeof text);

    REFUSED(cadenza_model_input_info(NULL, 0, &tensor), "model");
    REFUSED(cadenza_model_output_info(NULL, 0, &tensor), "model");
    REFUSED(cadenza_model_layer_info(NULL, 0, &layer), "model");
    REFUSED(cadenza_model_weight_info(NULL, 0, &weight), "model");
    REFUSED(cadenza_model_state_info(NULL, 0, &state), "model");
    REFUSED(cadenza_model_output_shape(NULL, 1, &time, 0, &shape), "model");
    REFUSED(cadenza_model_input_info(model, 0, NULL), "info");
    REFUSED(cadenza_model_output_info(model, 0, NULL), "info");
    REFUSED(cadenza_model_layer_info(model, 0, NULL), "info");
    REFUSED(cadenza_model_weight_info(model, 0, NULL), "info");
    REFUSED(cadenza_model_state_info(model, 0, NULL), "info");
    REFUSED(cadenza_model_output_shape(model, 1, &time, 0, NULL), "shape");
    for (size_t i = 0; i < 3; i++) {
        static const size_t beyond[] = {1000, (size_t)1 << 40, SIZE_MAX};
        REFUSED(cadenza_model_input_info(model, beyond[i], &tensor), "index");
        REFUSED(cadenza_model_output_info(model, beyond[i], &tensor), "index");
        REFUSED(cadenza_model_layer_info(model, beyond[i], &layer), "index");
        REFUSED(cadenza_model_weight_info(model, beyond[i], &weight), "index");
        REFUSED(cadenza_model_state_info(model, beyond[i], &state), "index");
        REFUSED(cadenza_model_output_shape(model, 1, &time, beyond[i], &shape), "index");
    }
    REFUSED(cadenza_model_input_info(model, cadenza_model_input_count(model), &tensor), "index");
    REFUSED(cadenza_model_layer_info(model, cadenza_model_layer_count(model), &layer), "index");
    REFUSED(cadenza_model_weight_info(model, cadenza_model_weight_count(model), &weight), "index");
    REFUSED(cadenza_model_state_info(model, cadenza_model_state_count(model), &state), "index");
    CHECK(!tensor.name && !layer.name && !weight.name && !state.name && !shape.count);

    tensor.struct_size = layer.struct_size = weight.struct_size = state.struct_size = shape.struct_size = 8;
    REFUSED(cadenza_model_input_info(model, 0, &tensor), "struct_size");
    REFUSED(cadenza_model_output_info(model, 0, &tensor), "struct_size");
    REFUSED(cadenza_model_layer_info(model, 0, &layer), "struct_size");
    REFUSED(cadenza_model_weight_info(model, 0, &weight), "struct_size");
    REFUSED(cadenza_model_state_info(model, 0, &state), "struct_size");
    REFUSED(cadenza_model_output_shape(model, 1, &time, 0, &shape), "struct_size");
    CHECK(!tensor.name && !layer.name && !weight.name && !state.name && !shape.count);

    shape.struct_size = sizeof shape;
    REFUSED(cadenza_model_output_shape(model, 0, &time, 0, &shape), "batch");
    REFUSED(cadenza_model_output_shape(model, SIZE_MAX, &time, 0, &shape), "batch");
    time = SIZE_MAX;
    REFUSED(cadenza_model_output_shape(model, 1, &time, 0, &shape), "time");

    REFUSED(cadenza_model_streamability(NULL, &verdict, &reason), "model");
    REFUSED(cadenza_model_streamability(model, NULL, &reason), "verdict");
    REFUSED(cadenza_model_summary(NULL, text, sizeof text, &size), "model");
    REFUSED(cadenza_model_summary(model, text, sizeof text, NULL), "size");
    REFUSED(cadenza_model_summary(model, text, sizeof text, &size), "capacity");
    REFUSED(cadenza_model_summary(model, text, 0, &size), "capacity");
    REFUSED(cadenza_model_architecture(NULL, text, sizeof text, &size), "model");
    REFUSED(cadenza_model_architecture(model, text, sizeof text, NULL), "size");
    REFUSED(cadenza_model_architecture(model, text, sizeof text, &size), "capacity");
    REFUSED(cadenza_model_fingerprint(NULL, &hash), "model");
    REFUSED(cadenza_model_fingerprint(model, NULL), "fingerprint");
    REFUSED(cadenza_model_nonfinite_weights(NULL, &number), "model");
    REFUSED(cadenza_model_nonfinite_weights(model, NULL), "count");
    REFUSED(cadenza_model_weight_find(NULL, "lstm_1/kernel", &number), "model");
    REFUSED(cadenza_model_weight_find(model, NULL, &number), "name");
    REFUSED(cadenza_model_weight_find(model, "lstm_1/kernel", NULL), "index");
    CHECK_FAILS(CADENZA_NOT_FOUND, cadenza_model_weight_find(model, "lstm_1/kernels", &number), "lstm_1/kernels");
    CHECK_FAILS(CADENZA_NOT_FOUND, cadenza_model_weight_find(model, "", &number), NULL);
    CHECK_FAILS(CADENZA_NOT_FOUND, cadenza_model_weight_find(model, "\xff\xfe\x80", &number), NULL);
    CHECK(is_marked(text, sizeof text) && size == 42 && number == 42 && hash == 42 && reason == UNTOUCHED &&
          verdict == CADENZA_NEEDS_WHOLE_SEQUENCE);

    REFUSED(cadenza_model_save_file(NULL, "build/tests/none"), "model");
    REFUSED(cadenza_model_save_file(model, NULL), "path");
    REFUSED(cadenza_model_save_memory(NULL, text, sizeof text, &size), "model");
    REFUSED(cadenza_model_save_memory(model, text, sizeof text, NULL), "size");
    REFUSED(cadenza_model_save_memory(model, text, sizeof text, &size), "capacity");
    CHECK(is_marked(text, sizeof text) && size == 42);
}

static void test_weights(void) {
    float values[3 * 128];
    memset(values, MARK, sizeof values);
    uint64_t before = 0, after = 1;
    CHECK_OK(cadenza_model_fingerprint(model, &before));
    REFUSED(cadenza_model_weight_get(NULL, 0, values, 384), "model");
    REFUSED(cadenza_model_weight_get(model, 0, NULL, 384), "values");
    REFUSED(cadenza_model_weight_set(NULL, 0, values, 384), "model");
    REFUSED(cadenza_model_weight_set(model, 0, NULL, 384), "values");
    static const size_t counts[] = {0, 1, 383, 385, (size_t)1 << 40, SIZE_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        REFUSED(cadenza_model_weight_get(model, 0, values, counts[i]), "count|384");
        REFUSED(cadenza_model_weight_set(model, 0, values, counts[i]), "count|384");
        if (counts[i] < 100) continue;
        REFUSED(cadenza_model_weight_get(model, counts[i], values, 384), "index");
        REFUSED(cadenza_model_weight_set(model, counts[i], values, 384), "index");
    }
    CHECK_OK(cadenza_model_fingerprint(model, &after));
    CHECK(is_marked(values, sizeof values) && before == after);
}

static void test_running(void) {
    float input[7 * 3] = {0}, output[4];
    memset(output, MARK, sizeof output);
    REFUSED(cadenza_model_run(NULL, 1, 7, input, output), "model");
    REFUSED(cadenza_model_run(model, 1, 7, NULL, output), "input");
    REFUSED(cadenza_model_run(model, 1, 7, input, NULL), "output");
    REFUSED(cadenza_model_run(model, 0, 7, input, output), "batch");
    REFUSED(cadenza_model_run(model, 1, 0, input, output), "time");
    const float *inputs[] = {input}, *none[] = {NULL};
    float *outputs[] = {output};
    const size_t times[] = {7}, threads[] = {0, 1025, (size_t)1 << 32, SIZE_MAX};
    REFUSED(cadenza_model_run_threads(NULL, 1, times, inputs, outputs, 1), "model");
    REFUSED(cadenza_model_run_threads(model, 1, times, NULL, outputs, 1), "inputs");
    REFUSED(cadenza_model_run_threads(model, 1, times, inputs, NULL, 1), "outputs");
    REFUSED(cadenza_model_run_threads(model, 1, times, none, outputs, 1), "input 0");
    REFUSED(cadenza_model_run_threads(model, 0, times, inputs, outputs, 1), "batch");
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++)
        REFUSED(cadenza_model_run_threads(model, 1, times, inputs, outputs, threads[i]), "threads");
    static const size_t huge[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 4 + 1, (size_t)1 << 62, ((size_t)1 << 40) + 1};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        REFUSED(cadenza_model_run(model, huge[i], 7, input, output), "batch");
        REFUSED(cadenza_model_run(model, 1, huge[i], input, output), "time");
        REFUSED(cadenza_model_run(model, huge[i], huge[i], input, output), NULL);
    }
    /* What no memory holds is refused before the input is read. */
    static const size_t large[][2] = {{(size_t)1 << 40, 1}, {1, (size_t)1 << 40}, {(size_t)1 << 40, (size_t)1 << 40}, {(size_t)1 << 34, 7}};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        check_trying("a run of %zu rows, %zu steps", large[i][0], large[i][1]);
        cadenza_status status = cadenza_model_run(model, large[i][0], large[i][1], input, output);
        CHECK((status == CADENZA_OUT_OF_MEMORY || status == CADENZA_INVALID_ARGUMENT) && *cadenza_last_message());
    }
    check_trying("runs");

    const float *no_input[] = {NULL};
    size_t time = 7;
    REFUSED(cadenza_model_run_multi(NULL, 1, &time, inputs, outputs), "model");
    REFUSED(cadenza_model_run_multi(model, 1, &time, NULL, outputs), "inputs");
    REFUSED(cadenza_model_run_multi(model, 1, &time, no_input, outputs), "input");
    REFUSED(cadenza_model_run_multi(model, 1, &time, inputs, NULL), "outputs");
    REFUSED(cadenza_model_run_multi(model, 0, &time, inputs, outputs), "batch");
    time = SIZE_MAX;
    REFUSED(cadenza_model_run_multi(model, 1, &time, inputs, outputs), "time");
    CHECK(is_marked(output, sizeof output));
}

static void test_streams(void) {
    cadenza_stream *made = UNTOUCHED;
    REFUSED(cadenza_stream_create(NULL, 1, &made), "model");
    REFUSED(cadenza_stream_create(model, 1, NULL), "stream");
    REFUSED(cadenza_stream_create(model, 0, &made), "batch");
    static const size_t huge[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 4 + 1, (size_t)1 << 62};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) REFUSED(cadenza_stream_create(model, huge[i], &made), "batch");
    for (int bits = 40; bits >= 26; bits -= 2) {
        check_trying("a stream of 2^%d rows", bits);
        if (getenv("CADENZA_REDUCED") && bits < 40) break; /* no limit of memory there */
        cadenza_status status = cadenza_stream_create(model, (size_t)1 << bits, &made);
        CHECK((status == CADENZA_OUT_OF_MEMORY || status == CADENZA_INVALID_ARGUMENT) && *cadenza_last_message());
    }
    check_trying("streams");
    REFUSED(cadenza_stream_fork(NULL, &made), "stream");
    REFUSED(cadenza_stream_fork(stream, NULL), "fork");
    CHECK(made == UNTOUCHED);

    cadenza_model *owner = UNTOUCHED;
    REFUSED(cadenza_stream_model(NULL, &owner), "stream");
    REFUSED(cadenza_stream_model(stream, NULL), "model");
    CHECK(owner == UNTOUCHED);

    size_t size, nonfinite = 42;
    unsigned char *before = snapshot_of(stream, &size);
    float answer[2 * 4], state[2 * 32];
    memset(answer, MARK, sizeof answer);
    memset(state, MARK, sizeof state);
    REFUSED(cadenza_stream_step(NULL, sample, answer), "stream");
    REFUSED(cadenza_stream_step(stream, NULL, answer), "input");
    REFUSED(cadenza_stream_step(stream, sample, NULL), "output");
    REFUSED(cadenza_stream_peek(NULL, sample, answer), "stream");
    REFUSED(cadenza_stream_peek(stream, NULL, answer), "input");
    REFUSED(cadenza_stream_peek(stream, sample, NULL), "output");
    REFUSED(cadenza_stream_run(NULL, 1, sample, answer), "stream");
    REFUSED(cadenza_stream_run(stream, 1, NULL, answer), "input");
    REFUSED(cadenza_stream_run(stream, 1, sample, NULL), "output");
    REFUSED(cadenza_stream_run(stream, SIZE_MAX, sample, answer), "steps");
    REFUSED(cadenza_stream_run(stream, (size_t)1 << 62, sample, answer), "steps");
    REFUSED(cadenza_stream_run(stream, ((size_t)1 << 40) + 1, sample, answer), "steps");

    const float *inputs[] = {sample}, *no_input[] = {NULL};
    float *outputs[] = {answer};
    REFUSED(cadenza_stream_step_multi(NULL, inputs, outputs), "stream");
    REFUSED(cadenza_stream_step_multi(stream, NULL, outputs), "inputs");
    REFUSED(cadenza_stream_step_multi(stream, no_input, outputs), "input");
    REFUSED(cadenza_stream_peek_multi(NULL, inputs, outputs), "stream");
    REFUSED(cadenza_stream_peek_multi(stream, NULL, outputs), "inputs");
    REFUSED(cadenza_stream_peek_multi(stream, no_input, outputs), "input");
    REFUSED(cadenza_stream_run_multi(NULL, 1, inputs, outputs, NULL), "stream");
    REFUSED(cadenza_stream_run_multi(stream, 1, NULL, outputs, NULL), "inputs");
    REFUSED(cadenza_stream_run_multi(stream, 1, no_input, outputs, NULL), "input");
    REFUSED(cadenza_stream_run_multi(stream, SIZE_MAX, inputs, outputs, NULL), "steps");

    REFUSED(cadenza_stream_reset(NULL), "stream");
    REFUSED(cadenza_stream_reset_row(NULL, 0), "stream");
    uint64_t position = 42;
    REFUSED(cadenza_stream_position(NULL, 0, &position), "stream");
    REFUSED(cadenza_stream_position(stream, 0, NULL), "position");
    REFUSED(cadenza_stream_health(NULL, 0, &nonfinite), "stream");
    REFUSED(cadenza_stream_health(stream, 0, NULL), "nonfinite");
    static const size_t rows[] = {2, 1000, (size_t)1 << 40, SIZE_MAX};
    for (size_t i = 0; i < 4; i++) {
        REFUSED(cadenza_stream_reset_row(stream, rows[i]), "row");
        REFUSED(cadenza_stream_position(stream, rows[i], &position), "row");
        REFUSED(cadenza_stream_health(stream, rows[i], &nonfinite), "row");
    }
    static const size_t states[] = {4, 1000, (size_t)1 << 40, SIZE_MAX};
    for (size_t i = 0; i < 4; i++) {
        REFUSED(cadenza_stream_state_get(stream, states[i], state), "index");
        REFUSED(cadenza_stream_state_set(stream, states[i], state), "index");
    }
    REFUSED(cadenza_stream_state_get(NULL, 0, state), "stream");
    REFUSED(cadenza_stream_state_get(stream, 0, NULL), "values");
    REFUSED(cadenza_stream_state_set(NULL, 0, state), "stream");
    REFUSED(cadenza_stream_state_set(stream, 0, NULL), "values");
    CHECK(position == 42 && nonfinite == 42);

    unsigned char bytes[16];
    size_t needed = 42;
    memset(bytes, MARK, sizeof bytes);
    REFUSED(cadenza_stream_snapshot(NULL, bytes, sizeof bytes, &needed), "stream");
    REFUSED(cadenza_stream_snapshot(stream, bytes, sizeof bytes, NULL), "size");
    REFUSED(cadenza_stream_snapshot(stream, bytes, sizeof bytes, &needed), "capacity");
    REFUSED(cadenza_stream_snapshot(stream, bytes, 0, &needed), "capacity");
    REFUSED(cadenza_stream_snapshot_file(NULL, "build/tests/none"), "stream");
    REFUSED(cadenza_stream_snapshot_file(stream, NULL), "path");
    REFUSED(cadenza_stream_restore(NULL, before, size), "stream");
    REFUSED(cadenza_stream_restore(stream, NULL, size), "bytes");
    REFUSED(cadenza_stream_restore_file(NULL, "build/tests/none"), "stream");
    REFUSED(cadenza_stream_restore_file(stream, NULL), "path");
    CHECK(is_marked(answer, sizeof answer) && is_marked(state, sizeof state) && is_marked(bytes, sizeof bytes) && needed == 42);
    CHECK(has_state(stream, before, size));
    free(before);
}

/* Refused for the layers and options that it has: by name. */
static void test_unknown_words(void) {
    static const struct {
        const char *class_name, *options, *words;
        cadenza_status status;
    } wrong[] = {
        {"Conv1D", "filters=3, kernel_size=2", "Conv1D", CADENZA_UNSUPPORTED},
        {"NoSuchLayer", NULL, "NoSuchLayer", CADENZA_UNSUPPORTED},
        {"", NULL, "", CADENZA_UNSUPPORTED},
        {"Dense", "units=4, flavour=sweet", "Dense|flavour", CADENZA_UNSUPPORTED},
        {"Dense", "units=4, activation=tanhh", "activation|tanhh", CADENZA_UNSUPPORTED},
        {"LSTM", "units=4, implementation=2, quantum=True", "LSTM|quantum", CADENZA_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cadenza_builder *builder = NULL;
        cadenza_model *made = UNTOUCHED;
        check_trying("%s(%s)", wrong[i].class_name, wrong[i].options ? wrong[i].options : "");
        CHECK_OK(cadenza_builder_create(0, 3, &builder));
        cadenza_status status = cadenza_builder_add(builder, wrong[i].class_name, wrong[i].options);
        if (!status) status = cadenza_builder_build(builder, 0, &made);
        CHECK_FAILS(wrong[i].status, status, wrong[i].words);
        CHECK(made == UNTOUCHED);
        cadenza_builder_release(builder);
    }
    static const struct {
        const char *class_name, *options, *word;
    } bad_values[] = {
        {"LSTM", NULL, "units"},
        {"LSTM", "units=0", "units"},
        {"LSTM", "units=-3", "units"},
        {"LSTM", "units=1e30", "units"},
        {"LSTM", "units=99999999999999999999", "units"},
        {"LSTM", "units=4.5", "units"},
        {"LSTM", "units=four", "units"},
        {"LSTM", "units=None", "units"},
        {"LSTM", "units=9223372036854775807", "units"},
        {"Dense", "units=4,, activation=relu", NULL},
        {"Dense", "units", NULL},
        {"Dense", "=4", NULL},
        {"Dense", "units=4, units=5", "units"},
        {"Dense", "units=[4", NULL},
        {"Dense", "units=\"4", NULL},
        {"Reshape", "target_shape=[-1, -1]", NULL},
        {"Reshape", "target_shape=[9223372036854775807, 2]", NULL},
        {"RepeatVector", "n=1000000000000", NULL},
        {"Embedding", "input_dim=9223372036854775807, output_dim=4", NULL},
        {"Embedding", "input_dim=4000000000, output_dim=4000000000", NULL},
        {"Concatenate", NULL, NULL},
        {"BatchNormalization", "axis=7", NULL},
        {"LeakyReLU", "negative_slope=\"steep\"", "negative_slope"},
    };
    for (size_t i = 0; i < sizeof bad_values / sizeof *bad_values; i++) {
        cadenza_builder *builder = NULL;
        cadenza_model *made = UNTOUCHED;
        check_trying("%s(%s)", bad_values[i].class_name, bad_values[i].options ? bad_values[i].options : "");
        CHECK_OK(cadenza_builder_create(0, 3, &builder));
        cadenza_status status = cadenza_builder_add(builder, bad_values[i].class_name, bad_values[i].options);
        if (!status) status = cadenza_builder_build(builder, 0, &made);
        CHECK(status != CADENZA_OK && made == UNTOUCHED && *cadenza_last_message());
        CHECK(!bad_values[i].word || strstr(cadenza_last_message(), bad_values[i].word));
        if (status == CADENZA_OK && made != UNTOUCHED) cadenza_model_release(made);
        cadenza_builder_release(builder);
    }
    /* Weights that no memory holds. */
    cadenza_builder *builder = NULL;
    cadenza_model *made = UNTOUCHED;
    check_trying("Dense of 2^30 units, twice");
    CHECK_OK(cadenza_builder_create(0, 3, &builder));
    cadenza_status status = cadenza_builder_add(builder, "Dense", "units=1073741824");
    if (!status) status = cadenza_builder_add(builder, "Dense", "units=1073741824");
    if (!status) status = cadenza_builder_build(builder, 0, &made);
    CHECK(status != CADENZA_OK && made == UNTOUCHED && *cadenza_last_message());
    cadenza_builder_release(builder);
    check_trying("words");

    /* A layer that was refused leaves the builder as it was. */
    CHECK_OK(cadenza_builder_create(0, 3, &builder));
    CHECK_OK(cadenza_builder_add(builder, "Dense", "units=2"));
    if (cadenza_builder_add(builder, "Dense", "units=[") == CADENZA_OK) CHECK(!"options with an open bracket were taken");
    CHECK_OK(cadenza_builder_build(builder, 0, &made));
    CHECK(made != UNTOUCHED && cadenza_model_weight_count(made) == 2);
    cadenza_model_release(made);
    cadenza_builder_release(builder);
}

/* The message tells the layer and the mend; the model still runs whole. */
static void test_cannot_stream(void) {
    static const struct {
        size_t steps;
        const char *layers[7], *words;
    } models[] = {
        {7, {"LSTM", "units=4, return_sequences=True", "Flatten", "name=flat", "Dense", "units=1"}, "flat"},
        {0, {"LSTM", "units=4, go_backwards=True, name=hind", "Dense", "units=1"}, "hind|go_backwards"},
        {0, {"Bidirectional", "name=both, layer={\"class_name\": \"LSTM\", \"config\": {\"units\": 4}}"}, "both"},
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        cadenza_builder *builder = NULL;
        cadenza_model *whole = NULL;
        cadenza_stream *none = UNTOUCHED;
        check_trying("%s", models[i].words);
        CHECK_OK(cadenza_builder_create(models[i].steps, 3, &builder));
        for (const char *const *l = models[i].layers; *l; l += 2) CHECK_OK(cadenza_builder_add(builder, l[0], l[1]));
        CHECK_OK(cadenza_builder_build(builder, 1, &whole));
        cadenza_builder_release(builder);
        if (!whole) continue;
        CHECK_FAILS(CADENZA_CANNOT_STREAM, cadenza_stream_create(whole, 1, &none), models[i].words);
        CHECK(none == UNTOUCHED);

        cadenza_verdict verdict = CADENZA_STREAMS;
        const char *reason = NULL;
        CHECK_OK(cadenza_model_streamability(whole, &verdict, &reason));
        CHECK(verdict == CADENZA_NEEDS_WHOLE_SEQUENCE && reason && *reason);

        float input[7 * 3] = {0.5f, -1}, output[64];
        CHECK_OK(cadenza_model_run(whole, 1, 7, input, output));
        if (models[i].steps) REFUSED(cadenza_model_run(whole, 1, 6, input, output), "28|24");
        cadenza_model_release(whole);
    }
}

/* NaN is computed, and told. */
static void test_nan(void) {
    cadenza_stream *sick = NULL;
    float two[2 * 3] = {0.1f, 0.2f, 0.3f, 0.1f, 0.2f, 0.3f}, clean[2], answer[2], nan = 0.0f / 0.0f;
    size_t nonfinite = 42;
    CHECK_OK(cadenza_stream_create(model, 2, &sick));
    CHECK_OK(cadenza_stream_peek(sick, two, clean));
    two[1] = nan;
    CHECK_OK(cadenza_stream_step(sick, two, answer));
    CHECK(answer[0] != answer[0] && same_bits(&answer[1], &clean[1], 1)); /* its neighbour does not mind */
    CHECK_OK(cadenza_stream_health(sick, 0, &nonfinite));
    CHECK(nonfinite > 0);
    CHECK_OK(cadenza_stream_health(sick, 1, &nonfinite));
    CHECK(nonfinite == 0);
    CHECK_OK(cadenza_stream_reset_row(sick, 0));
    CHECK_OK(cadenza_stream_health(sick, 0, &nonfinite));
    CHECK(nonfinite == 0);
    two[1] = 0.2f;
    CHECK_OK(cadenza_stream_step(sick, two, answer));
    CHECK(same_bits(&answer[0], &clean[0], 1));
    cadenza_stream_release(sick);

    /* Values of all kinds: an answer, whatever it is. */
    const float kinds[] = {nan, 1.0f / 0.0f, -1.0f / 0.0f, 3e38f, -3e38f, 1e-45f, -0.0f, 1e10f};
    cadenza_model *mixed = mixed_model();
    float *in = floats(5), *out = floats(4);
    for (size_t i = 0; i < 200; i++) {
        cadenza_stream *any = NULL;
        CHECK_OK(cadenza_stream_create(mixed, 1, &any));
        for (size_t k = 0; k < 5; k++) in[k] = kinds[random_below(8)];
        CHECK_OK(cadenza_stream_step(any, in, out));
        cadenza_stream_release(any);
    }
    free(in), free(out);

    size_t count = 42;
    cadenza_weight_info info = {.struct_size = sizeof info};
    CHECK_OK(cadenza_model_weight_info(mixed, 0, &info));
    float *weights = floats(info.count);
    CHECK_OK(cadenza_model_weight_get(mixed, 0, weights, info.count));
    weights[3] = nan, weights[5] = 1.0f / 0.0f;
    CHECK_OK(cadenza_model_weight_set(mixed, 0, weights, info.count));
    CHECK_OK(cadenza_model_nonfinite_weights(mixed, &count));
    CHECK(count == 2);

    size_t size = 0;
    cadenza_model *back = NULL;
    CHECK_OK(cadenza_model_save_memory(mixed, NULL, 0, &size));
    unsigned char *bytes = allocate(size);
    CHECK_OK(cadenza_model_save_memory(mixed, bytes, size, &size));
    CHECK_OK(cadenza_model_load_memory(bytes, size, NULL, &back));
    CHECK_OK(cadenza_model_nonfinite_weights(back, &count));
    CHECK(count == 2);
    free(bytes), free(weights);
    cadenza_model_release(back), cadenza_model_release(mixed);

    /* Ids that no Embedding has. */
    static const float ids[] = {-1, 9, 1e9f, 3e38f, -3e38f, 8.5f};
    cadenza_builder *builder = NULL;
    cadenza_model *words = NULL;
    CHECK_OK(cadenza_builder_create_for_ids(0, &builder));
    CHECK_OK(cadenza_builder_add(builder, "Embedding", "input_dim=9, output_dim=2, mask_zero=True"));
    CHECK_OK(cadenza_builder_add(builder, "GRU", "units=2"));
    CHECK_OK(cadenza_builder_build(builder, 1, &words));
    for (size_t i = 0; words && i < 6 + 8; i++) {
        float id = i < 6 ? ids[i] : kinds[i - 6], gru[2];
        check_trying("an Embedding of 9 given id %g", id);
        cadenza_stream *any = NULL;
        CHECK_OK(cadenza_stream_create(words, 1, &any));
        cadenza_status status = cadenza_stream_step(any, &id, gru);
        CHECK(status == CADENZA_OK || (status == CADENZA_INVALID_ARGUMENT && *cadenza_last_message()));
        cadenza_stream_release(any);
    }
    cadenza_model_release(words);
    cadenza_builder_release(builder);
}

/* Batches of all sizes where there is little memory: whatever it is that finds none, the call says so. */
static void test_where_memory_ends(void) {
    if (getenv("CADENZA_REDUCED")) return; /* as there is no limit */
    limit_memory((size_t)200 << 20);
    cadenza_builder *builder = NULL;
    cadenza_model *small = NULL;
    CHECK_OK(cadenza_builder_create_for_ids(0, &builder));
    CHECK_OK(cadenza_builder_add(builder, "Embedding", "input_dim=3, output_dim=1"));
    CHECK_OK(cadenza_builder_add(builder, "SimpleRNN", "units=1, return_sequences=True"));
    CHECK_OK(cadenza_builder_add(builder, "Dense", "units=2"));
    CHECK_OK(cadenza_builder_build(builder, 1, &small));
    cadenza_builder_release(builder);
    cadenza_sampler sampler;
    cadenza_generator_options options;
    cadenza_sampler_init(&sampler);
    cadenza_generator_options_init(&options);
    sampler.kind = CADENZA_SAMPLE_CATEGORICAL;
    sampler.repetition_penalty = 1.5f;
    options.sampler = &sampler;
    options.feedback = CADENZA_FEEDBACK_SAMPLE;
    for (size_t batch = 20000; batch < 3000000; batch += batch / 12) {
        cadenza_stream *rows = NULL;
        cadenza_selffeeding *generator = NULL;
        check_trying("a stream and a generator of %zu rows", batch);
        cadenza_status made = cadenza_stream_create(small, batch, &rows);
        CHECK(made == CADENZA_OK || (made == CADENZA_OUT_OF_MEMORY && !rows));
        cadenza_stream_release(rows);
        made = cadenza_selffeeding_create(small, batch, &options, &generator);
        CHECK(made == CADENZA_OK || (made == CADENZA_OUT_OF_MEMORY && !generator));
        cadenza_selffeeding_release(generator);
        CHECK(batch < 2600000 || made == CADENZA_OUT_OF_MEMORY); /* memory does end */
    }
    check_trying("a pool without end");
    cadenza_pool *pool = NULL;
    uint64_t id;
    size_t joined = 0;
    CHECK_OK(cadenza_pool_create(small, 1, &pool));
    while (joined < 10000000 && cadenza_pool_join(pool, &id) == CADENZA_OK) joined++;
    CHECK(joined < 10000000 && joined % 256 == 0 && cadenza_pool_count(pool) == joined);
    CHECK_FAILS(CADENZA_OUT_OF_MEMORY, cadenza_pool_join(pool, &id), "memory");
    cadenza_pool_release(pool);
    cadenza_model_release(small);
}

int main(void) {
    check_begin();
    if (!(model = load(RAIN_KERAS)) || !CHECK_OK(cadenza_stream_create(model, 2, &stream))) return check_end("wrong_arguments");
    watch_prints();
    limit_memory((size_t)4 << 30);
    float two[6] = {0.3f, 0.1f, -0.2f, 0.9f, 0.4f, 0.6f}, answer[2];
    CHECK_OK(cadenza_stream_step(stream, two, answer));
    test_null_is_harmless();
    test_library();
    test_making();
    test_quantizing();
    test_describing();
    test_weights();
    test_running();
    test_streams();
    test_unknown_words();
    test_cannot_stream();
    test_nan();
    cadenza_stream_release(stream);
    cadenza_model_release(model);
    test_where_memory_ends();
    CHECK(printed_nothing());
    return check_end("wrong_arguments");
}
