/* What this machine does at most: fused multiply-adds of floats, and bytes read from a cache or from memory.
 *
 *     clang -O3 -march=native -ffp-contract=fast -shared -fPIC benchmarks/limits.c -o limits.so
 */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
enum { width = 64 };
#elif defined(__AVX__)
enum { width = 32 };
#else
enum { width = 16 };
#endif
typedef float floats __attribute__((vector_size(width)));
typedef uint64_t words __attribute__((vector_size(width)));

volatile float sink;

typedef struct {
    uint64_t count;
} work;

/* Twelve chains in flight: more than latency times throughput of any core so far. */
static void *multiply_add(void *argument) {
    enum { chains = 12 };
    floats sums[chains] = { { 0 } }, a = { 0 }, b = { 0 };
    a += (float)sink;
    b += (float)sink;
    for (uint64_t i = ((work *)argument)->count; i; i--)
#pragma clang loop unroll(full)
        for (int chain = 0; chain < chains; chain++) sums[chain] = sums[chain] * a + b;
    for (int chain = 1; chain < chains; chain++) sums[0] += sums[chain];
    sink = sums[0][0];
    return NULL;
}

/* About so many operations, a multiply-add being two, shared among threads. Returns how many were made. */
double limits_multiply_add(double operations, int threads) {
    const double block = 2.0 * 12 * width / 4;
    work each = { (uint64_t)(operations / block / threads) + 1 };
    pthread_t others[64];
    int started = 0;
    while (started < threads - 1 && started < 64 && !pthread_create(&others[started], NULL, multiply_add, &each)) started++;
    multiply_add(&each);
    for (int i = 0; i < started; i++) pthread_join(others[i], NULL);
    return block * (double)each.count * (started + 1);
}

/* Reads `bytes`, a multiple of 512, so many times. */
void limits_read(const char *memory, size_t bytes, size_t times) {
    enum { ways = 8 };
    words all[ways] = { { 0 } };
    for (; times; times--) {
        for (const char *p = memory; p < memory + bytes; p += ways * width)
            for (int way = 0; way < ways; way++) all[way] |= *(const words *)(p + way * width);
        __asm__ volatile("" ::: "memory");
    }
    for (int way = 1; way < ways; way++) all[0] |= all[way];
    sink = (float)all[0][0];
}
