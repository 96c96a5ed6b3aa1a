/* Loops of steps called wrongly on purpose: a status, a message that names what is wrong, and nothing changed. */
#include "support.h"
#include <math.h>

#define REFUSED(call, words) CHECK_FAILS(CADENZA_INVALID_ARGUMENT, call, words)

enum { BATCH = 2, STEPS = 3, FEATURES = 3, OUTPUTS = 4 };

static const char *const ECHO[] = {"LSTM", "units=4", "Dense", "units=3", NULL};
static const char *const BELOW[] = {"GRU", "units=5", "Dense", "units=2", NULL};
static const char *const NORMAL[] = {"BatchNormalization", NULL, "GRU", "units=5", NULL};

static cadenza_model *echo, *below, *normal, *ids, *whole;
static cadenza_tape *echo_tape, *below_tape, *normal_tape, *ids_tape, *whole_tape;
static float x[BATCH * STEPS * FEATURES], targets[BATCH * OUTPUTS * FEATURES], forcing[OUTPUTS];
static const size_t counts[BATCH * STEPS] = {1, 0, 2, 3, 1, 0};

static cadenza_tape *tape_of(const cadenza_model *model) {
    cadenza_tape *tape = NULL;
    CHECK_OK(cadenza_tape_create(model, NULL, &tape));
    return tape;
}

static cadenza_unrolled_options with(const cadenza_tape *second) {
    cadenza_unrolled_options options;
    cadenza_unrolled_options_init(&options);
    options.below = second;
    return options;
}

static cadenza_unrolled_batch fed(void) {
    return (cadenza_unrolled_batch){.struct_size = sizeof(cadenza_unrolled_batch), .batch = BATCH, .steps = STEPS, .x = x, .outputs = OUTPUTS};
}

static cadenza_unrolled_batch driven(void) {
    return (cadenza_unrolled_batch){.struct_size = sizeof(cadenza_unrolled_batch), .batch = BATCH, .steps = STEPS, .x = x,
                                    .counts = counts, .counts_per_row = 1};
}

static void test_making(void) {
    check_trying("making");
    cadenza_unrolled *run = NULL;
    cadenza_unrolled_options_init(NULL);
    cadenza_unrolled_release(NULL);
    REFUSED(cadenza_unrolled_create(NULL, NULL, &run), "tape");
    REFUSED(cadenza_unrolled_create(echo_tape, NULL, NULL), "unrolled");
    REFUSED(cadenza_unrolled_create(below_tape, NULL, &run), "2 values|has 3");
    CHECK_FAILS(CADENZA_CANNOT_STREAM, cadenza_unrolled_create(whole_tape, NULL, &run), "bidirectional");

#define WRONG(second, field, value, words)                       \
    do {                                                         \
        cadenza_unrolled_options wrong = with(second);           \
        wrong.field = value;                                     \
        REFUSED(cadenza_unrolled_create(echo_tape, &wrong, &run), words); \
    } while (0)
    WRONG(NULL, struct_size, 3, "struct_size");
    WRONG(NULL, choice, 9, "choice is 9");
    WRONG(NULL, policy, -1, "policy is -1");
    WRONG(NULL, policy, CADENZA_STATE_RESET, "below is NULL");
    WRONG(NULL, feedback, 1, "below is NULL");
    WRONG(NULL, upward, 1, "below is NULL");
    WRONG(NULL, initial_state, echo_tape, "below is NULL");
    WRONG(NULL, feedback_first, 3, "an output has 3");
    WRONG(NULL, feedback_first, SIZE_MAX, "feedback_first");
    WRONG(NULL, feedback_count, 4, "an output has 3");
    WRONG(NULL, feedback_count, (size_t)1 << 39, "an output has 3");
    WRONG(NULL, feedback_first, 1, "2 values go back in");
    WRONG(NULL, as_number, 1, "of a choice");
    WRONG(NULL, straight_through, 1, "of a choice");
    WRONG(below_tape, feedback, 1, "takes 3 values, but is given 5");
    WRONG(echo_tape, upward, 1, "none are left for x");
    WRONG(below_tape, initial_state, echo_tape, "STATE_GIVEN");
    WRONG(below_tape, policy, CADENZA_STATE_GIVEN, "an answer has 3 values|are 5");
#undef WRONG
    cadenza_unrolled_options wrong = with(ids_tape);
    CHECK_FAILS(CADENZA_UNSUPPORTED, cadenza_unrolled_create(echo_tape, &wrong, &run), "takes ids");
    wrong = with(below_tape);
    wrong.policy = CADENZA_STATE_GIVEN, wrong.initial_state = below_tape;
    REFUSED(cadenza_unrolled_create(echo_tape, &wrong, &run), "expected 5 of 3");
    wrong = with(NULL);
    wrong.choice = CADENZA_CHOICE_LARGEST, wrong.as_number = 1, wrong.straight_through = 1;
    REFUSED(cadenza_unrolled_create(ids_tape, &wrong, &run), "straight through");
    REFUSED(cadenza_unrolled_create(ids_tape, NULL, &run), "");
    CHECK(run == NULL);
}

static void test_runs(void) {
    check_trying("runs");
    cadenza_unrolled *self = NULL, *nested = NULL;
    cadenza_unrolled_options options = with(below_tape);
    CHECK_OK(cadenza_unrolled_create(echo_tape, NULL, &self));
    CHECK_OK(cadenza_unrolled_create(echo_tape, &options, &nested));
    cadenza_unrolled_batch batch = fed();
    float values[256];
    size_t count = 7;
    REFUSED(cadenza_unrolled_forward(NULL, &batch), "unrolled");
    REFUSED(cadenza_unrolled_forward(self, NULL), "batch");
    REFUSED(cadenza_unrolled_size(self, CADENZA_UNROLLED_OUTPUTS, 0, &count), "run forward");
    REFUSED(cadenza_unrolled_values(nested, CADENZA_UNROLLED_OUTPUTS, 0, values, 1), "run forward");
    REFUSED(cadenza_unrolled_backward(self, values, NULL, NULL, 0), "run forward");
    REFUSED(cadenza_tape_weight_gradient(echo_tape, 0, values, 1), "backward");

#define WRONG(run, start, field, value, words)         \
    do {                                               \
        cadenza_unrolled_batch wrong = start();        \
        wrong.field = value;                           \
        REFUSED(cadenza_unrolled_forward(run, &wrong), words); \
    } while (0)
    WRONG(self, fed, struct_size, 8, "struct_size");
    WRONG(self, fed, batch, 0, "batch 0");
    WRONG(self, fed, batch, SIZE_MAX, "batch");
    WRONG(self, fed, steps, 0, "steps 0");
    WRONG(self, fed, outputs, 0, "outputs 0");
    WRONG(self, fed, x, NULL, "x is NULL");
    WRONG(self, fed, counts, counts, "counts");
    WRONG(self, fed, teacher_forcing, forcing, "targets is NULL");
    cadenza_unrolled_batch taught = fed();
    taught.targets = targets, taught.teacher_forcing = forcing, forcing[2] = NAN;
    REFUSED(cadenza_unrolled_forward(self, &taught), "teacher_forcing[2]");
    forcing[2] = 1.5f;
    REFUSED(cadenza_unrolled_forward(self, &taught), "teacher_forcing[2]");
    WRONG(nested, driven, counts, NULL, "counts is NULL");
    WRONG(nested, driven, x, NULL, "x is NULL");
    WRONG(nested, driven, outputs, 3, "feeds itself");
    WRONG(nested, driven, targets, targets, "feeds itself");
    const size_t far[BATCH * STEPS] = {1, SIZE_MAX, 1, 1, 1, 1};
    WRONG(nested, driven, counts, far, "counts[1]");
#undef WRONG
    batch = fed(), batch.outputs = (size_t)1 << 39;
    CHECK_FAILS(CADENZA_OUT_OF_MEMORY, cadenza_unrolled_forward(self, &batch), "");
    batch = fed(), batch.batch = (size_t)1 << 40, batch.steps = (size_t)1 << 40;
    CHECK(cadenza_unrolled_forward(self, &batch) != CADENZA_OK);
    const size_t many[BATCH * STEPS] = {1, (size_t)1 << 32, 1, 1, (size_t)1 << 32, 1};
    cadenza_unrolled_batch large = driven();
    large.counts = many;
    CHECK_FAILS(CADENZA_OUT_OF_MEMORY, cadenza_unrolled_forward(nested, &large), "");

    batch = fed();
    CHECK_OK(cadenza_unrolled_forward(self, &batch));
    batch = driven();
    CHECK_OK(cadenza_unrolled_forward(nested, &batch));
    REFUSED(cadenza_unrolled_size(self, 17, 0, &count), "part is 17");
    REFUSED(cadenza_unrolled_size(self, CADENZA_UNROLLED_ANSWERS, 0, &count), "a model below");
    REFUSED(cadenza_unrolled_size(self, CADENZA_UNROLLED_STATES, 2, &count), "index is 2");
    REFUSED(cadenza_unrolled_size(nested, CADENZA_UNROLLED_INITIAL, 3, &count), "expected less");
    REFUSED(cadenza_unrolled_size(nested, CADENZA_UNROLLED_STATES, SIZE_MAX, &count), "index");
    REFUSED(cadenza_unrolled_size(nested, CADENZA_UNROLLED_OUTPUTS, 0, NULL), "count");
    REFUSED(cadenza_unrolled_values(nested, CADENZA_UNROLLED_OUTPUTS, 0, values, 13), "expected 14");
    REFUSED(cadenza_unrolled_values(nested, CADENZA_UNROLLED_OUTPUTS, 0, NULL, 14), "values");
    REFUSED(cadenza_unrolled_gradient(nested, CADENZA_UNROLLED_X, 0, values, BATCH * STEPS * FEATURES), "run backward");
    REFUSED(cadenza_unrolled_backward(self, NULL, values, NULL, 0), "a model below");
    memset(values, 0, sizeof values);
    CHECK_OK(cadenza_unrolled_backward(nested, values, values, NULL, 0));
    CHECK_OK(cadenza_unrolled_backward(nested, NULL, NULL, NULL, 1));
    REFUSED(cadenza_unrolled_gradient(nested, CADENZA_UNROLLED_STATES, 0, values, BATCH * STEPS * 4), "state_gradients");
    REFUSED(cadenza_unrolled_gradient(nested, CADENZA_UNROLLED_FINAL, 0, values, BATCH * 4), "what was given");
    CHECK_OK(cadenza_unrolled_size(nested, CADENZA_UNROLLED_OUTPUTS, 0, &count));
    CHECK(count == 14);

    /* All counts zero: nothing below, and gradients of answers alone. */
    const size_t none[STEPS] = {0, 0, 0};
    batch.counts = none, batch.counts_per_row = 0;
    CHECK_OK(cadenza_unrolled_forward(nested, &batch));
    CHECK_OK(cadenza_unrolled_size(nested, CADENZA_UNROLLED_OUTPUTS, 0, &count));
    CHECK(count == 0);
    CHECK_OK(cadenza_unrolled_backward(nested, NULL, values, NULL, 0));
    CHECK_OK(cadenza_unrolled_gradient(nested, CADENZA_UNROLLED_X, 0, values, BATCH * STEPS * FEATURES));
    cadenza_unrolled_release(self);
    cadenza_unrolled_release(nested);
}

static void test_what_training_refuses(void) {
    check_trying("training");
    cadenza_unrolled *run = NULL;
    cadenza_unrolled_options options = with(normal_tape);
    CHECK_OK(cadenza_unrolled_create(echo_tape, &options, &run));
    cadenza_unrolled_batch batch = driven();
    CHECK_OK(cadenza_unrolled_forward(run, &batch));
    batch.training = 1;
    CHECK_FAILS(CADENZA_UNSUPPORTED, cadenza_unrolled_forward(run, &batch), "batch_normalization|freeze");
    const float *states[3] = {NULL, NULL, x};
    batch = driven(), batch.states = states;
    CHECK_OK(cadenza_unrolled_forward(run, &batch));
    cadenza_unrolled_release(run), run = NULL;
    options.policy = CADENZA_STATE_RESET;
    CHECK_OK(cadenza_unrolled_create(echo_tape, &options, &run));
    REFUSED(cadenza_unrolled_forward(run, &batch), "states[2]");
    cadenza_unrolled_release(run);

    /* The limit is one that a run may not pass. */
    cadenza_tape_options limited;
    cadenza_tape_options_init(&limited);
    limited.memory_limit = 1000;
    cadenza_tape *tape = NULL;
    CHECK_OK(cadenza_tape_create(echo, &limited, &tape));
    CHECK_OK(cadenza_unrolled_create(tape, NULL, &run));
    batch = fed();
    CHECK_FAILS(CADENZA_OUT_OF_MEMORY, cadenza_unrolled_forward(run, &batch), "memory_limit");
    cadenza_unrolled_release(run), run = NULL;
    cadenza_tape_release(tape);
}

static void test_ids_and_choices(void) {
    check_trying("ids");
    cadenza_unrolled *run = NULL;
    cadenza_unrolled_options options = with(NULL);
    options.choice = CADENZA_CHOICE_DRAWN, options.as_number = 1;
    CHECK_OK(cadenza_unrolled_create(ids_tape, &options, &run));
    float tokens[BATCH * STEPS] = {0, 1, 2, 3, 4, 99};
    cadenza_unrolled_batch batch = fed();
    batch.x = tokens;
    REFUSED(cadenza_unrolled_forward(run, &batch), "99 is not an id");
    tokens[5] = 5;
    CHECK_OK(cadenza_unrolled_forward(run, &batch));
    /* NaN among what is drawn from: there is no run then. */
    float *bias = floats(6);
    const size_t last = cadenza_model_weight_count(ids) - 1;
    CHECK_OK(cadenza_model_weight_get(ids, last, bias, 6));
    bias[3] = NAN;
    CHECK_OK(cadenza_model_weight_set(ids, last, bias, 6));
    REFUSED(cadenza_unrolled_forward(run, &batch), "NaN");
    REFUSED(cadenza_unrolled_backward(run, NULL, NULL, NULL, 0), "run forward");
    bias[3] = INFINITY;
    CHECK_OK(cadenza_model_weight_set(ids, last, bias, 6));
    CHECK_OK(cadenza_unrolled_forward(run, &batch));
    for (int i = 0; i < 6; i++) bias[i] = -INFINITY;
    CHECK_OK(cadenza_model_weight_set(ids, last, bias, 6));
    CHECK_OK(cadenza_unrolled_forward(run, &batch));
    free(bias);
    cadenza_unrolled_release(run);
}

/* What was not asked for is refused, not zero. */
static void test_gradients_of_x(void) {
    check_trying("a first tape without input_gradients");
    cadenza_tape_options without;
    cadenza_tape_options_init(&without);
    without.input_gradients = 0;
    cadenza_tape *first = NULL;
    CHECK_OK(cadenza_tape_create(echo, &without, &first));
    cadenza_unrolled_options options;
    cadenza_unrolled_options_init(&options);
    options.below = below_tape;
    cadenza_unrolled *run = NULL;
    CHECK_OK(cadenza_unrolled_create(first, &options, &run));
    size_t counts[3] = {1, 0, 2}, size = 0;
    cadenza_unrolled_batch batch = {.struct_size = sizeof batch, .batch = 2, .steps = 3, .x = x, .counts = counts};
    CHECK_OK(cadenza_unrolled_forward(run, &batch));
    CHECK_OK(cadenza_unrolled_size(run, CADENZA_UNROLLED_OUTPUTS, 0, &size));
    float *gradient = floats(size), *of_x = floats(2 * 3 * FEATURES);
    CHECK_OK(cadenza_unrolled_backward(run, gradient, NULL, NULL, 0));
    CHECK_OK(cadenza_unrolled_values(run, CADENZA_UNROLLED_X, 0, of_x, 2 * 3 * FEATURES));
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_unrolled_gradient(run, CADENZA_UNROLLED_X, 0, of_x, 2 * 3 * FEATURES), "input_gradients");
    free(gradient), free(of_x);
    cadenza_unrolled_release(run);
    cadenza_tape_release(first);
}

int main(void) {
    check_begin();
    watch_prints();
    limit_memory((size_t)4 << 30);
    echo = build(FEATURES, 1, ECHO), below = build(FEATURES, 2, BELOW), normal = build(FEATURES, 3, NORMAL);
    cadenza_builder *builder = NULL;
    CHECK_OK(cadenza_builder_create_for_ids(0, &builder));
    CHECK_OK(cadenza_builder_add(builder, "Embedding", "input_dim=6, output_dim=4"));
    CHECK_OK(cadenza_builder_add(builder, "GRU", "units=5"));
    CHECK_OK(cadenza_builder_add(builder, "Dense", "units=6"));
    CHECK_OK(cadenza_builder_build(builder, 4, &ids));
    cadenza_builder_release(builder), builder = NULL;
    CHECK_OK(cadenza_builder_create(0, FEATURES, &builder));
    CHECK_OK(cadenza_builder_add(builder, "Bidirectional",
                                 "layer={\"module\": \"keras.layers\", \"class_name\": \"GRU\", \"config\": {\"name\": \"gru\", \"units\": 2}}"));
    CHECK_OK(cadenza_builder_build(builder, 5, &whole));
    cadenza_builder_release(builder);
    echo_tape = tape_of(echo), below_tape = tape_of(below), normal_tape = tape_of(normal), ids_tape = tape_of(ids);
    whole_tape = tape_of(whole);
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = (float)(i % 7) / 7;
    test_making();
    test_runs();
    test_what_training_refuses();
    test_ids_and_choices();
    test_gradients_of_x();
    cadenza_tape *tapes[] = {echo_tape, below_tape, normal_tape, ids_tape, whole_tape};
    for (size_t i = 0; i < sizeof tapes / sizeof *tapes; i++) cadenza_tape_release(tapes[i]);
    cadenza_model *models[] = {echo, below, normal, ids, whole};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) cadenza_model_release(models[i]);
    CHECK(printed_nothing());
    return check_end("wrong_unrolled");
}
