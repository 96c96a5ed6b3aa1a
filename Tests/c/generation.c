/* Generators from C: nested and self-feeding against plain loops over streams, snapshots, beam search, ragged, errors. */
#include "support.h"
#include <fenv.h>
#include <math.h>

enum { BATCH = 3, OUTER = 4, FEATURES = 3, UNITS = 5, CLASSES = 6 };

static const char *const A[] = {"LSTM", "units=5, return_sequences=True", NULL};
static const char *const B[] = {"GRU", "units=5, return_sequences=True", NULL};
static const char *const TEXT[] = {"LSTM", "units=8, return_sequences=True", "Dense", "units=6", NULL};

static cadenza_model *made(size_t features, uint64_t seed, const char *const *layers) {
    cadenza_model *model = build(features, seed, layers);
    if (model) randomize(model, seed);
    return model;
}

static unsigned char *nested_bytes(const cadenza_nested *nested, size_t *size) {
    CHECK_OK(cadenza_nested_snapshot(nested, NULL, 0, size));
    unsigned char *bytes = allocate(*size);
    CHECK_OK(cadenza_nested_snapshot(nested, bytes, *size, size));
    return bytes;
}

/* A plain loop: rows one after another, one stream for A and one for B, state of B carried. */
static void loop(const cadenza_model *a, const cadenza_model *b, const float *x, const size_t *counts, float *values) {
    for (size_t row = 0; row < BATCH; row++) {
        cadenza_stream *above = NULL, *below = NULL;
        CHECK_OK(cadenza_stream_create(a, 1, &above));
        CHECK_OK(cadenza_stream_create(b, 1, &below));
        for (size_t t = 0; t < OUTER; t++) {
            float ir[UNITS];
            CHECK_OK(cadenza_stream_step(above, x + (row * OUTER + t) * FEATURES, ir));
            for (size_t i = 0; i < counts[row * OUTER + t]; i++, values += UNITS) CHECK_OK(cadenza_stream_step(below, ir, values));
        }
        cadenza_stream_release(above), cadenza_stream_release(below);
    }
}

static void test_nested(void) {
    cadenza_model *a = made(FEATURES, 1, A), *b = made(UNITS, 2, B);
    static const size_t counts[BATCH * OUTER] = {3, 0, 2, 1, 0, 0, 4, 9, 1, 1, 1, 0};
    enum { TOTAL = 22 };
    float *x = random_floats(BATCH * OUTER * FEATURES, 4), expected[TOTAL * UNITS], values[TOTAL * UNITS];
    loop(a, b, x, counts, expected);

    cadenza_level level;
    cadenza_level_init(&level);
    level.model = b;
    level.is_counted = 1;
    cadenza_nested *nested = NULL;
    if (!CHECK_OK(cadenza_nested_create(a, &level, 1, BATCH, &nested))) return;
    cadenza_nested_info info = {.struct_size = sizeof info};
    CHECK_OK(cadenza_nested_describe(nested, &info));
    CHECK(info.batch == BATCH && info.levels == 2 && info.sample_size == FEATURES && info.width == UNITS && info.drawn_width == 0);

    CHECK_OK(cadenza_nested_push(nested, OUTER, x, NULL, counts, 1));
    cadenza_ragged *outputs = NULL;
    CHECK_OK(cadenza_nested_run(nested, &outputs, NULL, NULL));
    cadenza_ragged_info shape = {.struct_size = sizeof shape};
    CHECK_OK(cadenza_ragged_describe(outputs, &shape));
    CHECK(shape.value_count == TOTAL && shape.longest == 9 && shape.series_count == BATCH * OUTER && shape.level_count == 1);
    CHECK_OK(cadenza_ragged_values(outputs, values, TOTAL * UNITS));
    CHECK(same_bits(values, expected, TOTAL * UNITS));
    uint64_t steps = 0;
    CHECK_OK(cadenza_nested_steps(nested, 1, &steps));
    CHECK(steps == TOTAL);

    /* Padded and back. */
    enum { LONGEST = 10 };
    for (int layout = CADENZA_BATCH_MAJOR; layout <= CADENZA_TIME_MAJOR; layout++) {
        float *padded = floats(BATCH * OUTER * LONGEST * UNITS);
        uint8_t mask[BATCH * OUTER * LONGEST];
        CHECK_OK(cadenza_ragged_pad(outputs, BATCH, LONGEST, (cadenza_layout)layout, padded, mask));
        size_t there = 0;
        for (size_t i = 0; i < sizeof mask; i++) there += mask[i];
        CHECK(there == TOTAL);
        cadenza_ragged *back = NULL;
        CHECK_OK(cadenza_ragged_from_padded(padded, counts, BATCH, OUTER, LONGEST, UNITS, (cadenza_layout)layout, &back));
        CHECK_OK(cadenza_ragged_values(back, values, TOTAL * UNITS));
        CHECK(same_bits(values, expected, TOTAL * UNITS));
        cadenza_ragged_release(back);
        free(padded);
    }
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_ragged_pad(outputs, BATCH, 8, CADENZA_BATCH_MAJOR, values, NULL), "9|8");
    cadenza_ragged_release(outputs);

    /* In pieces, each from a snapshot of the one before. */
    CHECK_OK(cadenza_nested_reset(nested));
    CHECK_OK(cadenza_nested_push(nested, OUTER, x, NULL, counts, 1));
    size_t starts[BATCH] = {0, 6, 19}, taken = 0, count = 4;
    while (count == 4) {
        float piece[4 * UNITS];
        cadenza_nested_item items[4];
        size_t size, other_size;
        unsigned char *bytes = nested_bytes(nested, &size);
        cadenza_nested *other = NULL;
        CHECK_OK(cadenza_nested_create(a, &level, 1, BATCH, &other));
        CHECK_OK(cadenza_nested_restore(other, bytes, size));
        bytes[size / 2] ^= 1;
        CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_nested_restore(other, bytes, size), NULL);
        bytes[size / 2] ^= 1;
        unsigned char *same = nested_bytes(other, &other_size);
        CHECK(other_size == size && memcmp(bytes, same, size) == 0);
        free(bytes), free(same);
        cadenza_nested_release(nested);
        nested = other;
        if (!CHECK_OK(cadenza_nested_pull(nested, 4, piece, NULL, items, &count))) break;
        for (size_t i = 0; i < count; i++, taken++) memcpy(values + starts[items[i].row]++ * UNITS, piece + i * UNITS, sizeof(float) * UNITS);
    }
    CHECK(taken == TOTAL && same_bits(values, expected, TOTAL * UNITS));
    cadenza_nested_release(nested);
    cadenza_model_release(a), cadenza_model_release(b);
    free(x);
}

static int failing(void *context, size_t row, size_t step, const float *values, size_t count, float *result) {
    (void)row, (void)values, (void)count;
    result[0] = step == 2;
    return *(int *)context && step == 1 ? 42 : 0;
}

static void test_stops(void) {
    cadenza_model *a = made(FEATURES, 1, A), *b = made(UNITS, 2, B);
    int fails = 0;
    cadenza_stop stop;
    cadenza_stop_init(&stop);
    stop.kind = CADENZA_STOP_CALLBACK;
    stop.callback = failing;
    stop.context = &fails;
    cadenza_generator_options options;
    cadenza_generator_options_init(&options);
    options.stops = &stop;
    options.stop_count = 1;
    cadenza_level level;
    cadenza_level_init(&level);
    level.model = b;
    level.options = &options;
    cadenza_nested *nested = NULL;
    CHECK_OK(cadenza_nested_create(a, &level, 1, BATCH, &nested));
    float *x = random_floats(BATCH * OUTER * FEATURES, 4);
    CHECK_OK(cadenza_nested_push(nested, OUTER, x, NULL, NULL, 0));
    fails = 1;
    cadenza_ragged *outputs = NULL;
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_run(nested, &outputs, NULL, NULL), "callback|42");
    CHECK(outputs == NULL);
    CHECK_OK(cadenza_nested_gathered(nested, &outputs, NULL, NULL));
    cadenza_ragged_info info = {.struct_size = sizeof info};
    CHECK_OK(cadenza_ragged_describe(outputs, &info));
    CHECK(info.value_count == BATCH);
    cadenza_ragged_release(outputs);
    fails = 0;
    float values[100 * UNITS];
    size_t count = 0;
    CHECK_OK(cadenza_nested_pull(nested, 100, values, NULL, NULL, &count));
    CHECK(count == BATCH * (OUTER * 3 - 1));
    cadenza_run_info run = {.struct_size = sizeof run};
    CHECK_OK(cadenza_nested_row(nested, 1, 1, &run));
    CHECK(run.reason == CADENZA_STOPPED_BY_RULE && run.rule == 0 && run.length == 3 && !run.running);
    cadenza_nested_release(nested);

    /* What cannot be. */
    nested = NULL;
    options.stop_count = 0;
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_create(a, &level, 1, BATCH, &nested), "nothing ends");
    options.limit = 2;
    level.driver_output = 7;
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_create(a, &level, 1, BATCH, &nested), "7");
    level.driver_output = 0;
    level.model = a;
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_create(a, &level, 1, BATCH, &nested), "takes 3 values, but 5");
    level.model = b;
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_create(a, &level, 1, 0, &nested), NULL);
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_create(a, NULL, 1, 1, &nested), "levels");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_create(a, &level, 1, 1, NULL), "nested");
    level.struct_size = 3;
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_create(a, &level, 1, 1, &nested), "struct_size");
    CHECK(nested == NULL);
    cadenza_model_release(a), cadenza_model_release(b);
    free(x);
}

static void test_selffeeding(void) {
    cadenza_model *model = made(CLASSES, 3, TEXT);
    cadenza_sampler sampler;
    cadenza_sampler_init(&sampler);
    sampler.kind = CADENZA_SAMPLE_CATEGORICAL;
    sampler.temperature = 0;
    cadenza_generator_options options;
    cadenza_generator_options_init(&options);
    options.sampler = &sampler;
    options.feedback = CADENZA_FEEDBACK_SAMPLE;
    options.one_hot = CLASSES;
    cadenza_selffeeding *generator = NULL, *twin = NULL;
    if (!CHECK_OK(cadenza_selffeeding_create(model, 1, &options, &generator))) return;
    enum { STEPS = 30 };
    float *primer = random_floats(2 * CLASSES, 5);
    const float *inputs = primer;
    float values[STEPS * CLASSES], drawn[STEPS], logs[STEPS], scored[STEPS], y[CLASSES];
    size_t count = 0;
    CHECK_OK(cadenza_selffeeding_prime(generator, 2, &inputs, NULL));
    CHECK_OK(cadenza_selffeeding_run(generator, STEPS, NULL, values, drawn, logs, &count));
    CHECK(count == STEPS);

    cadenza_stream *stream = NULL;
    CHECK_OK(cadenza_stream_create(model, 1, &stream));
    CHECK_OK(cadenza_stream_step(stream, primer, y));
    CHECK_OK(cadenza_stream_step(stream, primer + CLASSES, y));
    for (size_t t = 0; t < STEPS; t++) {
        CHECK(same_bits(y, values + t * CLASSES, CLASSES));
        size_t best = 0;
        double sum = 0;
        for (size_t i = 0; i < CLASSES; i++) if (y[i] > y[best]) best = i;
        for (size_t i = 0; i < CLASSES; i++) sum += exp((double)y[i] - (double)y[best]);
        CHECK(drawn[t] == (float)best);
        CHECK(fabs((double)logs[t] + log(sum)) < 1e-5);
        float hot[CLASSES] = {0};
        hot[best] = 1;
        CHECK_OK(cadenza_stream_step(stream, hot, y));
    }
    cadenza_stream_release(stream);

    /* Score, and beams of width 1, say the same. */
    CHECK_OK(cadenza_selffeeding_reset(generator));
    CHECK_OK(cadenza_selffeeding_prime(generator, 2, &inputs, NULL));
    CHECK_OK(cadenza_selffeeding_score(generator, STEPS, drawn, NULL, NULL, scored));
    CHECK(same_bits(scored, logs, STEPS));
    cadenza_beam_options beam;
    cadenza_beam_options_init(&beam);
    beam.width = 1;
    beam.maximum_length = STEPS;
    size_t classes[STEPS];
    float score;
    CHECK_OK(cadenza_beam_search(model, 1, &options, &beam, 2, &inputs, NULL, classes, &count, &score));
    CHECK(count == STEPS);
    for (size_t t = 0; t < STEPS; t++) CHECK((float)classes[t] == drawn[t]);

    /* A restored one and a fork draw the very same. */
    uint64_t seed = 9;
    sampler.temperature = 1.2f;
    options.seeds = &seed;
    options.seed_count = 1;
    cadenza_selffeeding_release(generator);
    CHECK_OK(cadenza_selffeeding_create(model, 1, &options, &generator));
    CHECK_OK(cadenza_selffeeding_create(model, 1, &options, &twin));
    CHECK_OK(cadenza_selffeeding_run(generator, 7, NULL, NULL, drawn, NULL, NULL));
    size_t size = 0;
    CHECK_OK(cadenza_selffeeding_snapshot(generator, NULL, 0, &size));
    unsigned char *bytes = allocate(size);
    CHECK_OK(cadenza_selffeeding_snapshot(generator, bytes, size, &size));
    CHECK_OK(cadenza_selffeeding_restore(twin, bytes, size));
    float again[STEPS], third[STEPS];
    cadenza_selffeeding *fork = NULL;
    CHECK_OK(cadenza_selffeeding_fork(generator, &fork));
    CHECK_OK(cadenza_selffeeding_run(generator, STEPS, NULL, NULL, drawn, NULL, NULL));
    CHECK_OK(cadenza_selffeeding_run(twin, STEPS, NULL, NULL, again, NULL, NULL));
    CHECK_OK(cadenza_selffeeding_run(fork, STEPS, NULL, NULL, third, NULL, NULL));
    CHECK(same_bits(drawn, again, STEPS) && same_bits(drawn, third, STEPS));
    free(bytes);
    cadenza_selffeeding_release(fork), cadenza_selffeeding_release(twin), cadenza_selffeeding_release(generator);

    generator = NULL;
    options.one_hot = 2;
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_selffeeding_create(model, 1, &options, &generator), "6|2");
    options.one_hot = CLASSES;
    sampler.kind = 77;
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_selffeeding_create(model, 1, &options, &generator), "77");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_selffeeding_create(NULL, 1, &options, &generator), "model");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_selffeeding_create(model, 1, NULL, &generator), "options");
    CHECK(generator == NULL);
    cadenza_model_release(model);
    free(primer);
}

/* Whatever way to round the caller has set, from the drawing of weights to the logarithms of what is drawn. */
static void test_rounding_modes(void) {
    enum { ROWS = 4, STEPS = 60, WIDTH = 3, LONGEST = 8 };
    typedef struct {
        uint64_t fingerprint;
        float stream[2][CLASSES], drawn[2][ROWS * STEPS], logs[2][ROWS * STEPS], scores[WIDTH];
    } results;
    results found[4];
    memset(found, 0, sizeof found);
    const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    for (size_t mode = 0; mode < 4; mode++) {
        check_trying("rounding mode %zu", mode);
        results *it = &found[mode];
        float *scales[4];
        for (size_t i = 0; i < 4; i++) { /* none of the statistics is 0 or 1 */
            scales[i] = random_floats(7, 40 + i);
            for (size_t k = 0; k < 7; k++) scales[i][k] = 0.3f + fabsf(scales[i][k]);
        }
        fesetround(modes[mode]);
        cadenza_builder *builder = NULL;
        cadenza_model *model = NULL;
        cadenza_stream *stream = NULL;
        CHECK_OK(cadenza_builder_create_for_ids(0, &builder));
        CHECK_OK(cadenza_builder_add(builder, "Embedding", "input_dim=6, output_dim=7"));
        CHECK_OK(cadenza_builder_add(builder, "BatchNormalization", "epsilon=0.0123"));
        CHECK_OK(cadenza_builder_add(builder, "GRU", "units=9, return_sequences=True"));
        CHECK_OK(cadenza_builder_add(builder, "LeakyReLU", "negative_slope=0.37"));
        CHECK_OK(cadenza_builder_add(builder, "Dense", "units=6"));
        CHECK_OK(cadenza_builder_build(builder, 3, &model));
        CHECK_OK(cadenza_model_fingerprint(model, &it->fingerprint));
        for (size_t i = 0; i < 4; i++) CHECK_OK(cadenza_model_weight_set(model, 1 + i, scales[i], 7));
        CHECK_OK(cadenza_stream_create(model, 1, &stream));
        for (size_t t = 0; t < 2; t++) CHECK_OK(cadenza_stream_step(stream, &(float){(float)(3 + t)}, it->stream[t]));

        cadenza_sampler sampler;
        cadenza_generator_options options;
        cadenza_beam_options beam;
        cadenza_sampler_init(&sampler);
        cadenza_generator_options_init(&options);
        cadenza_beam_options_init(&beam);
        sampler.temperature = 0.7f;
        options.sampler = &sampler;
        float ids[ROWS] = {1, 2, 3, 4};
        const float *inputs[] = {ids};
        for (int kind = 0; kind < 2; kind++) {
            cadenza_selffeeding *generator = NULL;
            cadenza_stop stop;
            cadenza_stop_init(&stop);
            stop.kind = CADENZA_STOP_NORM_ABOVE;
            stop.threshold = 1000;
            options.stops = &stop, options.stop_count = 1;
            sampler.kind = CADENZA_SAMPLE_CATEGORICAL;
            sampler.top_p = kind ? 0.8f : 1;
            options.feedback = CADENZA_FEEDBACK_SAMPLE;
            CHECK_OK(cadenza_selffeeding_create(model, ROWS, &options, &generator));
            CHECK_OK(cadenza_selffeeding_prime(generator, 1, inputs, NULL));
            CHECK_OK(cadenza_selffeeding_run(generator, STEPS, NULL, NULL, it->drawn[kind], it->logs[kind], NULL));
            cadenza_selffeeding_release(generator);
        }
        options.stops = NULL, options.stop_count = 0;
        sampler.top_p = 1;
        size_t classes[WIDTH * LONGEST], counts[WIDTH];
        beam.width = WIDTH, beam.maximum_length = LONGEST, beam.length_penalty = 0.7f;
        CHECK_OK(cadenza_beam_search(model, 1, &options, &beam, 1, inputs, NULL, classes, counts, it->scores));
        CHECK(fegetround() == modes[mode]);
        fesetround(FE_TONEAREST);
        cadenza_stream_release(stream);
        cadenza_model_release(model);
        cadenza_builder_release(builder);
        for (size_t i = 0; i < 4; i++) free(scales[i]);
        CHECK(it->fingerprint == found[0].fingerprint);
        CHECK(memcmp(it->stream, found[0].stream, sizeof it->stream) == 0);
        CHECK(memcmp(it->drawn, found[0].drawn, sizeof it->drawn) == 0);
        CHECK(memcmp(it->logs, found[0].logs, sizeof it->logs) == 0);
        CHECK(memcmp(it->scores, found[0].scores, sizeof it->scores) == 0);
    }
}

int main(void) {
    check_begin();
    watch_prints();
    test_nested();
    test_stops();
    test_selffeeding();
    test_rounding_modes();
    cadenza_selffeeding_release(NULL), cadenza_nested_release(NULL), cadenza_ragged_release(NULL);
    CHECK(printed_nothing());
    return check_end("generation");
}
