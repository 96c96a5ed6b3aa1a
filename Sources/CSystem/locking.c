#define _GNU_SOURCE
#include "system.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* The system locks whole pages, and forgets them at the first munlock. Small pieces of memory share pages: so a page's users are
 * counted, in a table where a page lies at its hash or behind it. A page without users keeps its place until the table grows. */
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static struct page {
    uintptr_t number; /* 0: nothing is here */
    size_t users;
} *pages;
static size_t room, used, locked; /* places, those that are taken, pages that have users */

#pragma clang attribute push(__attribute__((minsize)), apply_to = function)

/* A page's place, or the one where it is to be. */
static struct page *find(uintptr_t number) {
    size_t place = number * 0x9E3779B97F4A7C15 >> 20;
    while (pages[place % room].number && pages[place % room].number != number) place++;
    return &pages[place % room];
}

/* Room for `count` pages more; whether there is. */
static int make_room(size_t count) {
    if (used + count <= room / 2) return 1;
    struct page *old = pages;
    size_t old_room = room, larger = 64;
    while (larger / 2 < locked + count) larger *= 2;
    struct page *new = calloc(larger, sizeof *new);
    if (!new) return 0;
    pages = new, room = larger, used = locked;
    for (size_t i = 0; i < old_room; i++)
        if (old[i].users) *find(old[i].number) = old[i];
    free(old);
    return 1;
}

/* Unlocks those of the pages that have no users. */
static void unlock_unused(uintptr_t first, uintptr_t end, size_t size) {
    for (uintptr_t page = first; page < end; page++) {
        uintptr_t begin = page;
        while (page < end && find(page)->users == 0) page++;
        if (page > begin) munlock((void *)(begin * size), (page - begin) * size);
    }
}

int cz_lock(const void *memory, size_t bytes, char *why, size_t why_size) {
    if (bytes == 0) return 0;
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)memory / size, end = ((uintptr_t)memory + bytes - 1) / size + 1;
    pthread_mutex_lock(&guard);
    int result = make_room(end - first) ? mlock((void *)(first * size), (end - first) * size) : -1;
    if (result != 0) {
        struct rlimit limit = {0};
        int error = errno;
        getrlimit(RLIMIT_MEMLOCK, &limit);
        snprintf(why, why_size, "%zu bytes cannot be locked into memory, beside the %zu that are: %s (RLIMIT_MEMLOCK is %llu)",
                 (end - first) * size, locked * size, strerror(error), (unsigned long long)limit.rlim_cur);
        if (room) unlock_unused(first, end, size);
    }
    for (uintptr_t page = first; result == 0 && page < end; page++) {
        struct page *place = find(page);
        if (!place->number) place->number = page, used++;
        if (place->users++ == 0) locked++;
    }
    pthread_mutex_unlock(&guard);
    return result;
}

void cz_unlock(const void *memory, size_t bytes) {
    if (bytes == 0) return;
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)memory / size, end = ((uintptr_t)memory + bytes - 1) / size + 1;
    pthread_mutex_lock(&guard);
    for (uintptr_t page = first; page < end; page++)
        if (--find(page)->users == 0) locked--;
    unlock_unused(first, end, size);
    pthread_mutex_unlock(&guard);
}

#pragma clang attribute pop
