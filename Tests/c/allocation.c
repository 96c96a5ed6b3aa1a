/* Law 3: once a stream is there, its steps are arithmetic only. This program's malloc, mmap and locks stand before
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

    /* The first call is not excused. */
    before = allocations;
    long locked = locks;
    int failed = run_calls(model, stream, effort(2000, 50), inputs, outputs, states, state);
    long allocated = allocations - before;
    locked = locks - locked;
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
    return check_end("allocation");
}
