/* Law 3: once a stream or a generator is there, its steps are arithmetic only. This program's malloc, mmap and locks stand before
 * libc's and count; and a child that the kernel lets do nothing but exit makes a thousand steps. */
#include "support.h"
#include <dlfcn.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static long allocations, locks;

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

void *malloc(size_t size) { return allocations++, __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return allocations++, __libc_calloc(count, size); }
void *realloc(void *memory, size_t size) { return allocations++, __libc_realloc(memory, size); }
void *memalign(size_t alignment, size_t size) { return allocations++, __libc_memalign(alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { return allocations++, __libc_memalign(alignment, size); }
void free(void *memory) { allocations++, __libc_free(memory); }

int posix_memalign(void **memory, size_t alignment, size_t size) {
    allocations++;
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : 12;
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    allocations++;
    return (void *)syscall(SYS_mmap, address, size, protection, flags, file, offset);
}

int munmap(void *address, size_t size) { return allocations++, (int)syscall(SYS_munmap, address, size); }

#define COUNTED_LOCK(name, type)                                     \
    int name(type *lock) {                                           \
        static int (*real)(type *);                                  \
        if (!real) real = (int (*)(type *))dlsym(RTLD_NEXT, #name);  \
        return locks++, real(lock);                                  \
    }
COUNTED_LOCK(pthread_mutex_lock, pthread_mutex_t)
COUNTED_LOCK(pthread_mutex_trylock, pthread_mutex_t)
COUNTED_LOCK(pthread_rwlock_rdlock, pthread_rwlock_t)
COUNTED_LOCK(pthread_rwlock_wrlock, pthread_rwlock_t)
COUNTED_LOCK(pthread_spin_lock, pthread_spinlock_t)

enum { BATCH = 3, CHUNK = 7 };

/* Every call that belongs to a running stream, `rounds` times. Nothing of its own allocates. */
static int run_calls(const cadenza_model *model, cadenza_stream *stream, size_t rounds, const float *const *inputs,
                     float *const *outputs, float *const *states, float *state) {
    int failed = 0;
    for (size_t i = 0; i < rounds; i++) {
        uint64_t position;
        size_t nonfinite;
        if (cadenza_model_input_count(model) == 1) {
            failed |= cadenza_stream_step(stream, inputs[0], outputs[0]);
            failed |= cadenza_stream_peek(stream, inputs[0], outputs[0]);
            failed |= cadenza_stream_run(stream, CHUNK, inputs[0], outputs[0]);
        }
        failed |= cadenza_stream_step_multi(stream, inputs, outputs);
        failed |= cadenza_stream_peek_multi(stream, inputs, outputs);
        failed |= cadenza_stream_run_multi(stream, CHUNK, inputs, outputs, states);
        failed |= cadenza_stream_state_get(stream, 0, state);
        failed |= cadenza_stream_state_set(stream, 0, state);
        failed |= cadenza_stream_position(stream, 1, &position);
        failed |= cadenza_stream_health(stream, 1, &nonfinite);
        failed |= cadenza_stream_reset_row(stream, i % BATCH);
        if (i % 5 == 0) failed |= cadenza_stream_reset(stream);
    }
    return failed;
}

static long page_faults(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt + usage.ru_majflt;
}

static void test_model(const char *name, cadenza_model *model) {
    check_trying("%s", name);
    if (!model) return;
    const float *inputs[2];
    float *outputs[2], *states[16], *memory[4];
    size_t ins = cadenza_model_input_count(model), outs = cadenza_model_output_count(model), kept = 0;
    for (size_t i = 0; i < ins; i++) inputs[i] = memory[kept++] = random_floats(BATCH * CHUNK * input_size(model, i), i);
    for (size_t i = 0; i < outs; i++) outputs[i] = memory[kept++] = floats(BATCH * CHUNK * output_size(model, i));
    size_t count = cadenza_model_state_count(model);
    CHECK(count > 0 && count <= 16);
    for (size_t i = 0; i < count; i++) states[i] = floats(BATCH * CHUNK * state_units(model, i));
    float *state = floats(BATCH * state_units(model, 0));

    cadenza_stream *stream = NULL;
    long before = allocations;
    CHECK_OK(cadenza_stream_create(model, BATCH, &stream));
    CHECK(allocations > before); /* the counters see the library */

    /* The first call is not excused; of page faults only where memory cannot be locked, as the program's own pages must come. */
    int is_locked = mlockall(MCL_CURRENT) == 0;
    before = allocations;
    long locked = locks, faults = 0;
    int failed = is_locked ? 0 : run_calls(model, stream, 1, inputs, outputs, states, state);
    if (!getenv("CADENZA_REDUCED")) faults = page_faults();
    failed |= run_calls(model, stream, effort(2000, 50), inputs, outputs, states, state);
    long allocated = allocations - before;
    locked = locks - locked;
    if (!getenv("CADENZA_REDUCED")) CHECK(page_faults() == faults);
    munlockall();
    CHECK(failed == 0);
    CHECK(allocated == 0);
    CHECK(locked == 0);

    if (!getenv("CADENZA_REDUCED")) { /* valgrind makes system calls of its own */
        pid_t child = fork();
        if (child == 0) {
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT); /* from here on: read, write, exit, or be killed */
            syscall(SYS_exit, run_calls(model, stream, 1000, inputs, outputs, states, state) ? 1 : 0);
        }
        int status = 0;
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    for (size_t i = 0; i < count; i++) free(states[i]);
    for (size_t i = 0; i < kept; i++) free(memory[i]);
    free(state);
    cadenza_stream_release(stream);
    cadenza_model_release(model);
}

static cadenza_model *narrow_model(int32_t precision) {
    cadenza_model *model = mixed_model(), *narrow = NULL;
    CHECK_OK(cadenza_model_quantize(model, precision, &narrow));
    cadenza_model_release(model);
    return narrow;
}

/* ── Generators ───────────────────────────────────────────────────────────────────────────────────────── */

enum { CLASSES = 6, STEPS = 9 };

static int never(void *context, size_t row, size_t step, const float *values, size_t count, float *result) {
    (void)context, (void)row, (void)step, (void)values, (void)count;
    result[0] = 0;
    return 0;
}

typedef struct {
    cadenza_selffeeding *generator;
    cadenza_nested *nested;
    float *primer, *values, *drawn, *logs, *samples;
    cadenza_nested_item *items;
} generators;

/* Every call that belongs to running generators. Samples are pushed as many as before. */
static int run_generators(const generators *g, size_t rounds) {
    static const size_t lengths[BATCH] = {2, 0, 1}, counts[2] = {3, 0};
    const float *inputs = g->primer;
    int failed = 0;
    for (size_t i = 0; i < rounds; i++) {
        cadenza_run_info run = {.struct_size = sizeof run};
        uint64_t steps;
        size_t made[BATCH], count = 7;
        failed |= cadenza_selffeeding_prime(g->generator, 2, &inputs, i % 2 ? lengths : NULL);
        failed |= cadenza_selffeeding_run(g->generator, STEPS, NULL, g->values, g->drawn, g->logs, made);
        failed |= cadenza_selffeeding_row(g->generator, 1, &run);
        if (i % 3 == 0) failed |= cadenza_selffeeding_reset(g->generator);
        if (i % 3 == 0) failed |= cadenza_selffeeding_score(g->generator, STEPS, g->drawn, NULL, NULL, g->logs);
        failed |= cadenza_nested_push(g->nested, 2, g->samples, i % 2 ? lengths : NULL, counts, 0);
        while (count == 7) failed |= cadenza_nested_pull(g->nested, 7, g->values, g->drawn, g->items, &count);
        failed |= cadenza_nested_row(g->nested, 1, 1, &run);
        failed |= cadenza_nested_steps(g->nested, 1, &steps);
        if (i % 5 == 0) failed |= cadenza_nested_reset(g->nested);
    }
    return failed;
}

static void test_generators(void) {
    check_trying("generators");
    static const char *const text_layers[] = {"LSTM", "units=8, return_sequences=True", "Dense", "units=6", NULL},
                      *const above_layers[] = {"GRU", "units=4, return_sequences=True", NULL},
                      *const below_layers[] = {"LSTM", "units=6, return_sequences=True", NULL},
                      *const dense_layers[] = {"Dense", "units=6", NULL}, *const head_layers[] = {"Dense", "units=12", NULL};
    cadenza_model *text = build(CLASSES, 1, text_layers), *a = build(3, 2, above_layers), *b = build(4 + 6, 3, below_layers),
                  *c = build(6 + 6, 4, below_layers), *dense = build(6, 5, dense_layers), *head = build(6, 6, head_layers);
    cadenza_sampler sampler;
    cadenza_sampler_init(&sampler);
    sampler.kind = CADENZA_SAMPLE_CATEGORICAL;
    sampler.top_k = 4, sampler.top_p = 0.9f, sampler.min_p = 0.01f, sampler.repetition_penalty = 1.2f;
    cadenza_stop stops[3];
    for (int i = 0; i < 3; i++) cadenza_stop_init(&stops[i]);
    stops[0].kind = CADENZA_STOP_NORM_ABOVE, stops[0].through = dense, stops[0].threshold = 9;
    stops[1].kind = CADENZA_STOP_GATE, stops[1].element = 2;
    stops[2].kind = CADENZA_STOP_CALLBACK, stops[2].callback = never;
    cadenza_generator_options options;
    cadenza_generator_options_init(&options);
    options.sampler = &sampler;
    options.stops = stops, options.stop_count = 3;
    options.feedback = CADENZA_FEEDBACK_SAMPLE, options.one_hot = CLASSES, options.feedback_model = dense;
    options.limit = 5, options.minimum = 1;
    cadenza_level levels[2];
    for (int i = 0; i < 2; i++) cadenza_level_init(&levels[i]), levels[i].options = &options;
    levels[0].model = b, levels[0].is_counted = 1;
    levels[1].model = c, levels[1].policy = CADENZA_STATE_GIVEN, levels[1].initial_state = head;
    float *primer = random_floats(BATCH * 2 * CLASSES, 7), *samples = random_floats(BATCH * 2 * 3, 8);
    generators g = {NULL, NULL, primer, floats(BATCH * STEPS * CLASSES), floats(BATCH * STEPS), floats(BATCH * STEPS), samples,
                    allocate(7 * sizeof(cadenza_nested_item))};
    CHECK_OK(cadenza_selffeeding_create(text, BATCH, &options, &g.generator));
    CHECK_OK(cadenza_nested_create(a, levels, 2, BATCH, &g.nested));
    CHECK(run_generators(&g, 1) == 0); /* samples have their memory from here on */
    long before = allocations, locked = locks;
    CHECK(run_generators(&g, effort(2000, 50)) == 0);
    CHECK(allocations - before == 0);
    CHECK(locks - locked == 0);
    if (!getenv("CADENZA_REDUCED")) {
        pid_t child = fork();
        if (child == 0) {
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
            syscall(SYS_exit, run_generators(&g, 200) ? 1 : 0);
        }
        int status = 0;
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    cadenza_selffeeding_release(g.generator), cadenza_nested_release(g.nested);
    cadenza_model *const models[] = {text, a, b, c, dense, head};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) cadenza_model_release(models[i]);
    free(primer), free(samples), free(g.values), free(g.drawn), free(g.logs), free(g.items);
}

/* The kernel's part works: a child that asks for more is killed. */
static void test_that_the_kernel_watches(void) {
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
        syscall(SYS_getpid);
        syscall(SYS_exit, 0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

int main(void) {
    check_begin();
    test_that_the_kernel_watches();
    test_model("rain.keras", load(RAIN_KERAS));
    test_model("mixed", mixed_model());
    test_model("two inputs", two_inputs_model());
    test_model("bf16", narrow_model(CADENZA_BF16));
    test_model("int8", narrow_model(CADENZA_INT8));
    test_generators();
    return check_end("allocation");
}
