/* Steps of a stream from C, for benchmarks/bench.py: as a library that makes or times many, and as a program that
 * loads a model and makes the first one. */
#include <cadenza.h>
#include <stdio.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* `steps` steps over `count` samples of `width` floats, again and again. */
int steps_make(cadenza_stream *stream, size_t steps, const float *samples, size_t count, size_t width, float *answer) {
    for (size_t i = 0; i < steps; i++)
        if (cadenza_stream_step(stream, samples + i % count * width, answer)) return 1;
    return 0;
}

/* The same, with the seconds that each step took. */
int steps_time(cadenza_stream *stream, size_t steps, const float *samples, size_t count, size_t width, float *answer, double *seconds) {
    for (size_t i = 0; i < steps; i++) {
        double start = now();
        if (cadenza_stream_step(stream, samples + i % count * width, answer)) return 1;
        seconds[i] = now() - start;
    }
    return 0;
}

/* For a model with three inputs and one output: prints the seconds from before it is loaded to the first answer. */
int main(int count, char **paths) {
    float sample[3] = { 0.1f, 0.2f, 0.3f }, answer[1];
    cadenza_model *model = NULL;
    cadenza_stream *stream = NULL;
    double start = now();
    if (count < 2 || cadenza_model_load_file(paths[1], NULL, &model) || cadenza_stream_create(model, 1, &stream) ||
        cadenza_stream_step(stream, sample, answer))
        return 1;
    printf("%.9f\n", now() - start);
    cadenza_stream_release(stream);
    cadenza_model_release(model);
    return 0;
}
