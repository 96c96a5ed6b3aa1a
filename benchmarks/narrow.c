/* Narrow weights beside floats: what a step costs with bf16 and int8, and how many times faster it is.
 *
 *     swift build -c release --product cadenza
 *     B=.build/release; clang -O2 -ISources/CSystem/include benchmarks/narrow.c \
 *         $B/KernelsV[234].build/[A-Z]*.o $B/CSystem.build/[a-z]*.o -lm -o build/narrow
 *     build/narrow [x86-64-v2 | x86-64-v3 | x86-64-v4]
 *
 * The three take turns; figures are medians of the time that the thread was given, ratios those of the medians.
 */
#include "kernels.h"
#include "system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KINDS = 3, ROUNDS = 101 };

static cz_kernels kernels;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *random_floats(long count, float size) {
    float *p = cz_allocate((size_t)count * 4);
    for (long i = 0; i < count; i++) p[i] = size * ((float)rand() / (float)RAND_MAX - 0.5f);
    return p;
}

/* Any bits will do for whole numbers; of halves, those of small floats. */
static cz_weights random_weights(int kind, long inputs, long outputs) {
    long bytes = (inputs * outputs * 4) >> kind; /* inputs: a multiple of four */
    unsigned char *panels = cz_allocate((size_t)bytes + 64);
    for (long i = 0; i < bytes; i++) panels[i] = (unsigned char)rand();
    if (kind < 2) {
        float *values = random_floats(inputs * outputs, 0.1f);
        for (long i = 0; i < inputs * outputs; i++) memcpy(panels + (i * 4 >> kind), (char *)&values[i] + 2 * kind, (size_t)4 >> kind);
        cz_free(values);
    }
    return (cz_weights){ panels, random_floats(outputs, 0x1p-10f * 0x1p-24f), kind };
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* An LSTM's step of `rows` rows. */
static void compare(long units, long inputs, long rows) {
    long width = (units + 15) / 16 * 16;
    cz_lstm calls[KINDS];
    float *x = random_floats(rows * inputs, 1), *bias = random_floats(width * 4, 0.2f), *h = random_floats(rows * width, 1);
    float *c = random_floats(rows * width, 1), *h_out = random_floats(rows * width, 1), *c_out = random_floats(rows * width, 1);
    for (int kind = 0; kind < KINDS; kind++)
        calls[kind] = (cz_lstm){ .rows = rows, .inputs = inputs, .units = units, .x = x, .x_stride = inputs, .bias = bias,
            .kernel = random_weights(kind, inputs, width * 4), .recurrent = random_weights(kind, units, width * 4), .h = h, .c = c,
            .state_stride = width, .h_out = h_out, .c_out = c_out, .state_out_stride = width,
            .activation = { CZ_TANH }, .recurrent_activation = { CZ_SIGMOID } };
    double seconds[KINDS][ROUNDS];
    for (int round = 0; round < ROUNDS; round++)
        for (int kind = 0; kind < KINDS; kind++) {
            kernels.lstm(&calls[kind]);
            double start = now();
            kernels.lstm(&calls[kind]);
            seconds[kind][round] = now() - start;
        }
    double weights = 4.0 * (double)units * (double)(inputs + units);
    printf("LSTM %ld, %ld inputs, %ld row%s, %.1f MB of floats:", units, inputs, rows, rows > 1 ? "s" : "", weights * 4 / 1048576);
    for (int kind = 0; kind < KINDS; kind++) {
        qsort(seconds[kind], ROUNDS, sizeof(double), ascending);
        const char *names[KINDS] = { "float32", "bf16", "int8" };
        double median = seconds[kind][ROUNDS / 2];
        printf("  %s %.1f us %.1f GB/s %.2fx", names[kind], median * 1e6, weights * (4 >> kind) / median / 1e9,
               seconds[0][ROUNDS / 2] / median);
    }
    printf("\n");
    const void *all[] = { x, bias, h, c, h_out, c_out };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) cz_free((void *)all[i]);
    for (int kind = 0; kind < KINDS; kind++) {
        const cz_weights *both[] = { &calls[kind].kernel, &calls[kind].recurrent };
        for (int i = 0; i < 2; i++) { cz_free((void *)both[i]->panels); cz_free((void *)both[i]->scales); }
    }
}

int main(int argc, char **argv) {
    cz_kernels all[] = { cz_kernels_v2(), cz_kernels_v3(), cz_kernels_v4() };
    int best = cz_x86_level() - 2;
    kernels = all[best];
    for (int i = 0; argc > 1 && i <= best; i++)
        if (strcmp(all[i].name, argv[1]) == 0) kernels = all[i];
    printf("%s\n", kernels.name);
    compare(1024, 1024, 1);
    compare(1024, 64, 1);
    compare(512, 64, 1);
    compare(256, 64, 1);
    compare(256, 64, 256);
    return 0;
}
