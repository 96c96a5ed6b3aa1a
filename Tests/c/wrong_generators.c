/* Generators and wrong input: options that cannot be honoured, callbacks that fail or give NaN, NaN logits, hostile
 * numbers in every field, damaged snapshots. A status and a sentence, and nothing has changed. */
#include "support.h"
#include <math.h>
#include <stddef.h>

enum { BATCH = 2, FEATURES = 3, UNITS = 4, OUTER = 5 };

static cadenza_model *a, *b, *text, *dense, *embedded;
static float *x;

static cadenza_model *made(size_t features, uint64_t seed, const char *const *layers) {
    cadenza_model *model = build(features, seed, layers);
    if (model) randomize(model, seed);
    return model;
}

typedef struct {
    cadenza_sampler sampler;
    cadenza_stop stop;
    cadenza_generator_options options;
    cadenza_level level;
} all_options;

/* A nested generator's level without sampler and stops; what a test needs it sets. */
static all_options defaults(void) {
    all_options all;
    cadenza_sampler_init(&all.sampler);
    cadenza_stop_init(&all.stop);
    cadenza_generator_options_init(&all.options);
    cadenza_level_init(&all.level);
    all.level.model = b;
    return all;
}

static cadenza_nested *nest(all_options *all) {
    cadenza_nested *nested = NULL;
    all->level.options = &all->options;
    CHECK_OK(cadenza_nested_create(a, &all->level, 1, BATCH, &nested));
    return nested;
}

static void refused(all_options *all, const char *words) {
    cadenza_nested *nested = NULL;
    all->level.options = &all->options;
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_create(a, &all->level, 1, BATCH, &nested), words);
    CHECK(nested == NULL);
}

static void test_counts(void) {
    all_options all = defaults();
    all.level.is_counted = 1;
    cadenza_nested *nested = nest(&all);
    static const size_t good[BATCH * OUTER] = {1, 2, 3, 0, 1, 2, 2, 2, 2, 0}, negative[OUTER] = {1, 2, (size_t)-1, 0, 1},
                        huge[OUTER] = {1, (size_t)1 << 62}, lengths[BATCH] = {6, 1};
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_push(nested, OUTER, x, NULL, negative, 0), "count 2");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_push(nested, OUTER, x, NULL, huge, 0), "count 1");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_push(nested, OUTER, x, NULL, NULL, 0), "counts");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_push(nested, OUTER, x, lengths, good, 1), "row 0|6|5");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_push(nested, (size_t)1 << 60, x, NULL, good, 1), "steps");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_push(nested, OUTER, NULL, NULL, good, 1), "samples");
    cadenza_nested_info info = {.struct_size = sizeof info};
    CHECK_OK(cadenza_nested_describe(nested, &info));
    CHECK(info.pending == 0);
    CHECK_OK(cadenza_nested_push(nested, OUTER, x, NULL, good, 1));
    size_t count;
    CHECK_OK(cadenza_nested_pull(nested, 100, NULL, NULL, NULL, &count));
    CHECK(count == 15);
    cadenza_nested_release(nested);

    all.level.is_counted = 0;
    all.options.limit = 3;
    nested = nest(&all);
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_push(nested, OUTER, x, NULL, good, 1), "counts");
    cadenza_nested_release(nested);
}

static void test_what_cannot_join(void) {
    all_options all = defaults();
    refused(&all, "nothing ends");
    all.options.limit = 3;
    all.options.feedback = CADENZA_FEEDBACK_OUTPUT;
    refused(&all, "takes 4 values, but 8");
    all.options.feedback = CADENZA_FEEDBACK_SAMPLE;
    refused(&all, "no sampler");
    all.options.feedback = 9;
    refused(&all, "feedback|9");
    all.options.feedback = CADENZA_FEEDBACK_OUTPUT;
    all.options.feedback_output = 3;
    refused(&all, "output 3");
    all.options.feedback_output = 0;
    all.options.feedback_first = 4;
    refused(&all, "4");
    all.options.feedback_first = 0;
    all.options.feedback_input = 2;
    refused(&all, "input 2");
    all = defaults();
    all.options.limit = 3;
    all.options.minimum = 4;
    refused(&all, "minimum|4|3");
    all.options.minimum = 0;
    all.options.seeds = (uint64_t[]){1};
    all.options.seed_count = 1;
    refused(&all, "1 seeds for 2 rows");
    all.options.seed_count = 0;
    all.level.drive = CADENZA_DRIVE_STATE;
    refused(&all, "neither");
    all.level.drive = 0;
    all.level.policy = CADENZA_STATE_GIVEN;
    all.level.initial_state = a;
    refused(&all, "initial state");
    all.level.initial_state = NULL;
    all.level.policy = 0;
    all.level.upward = CADENZA_UPWARD_SAMPLE;
    refused(&all, "sampler");
    all.level.upward = CADENZA_UPWARD_STATE;
    all.level.upward_index = 9;
    refused(&all, "state 9");
    all.level.upward = CADENZA_UPWARD_OUTPUT;
    all.level.upward_index = 0;
    refused(&all, "nothing of the first model's input");
    all = defaults();
    all.level.model = NULL;
    all.options.limit = 1;
    refused(&all, "model");
}

/* Alone they would run for ever. */
static void test_stops_that_never_fire(void) {
    all_options all = defaults();
    all.options.stops = &all.stop;
    all.options.stop_count = 1;
    all.stop.token = UNITS;
    refused(&all, "never fire|class 4");
    all.stop.kind = CADENZA_STOP_NORM_BELOW;
    refused(&all, "never fire");
    all.stop.kind = CADENZA_STOP_ABOVE;
    all.stop.threshold = INFINITY;
    refused(&all, "never fire");
    all.stop.threshold = NAN;
    refused(&all, "never fire");
    all.stop.kind = CADENZA_STOP_BELOW;
    all.stop.threshold = -INFINITY;
    refused(&all, "never fire");
    all.stop.kind = CADENZA_STOP_GATE;
    all.stop.threshold = 0;
    all.stop.element = UNITS;
    refused(&all, "value 4 of 4");
    all.stop.element = 0;
    all.stop.kind = CADENZA_STOP_CALLBACK;
    refused(&all, "no callback");
    all.stop.kind = CADENZA_STOP_ABOVE;
    all.stop.through = a;
    refused(&all, "stop rule 0");
    all.stop.through = NULL;
    all.stop.of_state = 1;
    all.stop.index = 1;
    refused(&all, "state 1");
    all.stop.kind = CADENZA_STOP_TOKEN;
    all.stop.of_state = 0, all.stop.index = 0;
    all.options.sampler = &all.sampler;
    all.sampler.kind = CADENZA_SAMPLE_CATEGORICAL;
    all.sampler.forbidden = (size_t[]){2};
    all.sampler.forbidden_count = 1;
    all.stop.token = 2;
    refused(&all, "never fire|forbidden");
    all.sampler.kind = CADENZA_SAMPLE_GAUSSIAN;
    refused(&all, "categorical");
    all.sampler.forbidden_count = 0;
    all.sampler.sigma = 1;
    all.stop.token = UNITS;
    refused(&all, "never fire");
}

static void test_samplers(void) {
    const struct { const char *words; size_t at; float value; } numbers[] = {
        {"temperature", offsetof(cadenza_sampler, temperature), -1}, {"temperature", offsetof(cadenza_sampler, temperature), NAN},
        {"top_p", offsetof(cadenza_sampler, top_p), 0}, {"top_p", offsetof(cadenza_sampler, top_p), NAN},
        {"min_p", offsetof(cadenza_sampler, min_p), 2}, {"repetition", offsetof(cadenza_sampler, repetition_penalty), 0},
        {"sigma", offsetof(cadenza_sampler, sigma), NAN},
    };
    all_options all = defaults();
    all.options.limit = 3;
    all.options.sampler = &all.sampler;
    all.sampler.kind = CADENZA_SAMPLE_CATEGORICAL;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        cadenza_sampler kept = all.sampler;
        memcpy((char *)&all.sampler + numbers[i].at, &numbers[i].value, sizeof(float));
        refused(&all, numbers[i].words);
        all.sampler = kept;
    }
    all.sampler.output = 5;
    refused(&all, "output 5");
    all.sampler.output = 0;
    all.sampler.logit_bias = x;
    all.sampler.logit_bias_count = 3;
    refused(&all, "3|4");
    all.sampler.logit_bias = NULL;
    all.sampler.forbidden = (size_t[]){0, 1, 2, 3};
    all.sampler.forbidden_count = 4;
    refused(&all, "every class");
    all.sampler.forbidden_count = 0;
    all.sampler.kind = CADENZA_SAMPLE_MIXTURE;
    all.sampler.components = 3;
    refused(&all, "4 values");
    all.sampler.kind = CADENZA_SAMPLE_CALLBACK;
    refused(&all, "callback");
    all.sampler.kind = -1;
    refused(&all, "-1");
}

static int call_at, call_status;
static float call_answer;

static int misbehaves(void *context, size_t row, size_t step, const float *values, size_t count, float *result) {
    (void)context, (void)values, (void)count;
    result[0] = row == 1 && (int)step == call_at ? call_answer : 0;
    return row == 1 && (int)step == call_at ? call_status : 0;
}

/* A step that fails says where, leaves everything as it was, and can be made again. */
static void test_failing_steps(int where) {
    static const char *const places[] = {"stop", "sampler", "feedback"};
    for (int nan = 0; nan < 2; nan++) {
        check_trying("%s callback, %s", places[where], nan ? "NaN" : "status");
        all_options all = defaults();
        all.options.limit = 6;
        all.options.minimum = 1;
        if (where == 0) {
            all.stop.kind = CADENZA_STOP_CALLBACK, all.stop.callback = misbehaves;
            all.options.stops = &all.stop, all.options.stop_count = 1;
        } else if (where == 1) {
            all.sampler.kind = CADENZA_SAMPLE_CALLBACK, all.sampler.callback = misbehaves;
            all.options.sampler = &all.sampler;
        } else {
            all.options.feedback = CADENZA_FEEDBACK_OUTPUT;
            all.options.feedback_callback = misbehaves, all.options.feedback_callback_width = 1;
            all.level.model = embedded; /* takes 5 */
        }
        call_status = 0, call_answer = 0;
        cadenza_nested *nested = nest(&all), *twin = nest(&all);
        float values[2][BATCH * OUTER * 6 * 8];
        size_t count[2] = {0}, more = 0, size[2];
        CHECK_OK(cadenza_nested_push(nested, OUTER, x, NULL, NULL, 0));
        CHECK_OK(cadenza_nested_push(twin, OUTER, x, NULL, NULL, 0));
        CHECK_OK(cadenza_nested_pull(twin, 100, values[1], NULL, NULL, &count[1]));

        call_at = 2, call_status = nan ? 0 : 7, call_answer = nan ? NAN : 0;
        CHECK_OK(cadenza_nested_pull(nested, 100, values[0], NULL, NULL, &count[0])); /* what was made before it */
        CHECK(count[0] == 2 * BATCH);
        CHECK_OK(cadenza_nested_snapshot(nested, NULL, 0, &size[0]));
        unsigned char *before = allocate(size[0]), *after = allocate(size[0]);
        CHECK_OK(cadenza_nested_snapshot(nested, before, size[0], &size[0]));
        for (int again = 0; again < 2; again++)
            CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_nested_pull(nested, 100, values[0], NULL, NULL, &more), nan ? "row 1, step 2|NaN" : "row 1, step 2|7");
        CHECK_OK(cadenza_nested_snapshot(nested, after, size[0], &size[1]));
        CHECK(size[0] == size[1] && memcmp(before, after, size[0]) == 0);
        call_status = 0, call_answer = 0;
        size_t width = where == 2 ? 8 : UNITS;
        CHECK_OK(cadenza_nested_pull(nested, 100, values[0] + count[0] * width, NULL, NULL, &more));
        CHECK(count[0] + more == count[1] && same_bits(values[0], values[1], count[1] * width));
        free(before), free(after);
        cadenza_nested_release(nested), cadenza_nested_release(twin);
    }
}

static void test_nan_logits(void) {
    all_options all = defaults();
    all.sampler.kind = CADENZA_SAMPLE_CATEGORICAL;
    all.options.sampler = &all.sampler;
    all.options.exogenous_size = FEATURES;
    cadenza_selffeeding *generator = NULL;
    CHECK_OK(cadenza_selffeeding_create(text, BATCH, &all.options, &generator));
    float outside[BATCH * 4 * FEATURES], drawn[BATCH * 4];
    for (size_t i = 0; i < BATCH * 4 * FEATURES; i++) outside[i] = 0.5f;
    outside[4 * FEATURES + 2 * FEATURES] = NAN; /* row 1, step 2 */
    size_t made[BATCH], size = 0, again = 0;
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_selffeeding_run(generator, 4, outside, NULL, drawn, NULL, made), "row 1, step 2|NaN");
    CHECK(made[0] == 2 && made[1] == 2);
    cadenza_run_info run = {.struct_size = sizeof run};
    CHECK_OK(cadenza_selffeeding_row(generator, 0, &run));
    CHECK(run.length == 2 && run.running);
    CHECK_OK(cadenza_selffeeding_snapshot(generator, NULL, 0, &size));
    unsigned char *before = allocate(size), *after = allocate(size);
    CHECK_OK(cadenza_selffeeding_snapshot(generator, before, size, &size));
    float poison[BATCH * FEATURES] = {NAN, 0, 0, 0, 0, 0};
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_selffeeding_run(generator, 1, poison, NULL, drawn, NULL, made), "row 0, step 2|NaN");
    CHECK(made[0] == 0 && made[1] == 0);
    CHECK_OK(cadenza_selffeeding_snapshot(generator, after, size, &again));
    CHECK(again == size && memcmp(before, after, size) == 0);
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_selffeeding_run(generator, 1, NULL, NULL, drawn, NULL, made), "exogenous");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_selffeeding_run(generator, (size_t)1 << 61, outside, NULL, drawn, NULL, made), NULL);
    free(before), free(after);
    cadenza_selffeeding_release(generator);
}

/* ── Hostile numbers in every field ───────────────────────────────────────────────────────────────────── */

static const uint64_t hostile[] = {0, 1, 2, 3, 7, 255, 65536, (uint64_t)1 << 24, (uint64_t)1 << 31, (uint64_t)1 << 40, (uint64_t)1 << 62,
                                   INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX, UINT64_MAX - 1, 0x7FC000007FC00000, 0x7F8000007F800000, 0xFF800000BF800000, 0x0000000100000001};

static uint64_t hostile_number(void) { return hostile[random_below(sizeof hostile / sizeof *hostile)]; }

/* Overwrites one word, or half of one, between two fields. */
static void poison(void *object, size_t from, size_t to) {
    uint64_t number = hostile_number();
    if (random_below(3)) memcpy((char *)object + from + random_below((to - from) / 8) * 8, &number, 8);
    else memcpy((char *)object + from + random_below((to - from) / 4) * 4, &number, 4);
}

#define POISON(object, type, from, to) poison((object), offsetof(type, from), offsetof(type, to))

static void test_hostile_numbers(size_t rounds) {
    float *buffer = random_floats(1 << 16, 9);
    for (size_t round = 0; round < rounds; round++) {
        check_trying("hostile numbers, round %zu", round);
        all_options all = defaults();
        all.level.options = &all.options;
        all.options.limit = random_below(4);
        if (random_below(2)) {
            all.options.sampler = &all.sampler;
            all.sampler.kind = (int32_t)random_below(5);
            all.sampler.sigma = random_below(2) ? 1 : -1;
        }
        if (random_below(2)) all.options.stops = &all.stop, all.options.stop_count = 1, all.stop.kind = (int32_t)random_below(6);
        if (random_below(3) == 0) all.options.feedback = (int32_t)random_below(3), all.level.model = random_below(2) ? embedded : b;
        if (random_below(3) == 0) all.level.policy = (int32_t)random_below(3);
        if (random_below(3) == 0) all.level.is_counted = 1;
        size_t batch = 1 + random_below(3), outer = 2;
        for (size_t times = 1 + random_below(3); times; times--) {
            switch (random_below(8)) {
            case 0: POISON(&all.sampler, cadenza_sampler, kind, logit_bias); break;
            case 1: POISON(&all.sampler, cadenza_sampler, sigma, callback); break;
            case 2: POISON(&all.stop, cadenza_stop, kind, through); break;
            case 3: POISON(&all.options, cadenza_generator_options, output, feedback_model); break;
            case 4: POISON(&all.options, cadenza_generator_options, feedback_callback_width, start); break;
            case 5: POISON(&all.options, cadenza_generator_options, limit, seeds); break;
            case 6: POISON(&all.level, cadenza_level, driver_output, initial_state); break;
            case 7: POISON(&all.level, cadenza_level, is_counted, counts); break;
            }
        }
        if (random_below(20) == 0) batch = (size_t)hostile_number();
        if (random_below(20) == 0) POISON(&all.options, cadenza_generator_options, exogenous_size, exogenous_input);
        size_t counts[] = {2, 3}, count = 0;
        cadenza_nested *nested = NULL;
        if (cadenza_nested_create(a, &all.level, 1, batch, &nested) == CADENZA_OK && batch <= 3) {
            (void)cadenza_nested_push(nested, outer, x, NULL, all.level.is_counted ? counts : NULL, 0);
            (void)cadenza_nested_pull(nested, 64, NULL, NULL, NULL, &count);
        }
        cadenza_nested_release(nested);
        cadenza_selffeeding *generator = NULL;
        all.options.exogenous_size = random_below(3) ? 4 : (size_t)hostile_number();
        if (cadenza_selffeeding_create(b, batch, &all.options, &generator) == CADENZA_OK && batch <= 3 && all.options.exogenous_size <= 4)
            (void)cadenza_selffeeding_run(generator, 8, buffer, NULL, NULL, NULL, NULL);
        cadenza_selffeeding_release(generator);
    }
    free(buffer);
}

static void test_hostile_beams(void) {
    all_options all = defaults();
    all.options.sampler = &all.sampler, all.sampler.kind = CADENZA_SAMPLE_CATEGORICAL;
    all.options.feedback = CADENZA_FEEDBACK_SAMPLE, all.options.one_hot = 6;
    size_t classes[64], counts[8];
    float scores[8];
    static const char *const layers[] = {"GRU", "units=5, return_sequences=True", "Dense", "units=6", NULL};
    cadenza_model *model = made(6, 4, layers);
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        check_trying("beams, hostile number %zu", i);
        for (int field = 0; field < 4; field++) {
            cadenza_beam_options beam;
            cadenza_beam_options_init(&beam);
            beam.width = 2, beam.maximum_length = 3;
            size_t batch = 1;
            if (field == 0) beam.width = hostile[i];
            if (field == 1) beam.maximum_length = hostile[i];
            if (field == 2) beam.end_token = (int64_t)hostile[i];
            if (field == 3) batch = hostile[i];
            if (beam.width > 2 && beam.width < 1 << 20) continue; /* these it would do */
            if (beam.maximum_length > 3 && beam.maximum_length <= 1 << 24) continue;
            if (batch > 1 && batch <= 1 << 24) continue;
            const float *inputs = x;
            (void)cadenza_beam_search(model, batch, &all.options, &beam, 0, &inputs, NULL, classes, counts, scores);
        }
    }
    cadenza_model_release(model);
}

/* Makes the checksum of a changed snapshot right again: what is inside must be looked at as well. */
static void combine(uint64_t *state, uint64_t *words, uint64_t word) {
    ++*words;
    uint64_t z = *state ^ (word + *words * 0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    *state = z ^ z >> 31;
}

static void seal(unsigned char *bytes, size_t size) {
    uint64_t state = 0x9E3779B97F4A7C15, words = 0;
    combine(&state, &words, size -= 8);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, size - i < 8 ? size - i : 8);
        combine(&state, &words, word);
    }
    memcpy(bytes + size, &state, 8);
}

static void test_damaged_snapshots(size_t rounds) {
    all_options all = defaults();
    static const size_t counts[] = {2, 0, 3};
    cadenza_level levels[2] = {all.level, all.level};
    all.options.limit = 3;
    levels[0].options = &all.options;
    levels[1].is_counted = 1, levels[1].counts = counts, levels[1].count_count = 3;
    cadenza_nested *nested = NULL;
    CHECK_OK(cadenza_nested_create(a, levels, 2, BATCH, &nested));
    CHECK_OK(cadenza_nested_push(nested, OUTER, x, NULL, NULL, 0));
    size_t count, size, taken = 0;
    CHECK_OK(cadenza_nested_pull(nested, 3, NULL, NULL, NULL, &count));
    CHECK_OK(cadenza_nested_snapshot(nested, NULL, 0, &size));
    unsigned char *bytes = allocate(size), *changed = allocate(size);
    CHECK_OK(cadenza_nested_snapshot(nested, bytes, size, &size));
    for (size_t round = 0; round < rounds; round++) {
        check_trying("damaged snapshots, round %zu", round);
        memcpy(changed, bytes, size);
        uint64_t number = hostile_number();
        memcpy(changed + 16 + random_below(size / 4 - 5) * 4, &number, 8); /* behind the magic number and the fingerprint */
        if (random_below(8)) seal(changed, size);
        taken += cadenza_nested_restore(nested, changed, size) == CADENZA_OK;
        (void)cadenza_nested_pull(nested, 100, NULL, NULL, NULL, &count);
    }
    CHECK_OK(cadenza_nested_restore(nested, bytes, size));
    CHECK_OK(cadenza_nested_pull(nested, 100, NULL, NULL, NULL, &count));
    CHECK(count == BATCH * OUTER * 5 - 3);
    free(bytes), free(changed);
    cadenza_nested_release(nested);
    CHECK(taken > rounds / 8); /* floats may be anything */
}

int main(void) {
    check_begin();
    watch_prints();
    static const char *const A[] = {"LSTM", "units=4, return_sequences=True", NULL}, *const B[] = {"GRU", "units=4, return_sequences=True", NULL},
                      *const TEXT[] = {"LSTM", "units=5, return_sequences=True", "Dense", "units=6", NULL}, *const DENSE[] = {"Dense", "units=4", NULL},
                      *const WIDE[] = {"LSTM", "units=8, return_sequences=True", NULL};
    a = made(FEATURES, 1, A), b = made(UNITS, 2, B), text = made(FEATURES, 3, TEXT), dense = made(UNITS, 4, DENSE), embedded = made(5, 5, WIDE);
    x = random_floats(BATCH * OUTER * FEATURES * 4, 6);
    test_counts();
    test_what_cannot_join();
    test_stops_that_never_fire();
    test_samplers();
    for (int where = 0; where < 3; where++) test_failing_steps(where);
    test_nan_logits();
    test_damaged_snapshots(effort(20000, 300));
    limit_memory((size_t)512 << 20);
    test_hostile_numbers(effort(8000, 300));
    test_hostile_beams();
    cadenza_model_release(a), cadenza_model_release(b), cadenza_model_release(text), cadenza_model_release(dense), cadenza_model_release(embedded);
    free(x);
    CHECK(printed_nothing());
    return check_end("wrong_generators");
}
