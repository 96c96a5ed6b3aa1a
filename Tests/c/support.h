/* What the C programs share: files, random numbers, comparisons to the bit, models to try. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include "check.h"

#include <sys/resource.h>

#define RAIN_KERAS "examples/rain/rain.keras"
#define RAIN_H5 "examples/rain/rain.h5"

static inline void *allocate(size_t size) {
    void *memory = malloc(size ? size : 1);
    if (!memory) abort();
    return memory;
}

static inline float *floats(size_t count) { return allocate(count * sizeof(float)); }

static uint64_t random_state = 1;

static inline uint64_t random_bits(void) { /* splitmix64 */
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline size_t random_below(size_t bound) { return (size_t)(random_bits() % bound); }

static inline float *random_floats(size_t count, uint64_t seed) {
    float *values = floats(count);
    random_state = seed;
    for (size_t i = 0; i < count; i++) values[i] = (float)((double)(random_bits() >> 11) / 4503599627370496.0 - 1.0);
    return values;
}

static inline int same_bits(const float *a, const float *b, size_t count) {
    return memcmp(a, b, count * sizeof(float)) == 0;
}

/* The whole file, or NULL. */
static inline unsigned char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = allocate(*size);
    if (fread(bytes, 1, *size, file) != *size) { free(bytes); bytes = NULL; }
    fclose(file);
    return bytes;
}

static inline int write_file(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file) return 0;
    size_t written = fwrite(bytes, 1, size, file);
    return fclose(file) == 0 && written == size;
}

/* How thoroughly: 1, or less where a program runs under valgrind. */
static inline size_t effort(size_t full, size_t reduced) { return getenv("CADENZA_REDUCED") ? reduced : full; }

/* The floats that one row has in a step: of the only input, of the only output. */
static inline size_t input_size(const cadenza_model *model, size_t index) {
    cadenza_tensor_info info = {.struct_size = sizeof info};
    return cadenza_model_input_info(model, index, &info) ? 0 : info.step_size;
}

static inline size_t output_size(const cadenza_model *model, size_t index) {
    cadenza_tensor_info info = {.struct_size = sizeof info};
    return cadenza_model_output_info(model, index, &info) ? 0 : info.step_size;
}

static inline size_t state_units(const cadenza_model *model, size_t index) {
    cadenza_state_info info = {.struct_size = sizeof info};
    return cadenza_model_state_info(model, index, &info) ? 0 : info.units;
}

/* Every weight random, so that no zero hides what is swapped. */
static inline void randomize(cadenza_model *model, uint64_t seed) {
    for (size_t i = 0; i < cadenza_model_weight_count(model); i++) {
        cadenza_weight_info info = {.struct_size = sizeof info};
        if (!CHECK_OK(cadenza_model_weight_info(model, i, &info))) return;
        float *values = random_floats(info.count, seed + i);
        for (size_t k = 0; k < info.count; k++) values[k] *= 0.5f;
        CHECK_OK(cadenza_model_weight_set(model, i, values, info.count));
        free(values);
    }
}

/* A sequential model from pairs of class and options, ended by NULL. */
static inline cadenza_model *build(size_t features, uint64_t seed, const char *const *layers) {
    cadenza_builder *builder = NULL;
    cadenza_model *model = NULL;
    if (!CHECK_OK(cadenza_builder_create(0, features, &builder))) return NULL;
    for (; *layers; layers += 2) CHECK_OK(cadenza_builder_add(builder, layers[0], layers[1]));
    CHECK_OK(cadenza_builder_build(builder, seed, &model));
    cadenza_builder_release(builder);
    return model;
}

static inline cadenza_model *load(const char *path) {
    cadenza_model *model = NULL;
    CHECK_OK(cadenza_model_load_file(path, NULL, &model));
    return model;
}

/* Every kind of cell in one row of layers, masked samples, and an answer for each step. */
static inline cadenza_model *mixed_model(void) {
    static const char *const layers[] = {
        "Masking", "mask_value=0.25",
        "GRU", "units=7, return_sequences=True",
        "SimpleRNN", "units=5, return_sequences=True, activation=relu",
        "LayerNormalization", NULL,
        "GRU", "units=6, return_sequences=True, reset_after=False, recurrent_activation=hard_sigmoid",
        "LSTM", "units=9, return_sequences=True",
        "Dense", "units=4, activation=softmax",
        NULL};
    cadenza_model *model = build(5, 3, layers);
    if (model) randomize(model, 77);
    return model;
}

/* Two inputs and two outputs, from Keras's JSON. */
static inline cadenza_model *two_inputs_model(void) {
    size_t size;
    char *text = (char *)read_file("Tests/c/two_inputs.json", &size);
    cadenza_model *model = NULL;
    if (CHECK(text != NULL)) CHECK_OK(cadenza_model_create(text, size, 3, &model));
    free(text);
    if (model) randomize(model, 78);
    return model;
}

/* From here on all that anybody writes to fd 1 and 2 goes to a file, where printed_nothing looks for it. */
static int watched_prints = -1;

static inline void watch_prints(void) {
    char path[] = "build/tests/prints.XXXXXX";
    watched_prints = mkstemp(path);
    unlink(path);
    dup2(watched_prints, STDOUT_FILENO);
    dup2(watched_prints, STDERR_FILENO);
}

static inline int printed_nothing(void) {
    fflush(NULL);
    return lseek(watched_prints, 0, SEEK_END) == 0;
}

/* Sizes that cannot be had shall be refused, not taken on credit. Not under valgrind, which needs memory itself. */
static inline void limit_memory(size_t bytes) {
    struct rlimit limit = {bytes, bytes};
    if (!getenv("CADENZA_REDUCED")) setrlimit(RLIMIT_AS, &limit);
}

/* The stream's whole state, to hold against a later one. */
static inline unsigned char *snapshot_of(const cadenza_stream *stream, size_t *size) {
    *size = 0;
    CHECK_OK(cadenza_stream_snapshot(stream, NULL, 0, size));
    unsigned char *bytes = allocate(*size);
    CHECK_OK(cadenza_stream_snapshot(stream, bytes, *size, size));
    return bytes;
}

static inline int has_state(const cadenza_stream *stream, const unsigned char *expected, size_t size) {
    size_t now;
    unsigned char *bytes = snapshot_of(stream, &now);
    int same = now == size && memcmp(bytes, expected, size) == 0;
    free(bytes);
    return same;
}

#endif
