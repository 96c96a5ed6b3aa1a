/* A pool beside streams of one row each: joins, leaves, resets, forks, snapshots and steps of random streams in random
 * order, and every answer the same to the bit; with one thread, with two, with more than there are processors. */
#include "support.h"

enum { MOST = 400 };

typedef struct { uint64_t id; cadenza_stream *stream; } pair;

static cadenza_pool *new_pool(const cadenza_model *model, size_t threads) {
    cadenza_pool *pool = NULL;
    CHECK_OK(cadenza_pool_create(model, threads, &pool));
    return pool;
}

static void join(cadenza_pool *pool, const cadenza_model *model, pair *pairs, size_t *count) {
    pair *new = &pairs[(*count)++];
    CHECK_OK(cadenza_pool_join(pool, &new->id));
    CHECK_OK(cadenza_stream_create(model, 1, &new->stream));
}

/* Some of the streams, each at most once, in any order. */
static size_t choose(size_t count, size_t *chosen) {
    size_t wanted = count ? 1 + random_below(count) : 0;
    for (size_t i = 0; i < count; i++) chosen[i] = i;
    for (size_t i = 0; i < wanted; i++) {
        size_t other = i + random_below(count - i), kept = chosen[i];
        chosen[i] = chosen[other], chosen[other] = kept;
    }
    return wanted;
}

static void step(cadenza_pool *pool, const cadenza_model *model, pair *pairs, size_t count) {
    size_t chosen[MOST], wanted = choose(count, chosen);
    size_t features = input_size(model, 0), units = output_size(model, 0);
    float *inputs = floats(wanted * features), *outputs = floats(wanted * units), alone[64];
    uint64_t ids[MOST];
    for (size_t i = 0; i < wanted; i++) ids[i] = pairs[chosen[i]].id;
    for (size_t i = 0; i < wanted * features; i++) inputs[i] = random_below(5) ? (float)random_below(1000) / 500 - 1 : 0.25f;
    CHECK_OK(cadenza_pool_step(pool, wanted, ids, inputs, outputs));
    int same = 1;
    for (size_t i = 0; i < wanted; i++) {
        CHECK_OK(cadenza_stream_step(pairs[chosen[i]].stream, inputs + i * features, alone));
        same &= same_bits(outputs + i * units, alone, units);
    }
    CHECK(same);
    free(inputs);
    free(outputs);
}

static void compare(const char *name, const cadenza_model *model, size_t threads, size_t rounds) {
    check_trying("%s, %zu threads", name, threads);
    cadenza_pool *pool = new_pool(model, threads);
    static pair pairs[MOST];
    size_t count = 0;
    random_state = 7 + threads;
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = random_below(round % 16 == 3 ? 300 : 20); i > 0 && count < MOST - 1; i--) join(pool, model, pairs, &count);
        size_t one = random_below(count + 1);
        if (one < count) {
            pair *it = &pairs[one];
            switch (random_below(4)) {
            case 0:
                CHECK_OK(cadenza_pool_leave(pool, it->id));
                CHECK_FAILS(CADENZA_NOT_FOUND, cadenza_pool_reset(pool, it->id), "no stream");
                cadenza_stream_release(it->stream);
                *it = pairs[--count];
                break;
            case 1:
                CHECK_OK(cadenza_pool_reset(pool, it->id));
                CHECK_OK(cadenza_stream_reset(it->stream));
                break;
            case 2: { /* a copy goes on by itself */
                pair *copy = &pairs[count++];
                CHECK_OK(cadenza_pool_fork(pool, it->id, &copy->id));
                CHECK_OK(cadenza_stream_fork(it->stream, &copy->stream));
                break;
            }
            default: { /* snapshots of both are the same bytes, and each continues from the other's */
                unsigned char ours[16384], theirs[16384];
                size_t size = 0, other = 0;
                CHECK_OK(cadenza_pool_snapshot(pool, it->id, ours, sizeof ours, &size));
                CHECK_OK(cadenza_stream_snapshot(it->stream, theirs, sizeof theirs, &other));
                CHECK(size == other && memcmp(ours, theirs, size) == 0);
                CHECK_OK(cadenza_pool_reset(pool, it->id));
                CHECK_OK(cadenza_pool_restore(pool, it->id, theirs, other));
                ours[size / 2] ^= 1;
                CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_pool_restore(pool, it->id, ours, size), "checksum");
            }
            }
        }
        CHECK(cadenza_pool_count(pool) == count);
        step(pool, model, pairs, count);
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t ours = 0, theirs = 1;
        CHECK_OK(cadenza_pool_position(pool, pairs[i].id, &ours));
        CHECK_OK(cadenza_stream_position(pairs[i].stream, 0, &theirs));
        CHECK(ours == theirs);
        cadenza_stream_release(pairs[i].stream);
    }
    cadenza_pool_release(pool);
}

static void wrong(const cadenza_model *model, const cadenza_model *cannot_stream) {
    check_trying("wrong arguments");
    cadenza_pool *pool = NULL;
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_create(NULL, 1, &pool), "model");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_create(model, 1, NULL), "pool");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_create(model, 0, &pool), "threads");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_create(model, (size_t)-1, &pool), "threads");
    CHECK_FAILS(CADENZA_CANNOT_STREAM, cadenza_pool_create(cannot_stream, 1, &pool), "go_backwards");
    CHECK(pool == NULL && cadenza_pool_count(NULL) == 0);
    cadenza_pool_release(NULL);

    pool = new_pool(model, 2);
    uint64_t ids[2] = {0, 0}, position;
    float x[32] = {0}, y[32];
    size_t size;
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_join(NULL, ids), "pool");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_join(pool, NULL), "id");
    CHECK_FAILS(CADENZA_NOT_FOUND, cadenza_pool_step(pool, 1, ids, x, y), "no stream 0");
    CHECK_OK(cadenza_pool_join(pool, &ids[0]));
    CHECK(ids[0] != 0);
    CHECK_OK(cadenza_pool_step(pool, 0, ids, x, y));
    CHECK_OK(cadenza_pool_step(pool, 1, ids, x, y));
    ids[1] = ids[0];
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_step(pool, 2, ids, x, y), "twice");
    ids[1] = 12345678901234567u;
    CHECK_FAILS(CADENZA_NOT_FOUND, cadenza_pool_step(pool, 2, ids, x, y), "no stream 12345678901234567");
    CHECK_FAILS(CADENZA_NOT_FOUND, cadenza_pool_step(pool, (size_t)1 << 39, ids, x, y), "no stream 12345678901234567");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_step(pool, 1, NULL, x, y), "ids");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_step(pool, 1, ids, NULL, y), "inputs");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_step(pool, 1, ids, x, NULL), "outputs");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_step(pool, (size_t)-1, ids, x, y), "count");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_step_multi(pool, 1, ids, NULL, NULL), "inputs");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_step_multi(pool, 1, ids, &(const float *){NULL}, NULL), "input 0");
    CHECK_OK(cadenza_pool_position(pool, ids[0], &position));
    CHECK(position == 1); /* nothing that failed has counted */
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_position(pool, ids[0], NULL), "position");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_snapshot(pool, ids[0], NULL, 0, NULL), "size");
    CHECK_FAILS(CADENZA_NOT_FOUND, cadenza_pool_snapshot(pool, ids[1], NULL, 0, &size), "no stream");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_snapshot(pool, ids[0], y, 3, &size), "capacity");
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_pool_restore(pool, ids[0], NULL, 0), "bytes");
    CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_pool_restore(pool, ids[0], y, 3), "3 bytes");
    CHECK_FAILS(CADENZA_NOT_FOUND, cadenza_pool_fork(pool, ids[1], &position), "no stream");
    CHECK_OK(cadenza_pool_step_multi(pool, 1, ids, &(const float *){x}, NULL)); /* no output is wanted */
    cadenza_pool_release(pool);
}

/* Bytes of this process that are in memory. */
static size_t resident(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%*u %lu", &pages) == 1);
    if (file) fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Idle streams cost their state and little more; one of them can be written out and read back. CADENZA_IDLE: how many. */
static void idle(const cadenza_model *model) {
    const char *wanted = getenv("CADENZA_IDLE");
    size_t count = wanted ? strtoul(wanted, NULL, 10) : effort(1000000, 3000), state = 0, snapshot = 0, other = 0;
    cadenza_state_info info = {.struct_size = sizeof info};
    for (size_t i = 0; i < cadenza_model_state_count(model); i++) {
        CHECK_OK(cadenza_model_state_info(model, i, &info));
        state += (info.units + 15) / 16 * 16 * sizeof(float);
    }
    check_trying("%zu idle streams of %zu bytes", count, state);
    cadenza_pool *pool = new_pool(model, 1);
    uint64_t *ids = malloc(count * sizeof *ids), fresh;
    memset(ids, 0, count * sizeof *ids);
    size_t before = resident();
    int joined = 1;
    for (size_t i = 0; i < count; i++) joined &= cadenza_pool_join(pool, &ids[i]) == CADENZA_OK;
    CHECK(joined && cadenza_pool_count(pool) == count);
    double each = (double)(resident() - before) / (double)count;
    if (wanted) printf("%zu idle streams: %.1f bytes each, of which %zu are its state\n", count, each, state);
    if (!getenv("CADENZA_REDUCED")) CHECK(each < (double)state + 32);

    float x[8] = {0.5f, -1, 2}, first[8], second[8];
    uint64_t one = ids[count / 2];
    CHECK_OK(cadenza_pool_step(pool, 1, &one, x, first));
    CHECK_OK(cadenza_pool_snapshot(pool, one, NULL, 0, &snapshot));
    unsigned char *bytes = malloc(snapshot);
    CHECK_OK(cadenza_pool_snapshot(pool, one, bytes, snapshot, &other));
    CHECK_OK(cadenza_pool_step(pool, 1, &one, x, first));
    CHECK_OK(cadenza_pool_leave(pool, one));
    CHECK_OK(cadenza_pool_join(pool, &fresh));
    CHECK_OK(cadenza_pool_restore(pool, fresh, bytes, snapshot));
    CHECK_OK(cadenza_pool_step(pool, 1, &fresh, x, second));
    CHECK(fresh != one && same_bits(first, second, output_size(model, 0)));
    free(bytes);
    free(ids);
    cadenza_pool_release(pool);
}

int main(void) {
    check_begin();
    cadenza_model *rain = load(RAIN_KERAS), *mixed = mixed_model();
    cadenza_model *backwards = build(3, 1, (const char *const[]){"LSTM", "units=4, go_backwards=True", NULL});
    for (size_t threads = 1; threads <= 3; threads++) {
        compare("rain", rain, threads, effort(60, 6));
        compare("mixed", mixed, threads, effort(60, 6));
    }
    wrong(rain, backwards);
    idle(rain);
    cadenza_model_release(rain);
    cadenza_model_release(mixed);
    cadenza_model_release(backwards);
    return check_end("pool");
}
