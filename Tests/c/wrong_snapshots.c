/* Snapshots of another model or batch, cut short or damaged: refused, and the stream goes on as if nothing had been. */
#include "support.h"

enum { BATCH = 2 };

static cadenza_stream *stream_of(const cadenza_model *model, size_t batch, size_t steps) {
    cadenza_stream *stream = NULL;
    CHECK_OK(cadenza_stream_create(model, batch, &stream));
    float *input = random_floats(batch * steps * input_size(model, 0), 6), *output = floats(batch * steps * output_size(model, 0));
    CHECK_OK(cadenza_stream_run(stream, steps, input, output));
    free(input), free(output);
    return stream;
}

static void test_others(const cadenza_model *model, cadenza_stream *stream, const unsigned char *state, size_t size) {
    static const char *const shorter[] = {"LSTM", "units=32, return_sequences=True", "LSTM", "units=16", "Dense", "units=1", NULL};
    cadenza_model *another = build(3, 1, shorter), *changed = load(RAIN_KERAS), *twin = load(RAIN_H5);
    float bias[1];
    size_t last = cadenza_model_weight_count(changed) - 1;
    CHECK_OK(cadenza_model_weight_get(changed, last, bias, 1));
    bias[0] += 0.5f;
    CHECK_OK(cadenza_model_weight_set(changed, last, bias, 1));

    const struct {
        const cadenza_model *model;
        size_t batch;
        const char *word;
    } cases[] = {{another, BATCH, "model"}, {changed, BATCH, "model"}, {model, BATCH + 1, "rows"}, {model, 1, "rows"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_trying("snapshot of another model or batch, case %zu", i);
        cadenza_stream *other = stream_of(cases[i].model, cases[i].batch, 4);
        size_t other_size;
        unsigned char *bytes = snapshot_of(other, &other_size);
        CHECK_FAILS(CADENZA_MISMATCH, cadenza_stream_restore(stream, bytes, other_size), cases[i].word);
        CHECK(has_state(stream, state, size));
        CHECK_FAILS(CADENZA_MISMATCH, cadenza_stream_restore(other, state, size), cases[i].word);
        CHECK(has_state(other, bytes, other_size));
        free(bytes);
        cadenza_stream_release(other);
    }
    /* The same model from the other file takes it. */
    check_trying("a snapshot of rain.keras for rain.h5");
    uint64_t a = 0, b = 1;
    CHECK_OK(cadenza_model_fingerprint(model, &a));
    CHECK_OK(cadenza_model_fingerprint(twin, &b));
    if (CHECK(a == b)) {
        cadenza_stream *same = stream_of(twin, BATCH, 1);
        CHECK_OK(cadenza_stream_restore(same, state, size));
        cadenza_stream_release(same);
    }
    cadenza_model_release(another), cadenza_model_release(changed), cadenza_model_release(twin);
}

static void test_damage(cadenza_stream *stream, const unsigned char *state, size_t size) {
    cadenza_stream *target = NULL;
    CHECK_OK(cadenza_stream_fork(stream, &target));
    CHECK_OK(cadenza_stream_reset(target));
    size_t zero_size;
    unsigned char *zero = snapshot_of(target, &zero_size), *bytes = allocate(size + 9);

    for (size_t cut = 0; cut < size; cut++) {
        check_trying("snapshot cut to %zu of %zu bytes", cut, size);
        unsigned char *part = allocate(cut);
        memcpy(part, state, cut);
        CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_stream_restore(target, part, cut), NULL);
        free(part);
        if (cut % 50 == 0) CHECK(has_state(target, zero, zero_size));
    }
    check_trying("snapshot with more behind it");
    memcpy(bytes, state, size);
    memset(bytes + size, 0, 9);
    CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_stream_restore(target, bytes, size + 1), NULL);
    CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_stream_restore(target, bytes, size + 9), NULL);

    for (size_t bit = 0; bit < size * 8; bit += effort(1, 97)) {
        check_trying("snapshot with bit %zu turned", bit);
        memcpy(bytes, state, size);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        cadenza_status status = cadenza_stream_restore(target, bytes, size);
        CHECK((status == CADENZA_INVALID_FILE || status == CADENZA_MISMATCH) && *cadenza_last_message());
    }
    for (size_t trial = 0; trial < effort(3000, 100); trial++) {
        check_trying("snapshot, mutation %zu", trial);
        random_state = trial;
        memcpy(bytes, state, size);
        for (size_t change = random_below(6) + 1; change; change--) bytes[random_below(size)] ^= (unsigned char)(random_below(255) + 1);
        if (memcmp(bytes, state, size) == 0) continue;
        cadenza_status status = cadenza_stream_restore(target, bytes, size);
        CHECK((status == CADENZA_INVALID_FILE || status == CADENZA_MISMATCH) && *cadenza_last_message());
    }
    check_trying("damage");
    CHECK(has_state(target, zero, zero_size));

    char path[] = "build/tests/damaged.XXXXXX";
    close(mkstemp(path));
    CHECK(write_file(path, state, size / 2));
    CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_stream_restore_file(target, path), NULL);
    CHECK(has_state(target, zero, zero_size));
    CHECK(write_file(path, state, size));
    CHECK_OK(cadenza_stream_restore_file(target, path));
    CHECK(has_state(target, state, size));
    unlink(path);
    free(zero), free(bytes);
    cadenza_stream_release(target);
}

int main(void) {
    check_begin();
    watch_prints();
    cadenza_model *model = load(RAIN_KERAS);
    if (model) {
        cadenza_stream *stream = stream_of(model, BATCH, 9);
        size_t size;
        unsigned char *state = snapshot_of(stream, &size);
        test_others(model, stream, state, size);
        test_damage(stream, state, size);
        CHECK(has_state(stream, state, size));
        free(state);
        cadenza_stream_release(stream);
    }
    cadenza_model_release(model);
    CHECK(printed_nothing());
    return check_end("wrong_snapshots");
}
