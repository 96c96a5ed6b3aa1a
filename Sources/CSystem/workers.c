#define _GNU_SOURCE
#include "system.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Since glibc 2.34 these two are libc's own, under a new version. The old version is there, too, and in older systems where the
 * program has libpthread; where it has not, they are NULL and there are no threads. */
#if defined(__x86_64__)
#define OLDEST "GLIBC_2.2.5"
#else
#define OLDEST "GLIBC_2.17"
#endif
__asm__(".symver pthread_create, pthread_create@" OLDEST);
__asm__(".symver pthread_join, pthread_join@" OLDEST);
#pragma weak pthread_create
#pragma weak pthread_join

/* Threads that wait for work: for a moment by looking, as the next piece often comes at once, then asleep. A part that its
 * worker has not begun when the caller is through with its own is the caller's: where the processor is busy with something else,
 * a worker may come late by milliseconds. In a process that was forked off there are no workers: the caller does everything. */
enum { LOOKS = 4000 };

struct cz_workers {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    void (*body)(void *, int);
    void *context;
    atomic_uint round;      /* counts the pieces of work */
    atomic_int running;     /* parts of this round that are not finished, the caller's own not counted */
    atomic_int sleeping, waiting;
    int count;
    atomic_int ends;
    char *here;             /* a page that holds 1, and 0 in a process that was forked off */
    struct worker {
        struct cz_workers *owner;
        int number;
        pthread_t thread;
        atomic_uint begun;  /* the last round of which somebody has begun its part */
    } workers[];
};

static inline void pause_a_little(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Whether the part of a round is now the calling thread's to do: each is once. */
static int begin_part(struct worker *worker, unsigned round) {
    unsigned before = round - 1;
    return atomic_compare_exchange_strong(&worker->begun, &before, round);
}

static void *work(void *argument) {
    struct worker *worker = argument;
    cz_workers *all = worker->owner;
    unsigned seen = 0;
    for (;;) {
        for (int look = 0; look < LOOKS && atomic_load(&all->round) == seen; look++) pause_a_little();
        if (atomic_load(&all->round) == seen) {
            pthread_mutex_lock(&all->lock);
            atomic_fetch_add(&all->sleeping, 1);
            while (atomic_load(&all->round) == seen) pthread_cond_wait(&all->work, &all->lock);
            atomic_fetch_sub(&all->sleeping, 1);
            pthread_mutex_unlock(&all->lock);
        }
        seen = atomic_load(&all->round);
        if (all->ends) return NULL;
        if (!begin_part(worker, seen)) continue;
        all->body(all->context, worker->number);
        if (atomic_fetch_sub(&all->running, 1) == 1 && atomic_load(&all->waiting)) {
            pthread_mutex_lock(&all->lock);
            pthread_cond_signal(&all->done);
            pthread_mutex_unlock(&all->lock);
        }
    }
}

static void begin_round(cz_workers *all) {
    pthread_mutex_lock(&all->lock);
    atomic_fetch_add(&all->round, 1);
    if (atomic_load(&all->sleeping)) pthread_cond_broadcast(&all->work);
    pthread_mutex_unlock(&all->lock);
}

cz_workers *cz_workers_create(int count) {
    int others = count > 1 ? count - 1 : 0;
    if (others && (!pthread_create || !pthread_join)) return NULL;
    cz_workers *all = calloc(1, sizeof *all + (size_t)others * sizeof *all->workers);
    if (!all) return NULL;
    all->here = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all->here == MAP_FAILED) {
        free(all);
        return NULL;
    }
    madvise(all->here, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK); /* Linux 4.14 */
    *all->here = 1;
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->work, NULL);
    pthread_cond_init(&all->done, NULL);
    for (int i = 0; i < others; i++) {
        struct worker *worker = &all->workers[i];
        worker->owner = all;
        worker->number = i + 1;
        if (pthread_create(&worker->thread, NULL, work, worker) != 0) {
            cz_workers_destroy(all);
            return NULL;
        }
        all->count++;
    }
    return all;
}

void cz_workers_run(cz_workers *all, void (*body)(void *context, int worker), void *context) {
    if (!*all->here) {
        for (int i = 0; i <= all->count; i++) body(context, i);
        return;
    }
    if (all->count > 0) {
        all->body = body;
        all->context = context;
        atomic_store(&all->running, all->count);
        begin_round(all);
    }
    body(context, 0);
    for (int i = 0; i < all->count; i++) {
        if (!begin_part(&all->workers[i], atomic_load(&all->round))) continue;
        body(context, i + 1);
        atomic_fetch_sub(&all->running, 1);
    }
    for (int look = 0; look < LOOKS && atomic_load(&all->running); look++) pause_a_little();
    if (atomic_load(&all->running)) {
        pthread_mutex_lock(&all->lock);
        atomic_store(&all->waiting, 1);
        while (atomic_load(&all->running)) pthread_cond_wait(&all->done, &all->lock);
        atomic_store(&all->waiting, 0);
        pthread_mutex_unlock(&all->lock);
    }
}

void cz_progress_tell(long *progress, long value) { __atomic_store_n(progress, value, __ATOMIC_RELEASE); }

void cz_progress_wait(const long *progress, long value) {
    for (int look = 0; __atomic_load_n(progress, __ATOMIC_ACQUIRE) < value; look++) {
        if (look < LOOKS / 8) pause_a_little();
        else sched_yield();
    }
}

void cz_workers_destroy(cz_workers *all) {
    if (!all) return;
    if (*all->here) { /* else the lock may be held, and sleepers waited for, by threads that are not here */
        all->ends = 1;
        begin_round(all);
        for (int i = 0; i < all->count; i++) pthread_join(all->workers[i].thread, NULL);
        pthread_cond_destroy(&all->done);
        pthread_cond_destroy(&all->work);
        pthread_mutex_destroy(&all->lock);
    }
    munmap(all->here, (size_t)sysconf(_SC_PAGESIZE));
    free(all);
}
