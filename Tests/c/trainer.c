/* The trainer: the same bits with any threads, under any memory limit and after a checkpoint; what is wrong changes nothing. */
#include "support.h"
#include <fenv.h>
#include <math.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { BATCH = 7, STEPS = 5, FEATURES = 5, CLASSES = 4, UPDATES = 4 };

typedef struct task {
    cadenza_model *model;
    cadenza_trainer *trainer;
} task;

static const char *const SMALL[] = {"LSTM", "units=20, return_sequences=True", "Dropout", "rate=0.3", "Dense", "units=4, activation=softmax", NULL};
/* Wide enough for products that threads share. */
static const char *const WIDE[] = {"LSTM", "units=40, return_sequences=True", "Dense", "units=80, activation=relu",
                                   "Dense", "units=4, activation=softmax", NULL};
static float *x, *labels;

static cadenza_trainer *train(cadenza_model *model, int32_t rule, size_t threads, size_t memory_limit) {
    cadenza_loss loss = {.struct_size = sizeof loss};
    cadenza_loss_init(&loss, CADENZA_SPARSE_CATEGORICAL_CROSSENTROPY);
    cadenza_optimizer optimizer = {.struct_size = sizeof optimizer};
    cadenza_optimizer_init(&optimizer, rule);
    cadenza_trainer_options options = {.struct_size = sizeof options, .losses = &loss, .loss_count = 1, .optimizer = &optimizer,
                                       .seed = 5, .threads = threads, .memory_limit = memory_limit};
    cadenza_trainer *trainer = NULL;
    CHECK_OK(cadenza_trainer_create(model, &options, &trainer));
    return trainer;
}

static task begin(cadenza_model *model, int32_t rule, size_t threads, size_t memory_limit) {
    return (task){model, train(model, rule, threads, memory_limit)};
}

static task small(void) { return begin(build(FEATURES, 3, SMALL), CADENZA_ADAM, 1, 0); }

static void end(task it) {
    cadenza_trainer_release(it.trainer);
    cadenza_model_release(it.model);
}

static cadenza_status update(task it, const float *inputs, const float *targets, double *loss) {
    size_t time = STEPS;
    cadenza_batch batch = {.struct_size = sizeof batch, .batch = BATCH, .times = &time, .inputs = &inputs, .targets = &targets};
    return cadenza_trainer_update(it.trainer, &batch, loss, NULL);
}

static cadenza_status evaluate(task it, double *loss) {
    size_t time = STEPS;
    const float *inputs = x, *targets = labels;
    cadenza_batch batch = {.struct_size = sizeof batch, .batch = BATCH, .times = &time, .inputs = &inputs, .targets = &targets};
    return cadenza_trainer_evaluate(it.trainer, &batch, loss, NULL);
}

/* Everything that training changes. */
static unsigned char *checkpoint(task it, size_t *size) {
    *size = 0;
    CHECK_OK(cadenza_trainer_checkpoint(it.trainer, NULL, 0, size));
    unsigned char *bytes = allocate(*size);
    CHECK_OK(cadenza_trainer_checkpoint(it.trainer, bytes, *size, size));
    return bytes;
}

static int is_like(task it, const unsigned char *expected, size_t size) {
    size_t own;
    unsigned char *bytes = checkpoint(it, &own);
    int same = own == size && memcmp(bytes, expected, size) == 0;
    free(bytes);
    return same;
}

static void test_updates(void) {
    task it = small();
    double first = 0, later = 0, before = 0, after = 0;
    CHECK_OK(evaluate(it, &before));
    for (int i = 0; i < 20; i++) CHECK_OK(update(it, x, labels, i ? &later : &first));
    CHECK_OK(evaluate(it, &after));
    CHECK(after < before && later < first && cadenza_trainer_updates(it.trainer) == 20);

    float gradient[FEATURES * 80];
    double sum = 0;
    CHECK_OK(cadenza_trainer_gradient(it.trainer, 0, gradient, FEATURES * 80));
    for (size_t i = 0; i < FEATURES * 80; i++) sum += fabs(gradient[i]);
    CHECK(sum > 0);
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_trainer_gradient(it.trainer, 0, gradient, 1), "count");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_trainer_gradient(it.trainer, 99, gradient, 1), "index");
    end(it);
}

/* Updates of every kind of cell, masks among it, or of wide layers: by `threads`, within `memory_limit`. */
static cadenza_status trained(int wide, int32_t rule, size_t threads, size_t memory_limit, task *it) {
    *it = begin(wide ? build(FEATURES, 3, WIDE) : mixed_model(), rule, threads, memory_limit);
    cadenza_status status = CADENZA_OK;
    for (int i = 0; i < UPDATES && !status; i++) status = update(*it, x, labels, NULL);
    return status;
}

static void test_one_answer(void) {
    for (int32_t kind = CADENZA_SGD; kind <= CADENZA_LION + 1; kind++) {
        int wide = kind > CADENZA_LION;
        int32_t rule = wide ? CADENZA_ADAM : kind;
        task one, other;
        size_t size;
        CHECK_OK(trained(wide, rule, 1, 0, &one));
        unsigned char *expected = checkpoint(one, &size);
        for (size_t threads = 2; threads <= 3; threads++) {
            check_trying("optimizer %d%s, %zu threads", (int)rule, wide ? ", wide" : "", threads);
            CHECK_OK(trained(wide, rule, threads, 0, &other));
            CHECK(is_like(other, expected, size));
            end(other);
        }
        /* Ever less memory, until it cannot be done. */
        size_t fewer = 0, limit = 1 << 20;
        cadenza_status status = CADENZA_OK;
        for (; !status; limit -= limit / 10) {
            check_trying("optimizer %d%s, %zu bytes", (int)rule, wide ? ", wide" : "", limit);
            status = trained(wide, rule, 1 + fewer % 2, limit, &other);
            if (!status) CHECK(is_like(other, expected, size)), fewer++;
            else CHECK_FAILS(CADENZA_OUT_OF_MEMORY, status, "memory_limit");
            end(other);
        }
        CHECK(fewer > 10);
        free(expected), end(one);
    }
    check_trying("%s", "");
}

/* The memory that an update takes, in a process of its own. */
static size_t peak(size_t memory_limit) {
    static const char *const layers[] = {"LSTM", "units=64, return_sequences=True", "LSTM", "units=64", "Dense", "units=4", NULL};
    int pipes[2];
    long grown = 0;
    CHECK(pipe(pipes) == 0);
    pid_t child = fork();
    if (child == 0) {
        enum { ROWS = 16, TIME = 500 };
        CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0); /* huge pages, now given and now not, would count as a whole */
        task it = begin(build(FEATURES, 3, layers), CADENZA_ADAM, 1, memory_limit);
        float *inputs = random_floats(ROWS * TIME * FEATURES, 6), targets[ROWS] = {1, 2};
        size_t time = TIME;
        const float *in = inputs, *out = targets;
        cadenza_batch batch = {.struct_size = sizeof batch, .batch = ROWS, .times = &time, .inputs = &in, .targets = &out};
        struct rusage before, after;
        getrusage(RUSAGE_SELF, &before);
        cadenza_status status = cadenza_trainer_update(it.trainer, &batch, NULL, NULL);
        getrusage(RUSAGE_SELF, &after);
        grown = status ? -1 : after.ru_maxrss - before.ru_maxrss;
        _exit(write(pipes[1], &grown, sizeof grown) != sizeof grown);
    }
    CHECK(read(pipes[0], &grown, sizeof grown) == sizeof grown && grown > 0);
    waitpid(child, NULL, 0);
    close(pipes[0]), close(pipes[1]);
    return (size_t)grown * 1024;
}

static void test_memory(void) {
    if (getenv("CADENZA_REDUCED")) return; /* valgrind's own memory would count */
    size_t limit = 12 << 20, whole = peak(0), within = peak(limit);
    check_trying("%zu bytes without a limit, %zu with one of %zu", whole, within, limit);
    CHECK(whole > 3 * limit && within < limit + (4 << 20));
    check_trying("%s", "");
}

static void test_checkpoints(void) {
    task never_stopped = small(), stopped = small(), resumed = small();
    const char *path = "build/tests/trainer.checkpoint";
    for (int i = 0; i < 6; i++) CHECK_OK(update(never_stopped, x, labels, NULL));
    for (int i = 0; i < 3; i++) CHECK_OK(update(stopped, x, labels, NULL));
    randomize(resumed.model, 9);
    CHECK_OK(cadenza_trainer_checkpoint_file(stopped.trainer, path));
    CHECK_OK(cadenza_trainer_restore_file(resumed.trainer, path));
    for (int i = 0; i < 3; i++) CHECK_OK(update(resumed, x, labels, NULL));
    size_t size, own;
    unsigned char *expected = checkpoint(never_stopped, &size), *other;
    CHECK(is_like(resumed, expected, size));

    task of_another = begin(mixed_model(), CADENZA_ADAM, 1, 0), by_another = begin(build(FEATURES, 3, SMALL), CADENZA_SGD, 1, 0);
    other = checkpoint(of_another, &own);
    CHECK_FAILS(CADENZA_MISMATCH, cadenza_trainer_restore(resumed.trainer, other, own), "another model");
    CHECK_FAILS(CADENZA_MISMATCH, cadenza_trainer_restore(by_another.trainer, expected, size), "another optimizer");
    for (size_t cut = 0; cut < size; cut += 1 + size / 40)
        CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_trainer_restore(resumed.trainer, expected, cut), NULL);
    for (size_t place = 0; place < size; place += 1 + size / 40) {
        other = realloc(other, size);
        memcpy(other, expected, size);
        other[place] ^= 16;
        CHECK(cadenza_trainer_restore(resumed.trainer, other, size) != CADENZA_OK);
    }
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_trainer_checkpoint_file(resumed.trainer, "no/such/folder/file"), "no/such/folder");
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_trainer_checkpoint_file(resumed.trainer, "/dev/full/file"), "/dev/full");
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_trainer_restore_file(resumed.trainer, "no/such/file"), "no/such/file");
    CHECK(is_like(resumed, expected, size));
    unlink(path);
    free(expected), free(other);
    end(never_stopped), end(stopped), end(resumed), end(of_another), end(by_another);
}

static void test_wrong_input(void) {
    task it = small();
    CHECK_OK(update(it, x, labels, NULL));
    size_t size;
    unsigned char *expected = checkpoint(it, &size);
    float *inputs = floats(BATCH * STEPS * FEATURES), *targets = floats(BATCH * STEPS);
    for (int kind = 0; kind < 5; kind++) {
        const float wrong[] = {NAN, INFINITY, NAN, -1, CLASSES};
        check_trying("%g in the %s", wrong[kind], kind < 2 ? "input" : "target");
        memcpy(inputs, x, BATCH * STEPS * FEATURES * sizeof *x);
        memcpy(targets, labels, BATCH * STEPS * sizeof *labels);
        (kind < 2 ? inputs : targets)[17] = wrong[kind];
        cadenza_status status = update(it, inputs, targets, NULL);
        if (kind != 1) CHECK_FAILS(CADENZA_INVALID_ARGUMENT, status, kind == 0 ? "NaN|as before" : "class");
        if (status) CHECK(is_like(it, expected, size));
        else CHECK_OK(cadenza_trainer_restore(it.trainer, expected, size)); /* gates can bear an infinite input */
    }
    check_trying("%s", "");
    free(inputs), free(targets);

    size_t time = STEPS, none = 0, huge = SIZE_MAX / 2;
    const float *in = x, *out = labels, *nothing = NULL;
    const cadenza_batch right = {.struct_size = sizeof right, .batch = BATCH, .times = &time, .inputs = &in, .targets = &out};
    cadenza_batch batch = right;
#define REFUSED(field, value, status, words)                                                    \
    batch = right, batch.field = (value);                                                       \
    CHECK_FAILS(status, cadenza_trainer_update(it.trainer, &batch, NULL, NULL), words)
    REFUSED(struct_size, 8, CADENZA_INVALID_ARGUMENT, "struct_size");
    REFUSED(batch, 0, CADENZA_INVALID_ARGUMENT, "batch");
    REFUSED(batch, huge, CADENZA_INVALID_ARGUMENT, "batch");
    REFUSED(times, &none, CADENZA_INVALID_ARGUMENT, NULL);
    REFUSED(times, &huge, CADENZA_INVALID_ARGUMENT, "times");
    REFUSED(inputs, NULL, CADENZA_INVALID_ARGUMENT, "inputs");
    REFUSED(inputs, &nothing, CADENZA_INVALID_ARGUMENT, "input 0");
    REFUSED(targets, NULL, CADENZA_INVALID_ARGUMENT, "targets");
    REFUSED(targets, &nothing, CADENZA_INVALID_ARGUMENT, "targets[0]");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_trainer_update(it.trainer, NULL, NULL, NULL), "batch");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_trainer_update(NULL, &right, NULL, NULL), "trainer");
    CHECK(is_like(it, expected, size));
    free(expected);
    end(it);
}

/* Whatever way to round the caller has set: in penalties and moving statistics, too. */
static void test_rounding_modes(void) {
    static const char *const layers[] = {"GRU", "units=6, return_sequences=True, kernel_regularizer=l2", "BatchNormalization", NULL,
                                         "Dense", "units=4, activation=softmax", NULL};
    const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    unsigned char *expected = NULL;
    double losses[4];
    size_t size = 0;
    for (size_t mode = 0; mode < 4; mode++) {
        check_trying("rounding mode %zu", mode);
        fesetround(modes[mode]);
        task it = begin(build(FEATURES, 3, layers), CADENZA_ADAM, 1, 0);
        for (int i = 0; i < UPDATES; i++) CHECK_OK(update(it, x, labels, &losses[mode]));
        CHECK(fegetround() == modes[mode]);
        fesetround(FE_TONEAREST);
        CHECK(losses[mode] == losses[0]);
        if (mode == 0) expected = checkpoint(it, &size);
        CHECK(is_like(it, expected, size));
        end(it);
    }
    free(expected);
}

int main(void) {
    check_begin();
    x = random_floats(BATCH * STEPS * FEATURES, 1);
    for (size_t i = 0; i < 4; i++) /* steps that are masked */
        for (size_t k = 0; k < FEATURES; k++) x[(i * i + i) * FEATURES + k] = 0.25f;
    labels = floats(BATCH * STEPS);
    random_state = 2;
    for (size_t i = 0; i < BATCH * STEPS; i++) labels[i] = (float)random_below(CLASSES);
    test_updates();
    test_one_answer();
    test_memory();
    test_checkpoints();
    test_wrong_input();
    test_rounding_modes();
    free(x), free(labels);
    return check_end("trainer");
}
