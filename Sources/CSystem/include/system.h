/* What the engine needs of the operating system, and no more. */
#ifndef CADENZA_SYSTEM_H
#define CADENZA_SYSTEM_H

#include <stddef.h>
#include <stdint.h>

/* Memory aligned to 64 bytes and zeroed; NULL where there is none. */
void *cz_allocate(size_t bytes);
void cz_free(void *);

/* Locks memory: it stays in the machine until it is unlocked, which must be before it is freed; what is locked twice, twice. On
 * failure returns -1 and says in `why` what was asked for and what the system allows. */
int cz_lock(const void *, size_t bytes, char *why, size_t why_size);
void cz_unlock(const void *, size_t bytes);

/* memmove: the two may overlap. */
static inline void cz_copy(void *to, const void *from, size_t bytes) { __builtin_memmove(to, from, bytes); }

/* Whether the bytes of the two are the same. */
static inline int cz_same(const void *a, const void *b, size_t bytes) { return __builtin_memcmp(a, b, bytes) == 0; }

/* A file mapped read-only. On failure returns -1 and leaves errno's text in `why`. An empty file maps to
 * address NULL, size 0. */
int cz_map_file(const char *path, const void **address, size_t *size, char *why, size_t why_size);
void cz_unmap(const void *address, size_t size);

/* Writes a file whole or not at all: a temporary file beside it, flushed, then renamed over it. */
int cz_write_file(const char *path, const void *bytes, size_t size, char *why, size_t why_size);

/* The thread's way to compute with floats, set to ours: to nearest, nothing traps, and numbers below 2^-126, which would take
 * a hundred times as long, are zero. What the caller has set would change our bits. Returns the caller's, to be put back. In the
 * default way, for where all numbers are to be kept, small ones count. */
#if defined(__x86_64__)
static inline unsigned long cz_float_mode_enter(void) {
    unsigned long callers = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(0x9FC0);
    return callers;
}
static inline unsigned long cz_float_mode_enter_default(void) {
    unsigned long callers = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(0x1F80);
    return callers;
}
static inline void cz_float_mode_leave(unsigned long callers) { __builtin_ia32_ldmxcsr((unsigned)callers); }
#elif defined(__aarch64__)
static inline unsigned long cz_float_mode_enter(void) {
    unsigned long callers;
    __asm__ volatile("mrs %0, fpcr" : "=r"(callers));
    __asm__ volatile("msr fpcr, %0" ::"r"(1ul << 24) : "memory");
    return callers;
}
static inline unsigned long cz_float_mode_enter_default(void) {
    unsigned long callers;
    __asm__ volatile("mrs %0, fpcr" : "=r"(callers));
    __asm__ volatile("msr fpcr, %0" ::"r"(0ul) : "memory");
    return callers;
}
static inline void cz_float_mode_leave(unsigned long callers) { __asm__ volatile("msr fpcr, %0" ::"r"(callers) : "memory"); }
#endif

/* `count` workers, the caller being number 0: threads that wait for work. NULL where they cannot be had. */
typedef struct cz_workers cz_workers;
cz_workers *cz_workers_create(int count);
void cz_workers_destroy(cz_workers *);

/* Calls body(context, worker) once for each worker, and returns when all have: at the same time as far as workers come in time,
 * else the caller does their parts, too. One caller at a time. */
void cz_workers_run(cz_workers *, void (*body)(void *context, int worker), void *context);

/* How far a thread is, for others that wait for it: they look, and let others run where it takes long. */
void cz_progress_tell(long *progress, long value);
void cz_progress_wait(const long *progress, long value);

/* The x86-64 level of this processor and system (1 … 4); 0 elsewhere. */
int cz_x86_level(void);

/* The calling thread's last message: a buffer of the thread's own. */
char *cz_message(size_t *capacity);

/* What the environment variable CADENZA_KERNELS says, or NULL. */
const char *cz_wanted_kernels(void);

/* A finite number as the fewest decimal digits, 15 or more where they are needed, that are read back as the very same; without a
 * terminating zero. Returns how many bytes it has. Swift's own way brings five kilobytes of code. */
enum { CZ_DECIMAL_SIZE = 40 };
size_t cz_write_decimal(double value, char text[CZ_DECIMAL_SIZE]);

#endif
