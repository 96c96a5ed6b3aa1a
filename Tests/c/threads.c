/* One model, many threads: each with its own stream gets the bits that a single thread gets, and its own messages. */
#include "support.h"
#include <pthread.h>
#include <sys/wait.h>

enum { THREADS = 8, STEPS = 400 };

static cadenza_model *model;
static size_t features, values;
static float *inputs[THREADS], *expected[THREADS], *answers[THREADS];
static long unlike[THREADS], wrong_messages[THREADS];
static pthread_barrier_t together;

static void stream_through(size_t index, float *out) {
    cadenza_stream *stream = NULL;
    if (cadenza_stream_create(model, 1, &stream)) return;
    for (size_t t = 0; t < STEPS; t++) cadenza_stream_step(stream, inputs[index] + t * features, out + t * values);
    cadenza_stream_release(stream);
}

static void *run(void *argument) {
    size_t index = (size_t)argument;
    pthread_barrier_wait(&together);
    if (*cadenza_last_message()) wrong_messages[index]++; /* the main thread's failure is not ours */
    for (size_t round = 0; round < effort(20, 2); round++) {
        stream_through(index, answers[index]);
        if (!same_bits(answers[index], expected[index], STEPS * values)) unlike[index]++;
        float *whole = floats(STEPS * values);
        size_t last = index * 7 + round + 1;
        if (cadenza_model_run(model, 1, last, inputs[index], whole) ||
            !same_bits(whole, expected[index] + (last - 1) * values, values))
            unlike[index]++;
        free(whole);

        char path[64];
        cadenza_model *none = NULL;
        snprintf(path, sizeof path, "no/such/file-%zu-%zu.keras", index, round);
        if (cadenza_model_load_file(path, NULL, &none) != CADENZA_SYSTEM || none) wrong_messages[index]++;
        pthread_barrier_wait(&together); /* everybody has failed by now */
        if (!strstr(cadenza_last_message(), path)) wrong_messages[index]++;
    }
    return NULL;
}

/* A process that was forked off has none of a pool's threads: it goes on alone, and lets go. */
static void forked(const cadenza_model *model) {
    check_trying("a process that was forked off");
    cadenza_pool *pool = NULL;
    uint64_t ids[64];
    size_t features = input_size(model, 0), units = output_size(model, 0);
    float *x = random_floats(64 * features, 3), *here = floats(64 * units), *there = floats(64 * units);
    CHECK_OK(cadenza_pool_create(model, 3, &pool));
    for (int i = 0; i < 64; i++) CHECK_OK(cadenza_pool_join(pool, &ids[i]));
    CHECK_OK(cadenza_pool_step(pool, 64, ids, x, here));
    usleep(20000); /* the others are asleep by now */
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        int failed = cadenza_pool_step(pool, 64, ids, x, there) != CADENZA_OK;
        cadenza_pool_release(pool);
        failed |= write(ends[1], there, 64 * units * sizeof *there) < 0;
        _exit(failed);
    }
    int status = 0;
    close(ends[1]);
    CHECK_OK(cadenza_pool_step(pool, 64, ids, x, here));
    CHECK(read(ends[0], there, 64 * units * sizeof *there) == (ssize_t)(64 * units * sizeof *there));
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(same_bits(here, there, 64 * units));
    close(ends[0]);
    free(x), free(here), free(there);
    cadenza_pool_release(pool);
}

int main(void) {
    check_begin();
    pthread_t threads[THREADS];
    if (!(model = load(RAIN_KERAS))) return check_end("threads");
    features = input_size(model, 0), values = output_size(model, 0);
    for (size_t i = 0; i < THREADS; i++) {
        inputs[i] = random_floats(STEPS * features, i);
        expected[i] = floats(STEPS * values), answers[i] = floats(STEPS * values);
        stream_through(i, expected[i]);
    }
    CHECK(!same_bits(expected[0], expected[1], STEPS * values));
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_stream_step(NULL, inputs[0], answers[0]), "stream");

    pthread_barrier_init(&together, NULL, THREADS);
    for (size_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, run, (void *)i) == 0);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(unlike[i] == 0);
        CHECK(wrong_messages[i] == 0);
        free(inputs[i]), free(expected[i]), free(answers[i]);
    }
    pthread_barrier_destroy(&together);
    CHECK(strstr(cadenza_last_message(), "stream") != NULL); /* the other threads' failures are not ours */
    forked(model);
    cadenza_model_release(model);
    return check_end("threads");
}
