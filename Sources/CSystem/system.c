#define _GNU_SOURCE
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* Large weights are read whole at each step; in pages of this size the processor finds them at once. The system may decline. */
enum { HUGE_PAGE = 2 << 20 };

void *cz_allocate(size_t bytes) {
    if (bytes > PTRDIFF_MAX - 64) return NULL;
    void *memory = NULL;
    size_t whole = (bytes + 63) / 64 * 64, alignment = whole < HUGE_PAGE ? 64 : HUGE_PAGE;
    if (posix_memalign(&memory, alignment, whole ? whole : 64) != 0) return NULL;
    if (alignment == HUGE_PAGE) madvise(memory, whole / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    memset(memory, 0, whole);
    return memory;
}

void cz_free(void *memory) { free(memory); }

static int failed(char *why, size_t why_size, const char *what) {
    snprintf(why, why_size, "%s: %s", what, strerror(errno));
    return -1;
}

int cz_map_file(const char *path, const void **address, size_t *size, char *why, size_t why_size) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return failed(why, why_size, "cannot open");
    struct statx status; /* stat and fstat are symbols of glibc 2.33, statx is one of 2.28 */
    if (statx(file, "", AT_EMPTY_PATH, STATX_TYPE | STATX_SIZE, &status) != 0) {
        failed(why, why_size, "cannot read its size");
        close(file);
        return -1;
    }
    if (!S_ISREG(status.stx_mode)) {
        snprintf(why, why_size, "is not a regular file");
        close(file);
        return -1;
    }
    *address = NULL;
    *size = (size_t)status.stx_size;
    if (*size > 0) {
        void *map = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, file, 0);
        if (map == MAP_FAILED) {
            failed(why, why_size, "cannot map");
            close(file);
            return -1;
        }
        *address = map;
    }
    close(file);
    return 0;
}

void cz_unmap(const void *address, size_t size) {
    if (address) munmap((void *)address, size);
}

int cz_write_file(const char *path, const void *bytes, size_t size, char *why, size_t why_size) {
    struct statx there;
    if (statx(AT_FDCWD, path, 0, STATX_TYPE, &there) == 0 && !S_ISREG(there.stx_mode)) {
        errno = EINVAL;
        return failed(why, why_size, "is no file that could be replaced");
    }
    size_t length = strlen(path);
    char *temporary = malloc(length + 8);
    if (!temporary) return failed(why, why_size, "cannot name a temporary file");
    memcpy(temporary, path, length);
    memcpy(temporary + length, ".XXXXXX", 8);
    int file = mkostemp(temporary, O_CLOEXEC);
    if (file < 0) {
        failed(why, why_size, "cannot create a temporary file beside it");
        free(temporary);
        return -1;
    }
    mode_t mask = umask(0);
    umask(mask);
    int ok = fchmod(file, 0666 & ~mask) == 0;
    for (size_t done = 0; ok && done < size;) {
        ssize_t n = write(file, (const char *)bytes + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) ok = 0;
        else done += (size_t)n;
    }
    ok = ok && fsync(file) == 0;
    if (!ok) failed(why, why_size, "cannot write");
    if (close(file) != 0 && ok) {
        failed(why, why_size, "cannot write");
        ok = 0;
    }
    if (ok && rename(temporary, path) != 0) {
        failed(why, why_size, "cannot rename the temporary file over it");
        ok = 0;
    }
    if (!ok) unlink(temporary);
    free(temporary);
    return ok ? 0 : -1;
}

#if defined(__x86_64__)
/* Whether a register has all of these bits. */
static int has(unsigned value, unsigned wanted) { return (value & wanted) == wanted; }

/* The register states that the operating system saves (XCR0). */
static unsigned saved_states(void) {
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}
#endif

/* The levels are those of the x86-64 psABI. */
int cz_x86_level(void) {
#if defined(__x86_64__)
    unsigned a, b, c, d, most_basic, most_extended;
    __cpuid(0, most_basic, b, c, d);
    __cpuid(0x80000000u, most_extended, b, c, d);
    if (most_basic < 1 || most_extended < 0x80000001u) return 1;
    unsigned basic, extended, leaf7 = 0;
    __cpuid(1, a, b, basic, d);
    __cpuid(0x80000001u, a, b, extended, d);
    if (most_basic >= 7) __cpuid_count(7, 0, a, leaf7, c, d);

    /* SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT; LAHF */
    if (!has(basic, 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23) || !has(extended, 1u << 0)) return 1;
    /* FMA, MOVBE, OSXSAVE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT; xmm and ymm saved */
    if (!has(basic, 1u << 12 | 1u << 22 | 1u << 27 | 1u << 28 | 1u << 29) || !has(leaf7, 1u << 3 | 1u << 5 | 1u << 8)
        || !has(extended, 1u << 5) || !has(saved_states(), 0x06)) return 2;
    /* AVX-512 F, DQ, CD, BW, VL; masks and zmm saved */
    if (!has(leaf7, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31) || !has(saved_states(), 0xE6)) return 3;
    return 4;
#else
    return 0;
#endif
}

char *cz_message(size_t *capacity) {
    static _Thread_local char message[2048];
    *capacity = sizeof message;
    return message;
}

const char *cz_wanted_kernels(void) { return getenv("CADENZA_KERNELS"); }

size_t cz_write_decimal(double value, char text[CZ_DECIMAL_SIZE]) {
    char own[CZ_DECIMAL_SIZE];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(own, sizeof own, "%.*g", digits, value);
        if (strtod(own, NULL) == value) break;
    }
    /* What is no digit, sign or exponent is the process's decimal point: a comma, or several bytes. */
    size_t size = 0;
    for (const char *next = own; *next; next++) {
        if (strchr("0123456789+-e", *next)) text[size++] = *next;
        else if (size == 0 || text[size - 1] != '.') text[size++] = '.';
    }
    return size;
}

/* Swift's dictionaries seed themselves with this; glibc has it only since 2.36, older systems must load us too. */
void arc4random_buf(void *bytes, size_t count) {
    for (size_t done = 0; done < count;) {
        ssize_t n = getrandom((char *)bytes + done, count - done, 0);
        if (n > 0) done += (size_t)n;
        else if (errno != EINTR) abort();
    }
}

#ifndef DEBUG
/* What Swift calls where an object's init throws before all of it is set: destroys the parts that subclasses set, from
   the object's class up to but without `reached`, and frees the object. Embedded Swift 6.3 brings one of its own, which
   is weak and forgets to free, so every init that throws would leak its object. Debug builds are ordinary Swift, whose
   runtime has a right one. A class begins with its superclass; two words on lies what destroys its own variables. */
struct class_of_swift {
    const struct class_of_swift *superclass;
    const void *destroy;
    __attribute__((swiftcall)) void (*destroy_variables)(__attribute__((swift_context)) void *object);
};

void swift_deallocPartialClassInstance(void *object, const struct class_of_swift *reached, size_t size, size_t alignment);

void swift_deallocPartialClassInstance(void *object, const struct class_of_swift *reached, size_t size, size_t alignment) {
    (void)size, (void)alignment;
    for (const struct class_of_swift *class = *(const struct class_of_swift **)object; class && class != reached;
         class = class->superclass)
        if (class->destroy_variables) class->destroy_variables(object);
    free(object);
}
#endif
