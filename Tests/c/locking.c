/* Locked models: what the process has locked rises with the model and all that steps on it, and falls when they go; where the
 * system refuses, the call fails and nothing stays locked. */
#include "support.h"

#include <sys/wait.h>

enum { JOINED = 600 };

/* Bytes that the process has locked into memory. */
static size_t locked_bytes(void) {
    char line[256];
    size_t kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file)) sscanf(line, "VmLck: %zu kB", &kilobytes);
    if (file) fclose(file);
    return kilobytes * 1024;
}

static size_t weight_bytes(const cadenza_model *model) {
    size_t bytes = 0;
    for (size_t i = 0; i < cadenza_model_weight_count(model); i++) {
        cadenza_weight_info info = {.struct_size = sizeof info};
        CHECK_OK(cadenza_model_weight_info(model, i, &info));
        bytes += info.count * sizeof(float);
    }
    return bytes;
}

/* A model with a table, in a file that is mapped. */
static cadenza_model *characters(void) {
    cadenza_builder *builder = NULL;
    cadenza_model *built = NULL;
    CHECK_OK(cadenza_builder_create_for_ids(0, &builder));
    CHECK_OK(cadenza_builder_add(builder, "Embedding", "input_dim=3000, output_dim=24"));
    CHECK_OK(cadenza_builder_add(builder, "LayerNormalization", NULL));
    CHECK_OK(cadenza_builder_add(builder, "GRU", "units=20, return_sequences=True"));
    CHECK_OK(cadenza_builder_add(builder, "Dense", "units=30"));
    CHECK_OK(cadenza_builder_build(builder, 5, &built));
    CHECK_OK(cadenza_model_save_file(built, "build/tests/locking.safetensors"));
    cadenza_model_release(built);
    cadenza_builder_release(builder);
    return load("build/tests/locking.safetensors");
}

/* Twice the same steps. */
static void step_both(cadenza_stream *a, cadenza_stream *b, size_t inputs, size_t outputs) {
    float x[64], of_a[64], of_b[64];
    for (int step = 0; step < 20; step++) {
        for (size_t i = 0; i < inputs; i++) x[i] = (float)random_below(20);
        CHECK_OK(cadenza_stream_step(a, x, of_a));
        CHECK_OK(cadenza_stream_step(b, x, of_b));
        CHECK(same_bits(of_a, of_b, outputs));
    }
}

static void rises_and_falls(const char *name, cadenza_model *model, size_t weights) {
    check_trying("%s", name);
    size_t before = locked_bytes(), inputs = input_size(model, 0), outputs = output_size(model, 0);
    cadenza_stream *unlocked = NULL, *stream = NULL, *fork = NULL;
    cadenza_pool *pool = NULL;
    CHECK_OK(cadenza_stream_create(model, 1, &unlocked));
    CHECK(locked_bytes() == before);
    if (cadenza_model_lock(model) != CADENZA_OK) { /* no privilege, and a small limit */
        fprintf(check_out, "skipped: %s\n", cadenza_last_message());
        cadenza_stream_release(unlocked);
        cadenza_model_release(model);
        return;
    }
    size_t with_model = locked_bytes();
    CHECK(with_model >= before + weights);
    CHECK_OK(cadenza_model_lock(model));
    CHECK(locked_bytes() == with_model);

    CHECK_OK(cadenza_stream_create(model, 64, &stream));
    size_t with_stream = locked_bytes();
    CHECK(with_stream > with_model);
    CHECK_OK(cadenza_stream_fork(stream, &fork));
    CHECK(locked_bytes() > with_stream);
    cadenza_stream_release(fork);
    CHECK(locked_bytes() == with_stream);
    cadenza_stream_release(stream);
    CHECK(locked_bytes() == with_model);

    CHECK_OK(cadenza_pool_create(model, 2, &pool));
    size_t with_pool = locked_bytes();
    CHECK(with_pool > with_model);
    uint64_t ids[JOINED];
    for (size_t i = 0; i < JOINED; i++) CHECK_OK(cadenza_pool_join(pool, &ids[i]));
    CHECK(locked_bytes() > with_pool);
    cadenza_pool_release(pool);
    CHECK(locked_bytes() == with_model);

    /* The bits are those of a stream that is not locked; a weight that is set is locked as the one before. */
    CHECK_OK(cadenza_stream_create(model, 1, &stream));
    with_stream = locked_bytes();
    step_both(stream, unlocked, inputs, outputs);
    for (size_t i = 0; i < cadenza_model_weight_count(model); i++) {
        cadenza_weight_info info = {.struct_size = sizeof info};
        CHECK_OK(cadenza_model_weight_info(model, i, &info));
        float *values = random_floats(info.count, 7 + i);
        CHECK_OK(cadenza_model_weight_set(model, i, values, info.count));
        free(values);
    }
    /* A table and two small weights are at other addresses: each may lie on a page more, or share one less. */
    size_t now = locked_bytes(), few = 4 * (size_t)sysconf(_SC_PAGESIZE);
    CHECK(now + few >= with_stream && now <= with_stream + few);
    step_both(stream, unlocked, inputs, outputs);
    cadenza_model_release(model);
    cadenza_stream_release(unlocked);
    CHECK(locked_bytes() > before);
    cadenza_stream_release(stream);
    CHECK(locked_bytes() == before);
}

/* A layer whose weights steps read as they are. */
static void plain_weights(void) {
    check_trying("plain weights");
    cadenza_builder *builder = NULL;
    cadenza_model *model = NULL;
    CHECK_OK(cadenza_builder_create(0, 30000, &builder));
    CHECK_OK(cadenza_builder_add(builder, "PReLU", "shared_axes=[1]"));
    CHECK_OK(cadenza_builder_build(builder, 1, &model));
    cadenza_builder_release(builder);
    size_t before = locked_bytes();
    if (cadenza_model_lock(model) == CADENZA_OK) CHECK(locked_bytes() >= before + weight_bytes(model));
    cadenza_model_release(model);
    CHECK(locked_bytes() == before);
}

static void generator(cadenza_model *model) {
    check_trying("a generator");
    size_t before = locked_bytes();
    cadenza_sampler sampler;
    cadenza_generator_options options;
    cadenza_selffeeding *generator = NULL;
    cadenza_sampler_init(&sampler);
    cadenza_generator_options_init(&options);
    sampler.kind = CADENZA_SAMPLE_CATEGORICAL;
    options.sampler = &sampler;
    options.feedback = CADENZA_FEEDBACK_SAMPLE;
    CHECK_OK(cadenza_selffeeding_create(model, 3, &options, &generator));
    CHECK(locked_bytes() == before);
    cadenza_selffeeding_release(generator);
    if (cadenza_model_lock(model) == CADENZA_OK) {
        size_t with_model = locked_bytes();
        CHECK_OK(cadenza_selffeeding_create(model, 3, &options, &generator));
        CHECK(locked_bytes() > with_model);
        cadenza_selffeeding_release(generator);
        CHECK(locked_bytes() == with_model);
    }
    cadenza_model_release(model);
    CHECK(locked_bytes() == before);
}

/* Under a limit, without the privilege to pass it. */
static void limit_locking(size_t bytes) {
    struct rlimit limit = {bytes, bytes};
    CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    if (geteuid() == 0) CHECK(setuid(65534) == 0);
}

static void refused(void) {
    check_trying("refused");
    cadenza_model *model = load(RAIN_KERAS);
    size_t weights = weight_bytes(model);
    pid_t child = fork();
    if (child == 0) {
        cadenza_stream *stream = NULL;
        float x[8] = {0.5f}, y;
        limit_locking(weights / 2);
        CHECK_FAILS(CADENZA_SYSTEM, cadenza_model_lock(model), "locked|RLIMIT_MEMLOCK");
        CHECK(locked_bytes() == 0);
        CHECK_OK(cadenza_stream_create(model, 1, &stream)); /* the model is as it was */
        CHECK_OK(cadenza_stream_step(stream, x, &y));
        CHECK(locked_bytes() == 0);
        cadenza_stream_release(stream);
        cadenza_model_release(model);
        exit(check_failures != 0);
    }
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    child = fork();
    if (child == 0) {
        cadenza_stream *stream = NULL, *large = NULL;
        cadenza_pool *pool = NULL;
        uint64_t id = 0;
        limit_locking(weights + (512 << 10));
        CHECK_OK(cadenza_model_lock(model));
        CHECK_OK(cadenza_stream_create(model, 1, &stream));
        size_t before = locked_bytes();
        CHECK(before >= weights);
        CHECK_FAILS(CADENZA_SYSTEM, cadenza_stream_create(model, 4096, &large), "locked|RLIMIT_MEMLOCK");
        CHECK(large == NULL && locked_bytes() == before);
        CHECK_OK(cadenza_pool_create(model, 1, &pool));
        size_t joined = 0;
        while (joined < 1000000 && cadenza_pool_join(pool, &id) == CADENZA_OK) joined++;
        CHECK(joined % 256 == 0 && joined < 1000000 && cadenza_pool_count(pool) == joined);
        CHECK_FAILS(CADENZA_SYSTEM, cadenza_pool_join(pool, &id), "locked|RLIMIT_MEMLOCK");
        cadenza_pool_release(pool);
        CHECK(locked_bytes() == before);
        cadenza_stream_release(stream);
        cadenza_model_release(model);
        CHECK(locked_bytes() == 0);
        exit(check_failures != 0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    cadenza_model_release(model);
    child = fork();
    if (child == 0) { /* no room for a second table beside the first */
        model = characters();
        size_t table = 0;
        cadenza_weight_info info = {.struct_size = sizeof info};
        CHECK_OK(cadenza_model_weight_find(model, "embedding/embeddings", &table));
        CHECK_OK(cadenza_model_weight_info(model, table, &info));
        float *values = random_floats(info.count, 7), *before = floats(info.count), *after = floats(info.count);
        CHECK_OK(cadenza_model_weight_get(model, table, before, info.count));
        limit_locking(weight_bytes(model) + (128 << 10));
        CHECK_OK(cadenza_model_lock(model));
        size_t locked = locked_bytes();
        CHECK_FAILS(CADENZA_SYSTEM, cadenza_model_weight_set(model, table, values, info.count), "locked|RLIMIT_MEMLOCK");
        CHECK_OK(cadenza_model_weight_get(model, table, after, info.count));
        CHECK(locked_bytes() == locked && same_bits(before, after, info.count));
        free(values), free(before), free(after);
        cadenza_model_release(model);
        CHECK(locked_bytes() == 0);
        exit(check_failures != 0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

int main(void) {
    check_begin();
    refused();
    cadenza_model *rain = load(RAIN_KERAS), *with_table = characters(), *narrow = NULL;
    CHECK_OK(cadenza_model_quantize(rain, CADENZA_BF16, &narrow));
    rises_and_falls("rain", rain, weight_bytes(rain));
    rises_and_falls("narrow", narrow, 1);
    rises_and_falls("a table in a mapped file", with_table, weight_bytes(with_table));
    plain_weights();
    generator(characters());
    CHECK_FAILS(CADENZA_INVALID_ARGUMENT, cadenza_model_lock(NULL), "model");
    return check_end("locking");
}
