/* How far exp, log, tanh and sigmoid are from the correctly rounded result, over all 2³² floats.
 *
 *     swift build -c release --product cadenza
 *     B=.build/release; gcc -O2 -ISources/CSystem/include benchmarks/accuracy.c \
 *         $B/KernelsV[234].build/[A-Z]*.o $B/CSystem.build/[a-z]*.o -lm -o build/accuracy
 *     build/accuracy [level [function [step]]]
 *
 * The reference is libm's double precision. A distance is counted in floats that lie between. Exits 1 beyond 2.
 */
#include "kernels.h"
#include "system.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static double sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }

/* Where a float stands among all floats. */
static int64_t place(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? -(int64_t)(bits & 0x7FFFFFFF) : bits;
}

static int sweep(const cz_kernels *kernels, const char *name, cz_activation_kind kind, double (*exact)(double), uint64_t step) {
    enum { size = 4096 };
    static float x[size], y[size];
    cz_activation activation = { (int32_t)kind, 0, 0, 0 };
    int64_t worst = 0;
    float worst_at = 0;
    uint64_t off_by[4] = { 0 };
    for (uint64_t first = 0; first < 1ull << 32; first += size * step) {
        for (uint64_t i = 0; i < size; i++) {
            uint32_t bits = (uint32_t)(first + i * step);
            memcpy(&x[i], &bits, sizeof bits);
        }
        kernels->activate(&activation, x, y, size);
        for (int i = 0; i < size; i++) {
            float wanted = (float)exact(x[i]);
            int64_t distance;
            if (isnan(wanted) || isnan(y[i])) distance = isnan(wanted) && isnan(y[i]) ? 0 : INT64_MAX;
            else distance = llabs(place(wanted) - place(y[i]));
            if (wanted == 0 && y[i] == 0 && signbit(wanted) != signbit(y[i])) distance = INT64_MAX;
            off_by[distance < 3 ? distance : 3]++;
            if (distance > worst) {
                worst = distance;
                worst_at = x[i];
            }
        }
    }
    uint64_t total = off_by[0] + off_by[1] + off_by[2] + off_by[3];
    printf("%s %-8s at most %lld (at %a); %.3f %% correctly rounded, %.3g by 1, %.3g by 2, %llu beyond\n", kernels->name, name,
           (long long)worst, (double)worst_at, 100.0 * (double)off_by[0] / (double)total, (double)off_by[1] / (double)total,
           (double)off_by[2] / (double)total, (unsigned long long)off_by[3]);
    fflush(stdout);
    return worst > 2;
}

int main(int argc, char **argv) {
    cz_kernels all[] = { cz_kernels_v2(), cz_kernels_v3(), cz_kernels_v4() };
    struct { const char *name; cz_activation_kind kind; double (*exact)(double); } functions[] = {
        { "exp", CZ_EXP, exp }, { "log", CZ_LOG, log }, { "tanh", CZ_TANH, tanh }, { "sigmoid", CZ_SIGMOID, sigmoid },
    };
    uint64_t step = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    int failed = 0;
    for (int i = 0; i < 3 && i < cz_x86_level() - 1; i++) {
        if (argc > 1 && strcmp(argv[1], all[i].name) != 0) continue;
        for (size_t f = 0; f < sizeof functions / sizeof *functions; f++)
            if (argc < 3 || strcmp(argv[2], functions[f].name) == 0)
                failed |= sweep(&all[i], functions[f].name, functions[f].kind, functions[f].exact, step);
    }
    return failed;
}
