/* Sixteen floats and what the kernels do with them, one vector instruction (or two, or four) each.
 *
 * Swift's own SIMD types compute in floating point lane by lane and leave it to the optimiser to find the vector
 * again, which it does in small functions and fails to in large ones. These are vectors from the start.
 */
#ifndef CADENZA_VECTOR_H
#define CADENZA_VECTOR_H

#include <stdint.h>

#ifdef __clang__

typedef float cz_floats __attribute__((ext_vector_type(16)));
typedef uint32_t cz_bits __attribute__((ext_vector_type(16)));
typedef int32_t cz_lanes __attribute__((ext_vector_type(16)));

#define CZ_INLINE static inline __attribute__((always_inline, const))

CZ_INLINE cz_floats cz_splat(float x) { return (cz_floats)x; }
CZ_INLINE cz_floats cz_add(cz_floats x, cz_floats y) { return x + y; }
CZ_INLINE cz_floats cz_subtract(cz_floats x, cz_floats y) { return x - y; }
CZ_INLINE cz_floats cz_multiply(cz_floats x, cz_floats y) { return x * y; }
CZ_INLINE cz_floats cz_divide(cz_floats x, cz_floats y) { return x / y; }
CZ_INLINE cz_floats cz_negate(cz_floats x) { return -x; }
CZ_INLINE cz_floats cz_square_root(cz_floats x) { return __builtin_elementwise_sqrt(x); }

/* x·y + z, rounded once. */
CZ_INLINE cz_floats cz_fused(cz_floats x, cz_floats y, cz_floats z) { return __builtin_elementwise_fma(x, y, z); }

/* By lane: all bits where it holds, else none. */
CZ_INLINE cz_lanes cz_is_less(cz_floats x, cz_floats y) { return x < y; }
CZ_INLINE cz_lanes cz_is_at_most(cz_floats x, cz_floats y) { return x <= y; }
CZ_INLINE cz_lanes cz_is_equal(cz_floats x, cz_floats y) { return x == y; }

/* By lane: x where `where` holds, else y. */
CZ_INLINE cz_floats cz_select(cz_lanes where, cz_floats x, cz_floats y) { return where ? x : y; }

/* The representation of each float, and back. */
CZ_INLINE cz_bits cz_to_bits(cz_floats x) { return (cz_bits)x; }
CZ_INLINE cz_floats cz_from_bits(cz_bits x) { return (cz_floats)x; }

CZ_INLINE cz_bits cz_bits_splat(uint32_t x) { return (cz_bits)x; }
CZ_INLINE cz_bits cz_bits_and(cz_bits x, cz_bits y) { return x & y; }
CZ_INLINE cz_bits cz_bits_or(cz_bits x, cz_bits y) { return x | y; }
CZ_INLINE cz_bits cz_bits_add(cz_bits x, cz_bits y) { return x + y; }
CZ_INLINE cz_bits cz_bits_subtract(cz_bits x, cz_bits y) { return x - y; }
CZ_INLINE cz_bits cz_bits_shift_left(cz_bits x, uint32_t count) { return x << count; }
/* Of two's complement integers: keeps the sign. */
CZ_INLINE cz_bits cz_lanes_shift_right(cz_bits x, uint32_t count) { return (cz_bits)((cz_lanes)x >> (int32_t)count); }

/* The uppermost bytes of sixteen words at any address, with their signs, times 2^24. */
static inline __attribute__((always_inline)) cz_floats cz_from_upper_bytes(const void *address) {
    typedef int32_t words __attribute__((ext_vector_type(16), aligned(1)));
    return __builtin_convertvector(*(const words *)address & (int32_t)0xFF000000, cz_floats);
}

/* Asks for the cache line at an address that is going to be read; any address will do. */
static inline __attribute__((always_inline)) void cz_prefetch(const void *address) { __builtin_prefetch(address); }

#undef CZ_INLINE

#endif
#endif
