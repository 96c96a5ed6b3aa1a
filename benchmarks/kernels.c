/* The SIMD kernels beside the limits of the core they run on, measured in the same run.
 *
 *     swift build -c release --product cadenza
 *     B=.build/release; gcc -O2 -march=x86-64-v3 -ISources/CSystem/include benchmarks/kernels.c \
 *         $B/KernelsV[234].build/[A-Z]*.o $B/CSystem.build/[a-z]*.o -lm -o build/kernels
 *     build/kernels [x86-64-v2 | x86-64-v3 | x86-64-v4]
 *
 * Every figure is the best of many runs: what the code can do, not what the machine was busy with.
 */
#include "kernels.h"
#include "system.h"

#include <immintrin.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>


static cz_kernels kernels;
static double peak_gflops;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one call of `body`, the best of many batches of calls that take about `batch` seconds. */
#define BEST(seconds, batch, body)                                              \
    do {                                                                        \
        long count_ = 1;                                                        \
        for (;;) {                                                              \
            double start_ = now();                                              \
            for (long i_ = 0; i_ < count_; i_++) { body; }                      \
            if (now() - start_ > (batch)) break;                                \
            count_ *= 2;                                                        \
        }                                                                       \
        seconds = INFINITY;                                                     \
        for (int round_ = 0; round_ < 60; round_++) {                           \
            double start_ = now();                                              \
            for (long i_ = 0; i_ < count_; i_++) { body; }                      \
            double t_ = (now() - start_) / (double)count_;                      \
            if (t_ < seconds) seconds = t_;                                     \
        }                                                                       \
    } while (0)

#define FMA(n) "vfmadd231ps %%ymm15, %%ymm15, %%ymm" #n "\n"
#define FMAS FMA(0) FMA(1) FMA(2) FMA(3) FMA(4) FMA(5) FMA(6) FMA(7) FMA(8) FMA(9) FMA(10) FMA(11)

/* 24,000 fused multiply-adds of eight floats, twelve in flight. */
static void fma_loop(void) {
    for (int i = 0; i < 500; i++)
        __asm__ volatile(FMAS FMAS FMAS FMAS ::: "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8",
                         "ymm9", "ymm10", "ymm11");
}

static void read_loop(const char *p, long bytes) {
    const char *end = p + bytes;
    for (; p < end; p += 256)
        __asm__ volatile("vmovaps (%0), %%ymm0\n vmovaps 32(%0), %%ymm1\n vmovaps 64(%0), %%ymm2\n vmovaps 96(%0), %%ymm3\n"
                         "vmovaps 128(%0), %%ymm4\n vmovaps 160(%0), %%ymm5\n vmovaps 192(%0), %%ymm6\n vmovaps 224(%0), %%ymm7\n"
                         :: "r"(p) : "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7");
}

static double read_rate(long bytes) {
    char *memory = cz_allocate((size_t)bytes);
    double seconds;
    BEST(seconds, 2e-3, read_loop(memory, bytes));
    cz_free(memory);
    return (double)bytes / seconds / 1e9;
}

static float *random_floats(long count, float size) {
    float *p = cz_allocate((size_t)count * 4);
    for (long i = 0; i < count; i++) p[i] = size * ((float)rand() / (float)RAND_MAX - 0.5f);
    return p;
}

static long blocks(long units) { return (units + 15) / 16; }

static cz_activation kind(cz_activation_kind k) { return (cz_activation){ (int32_t)k, 0, 0, 0 }; }

static cz_lstm make_lstm(long rows, long inputs, long units) {
    long width = blocks(units) * 16;
    cz_lstm l = { .rows = rows, .inputs = inputs, .units = units,
        .x = random_floats(rows * inputs, 1), .x_stride = inputs,
        .kernel.panels = random_floats(inputs * width * 4, 0.2f), .recurrent.panels = random_floats(units * width * 4, 0.2f),
        .bias = random_floats(width * 4, 0.2f), .h = random_floats(rows * width, 1), .c = random_floats(rows * width, 1),
        .state_stride = width, .h_out = random_floats(rows * width, 1), .c_out = random_floats(rows * width, 1),
        .state_out_stride = width, .activation = kind(CZ_TANH), .recurrent_activation = kind(CZ_SIGMOID) };
    return l;
}

static void free_lstm(cz_lstm *l) {
    const float *all[] = { l->x, l->kernel.panels, l->recurrent.panels, l->bias, l->h, l->c, l->h_out, l->c_out };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) cz_free((void *)all[i]);
}

/* A step, then the states trade places, as a stream's do. */
static void lstm_step(cz_lstm *l) {
    kernels.lstm(l);
    float *h = l->h_out, *c = l->c_out;
    l->h_out = (float *)l->h;
    l->c_out = (float *)l->c;
    l->h = h;
    l->c = c;
}

/* Beside the time that it takes to read as many bytes, from whichever cache holds them. */
static void report_stream(const char *name, double seconds, double bytes) {
    double floor = bytes / read_rate((long)bytes / 256 * 256) / 1e9;
    printf("%-28s %9.1f ns  %8.1f kB  %6.1f GB/s  reading alone %9.1f ns  ratio %.2f\n", name, seconds * 1e9, bytes / 1024,
           bytes / seconds / 1e9, floor * 1e9, seconds / floor);
}

static void report_product(const char *name, double seconds, double flops) {
    printf("%-28s %9.1f us  %6.1f GFLOP/s  %.1f %% of peak\n", name, seconds * 1e6, flops / seconds / 1e9,
           100 * flops / seconds / 1e9 / peak_gflops);
}

static void bench_lstm(const char *name, long units, long inputs) {
    cz_lstm l = make_lstm(1, inputs, units);
    double seconds;
    BEST(seconds, 1e-3, lstm_step(&l));
    report_stream(name, seconds, 16.0 * (double)units * (double)(inputs + units + 1));
    free_lstm(&l);
}

static void bench_gru(const char *name, long units, long inputs, int reset_after) {
    long width = blocks(units) * 16;
    cz_gru g = { .rows = 1, .inputs = inputs, .units = units, .x = random_floats(inputs, 1), .x_stride = inputs,
        .kernel.panels = random_floats(inputs * width * 3, 0.2f), .recurrent.panels = random_floats(units * width * 3, 0.2f),
        .bias = random_floats(width * 3, 0.2f), .h = random_floats(width, 1), .state_stride = width,
        .h_out = random_floats(width, 1), .state_out_stride = width, .scratch = random_floats(width * 2, 1),
        .activation = kind(CZ_TANH), .recurrent_activation = kind(CZ_SIGMOID) };
    if (reset_after) g.recurrent_bias_h = random_floats(width, 0.2f);
    else g.recurrent_h.panels = random_floats(units * width, 0.2f);
    double seconds;
    BEST(seconds, 1e-3, kernels.gru(&g));
    report_stream(name, seconds, 12.0 * (double)units * (double)(inputs + units + 1));
}

/* Both LSTMs of the rain model and its Dense layer, one after another. */
static void bench_rain(void) {
    cz_lstm a = make_lstm(1, 3, 32), b = make_lstm(1, 32, 16);
    float *dense = random_floats(16 * 16, 1), *bias = random_floats(16, 1), out[1];
    cz_activation sigmoid = kind(CZ_SIGMOID);
    double seconds;
    BEST(seconds, 1e-3, {
        lstm_step(&a);
        b.x = a.h;
        lstm_step(&b);
        kernels.affine(b.h, 16, 1, 16, dense, 1, bias, 0, out, 1);
        kernels.activate(&sigmoid, out, out, 1);
    });
    report_stream("rain: LSTM 32, 16, Dense 1", seconds, 4.0 * (4 * 32 * (3 + 32 + 1) + 4 * 16 * (32 + 16 + 1) + 17));
}

static void bench_rows(const char *name, long rows, long inputs, long units) {
    cz_lstm l = make_lstm(rows, inputs, units);
    double seconds;
    BEST(seconds, 5e-3, lstm_step(&l));
    report_product(name, seconds, 8.0 * (double)rows * (double)units * (double)(inputs + units));
    free_lstm(&l);
}

static void bench_affine(const char *name, long rows, long inputs, long outputs) {
    float *x = random_floats(rows * inputs, 1), *w = random_floats(inputs * blocks(outputs) * 16, 1);
    float *b = random_floats(blocks(outputs) * 16, 1), *y = random_floats(rows * outputs, 1);
    double seconds;
    BEST(seconds, 5e-3, kernels.affine(x, inputs, rows, inputs, w, outputs, b, 0, y, outputs));
    report_product(name, seconds, 2.0 * (double)rows * (double)inputs * (double)outputs);
    cz_free(x); cz_free(w); cz_free(b); cz_free(y);
}

static void bench_activation(const char *name, cz_activation_kind k) {
    float *x = random_floats(1024, 8), *y = random_floats(1024, 1);
    cz_activation a = kind(k);
    double seconds;
    BEST(seconds, 1e-3, kernels.activate(&a, x, y, 1024));
    printf("%-28s %9.2f ns a value\n", name, seconds * 1e9 / 1024);
    cz_free(x); cz_free(y);
}

int main(int argc, char **argv) {
    kernels = cz_x86_level() >= 4 ? cz_kernels_v4() : cz_x86_level() >= 3 ? cz_kernels_v3() : cz_kernels_v2();
    if (argc > 1) {
        cz_kernels all[] = { cz_kernels_v2(), cz_kernels_v3(), cz_kernels_v4() };
        for (int i = 0; i < cz_x86_level() - 1; i++)
            if (strcmp(all[i].name, argv[1]) == 0) kernels = all[i];
    }
    double seconds;
    BEST(seconds, 2e-3, fma_loop());
    peak_gflops = 24000.0 * 16 / seconds / 1e9;
    printf("%s; this core: FMA %.1f GFLOP/s; reads 24 kB at %.1f, 512 kB at %.1f, 6 MB at %.1f, 21 MB at %.1f GB/s\n", kernels.name,
           peak_gflops, read_rate(24 << 10), read_rate(512 << 10), read_rate(6 << 20), read_rate(21 << 20));
    bench_rain();
    bench_lstm("LSTM 32, 3 inputs", 32, 3);
    bench_lstm("LSTM 16, 32 inputs", 16, 32);
    bench_lstm("LSTM 128, 128 inputs", 128, 128);
    bench_lstm("LSTM 128, 64 inputs", 128, 64);
    bench_lstm("LSTM 256, 64 inputs", 256, 64);
    bench_lstm("LSTM 512, 64 inputs", 512, 64);
    bench_lstm("LSTM 1024, 64 inputs", 1024, 64);
    bench_gru("GRU 32, 8 inputs", 32, 8, 1);
    bench_gru("GRU 256, 64 inputs", 256, 64, 1);
    bench_gru("GRU 256, reset before", 256, 64, 0);
    bench_rows("256 rows LSTM 256, 64", 256, 64, 256);
    bench_rows("1024 rows LSTM 32, 3", 1024, 3, 32);
    bench_rows("1024 rows LSTM 16, 32", 1024, 32, 16);
    bench_rows("32 rows LSTM 128, 64", 32, 64, 128);
    for (long rows = 2; rows <= 6; rows++) {
        char name[40];
        snprintf(name, sizeof name, "%ld rows LSTM 128, 64", rows);
        bench_rows(name, rows, 64, 128);
    }
    bench_affine("affine 256 x 256 x 1024", 256, 256, 1024);
    bench_affine("affine 3200 x 64 x 512", 3200, 64, 512);
    bench_affine("affine 1024 x 1024 x 1024", 1024, 1024, 1024);
    bench_activation("sigmoid", CZ_SIGMOID);
    bench_activation("tanh", CZ_TANH);
    bench_activation("exp", CZ_EXP);
    bench_activation("log", CZ_LOG);
    bench_activation("gelu", CZ_GELU);
    return 0;
}
