/* The nested generator's worked example and its variants, against what TensorFlow and Keras's cells gave: in one run,
 * and pulled value by value. */
#include "support.h"
#include "../golden/nested/worked_example.h"
#include <math.h>

enum { BATCH = 2, OUTER = 3, UNITS = 4, LONGEST = 9 };

static cadenza_model *cells(const float *kernel, const float *recurrent_kernel, const float *bias) {
    static const char *const layers[] = {"SimpleRNN", "units=4, return_sequences=True", NULL};
    cadenza_model *model = build(UNITS, 1, layers);
    CHECK_OK(cadenza_model_weight_set(model, 0, kernel, UNITS * UNITS));
    CHECK_OK(cadenza_model_weight_set(model, 1, recurrent_kernel, UNITS * UNITS));
    CHECK_OK(cadenza_model_weight_set(model, 2, bias, UNITS));
    return model;
}

static int close_to(const float *values, const float *expected, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(values[i] - expected[i]) <= 1e-5f)) return 0;
    return 1;
}

typedef struct {
    const char *name;
    cadenza_state_policy policy;
    const size_t *counts;
    int per_row;
    const cadenza_stop *stop;
    const size_t *lengths; /* [BATCH][OUTER]; NULL: the counts */
    const float *out;      /* [OUTER][longest][BATCH][UNITS] */
    size_t longest;
} example;

static void test_example(const cadenza_model *a, const cadenza_model *b, const example *e) {
    check_trying("%s", e->name);
    cadenza_generator_options options;
    cadenza_generator_options_init(&options);
    cadenza_level level;
    cadenza_level_init(&level);
    level.model = b;
    level.policy = (int32_t)e->policy;
    level.is_counted = e->counts != NULL;
    if (e->stop) options.stops = e->stop, options.stop_count = 1, options.limit = LONGEST, level.options = &options;
    cadenza_nested *nested = NULL;
    if (!CHECK_OK(cadenza_nested_create(a, &level, 1, BATCH, &nested))) return;
    CHECK_OK(cadenza_nested_push(nested, OUTER, x, NULL, e->counts, e->per_row));
    cadenza_ragged *outputs = NULL;
    CHECK_OK(cadenza_nested_run(nested, &outputs, NULL, NULL));

    float padded[OUTER * LONGEST * BATCH * UNITS];
    uint8_t mask[OUTER * LONGEST * BATCH];
    size_t splits[BATCH * OUTER + 1], count = 0, total = 0;
    cadenza_ragged_info info = {.struct_size = sizeof info};
    CHECK_OK(cadenza_ragged_describe(outputs, &info));
    CHECK(info.longest == e->longest && info.series_count == BATCH * OUTER);
    CHECK_OK(cadenza_ragged_pad(outputs, BATCH, e->longest, CADENZA_TIME_MAJOR, padded, mask));
    CHECK(close_to(padded, e->out, OUTER * e->longest * BATCH * UNITS));
    CHECK_OK(cadenza_ragged_splits(outputs, 0, splits, sizeof splits / sizeof *splits, &count));
    CHECK(count == BATCH * OUTER + 1);
    int32_t reasons[BATCH * OUTER];
    uint64_t cuts = 0, steps;
    CHECK_OK(cadenza_nested_reasons(nested, 1, reasons, NULL, BATCH * OUTER, &count));
    for (size_t row = 0; row < BATCH; row++)
        for (size_t t = 0; t < OUTER; t++) {
            size_t series = row * OUTER + t, length = splits[series + 1] - splits[series];
            size_t expected = e->lengths ? e->lengths[series] : e->counts[e->per_row ? series : t];
            CHECK(length == expected);
            total += length;
            cuts += reasons[series] == CADENZA_STOPPED_BY_LIMIT;
            CHECK(reasons[series] == (!e->stop ? CADENZA_STOPPED_BY_COUNT : length == LONGEST ? CADENZA_STOPPED_BY_LIMIT : CADENZA_STOPPED_BY_RULE));
            for (size_t i = 0; i < e->longest; i++) CHECK(mask[(t * e->longest + i) * BATCH + row] == (i < length));
        }
    CHECK_OK(cadenza_nested_steps(nested, 1, &steps));
    CHECK(steps == total && info.value_count == total);
    for (size_t row = 0; row < BATCH; row++) {
        cadenza_run_info run = {.struct_size = sizeof run};
        CHECK_OK(cadenza_nested_row(nested, row, 1, &run));
        cuts -= run.cut;
    }
    CHECK(cuts == 0);
    cadenza_ragged_release(outputs);

    /* Sample by sample, value by value. */
    CHECK_OK(cadenza_nested_reset(nested));
    for (size_t t = 0; t < OUTER; t++) {
        float sample[BATCH * UNITS], value[UNITS];
        for (size_t row = 0; row < BATCH; row++) memcpy(sample + row * UNITS, x + (row * OUTER + t) * UNITS, sizeof(float) * UNITS);
        size_t now[BATCH] = {0};
        for (size_t row = 0; e->counts && row < BATCH; row++) now[row] = e->counts[e->per_row ? row * OUTER + t : t];
        CHECK_OK(cadenza_nested_push(nested, 1, sample, NULL, e->counts ? now : NULL, 1));
        for (;;) {
            cadenza_nested_item item;
            if (!CHECK_OK(cadenza_nested_pull(nested, 1, value, NULL, &item, &count)) || count == 0) break;
            CHECK(item.outer == t && item.middle == t);
            CHECK(close_to(value, e->out + ((t * e->longest + item.inner) * BATCH + item.row) * UNITS, UNITS));
            total--;
        }
    }
    CHECK(total == 0);
    cadenza_nested_release(nested);
}

int main(void) {
    check_begin();
    watch_prints();
    cadenza_model *a = cells(a_kernel, a_recurrent_kernel, a_bias), *b = cells(b_kernel, b_recurrent_kernel, b_bias);
    static const char *const dense_layers[] = {"Dense", "units=3", NULL};
    cadenza_model *dense = build(UNITS, 1, dense_layers);
    CHECK_OK(cadenza_model_weight_set(dense, 0, dense_kernel, UNITS * 3));
    CHECK_OK(cadenza_model_weight_set(dense, 1, dense_bias, 3));
    cadenza_stop norm, token;
    cadenza_stop_init(&norm), cadenza_stop_init(&token);
    norm.kind = CADENZA_STOP_NORM_ABOVE;
    norm.of_state = 1;
    norm.through = dense;
    norm.threshold = 2.0f;
    token.kind = CADENZA_STOP_TOKEN;
    token.token = 2;
    const example examples[] = {
        {"source", CADENZA_STATE_CARRY, source_steps, 0, NULL, NULL, source_out, 4},
        {"reset", CADENZA_STATE_RESET, reset_steps, 0, NULL, NULL, reset_out, 4},
        {"zero", CADENZA_STATE_CARRY, zero_steps, 0, NULL, NULL, zero_out, 3},
        {"ones", CADENZA_STATE_CARRY, ones_steps, 0, NULL, NULL, ones_out, 1},
        {"allzero_first", CADENZA_STATE_CARRY, allzero_first_steps, 0, NULL, NULL, allzero_first_out, 4},
        {"row_counts", CADENZA_STATE_CARRY, row_counts_lengths, 1, NULL, NULL, row_counts_out, 4},
        {"norm", CADENZA_STATE_CARRY, NULL, 0, &norm, norm_lengths, norm_out, LONGEST},
        {"token", CADENZA_STATE_CARRY, NULL, 0, &token, token_lengths, token_out, LONGEST},
    };
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) test_example(a, b, &examples[i]);
    cadenza_model_release(a), cadenza_model_release(b), cadenza_model_release(dense);
    CHECK(printed_nothing());
    return check_end("worked_example");
}
