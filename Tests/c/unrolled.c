/* Loops of steps that run backward: the bits of the steps one by one, the generators' answers, any number of threads, finite
 * differences, updates. */
#include "support.h"
#include <math.h>

enum { BATCH = 5, OUTER = 4, FEATURES = 3, ANSWER = 6, WIDTH = 2, UNITS = 7 };

static const char *const FIRST[] = {"GRU", "units=6, return_sequences=True", NULL};
static const char *const SECOND[] = {"LSTM", "units=7", "Dense", "units=2, activation=tanh", NULL};
static const size_t counts[BATCH * OUTER] = {3, 0, 2, 1, 0, 0, 0, 0, 1, 4, 0, 2, 2, 2, 2, 2, 0, 0, 0, 5};

static size_t total(void) {
    size_t sum = 0;
    for (int i = 0; i < BATCH * OUTER; i++) sum += counts[i];
    return sum;
}

typedef struct pair {
    cadenza_model *a, *b;
    cadenza_tape *first, *second;
    cadenza_unrolled *run;
} pair;

static cadenza_tape *tape_of(const cadenza_model *model, size_t threads) {
    cadenza_tape_options options;
    cadenza_tape *tape = NULL;
    cadenza_tape_options_init(&options);
    options.threads = threads;
    CHECK_OK(cadenza_tape_create(model, &options, &tape));
    return tape;
}

static pair nested(size_t threads, int feedback, int32_t policy) {
    pair made = {0};
    made.a = build(FEATURES, 1, FIRST), made.b = build(ANSWER + (feedback ? WIDTH : 0), 2, SECOND);
    randomize(made.a, 3), randomize(made.b, 30);
    made.first = tape_of(made.a, threads), made.second = tape_of(made.b, threads);
    cadenza_unrolled_options options;
    cadenza_unrolled_options_init(&options);
    options.below = made.second, options.feedback = feedback, options.policy = policy, options.state_gradients = 1;
    CHECK_OK(cadenza_unrolled_create(made.first, &options, &made.run));
    return made;
}

static void end(pair it) {
    cadenza_model_release(it.a), cadenza_model_release(it.b);
    cadenza_tape_release(it.first), cadenza_tape_release(it.second);
    cadenza_unrolled_release(it.run);
}

static cadenza_unrolled_batch batch_of(const float *x) {
    return (cadenza_unrolled_batch){.struct_size = sizeof(cadenza_unrolled_batch), .batch = BATCH, .steps = OUTER, .x = x,
                                    .counts = counts, .counts_per_row = 1};
}

static float *part(const cadenza_unrolled *run, int32_t part, size_t index, int gradient, size_t *count) {
    CHECK_OK(cadenza_unrolled_size(run, part, index, count));
    float *values = floats(*count);
    CHECK_OK((gradient ? cadenza_unrolled_gradient : cadenza_unrolled_values)(run, part, index, values, *count));
    return values;
}

static double product(const float *a, const float *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)a[i] * b[i];
    return sum;
}

/* The outputs are the generator's, and have one order with its ragged ones. */
static void test_generator(int feedback, int32_t policy) {
    check_trying("feedback %d, policy %d", feedback, policy);
    pair it = nested(1, feedback, policy);
    float *x = random_floats(BATCH * OUTER * FEATURES, 4);
    cadenza_unrolled_batch batch = batch_of(x);
    CHECK_OK(cadenza_unrolled_forward(it.run, &batch));
    size_t count;
    float *outputs = part(it.run, CADENZA_UNROLLED_OUTPUTS, 0, 0, &count);
    CHECK(count == total() * WIDTH);

    cadenza_level level;
    cadenza_generator_options options;
    cadenza_level_init(&level);
    cadenza_generator_options_init(&options);
    options.feedback = feedback ? CADENZA_FEEDBACK_OUTPUT : CADENZA_FEEDBACK_NONE;
    level.model = it.b, level.is_counted = 1, level.policy = policy, level.options = &options;
    cadenza_nested *generator = NULL;
    cadenza_ragged *ragged = NULL;
    CHECK_OK(cadenza_nested_create(it.a, &level, 1, BATCH, &generator));
    CHECK_OK(cadenza_nested_push(generator, OUTER, x, NULL, counts, 1));
    CHECK_OK(cadenza_nested_run(generator, &ragged, NULL, NULL));
    float *expected = floats(count);
    CHECK_OK(cadenza_ragged_values(ragged, expected, count));
    for (size_t i = 0; i < count; i++) CHECK(fabsf(outputs[i] - expected[i]) <= 1e-5f);
    cadenza_ragged_release(ragged), cadenza_nested_release(generator);
    free(x), free(outputs), free(expected);
    end(it);
}

/* The loss is a random weight on each output, answer and state; what it says of x, weights and initial states is held against
 * differences, and two threads against one. */
static void test_gradients(int feedback, int32_t policy) {
    check_trying("feedback %d, policy %d", feedback, policy);
    float *x = random_floats(BATCH * OUTER * FEATURES, 5), *initial = random_floats(BATCH * UNITS, 6);
    const float *states[3] = {NULL, policy == CADENZA_STATE_CARRY ? initial : NULL, NULL};
    float *by_output = random_floats(total() * WIDTH, 7), *by_answer = random_floats(BATCH * OUTER * ANSWER, 8);
    float *by_state = random_floats(total() * UNITS, 9);
    const float *by_states[3] = {NULL, NULL, by_state};
    float *found[2][8];
    size_t sizes[8], count;
    for (size_t threads = 1; threads <= 2; threads++) {
        pair it = nested(threads, feedback, policy);
        cadenza_unrolled_batch batch = batch_of(x);
        batch.states = states;
        CHECK_OK(cadenza_unrolled_forward(it.run, &batch));
        CHECK_OK(cadenza_unrolled_backward(it.run, by_output, by_answer, by_states, 0));
        float **mine = found[threads - 1];
        mine[0] = part(it.run, CADENZA_UNROLLED_X, 0, 1, &sizes[0]);
        mine[1] = part(it.run, CADENZA_UNROLLED_INITIAL, 1, 1, &sizes[1]);
        mine[2] = part(it.run, CADENZA_UNROLLED_OUTPUTS, 0, 0, &sizes[2]);
        for (size_t w = 0; w < 5; w++) {
            cadenza_weight_info info = {.struct_size = sizeof info};
            CHECK_OK(cadenza_model_weight_info(it.b, w, &info));
            sizes[3 + w] = info.count, mine[3 + w] = floats(info.count);
            CHECK_OK(cadenza_tape_weight_gradient(it.second, w, mine[3 + w], info.count));
        }
        if (threads == 2) {
            for (int i = 0; i < 8; i++) CHECK(same_bits(found[0][i], found[1][i], sizes[i]));
            /* Once more, and added up. */
            CHECK_OK(cadenza_unrolled_backward(it.run, by_output, by_answer, by_states, 1));
            float *twice = floats(sizes[3]);
            CHECK_OK(cadenza_tape_weight_gradient(it.second, 0, twice, sizes[3]));
            for (size_t i = 0; i < sizes[3]; i++) CHECK(fabsf(twice[i] - 2 * mine[3][i]) <= 1e-4f * (1 + fabsf(twice[i])));
            free(twice);
            /* Along the gradients, each alone. */
            for (int which = 0; which < 3; which++) {
                float *value = which == 0 ? x : which == 1 ? initial : floats(sizes[3]), *gradient = mine[which == 2 ? 3 : which];
                size_t size = sizes[which == 2 ? 3 : which];
                if (which == 1 && policy != CADENZA_STATE_CARRY) continue;
                if (which == 2) CHECK_OK(cadenza_model_weight_get(it.b, 0, value, size));
                float *before = floats(size);
                memcpy(before, value, size * sizeof(float));
                double norm = sqrt(product(gradient, gradient, size)), losses[2];
                for (int side = 0; side < 2; side++) {
                    for (size_t i = 0; i < size; i++) value[i] = before[i] + (side ? 1 : -1) * 1e-2f * (float)(gradient[i] / norm);
                    if (which == 2) CHECK_OK(cadenza_model_weight_set(it.b, 0, value, size));
                    CHECK_OK(cadenza_unrolled_forward(it.run, &batch));
                    float *outputs = part(it.run, CADENZA_UNROLLED_OUTPUTS, 0, 0, &count);
                    losses[side] = product(outputs, by_output, count);
                    float *answers = part(it.run, CADENZA_UNROLLED_ANSWERS, 0, 0, &count);
                    losses[side] += product(answers, by_answer, count);
                    float *after = part(it.run, CADENZA_UNROLLED_STATES, 2, 0, &count);
                    losses[side] += product(after, by_state, count);
                    free(outputs), free(answers), free(after);
                }
                CHECK(fabs((losses[1] - losses[0]) / 2e-2 - norm) <= 2e-2 * norm + 1e-3);
                memcpy(value, before, size * sizeof(float));
                free(before);
                if (which == 2) free(value);
            }
        }
        end(it);
    }
    for (int i = 0; i < 8; i++) free(found[0][i]), free(found[1][i]);
    free(x), free(initial), free(by_output), free(by_answer), free(by_state);
}

/* A free run against a loop of tapes of one step each: outputs to the bit, gradients but for the order of sums. */
static void test_self_feeding(void) {
    check_trying("self-feeding");
    enum { PRIMER = 3, OUTPUTS = 6, STEPS = PRIMER - 1 + OUTPUTS, CELLS = 5, WEIGHTS = 5 };
    static const char *const LAYERS[] = {"LSTM", "units=5", "Dense", "units=2, activation=tanh", NULL};
    cadenza_model *model = build(WIDTH, 5, LAYERS);
    randomize(model, 11);
    float *primer = random_floats(BATCH * PRIMER * WIDTH, 12), *factor = random_floats(BATCH * OUTPUTS * WIDTH, 13);
    cadenza_tape *tapes[STEPS], *own = tape_of(model, 2);
    tapes[0] = tape_of(model, 1);
    for (int t = 1; t < STEPS; t++) CHECK_OK(cadenza_tape_fork(tapes[0], &tapes[t]));
    float fed[STEPS][BATCH * WIDTH], output[STEPS][BATCH * WIDTH], state[STEPS + 1][2][BATCH * CELLS], state_gradient[2][BATCH * CELLS];
    memset(state[0], 0, sizeof state[0]), memset(state_gradient, 0, sizeof state_gradient);
    const size_t time = 1;
    for (int t = 0; t < STEPS; t++) {
        for (int row = 0; row < BATCH; row++)
            memcpy(fed[t] + row * WIDTH, t < PRIMER ? primer + (row * PRIMER + t) * WIDTH : output[t - 1] + row * WIDTH, sizeof(float[WIDTH]));
        const float *input = fed[t], *states[2] = {state[t][0], state[t][1]};
        CHECK_OK(cadenza_tape_forward(tapes[t], BATCH, &time, &input, states, 1, 0));
        CHECK_OK(cadenza_tape_output(tapes[t], 0, output[t], BATCH * WIDTH));
        for (size_t s = 0; s < 2; s++) CHECK_OK(cadenza_tape_state(tapes[t], s, state[t + 1][s], BATCH * CELLS));
    }
    float from_next[BATCH * WIDTH] = {0};
    for (int t = STEPS - 1; t >= 0; t--) {
        float of_output[BATCH * WIDTH];
        for (int i = 0; i < BATCH * WIDTH; i++)
            of_output[i] = (t >= PRIMER - 1 ? factor[(i / WIDTH * OUTPUTS + t - PRIMER + 1) * WIDTH + i % WIDTH] : 0)
                         + (t + 1 >= PRIMER ? from_next[i] : 0);
        const float *given = of_output, *states[2] = {state_gradient[0], state_gradient[1]};
        CHECK_OK(cadenza_tape_backward(tapes[t], &given, states, t < STEPS - 1));
        for (size_t s = 0; s < 2; s++) CHECK_OK(cadenza_tape_state_gradient(tapes[t], s, state_gradient[s], BATCH * CELLS));
        CHECK_OK(cadenza_tape_input_gradient(tapes[t], 0, from_next, BATCH * WIDTH));
    }

    cadenza_unrolled *run = NULL;
    CHECK_OK(cadenza_unrolled_create(own, NULL, &run));
    cadenza_unrolled_batch batch = {.struct_size = sizeof batch, .batch = BATCH, .steps = PRIMER, .x = primer, .outputs = OUTPUTS};
    CHECK_OK(cadenza_unrolled_forward(run, &batch));
    CHECK_OK(cadenza_unrolled_backward(run, factor, NULL, NULL, 0));
    size_t count;
    float *outputs = part(run, CADENZA_UNROLLED_OUTPUTS, 0, 0, &count), *after = part(run, CADENZA_UNROLLED_STATES, 1, 0, &count);
    for (int row = 0; row < BATCH; row++)
        for (int t = 0; t < STEPS; t++) {
            if (t >= PRIMER - 1)
                CHECK(same_bits(outputs + (row * OUTPUTS + t - PRIMER + 1) * WIDTH, output[t] + row * WIDTH, WIDTH));
            CHECK(same_bits(after + (row * STEPS + t) * CELLS, state[t + 1][1] + row * CELLS, CELLS));
        }
    for (size_t w = 0; w < WEIGHTS; w++) {
        cadenza_weight_info info = {.struct_size = sizeof info};
        CHECK_OK(cadenza_model_weight_info(model, w, &info));
        float *expected = floats(info.count), *mine = floats(info.count);
        CHECK_OK(cadenza_tape_weight_gradient(tapes[0], w, expected, info.count));
        CHECK_OK(cadenza_tape_weight_gradient(own, w, mine, info.count));
        for (size_t i = 0; i < info.count; i++) CHECK(fabsf(mine[i] - expected[i]) <= 1e-5f * (1 + fabsf(expected[i])));
        free(expected), free(mine);
    }
    float *initial = part(run, CADENZA_UNROLLED_INITIAL, 0, 1, &count);
    for (size_t i = 0; i < count; i++) CHECK(fabsf(initial[i] - state_gradient[0][i]) <= 1e-5f * (1 + fabsf(initial[i])));

    /* Half of the inputs are taught; then all, which is one sequence. */
    float teaching[OUTPUTS], *targets = random_floats(BATCH * OUTPUTS * WIDTH, 14);
    for (int t = 0; t < OUTPUTS; t++) teaching[t] = 0.5f;
    batch.targets = targets, batch.teacher_forcing = teaching, batch.seed = 3;
    CHECK_OK(cadenza_unrolled_forward(run, &batch));
    float *mixed = part(run, CADENZA_UNROLLED_OUTPUTS, 0, 0, &count);
    for (int t = 0; t < OUTPUTS; t++) teaching[t] = 1;
    CHECK_OK(cadenza_unrolled_forward(run, &batch));
    float *taught = part(run, CADENZA_UNROLLED_OUTPUTS, 0, 0, &count);
    CHECK(!same_bits(mixed, taught, count) && !same_bits(mixed, outputs, count));
    float sequence[BATCH * STEPS * WIDTH], whole[BATCH * WIDTH];
    for (int row = 0; row < BATCH; row++) {
        memcpy(sequence + row * STEPS * WIDTH, primer + row * PRIMER * WIDTH, sizeof(float[PRIMER * WIDTH]));
        memcpy(sequence + (row * STEPS + PRIMER) * WIDTH, targets + row * OUTPUTS * WIDTH, sizeof(float[(OUTPUTS - 1) * WIDTH]));
    }
    const float *input = sequence;
    const size_t steps = STEPS;
    CHECK_OK(cadenza_tape_forward(tapes[0], BATCH, &steps, &input, NULL, 1, 0));
    CHECK_OK(cadenza_tape_output(tapes[0], 0, whole, BATCH * WIDTH));
    for (int row = 0; row < BATCH; row++) CHECK(same_bits(whole + row * WIDTH, taught + (row * OUTPUTS + OUTPUTS - 1) * WIDTH, WIDTH));

    for (int t = 0; t < STEPS; t++) cadenza_tape_release(tapes[t]);
    free(primer), free(factor), free(outputs), free(after), free(initial), free(targets), free(mixed), free(taught);
    cadenza_tape_release(own), cadenza_unrolled_release(run), cadenza_model_release(model);
}

/* Updates by a tape's gradients are those by the same gradients read out. */
static void test_updates(void) {
    check_trying("updates");
    float *x = random_floats(BATCH * OUTER * FEATURES, 5), *by_output = random_floats(total() * WIDTH, 7);
    uint64_t prints[2];
    for (int direct = 0; direct < 2; direct++) {
        pair it = nested(1, 0, CADENZA_STATE_RESET);
        cadenza_trainer_options options = {.struct_size = sizeof options};
        cadenza_trainer *trainer = NULL;
        CHECK_OK(cadenza_trainer_create(it.b, &options, &trainer));
        CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_trainer_apply_tape(trainer, it.second), "not run backward");
        cadenza_unrolled_batch batch = batch_of(x);
        for (int i = 0; i < 3; i++) {
            CHECK_OK(cadenza_unrolled_forward(it.run, &batch));
            CHECK_OK(cadenza_unrolled_backward(it.run, by_output, NULL, NULL, 0));
            if (direct) {
                CHECK_OK(cadenza_trainer_apply_tape(trainer, it.second));
                continue;
            }
            float *gradients[5];
            for (size_t w = 0; w < 5; w++) {
                cadenza_weight_info info = {.struct_size = sizeof info};
                CHECK_OK(cadenza_model_weight_info(it.b, w, &info));
                gradients[w] = floats(info.count);
                CHECK_OK(cadenza_tape_weight_gradient(it.second, w, gradients[w], info.count));
            }
            CHECK_OK(cadenza_trainer_apply(trainer, (const float *const *)gradients));
            for (size_t w = 0; w < 5; w++) free(gradients[w]);
        }
        CHECK_OK(cadenza_model_fingerprint(it.b, &prints[direct]));
        CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_trainer_apply_tape(trainer, it.first), "another model");
        cadenza_trainer_release(trainer);
        end(it);
    }
    CHECK(prints[0] == prints[1]);
    free(x), free(by_output);
}

int main(void) {
    check_begin();
    for (int feedback = 0; feedback < 2; feedback++)
        for (int32_t policy = CADENZA_STATE_CARRY; policy <= CADENZA_STATE_RESET; policy++) {
            test_generator(feedback, policy);
            test_gradients(feedback, policy);
        }
    test_self_feeding();
    test_updates();
    return check_end("unrolled");
}
