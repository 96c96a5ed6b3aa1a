/* Files that are not there, not files, cut short or damaged: a status and a message; never a crash, a leak, a print. */
#include "support.h"
#include <sys/stat.h>

static char sentinel;
#define UNTOUCHED ((void *)&sentinel)

static void test_places(void) {
    cadenza_model *made = UNTOUCHED, *model = load(RAIN_KERAS);
    cadenza_stream *stream = NULL;
    CHECK_OK(cadenza_stream_create(model, 1, &stream));
    char empty[] = "build/tests/empty.XXXXXX", secret[] = "build/tests/secret.XXXXXX";
    close(mkstemp(empty));
    close(mkstemp(secret));
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_model_load_file("no/such/file.keras", NULL, &made), "no/such/file.keras");
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_model_load_file("", NULL, &made), NULL);
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_model_load_file("examples", NULL, &made), "examples");
    CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_model_load_file(empty, NULL, &made), NULL);
    CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_model_load_file("examples/rain/rain.py", NULL, &made), NULL);
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_model_load_file("\xff\xfe", NULL, &made), NULL);
    cadenza_status device = cadenza_model_load_file("/dev/zero", NULL, &made);
    CHECK(device != CADENZA_OK && *cadenza_last_message());
    if (geteuid() != 0) {
        chmod(secret, 0);
        CHECK_FAILS(CADENZA_SYSTEM, cadenza_model_load_file(secret, NULL, &made), secret);
    }
    size_t longest = 100000;
    char *path = allocate(longest + 1);
    memset(path, 'a', longest);
    path[longest] = 0;
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_model_load_file(path, NULL, &made), NULL);
    CHECK(made == UNTOUCHED);

    CHECK_FAILS(CADENZA_SYSTEM, cadenza_model_save_file(model, "no/such/folder/model.safetensors"), "no/such/folder");
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_model_save_file(model, "examples"), "examples");
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_model_save_file(model, path), NULL);
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_model_save_file(model, ""), NULL);
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_stream_snapshot_file(stream, "no/such/folder/snapshot"), "no/such/folder");
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_stream_snapshot_file(stream, "examples"), "examples");
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_stream_restore_file(stream, "no/such/snapshot"), "no/such/snapshot");
    CHECK_FAILS(CADENZA_SYSTEM, cadenza_stream_restore_file(stream, "examples"), "examples");
    CHECK_FAILS(CADENZA_INVALID_FILE, cadenza_stream_restore_file(stream, empty), NULL);
    unlink(empty), unlink(secret);
    free(path);
    cadenza_stream_release(stream);
    cadenza_model_release(model);
}

/* Every file is cut, and damaged here and there. What still loads must be a model that runs. */
typedef struct {
    const char *name;
    unsigned char *bytes;
    size_t size;
    const cadenza_load_options *options;
} victim;

static void try_to_use(cadenza_model *model) {
    size_t batch = 2, time = 3, needed = 0;
    size_t ins = cadenza_model_input_count(model), outs = cadenza_model_output_count(model);
    CHECK(ins > 0 && outs > 0);
    cadenza_model_summary(model, NULL, 0, &needed);
    if (ins != 1 || outs != 1) return;
    size_t width = input_size(model, 0);
    cadenza_shape shape = {.struct_size = sizeof shape};
    if (!width || width > 1000 || cadenza_model_output_shape(model, batch, &time, 0, &shape) || shape.count > 100000) return;
    cadenza_tensor_info info = {.struct_size = sizeof info};
    CHECK_OK(cadenza_model_input_info(model, 0, &info));
    size_t count = batch * (info.has_time ? time : 1) * width;
    float *input = random_floats(count, 1), *output = floats(shape.count + 1);
    cadenza_status status = cadenza_model_run(model, batch, time, input, output);
    CHECK(status == CADENZA_OK || *cadenza_last_message());
    cadenza_stream *stream = NULL;
    if (info.has_time && cadenza_stream_create(model, 1, &stream) == CADENZA_OK) {
        float *answer = floats(output_size(model, 0));
        status = cadenza_stream_step(stream, input, answer);
        CHECK(status == CADENZA_OK || *cadenza_last_message());
        free(answer);
    }
    cadenza_stream_release(stream);
    free(input), free(output);
}

static int load_damaged(const victim *v, const unsigned char *bytes, size_t size) {
    cadenza_model *model = UNTOUCHED;
    cadenza_status status = cadenza_model_load_memory(bytes, size, v->options, &model);
    if (status != CADENZA_OK) {
        CHECK(model == UNTOUCHED && *cadenza_last_message() && !strchr(cadenza_last_message(), '\n'));
        /* A file whose model_config was lost cannot be told from one of weights, which needs an argument more. */
        int needs_architecture = status == CADENZA_INVALID_ARGUMENT && strstr(cadenza_last_message(), "weights only");
        CHECK(status == CADENZA_INVALID_FILE || status == CADENZA_UNSUPPORTED || status == CADENZA_NOT_FOUND ||
              status == CADENZA_OUT_OF_MEMORY || needs_architecture);
        return 0;
    }
    try_to_use(model);
    cadenza_model_release(model);
    return 1;
}

static void test_truncations(const victim *v) {
    size_t step = effort(v->size > 20000 ? 13 : 1, v->size / 20 + 1);
    for (size_t size = 0; size < v->size; size += step) {
        unsigned char *part = allocate(size); /* its own block: reading past it is found out under valgrind */
        memcpy(part, v->bytes, size);
        check_trying("%s cut to %zu of %zu bytes", v->name, size, v->size);
        CHECK(!load_damaged(v, part, size));
        free(part);
    }
}

static void test_mutations(const victim *v, size_t trials) {
    unsigned char *bytes = allocate(v->size);
    size_t loaded = 0;
    for (size_t trial = 0; trial < trials; trial++) {
        check_trying("%s, mutation %zu", v->name, trial);
        random_state = trial * 1000003 + 17;
        memcpy(bytes, v->bytes, v->size);
        for (size_t change = random_below(8) + 1; change; change--) {
            size_t place = random_below(v->size);
            /* Structure stands at the ends and in small numbers; change these more often than weights. */
            if (random_below(2)) place = random_below(2) ? random_below(v->size < 4096 ? v->size : 4096) : v->size - 1 - random_below(v->size < 4096 ? v->size : 4096);
            switch (random_below(5)) {
            case 0: bytes[place] = (unsigned char)random_bits(); break;
            case 1: bytes[place] ^= (unsigned char)(1 << random_below(8)); break;
            case 2: bytes[place] = (unsigned char)(random_below(2) ? 0 : 0xff); break;
            case 3:
                for (size_t i = place; i < v->size && i < place + 8; i++) bytes[i] = 0xff;
                break;
            case 4: {
                size_t from = random_below(v->size), length = random_below(64);
                if (from + length <= v->size && place + length <= v->size) memmove(bytes + place, v->bytes + from, length);
            }
            }
        }
        loaded += (size_t)load_damaged(v, bytes, v->size);
    }
    fprintf(check_out, "wrong_files: %s, %zu mutations, %zu of them loaded and ran\n", v->name, trials, loaded);
    free(bytes);
}

static victim file_victim(const char *path, const cadenza_load_options *options) {
    victim v = {path, NULL, 0, options};
    v.bytes = read_file(path, &v.size);
    CHECK(v.bytes != NULL);
    return v;
}

int main(void) {
    check_begin();
    watch_prints();
    limit_memory((size_t)4 << 30);
    test_places();

    cadenza_load_options options;
    cadenza_load_options_init(&options);
    unsigned char *architecture = read_file("Tests/golden/keras/lstm_k2.json", &options.architecture_size);
    options.architecture = (const char *)architecture;
    victim own = {"mixed.safetensors", NULL, 0, NULL};
    cadenza_model *mixed = mixed_model();
    if (mixed && CHECK_OK(cadenza_model_save_memory(mixed, NULL, 0, &own.size))) {
        own.bytes = allocate(own.size);
        CHECK_OK(cadenza_model_save_memory(mixed, own.bytes, own.size, &own.size));
    }
    cadenza_model_release(mixed);
    victim victims[] = {file_victim(RAIN_KERAS, NULL), file_victim(RAIN_H5, NULL), file_victim("Tests/golden/keras/gru.keras", NULL),
                        file_victim("Tests/golden/keras/nested_k2.h5", NULL),
                        file_victim("Tests/golden/keras/lstm_k2.weights.h5", &options), own};
    for (size_t i = 0; i < sizeof victims / sizeof *victims; i++) {
        if (!victims[i].bytes) continue;
        check_trying("%s", victims[i].name);
        CHECK(load_damaged(&victims[i], victims[i].bytes, victims[i].size)); /* undamaged, it loads */
        test_truncations(&victims[i]);
        test_mutations(&victims[i], effort(3000, 15));
        free(victims[i].bytes);
    }
    free(architecture);
    CHECK(printed_nothing());
    return check_end("wrong_files");
}
