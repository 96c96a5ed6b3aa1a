/* Streams: the same bits, however the samples are cut, whoever else is in the batch, whatever happened in between. */
#include "support.h"
#include <fenv.h>

enum { BATCH = 5, STEPS = 33 };

/* A model with one input and one output, samples, and the answers that stepping gives: what all else must equal. */
static cadenza_model *model;
static size_t features, values;  /* of one row in a step: in, out */
static float *input, *answers;   /* [BATCH, STEPS, features] and [BATCH, STEPS, values] */

static cadenza_stream *stream_of(size_t batch) {
    cadenza_stream *stream = NULL;
    CHECK_OK(cadenza_stream_create(model, batch, &stream));
    return stream;
}

/* Copies steps [from, to) of rows [row, row + rows) into an array of its own. */
static float *cut(const float *source, size_t width, size_t row, size_t rows, size_t from, size_t to) {
    float *part = floats(rows * (to - from) * width);
    for (size_t r = 0; r < rows; r++)
        memcpy(part + r * (to - from) * width, source + ((row + r) * STEPS + from) * width, (to - from) * width * sizeof(float));
    return part;
}

/* Runs steps [from, to) of the rows and holds the answers against the reference. */
static int continues(cadenza_stream *stream, size_t row, size_t rows, size_t from, size_t to) {
    float *in = cut(input, features, row, rows, from, to), *expected = cut(answers, values, row, rows, from, to);
    float *out = floats(rows * (to - from) * values);
    int same = CHECK_OK(cadenza_stream_run(stream, to - from, in, out)) && same_bits(out, expected, rows * (to - from) * values);
    free(in), free(expected), free(out);
    return same;
}

static void test_steps(void) {
    cadenza_stream *stream = stream_of(BATCH);
    CHECK(cadenza_stream_batch(stream) == BATCH);
    for (size_t t = 0; t < STEPS; t++) {
        float *sample = cut(input, features, 0, BATCH, t, t + 1), *answer = floats(BATCH * values);
        uint64_t position = 99;
        CHECK_OK(cadenza_stream_position(stream, BATCH - 1, &position));
        CHECK(position == t);
        CHECK_OK(cadenza_stream_step(stream, sample, answer));
        for (size_t r = 0; r < BATCH; r++)
            memcpy(answers + (r * STEPS + t) * values, answer + r * values, values * sizeof(float));
        free(sample), free(answer);
    }
    int moves = 0;
    for (size_t r = 0; r < BATCH; r++) moves += !same_bits(answers + r * STEPS * values, answers + (r * STEPS + STEPS - 1) * values, values);
    CHECK(moves == BATCH);
    cadenza_stream_release(stream);
}

static void test_chunks(void) {
    for (size_t trial = 0; trial < effort(40, 4); trial++) {
        cadenza_stream *stream = stream_of(BATCH);
        for (size_t from = 0; from < STEPS;) {
            size_t to = from + random_below(trial % 8 + 2);
            if (to > STEPS) to = STEPS;
            CHECK(continues(stream, 0, BATCH, from, to));
            from = to;
        }
        cadenza_stream_release(stream);
    }
    cadenza_stream *whole = stream_of(BATCH);
    CHECK(continues(whole, 0, BATCH, 0, STEPS));
    CHECK_OK(cadenza_stream_run(whole, 0, input, answers)); /* no step, nothing read or written */
    cadenza_stream_release(whole);
}

/* After step t the answer is the whole model's on the first t samples. */
static void test_prefixes(void) {
    for (size_t t = 1; t <= STEPS; t++) {
        cadenza_shape shape = {.struct_size = sizeof shape};
        if (!CHECK_OK(cadenza_model_output_shape(model, BATCH, &t, 0, &shape))) return;
        float *in = cut(input, features, 0, BATCH, 0, t), *out = floats(shape.count);
        size_t row = shape.count / BATCH;
        CHECK(shape.dims[0] == BATCH && row >= values);
        CHECK_OK(cadenza_model_run(model, BATCH, t, in, out));
        for (size_t r = 0; r < BATCH; r++)
            CHECK(same_bits(out + (r + 1) * row - values, answers + (r * STEPS + t - 1) * values, values));
        free(in), free(out);
    }
}

/* Any number of threads gives the bits of one, more threads than rows too. */
static void test_threads(void) {
    cadenza_shape shape = {.struct_size = sizeof shape};
    const size_t times[] = {STEPS};
    if (!CHECK_OK(cadenza_model_output_shape(model, BATCH, times, 0, &shape))) return;
    const float *inputs[] = {input};
    float *one = floats(shape.count), *several = floats(shape.count), *outputs[] = {several};
    CHECK_OK(cadenza_model_run(model, BATCH, STEPS, input, one));
    for (size_t threads = 1; threads <= BATCH + 2; threads++) {
        memset(several, 0, shape.count * sizeof(float));
        CHECK_OK(cadenza_model_run_threads(model, BATCH, times, inputs, outputs, threads));
        CHECK(same_bits(several, one, shape.count));
    }
    free(one), free(several);
}

static void test_rows_alone(void) {
    for (size_t row = 0; row < BATCH; row++)
        for (size_t rows = 1; row + rows <= BATCH; rows++) {
            cadenza_stream *stream = stream_of(rows);
            CHECK(continues(stream, row, rows, 0, STEPS));
            cadenza_stream_release(stream);
        }
}

static void test_reset(void) {
    cadenza_stream *stream = stream_of(BATCH);
    CHECK(continues(stream, 0, BATCH, 0, 10));
    CHECK_OK(cadenza_stream_reset(stream));
    CHECK(continues(stream, 0, BATCH, 0, 7));

    /* One row begins again, the others go on. */
    CHECK_OK(cadenza_stream_reset_row(stream, 2));
    float *in = cut(input, features, 0, BATCH, 7, 8), *out = floats(BATCH * values);
    memcpy(in + 2 * features, input + 2 * STEPS * features, features * sizeof(float));
    CHECK_OK(cadenza_stream_step(stream, in, out));
    for (size_t r = 0; r < BATCH; r++)
        CHECK(same_bits(out + r * values, answers + (r * STEPS + (r == 2 ? 0 : 7)) * values, values));
    uint64_t position = 0;
    CHECK_OK(cadenza_stream_position(stream, 2, &position));
    CHECK(position == 1);
    CHECK_OK(cadenza_stream_position(stream, 3, &position));
    CHECK(position == 8);
    free(in), free(out);
    cadenza_stream_release(stream);
}

static void test_fork_and_peek(void) {
    cadenza_stream *stream = stream_of(BATCH), *fork = NULL;
    CHECK(continues(stream, 0, BATCH, 0, 9));

    float *sample = cut(input, features, 0, BATCH, 9, 10), *expected = cut(answers, values, 0, BATCH, 9, 10);
    float *out = floats(BATCH * values);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(cadenza_stream_peek(stream, sample, out));
        CHECK(same_bits(out, expected, BATCH * values));
    }
    CHECK_OK(cadenza_stream_fork(stream, &fork));
    CHECK(cadenza_stream_batch(fork) == BATCH);
    CHECK(continues(fork, 0, BATCH, 9, STEPS));
    CHECK_OK(cadenza_stream_reset(fork));
    CHECK(continues(stream, 0, BATCH, 9, STEPS));
    CHECK(continues(fork, 0, BATCH, 0, STEPS));
    free(sample), free(expected), free(out);
    cadenza_stream_release(fork);
    cadenza_stream_release(stream);
}

static void test_snapshot(void) {
    cadenza_stream *stream = stream_of(BATCH), *other = stream_of(BATCH);
    size_t size = 0, again = 0;
    CHECK(continues(stream, 0, BATCH, 0, 12));
    CHECK_OK(cadenza_stream_snapshot(stream, NULL, 0, &size));
    unsigned char *bytes = allocate(size + 8), *twin = allocate(size);
    memset(bytes, 0xaa, size + 8);
    CHECK_OK(cadenza_stream_snapshot(stream, bytes, size + 8, &again));
    CHECK(size == again && bytes[size] == 0xaa);

    CHECK(continues(other, 0, BATCH, 0, 20));
    CHECK_OK(cadenza_stream_restore(other, bytes, size));
    CHECK_OK(cadenza_stream_snapshot(other, twin, size, &again));
    CHECK(memcmp(bytes, twin, size) == 0);
    uint64_t position = 0;
    CHECK_OK(cadenza_stream_position(other, 0, &position));
    CHECK(position == 12);
    CHECK(continues(other, 0, BATCH, 12, STEPS));
    CHECK(continues(stream, 0, BATCH, 12, STEPS));

    char path[] = "build/tests/snapshot.XXXXXX";
    close(mkstemp(path));
    CHECK_OK(cadenza_stream_restore(stream, bytes, size));
    CHECK_OK(cadenza_stream_snapshot_file(stream, path));
    unsigned char *file = read_file(path, &again);
    CHECK(file && again == size && memcmp(file, bytes, size) == 0);
    CHECK_OK(cadenza_stream_restore_file(other, path));
    CHECK(continues(other, 0, BATCH, 12, STEPS));
    unlink(path);
    free(file), free(bytes), free(twin);
    cadenza_stream_release(other);
    cadenza_stream_release(stream);
}

/* The states of every step, and reading and writing them. */
static void test_states(void) {
    cadenza_stream *stream = stream_of(BATCH), *other = stream_of(BATCH);
    size_t count = cadenza_model_state_count(model);
    float **states = allocate(count * sizeof *states);
    CHECK(count > 0);
    for (size_t i = 0; i < count; i++) {
        cadenza_state_info info = {.struct_size = sizeof info};
        CHECK_OK(cadenza_model_state_info(model, i, &info));
        CHECK(info.units > 0 && info.layer && *info.layer && info.name && *info.name);
        states[i] = i == 1 ? NULL : floats(BATCH * STEPS * info.units); /* one that is not wanted */
    }
    float *out = floats(BATCH * STEPS * values);
    const float *inputs[] = {input};
    float *outputs[] = {out};
    CHECK_OK(cadenza_stream_run_multi(stream, STEPS, inputs, outputs, states));
    CHECK(same_bits(out, answers, BATCH * STEPS * values));

    for (size_t t = 0; t < STEPS; t++) {
        CHECK(continues(other, 0, BATCH, t, t + 1));
        for (size_t i = 0; i < count; i++) {
            size_t units = state_units(model, i);
            float *state = floats(BATCH * units);
            CHECK_OK(cadenza_stream_state_get(other, i, state));
            for (size_t r = 0; states[i] && r < BATCH; r++)
                CHECK(same_bits(state + r * units, states[i] + (r * STEPS + t) * units, units));
            free(state);
        }
    }
    /* What is read from one stream and written to another carries it on from there. */
    CHECK_OK(cadenza_stream_reset(stream));
    CHECK(continues(stream, 0, BATCH, 0, 6)); /* the mixed model's row 2 is masked in the step that comes next */
    CHECK_OK(cadenza_stream_reset(other));
    for (size_t i = 0; i < count; i++) {
        size_t units = state_units(model, i), nonfinite = 9;
        float *state = floats(BATCH * units), *back = floats(BATCH * units);
        CHECK_OK(cadenza_stream_state_get(stream, i, state));
        CHECK_OK(cadenza_stream_state_set(other, i, state));
        CHECK_OK(cadenza_stream_state_get(other, i, back));
        CHECK(same_bits(state, back, BATCH * units));
        CHECK_OK(cadenza_stream_health(other, 0, &nonfinite));
        CHECK(nonfinite == 0);
        free(state), free(back);
    }
    CHECK(continues(other, 0, BATCH, 6, STEPS));
    for (size_t i = 0; i < count; i++) free(states[i]);
    free(states), free(out);
    cadenza_stream_release(other);
    cadenza_stream_release(stream);
}

static void test_owners(void) {
    cadenza_stream *stream = stream_of(BATCH), *fork = NULL;
    cadenza_model *again = NULL;
    CHECK(continues(stream, 0, BATCH, 0, 3));
    CHECK_OK(cadenza_stream_model(stream, &again));
    CHECK(again == model && cadenza_model_retain(model) == model && cadenza_stream_retain(stream) == stream);
    cadenza_model_release(again);
    cadenza_model_release(model);
    cadenza_stream_release(stream); /* the retained one is left */
    CHECK(continues(stream, 0, BATCH, 3, 5));
    CHECK_OK(cadenza_stream_fork(stream, &fork));
    cadenza_model_release(model); /* the last owner but the streams */
    CHECK(continues(stream, 0, BATCH, 5, 8));
    cadenza_stream_release(stream);
    CHECK(continues(fork, 0, BATCH, 5, 8));
    CHECK_OK(cadenza_stream_model(fork, &model));
    cadenza_stream_release(fork);
}

/* The calls for several inputs and outputs say the same where there is one. */
static void test_multi_of_one(void) {
    cadenza_stream *stream = stream_of(BATCH);
    float *out = floats(BATCH * values);
    for (size_t t = 0; t < 6; t++) {
        float *sample = cut(input, features, 0, BATCH, t, t + 1), *expected = cut(answers, values, 0, BATCH, t, t + 1);
        const float *inputs[] = {sample};
        float *outputs[] = {out};
        CHECK_OK(cadenza_stream_peek_multi(stream, inputs, outputs));
        CHECK(same_bits(out, expected, BATCH * values));
        memset(out, 0, BATCH * values * sizeof *out);
        if (t == 3) outputs[0] = NULL;
        CHECK_OK(cadenza_stream_step_multi(stream, inputs, t == 2 ? NULL : outputs));
        if (t != 2 && t != 3) CHECK(same_bits(out, expected, BATCH * values));
        free(sample), free(expected);
    }
    free(out);
    CHECK(continues(stream, 0, BATCH, 6, STEPS));
    cadenza_stream_release(stream);
}

/* All the tests on a model; takes it over. */
/* The caller's rounding mode changes nothing and stays what it was; numbers near zero cost no more than others. */
static void test_float_environment(void) {
    cadenza_stream *plain = stream_of(1), *odd = stream_of(1);
    float *a = floats(values), *b = floats(values), *tiny = floats(features);
    for (size_t i = 0; i < features; i++) tiny[i] = 1e-40f * (float)(i + 1);
    const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST};
    for (size_t t = 0; t < 8; t++) {
        const float *sample = t % 2 ? tiny : input + t * features;
        CHECK_OK(cadenza_stream_step(plain, sample, a));
        fesetround(modes[t % 4]);
        CHECK_OK(cadenza_stream_step(odd, sample, b));
        CHECK(fegetround() == modes[t % 4]);
        fesetround(FE_TONEAREST);
        CHECK(same_bits(a, b, values));
    }
    volatile float small = 1e-40f;
    CHECK(small * 1.0f != 0); /* the caller still has such numbers */
    free(a), free(b), free(tiny);
    cadenza_stream_release(plain);
    cadenza_stream_release(odd);
}

static void test_model(const char *name, cadenza_model *given) {
    check_trying("%s", name);
    if (!(model = given)) return;
    features = input_size(model, 0), values = output_size(model, 0);
    CHECK(features > 0 && values > 0);
    input = random_floats(BATCH * STEPS * features, 5);
    if (features == 5) /* the mixed model's Masking leaves these out */
        for (size_t i = 0; i < 3; i++)
            for (size_t k = 0; k < features; k++) input[((i + 1) * STEPS + 4 * i + 2) * features + k] = 0.25f;
    answers = floats(BATCH * STEPS * values);
    test_steps();
    test_chunks();
    test_prefixes();
    test_threads();
    test_rows_alone();
    test_reset();
    test_fork_and_peek();
    test_snapshot();
    test_states();
    test_multi_of_one();
    test_owners();
    test_float_environment();
    free(input), free(answers);
    cadenza_model_release(model);
}

/* Two inputs, two outputs. */
static void test_several(void) {
    cadenza_model *several = two_inputs_model();
    if (!several) return;
    check_trying("two inputs");
    CHECK(cadenza_model_input_count(several) == 2 && cadenza_model_output_count(several) == 2);
    CHECK(cadenza_model_state_count(several) == 3);
    size_t times[] = {STEPS, STEPS}, sizes[] = {5, 4};
    float *wind = random_floats(BATCH * STEPS * 3, 1), *tide = random_floats(BATCH * STEPS * 2, 2);
    float *whole[2], *part[2];
    for (size_t i = 0; i < 2; i++) {
        cadenza_shape shape = {.struct_size = sizeof shape};
        CHECK_OK(cadenza_model_output_shape(several, BATCH, times, i, &shape));
        CHECK(shape.rank == 3 && shape.dims[0] == BATCH && shape.dims[1] == STEPS && shape.dims[2] == sizes[i]);
        whole[i] = floats(shape.count), part[i] = floats(shape.count);
    }
    const float *inputs[] = {wind, tide};
    CHECK_OK(cadenza_model_run_multi(several, BATCH, times, inputs, whole));

    cadenza_stream *stream = NULL, *chunked = NULL;
    CHECK_OK(cadenza_stream_create(several, BATCH, &stream));
    CHECK_OK(cadenza_stream_create(several, BATCH, &chunked));
    CHECK_OK(cadenza_stream_run_multi(chunked, STEPS, inputs, part, NULL));
    for (size_t i = 0; i < 2; i++) CHECK(same_bits(whole[i], part[i], BATCH * STEPS * sizes[i]));

    for (size_t t = 0; t < STEPS; t++) {
        float w[BATCH * 3], d[BATCH * 2], gru[BATCH * 5], head[BATCH * 4];
        for (size_t r = 0; r < BATCH; r++) {
            memcpy(w + r * 3, wind + (r * STEPS + t) * 3, sizeof(float[3]));
            memcpy(d + r * 2, tide + (r * STEPS + t) * 2, sizeof(float[2]));
        }
        const float *sample[] = {w, d};
        float *both[] = {gru, head}, *second[] = {NULL, head};
        CHECK_OK(t % 3 ? cadenza_stream_step_multi(stream, sample, both) : cadenza_stream_peek_multi(stream, sample, both));
        if (t % 3 == 0) CHECK_OK(cadenza_stream_step_multi(stream, sample, second));
        for (size_t r = 0; r < BATCH; r++) {
            CHECK(same_bits(gru + r * 5, whole[0] + (r * STEPS + t) * 5, 5));
            CHECK(same_bits(head + r * 4, whole[1] + (r * STEPS + t) * 4, 4));
        }
    }
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_stream_step(stream, wind, part[0]), "input");
    for (size_t i = 0; i < 2; i++) free(whole[i]), free(part[i]);
    free(wind), free(tide);
    cadenza_stream_release(stream);
    cadenza_stream_release(chunked);
    cadenza_model_release(several);
}

int main(void) {
    check_begin();
    test_model("rain.keras", load(RAIN_KERAS));
    test_model("rain.h5", load(RAIN_H5));
    test_model("mixed", mixed_model());
    test_several();
    return check_end("stream");
}
