/* Tapes and trainers called wrongly on purpose: a status, a message that names what is wrong, and nothing changed. */
#include "support.h"

#include <sys/stat.h>

#define REFUSED(call, words) CHECK_FAILS(CADENZA_INVALID_ARGUMENT, call, words)

enum { ROWS = 2, STEPS = 7, FEATURES = 3 };

static cadenza_model *model;
static float inputs[ROWS * STEPS * FEATURES], targets[ROWS] = {0, 1};
static const float *const input = inputs, *const target = targets;
static const size_t steps = STEPS;

static cadenza_batch batch(void) {
    return (cadenza_batch){.struct_size = sizeof(cadenza_batch), .batch = ROWS, .times = &steps, .inputs = &input, .targets = &target};
}

static void test_null_is_harmless(void) {
    cadenza_tape_options_init(NULL);
    cadenza_loss_init(NULL, CADENZA_HUBER);
    cadenza_optimizer_init(NULL, CADENZA_ADAM);
    cadenza_tape_release(NULL);
    cadenza_trainer_release(NULL);
    CHECK(cadenza_trainer_learning_rate(NULL) == 0 && cadenza_trainer_updates(NULL) == 0);
}

static void test_tapes(void) {
    cadenza_tape *tape = NULL, *other = NULL;
    cadenza_tape_options options;
    cadenza_tape_options_init(&options);
    REFUSED(cadenza_tape_create(NULL, NULL, &tape), "model");
    REFUSED(cadenza_tape_create(model, NULL, NULL), "tape");
    options.struct_size = 3;
    REFUSED(cadenza_tape_create(model, &options, &tape), "struct_size");
    cadenza_tape_options_init(&options);
    const size_t far = 99;
    options.frozen = &far, options.frozen_count = 1;
    REFUSED(cadenza_tape_create(model, &options, &tape), "frozen");
    CHECK(tape == NULL);

    CHECK_OK(cadenza_tape_create(model, NULL, &tape));
    float output[ROWS], state[64];
    const float *gradient = output;
    int has_mask = 5;
    cadenza_shape shape = {.struct_size = sizeof shape};
    REFUSED(cadenza_tape_fork(NULL, &other), "tape");
    REFUSED(cadenza_tape_fork(tape, NULL), "fork");
    REFUSED(cadenza_tape_output(tape, 0, output, ROWS), "run forward");
    REFUSED(cadenza_tape_output_shape(tape, 0, &shape), "run forward");
    REFUSED(cadenza_tape_backward(tape, &gradient, NULL, 0), "run forward");
    REFUSED(cadenza_tape_commit_statistics(tape), "run forward");
    REFUSED(cadenza_tape_forward(NULL, ROWS, &steps, &input, NULL, 1, 0), "tape");
    REFUSED(cadenza_tape_forward(tape, 0, &steps, &input, NULL, 1, 0), "batch");
    REFUSED(cadenza_tape_forward(tape, SIZE_MAX, &steps, &input, NULL, 1, 0), "batch");
    REFUSED(cadenza_tape_forward(tape, ROWS, &steps, NULL, NULL, 1, 0), "inputs");
    const float *missing = NULL;
    REFUSED(cadenza_tape_forward(tape, ROWS, &steps, &missing, NULL, 1, 0), "input 0");
    CHECK(cadenza_tape_forward(tape, (size_t)1 << 50, &steps, &input, NULL, 1, 0) != CADENZA_OK);

    CHECK_OK(cadenza_tape_forward(tape, ROWS, &steps, &input, NULL, 1, 0));
    REFUSED(cadenza_tape_output(tape, 1, output, ROWS), "index");
    REFUSED(cadenza_tape_output(tape, SIZE_MAX, output, ROWS), "index");
    REFUSED(cadenza_tape_output(tape, 0, NULL, ROWS), "values");
    REFUSED(cadenza_tape_output(tape, 0, output, ROWS + 1), "count");
    REFUSED(cadenza_tape_output_mask(tape, 0, NULL, 0, NULL), "has_mask");
    CHECK_OK(cadenza_tape_output_mask(tape, 0, NULL, 0, &has_mask));
    CHECK(has_mask == 0);
    REFUSED(cadenza_tape_state(tape, 99, state, 64), "index");
    REFUSED(cadenza_tape_state(tape, 0, state, 63), "count");
    REFUSED(cadenza_tape_weight_gradient(tape, 0, state, 1), "backward");
    REFUSED(cadenza_tape_input_gradient(tape, 0, state, 1), "backward");
    REFUSED(cadenza_tape_backward(tape, NULL, NULL, 0), "outputs");
    CHECK_OK(cadenza_tape_backward(tape, &gradient, NULL, 0));
    REFUSED(cadenza_tape_weight_gradient(tape, 99, state, 1), "index");
    REFUSED(cadenza_tape_weight_gradient(tape, 0, state, 1), "count");
    REFUSED(cadenza_tape_input_gradient(tape, 1, state, 1), "index");
    REFUSED(cadenza_tape_state_gradient(tape, 99, state, 1), "index");
    cadenza_tape_release(tape);
}

static void test_making(void) {
    cadenza_trainer *trainer = NULL;
    cadenza_loss losses[2];
    cadenza_optimizer rule;
    for (int i = 0; i < 2; i++) cadenza_loss_init(&losses[i], CADENZA_BINARY_CROSSENTROPY);
    cadenza_optimizer_init(&rule, CADENZA_SGD);
    cadenza_trainer_options options = {.struct_size = sizeof options, .losses = losses, .loss_count = 1, .optimizer = &rule};
    REFUSED(cadenza_trainer_create(NULL, &options, &trainer), "model");
    REFUSED(cadenza_trainer_create(model, NULL, &trainer), "options");
    REFUSED(cadenza_trainer_create(model, &options, NULL), "trainer");
    options.losses = NULL;
    REFUSED(cadenza_trainer_create(model, &options, &trainer), "losses");
    options.losses = losses, options.loss_count = 2;
    REFUSED(cadenza_trainer_create(model, &options, &trainer), "two losses");
    options.loss_count = 1;
    losses[0].output = 4;
    REFUSED(cadenza_trainer_create(model, &options, &trainer), "output");
    losses[0].output = 0, losses[0].kind = 77;
    REFUSED(cadenza_trainer_create(model, &options, &trainer), "kind");
    losses[0].kind = CADENZA_HUBER, losses[0].delta = strtof("nan", NULL);
    REFUSED(cadenza_trainer_create(model, &options, &trainer), "NaN");
    losses[0].delta = 1, rule.kind = -1;
    REFUSED(cadenza_trainer_create(model, &options, &trainer), "kind");
    rule.kind = CADENZA_SGD, rule.learning_rate = strtod("inf", NULL);
    REFUSED(cadenza_trainer_create(model, &options, &trainer), "infinite");
    rule.learning_rate = 0.1, rule.gradient_accumulation_steps = 0;
    REFUSED(cadenza_trainer_create(model, &options, &trainer), "gradient_accumulation_steps");
    CHECK(trainer == NULL);
}

static void test_training(void) {
    cadenza_trainer *trainer = NULL;
    cadenza_loss loss;
    cadenza_loss_init(&loss, CADENZA_BINARY_CROSSENTROPY);
    cadenza_trainer_options options = {.struct_size = sizeof options, .losses = &loss, .loss_count = 1};
    CHECK_OK(cadenza_trainer_create(model, &options, &trainer));
    uint64_t before = 0, after = 1;
    CHECK_OK(cadenza_model_fingerprint(model, &before));

    cadenza_batch wrong = batch();
    double value = 5;
    float output[ROWS];
    REFUSED(cadenza_trainer_update(NULL, &wrong, &value, NULL), "trainer");
    REFUSED(cadenza_trainer_update(trainer, NULL, &value, NULL), "batch");
    REFUSED(cadenza_trainer_output(trainer, 0, output, ROWS), "run forward");
    REFUSED(cadenza_trainer_gradient(trainer, 0, output, ROWS), "run forward");
    wrong.struct_size = 8;
    REFUSED(cadenza_trainer_update(trainer, &wrong, &value, NULL), "struct_size");
    wrong = batch(), wrong.batch = 0;
    REFUSED(cadenza_trainer_update(trainer, &wrong, &value, NULL), "batch");
    wrong = batch(), wrong.inputs = NULL;
    REFUSED(cadenza_trainer_update(trainer, &wrong, &value, NULL), "inputs");
    wrong = batch(), wrong.targets = NULL;
    REFUSED(cadenza_trainer_evaluate(trainer, &wrong, &value, NULL), "targets");
    const float *none = NULL;
    wrong = batch(), wrong.targets = &none;
    REFUSED(cadenza_trainer_differentiate(trainer, &wrong, &value, NULL), "targets[0]");
    const float nan[ROWS] = {0, strtof("nan", NULL)}, *no_number = nan;
    wrong = batch(), wrong.targets = &no_number;
    REFUSED(cadenza_trainer_update(trainer, &wrong, &value, NULL), "NaN; the weights are as before");
    CHECK(value == 5);

    float *zeros = allocate(sizeof(float) << 16);
    memset(zeros, 0, sizeof(float) << 16);
    const size_t weights = cadenza_model_weight_count(model);
    const float *gradients[64];
    for (size_t i = 0; i < weights; i++) gradients[i] = zeros;
    REFUSED(cadenza_trainer_apply(NULL, gradients), "trainer");
    REFUSED(cadenza_trainer_apply(trainer, NULL), "gradients");
    gradients[2] = NULL;
    REFUSED(cadenza_trainer_apply(trainer, gradients), "gradients[2]");
    gradients[2] = zeros;
    zeros[1] = strtof("inf", NULL);
    REFUSED(cadenza_trainer_apply(trainer, gradients), "the weights are as before");
    REFUSED(cadenza_trainer_set_learning_rate(trainer, strtod("nan", NULL)), "rate");

    size_t size = 0;
    CHECK_OK(cadenza_trainer_checkpoint(trainer, NULL, 0, &size));
    unsigned char *bytes = allocate(size);
    CHECK_OK(cadenza_trainer_checkpoint(trainer, bytes, size, &size));
    REFUSED(cadenza_trainer_checkpoint(trainer, NULL, 0, NULL), "size");
    REFUSED(cadenza_trainer_restore(trainer, NULL, size), "bytes");
    REFUSED(cadenza_trainer_restore(trainer, bytes, SIZE_MAX), "size");
    for (size_t cut = 0; cut < size; cut += size / 50)
        CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_trainer_restore(trainer, bytes, cut), NULL);
    bytes[size / 2] ^= 1;
    CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_trainer_restore(trainer, bytes, size), NULL);
    CHECK(cadenza_trainer_restore_file(trainer, "there/is/none") != CADENZA_OK);
    /* Saving renames a file over the old one: not over what is no file. */
    unlink("build/tests/pipe");
    CHECK(mkfifo("build/tests/pipe", 0600) == 0);
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_trainer_checkpoint_file(trainer, "build/tests/pipe"), "no file that could be replaced");
    struct stat there;
    CHECK(stat("build/tests/pipe", &there) == 0 && S_ISFIFO(there.st_mode));
    CHECK_OK(cadenza_model_fingerprint(model, &after));
    CHECK(before == after && cadenza_trainer_updates(trainer) == 0);

    wrong = batch(), wrong.carry_state = 1;
    CHECK_OK(cadenza_trainer_update(trainer, &wrong, &value, NULL));
    wrong.batch = 1;
    CHECK_FAILS(CADENZA_MISMATCH, cadenza_trainer_update(trainer, &wrong, &value, NULL), "2 rows");
    CHECK(cadenza_trainer_updates(trainer) == 1);
    free(bytes), free(zeros);
    cadenza_trainer_release(trainer);
}

int main(void) {
    check_begin();
    if (!(model = load(RAIN_KERAS))) return check_end("wrong_training");
    watch_prints();
    limit_memory((size_t)4 << 30);
    for (int i = 0; i < ROWS * STEPS * FEATURES; i++) inputs[i] = (float)(i % 5) / 5;
    test_null_is_harmless();
    test_tapes();
    test_making();
    test_training();
    cadenza_model_release(model);
    CHECK(printed_nothing());
    return check_end("wrong_training");
}
