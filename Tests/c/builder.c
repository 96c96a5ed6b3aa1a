/* Models without a Keras file: by calls, by JSON, by seed; weights by name; the library's own file. */
#include "support.h"
#include <ctype.h>

enum { BATCH = 2, STEPS = 6 };

static const char *const LAYERS[] = {"LSTM", "units=8, return_sequences=True", "Dropout", "rate=0.2",
                                     "GRU", "units=5", "Dense", "units=2, activation=sigmoid, name=head", NULL};

/* All weights in one array. */
static float *all_weights(const cadenza_model *model, size_t *total) {
    *total = 0;
    float *values = NULL;
    for (size_t i = 0; i < cadenza_model_weight_count(model); i++) {
        cadenza_weight_info info = {.struct_size = sizeof info};
        CHECK_OK(cadenza_model_weight_info(model, i, &info));
        values = realloc(values, (*total + info.count) * sizeof *values);
        CHECK_OK(cadenza_model_weight_get(model, i, values + *total, info.count));
        *total += info.count;
    }
    return values;
}

static int same_weights(const cadenza_model *a, const cadenza_model *b) {
    size_t left, right;
    float *x = all_weights(a, &left), *y = all_weights(b, &right);
    int same = left > 0 && left == right && same_bits(x, y, left);
    free(x), free(y);
    return same;
}

static int same_answers(const cadenza_model *a, const cadenza_model *b) {
    size_t width = input_size(a, 0), time = STEPS;
    cadenza_shape shape = {.struct_size = sizeof shape};
    if (!CHECK_OK(cadenza_model_output_shape(a, BATCH, &time, 0, &shape))) return 0;
    float *in = random_floats(BATCH * STEPS * width, 8), *x = floats(shape.count), *y = floats(shape.count);
    CHECK_OK(cadenza_model_run(a, BATCH, STEPS, in, x));
    CHECK_OK(cadenza_model_run(b, BATCH, STEPS, in, y));
    int same = same_bits(x, y, shape.count);
    free(in), free(x), free(y);
    return same;
}

static void test_seeds(void) {
    cadenza_model *one = build(3, 1, LAYERS), *again = build(3, 1, LAYERS), *two = build(3, 2, LAYERS);
    CHECK(same_weights(one, again) && same_answers(one, again));
    CHECK(!same_weights(one, two) && !same_answers(one, two));

    uint64_t a = 0, b = 0, c = 0;
    CHECK_OK(cadenza_model_fingerprint(one, &a));
    CHECK_OK(cadenza_model_fingerprint(again, &b));
    CHECK_OK(cadenza_model_fingerprint(two, &c));
    CHECK(a == b && a != c);
    cadenza_model_release(one), cadenza_model_release(again), cadenza_model_release(two);
}

static void test_json(void) {
    cadenza_model *built = build(3, 11, LAYERS), *created = NULL;
    size_t size = 0, filled = 0;
    CHECK_OK(cadenza_model_architecture(built, NULL, 0, &size));
    char *json = allocate(size);
    CHECK_OK(cadenza_model_architecture(built, json, size, &filled));
    CHECK(size == filled && json[size - 1] == 0 && strlen(json) == size - 1);
    CHECK_OK(cadenza_model_create(json, size - 1, 11, &created));
    CHECK(same_weights(built, created) && same_answers(built, created));

    uint64_t a = 0, b = 1;
    CHECK_OK(cadenza_model_fingerprint(built, &a));
    CHECK_OK(cadenza_model_fingerprint(created, &b));
    CHECK(a == b);
    free(json);
    cadenza_model_release(created), cadenza_model_release(built);
}

static void test_builder_goes_on(void) {
    cadenza_builder *builder = NULL;
    cadenza_model *shorter = NULL, *longer = NULL;
    CHECK_OK(cadenza_builder_create_for_ids(0, &builder));
    CHECK_OK(cadenza_builder_add(builder, "Embedding", "input_dim=9, output_dim=4"));
    CHECK_OK(cadenza_builder_add(builder, "SimpleRNN", "units=3, return_sequences=True, activation=\"relu\""));
    CHECK_OK(cadenza_builder_build(builder, 4, &shorter));
    CHECK_OK(cadenza_builder_add(builder, "Dense", "units=2, use_bias=False"));
    CHECK_OK(cadenza_builder_build(builder, 4, &longer));
    cadenza_builder_release(builder);
    CHECK(cadenza_model_weight_count(shorter) == 4 && cadenza_model_weight_count(longer) == 5);
    CHECK(output_size(shorter, 0) == 3 && output_size(longer, 0) == 2);

    cadenza_tensor_info info = {.struct_size = sizeof info};
    CHECK_OK(cadenza_model_input_info(longer, 0, &info));
    CHECK(info.rank == 1 && info.has_time == 1 && info.dims[0] == -1 && info.step_size == 1);
    float ids[STEPS] = {0, 8, 3, 3, 7, 1}, whole[STEPS * 2], stepped[2];
    cadenza_stream *stream = NULL;
    CHECK_OK(cadenza_model_run(longer, 1, STEPS, ids, whole));
    CHECK_OK(cadenza_stream_create(longer, 1, &stream));
    for (size_t t = 0; t < STEPS; t++) {
        CHECK_OK(cadenza_stream_step(stream, &ids[t], stepped));
        CHECK(same_bits(stepped, whole + 2 * t, 2));
    }
    cadenza_stream_release(stream);
    cadenza_model_release(shorter), cadenza_model_release(longer);
}

static void test_weights(void) {
    cadenza_model *model = build(3, 5, LAYERS);
    static const struct {
        const char *name;
        int64_t dims[2];
    } expected[] = {{"lstm/kernel", {3, 32}}, {"lstm/recurrent_kernel", {8, 32}}, {"lstm/bias", {32}},
                    {"gru/kernel", {8, 15}},  {"gru/recurrent_kernel", {5, 15}},  {"gru/bias", {2, 15}},
                    {"head/kernel", {5, 2}},  {"head/bias", {2}}};
    CHECK(cadenza_model_weight_count(model) == 8);
    for (size_t i = 0; i < 8; i++) {
        cadenza_weight_info info = {.struct_size = sizeof info};
        cadenza_layer_info layer = {.struct_size = sizeof layer};
        size_t found = 99, count = 1;
        check_trying("%s", expected[i].name);
        CHECK_OK(cadenza_model_weight_info(model, i, &info));
        CHECK_OK(cadenza_model_weight_find(model, expected[i].name, &found));
        CHECK(found == i && strcmp(info.name, expected[i].name) == 0 && info.trainable == 1);
        CHECK(info.rank == (expected[i].dims[1] ? 2 : 1));
        for (int32_t d = 0; d < info.rank; d++) {
            CHECK(info.dims[d] == expected[i].dims[d]);
            count *= (size_t)info.dims[d];
        }
        CHECK(info.count == count);
        CHECK_OK(cadenza_model_layer_info(model, info.layer, &layer));
        CHECK(strncmp(info.name, layer.name, strlen(layer.name)) == 0 && layer.verdict == CADENZA_STREAMS && !*layer.reason);

        float *old = floats(count), *new = random_floats(count, i), *read = floats(count);
        CHECK_OK(cadenza_model_weight_get(model, i, old, count));
        if (strcmp(expected[i].name, "lstm/bias") == 0) /* gates i f c o, unit_forget_bias */
            for (size_t k = 0; k < 32; k++) CHECK(old[k] == (k / 8 == 1 ? 1.0f : 0.0f));
        CHECK_OK(cadenza_model_weight_set(model, i, new, count));
        CHECK_OK(cadenza_model_weight_get(model, i, read, count));
        CHECK(same_bits(read, new, count));
        free(old), free(new), free(read);
    }
    check_trying("weights");
    size_t nonfinite = 9;
    CHECK_OK(cadenza_model_nonfinite_weights(model, &nonfinite));
    CHECK(nonfinite == 0);

    /* Setting a weight changes what a stream computes from its next step on, and the fingerprint. */
    cadenza_stream *stream = NULL;
    float sample[3] = {0.1f, -0.4f, 0.9f}, before[2], after[2], bias[2] = {3, -3};
    uint64_t old = 0, new = 0;
    CHECK_OK(cadenza_stream_create(model, 1, &stream));
    CHECK_OK(cadenza_stream_peek(stream, sample, before));
    CHECK_OK(cadenza_model_fingerprint(model, &old));
    CHECK_OK(cadenza_model_weight_set(model, 7, bias, 2));
    CHECK_OK(cadenza_model_fingerprint(model, &new));
    CHECK_OK(cadenza_stream_peek(stream, sample, after));
    CHECK(old != new && after[0] > before[0] && after[1] < before[1]);
    cadenza_stream_release(stream);
    cadenza_model_release(model);
}

static void test_descriptions(void) {
    cadenza_model *model = load(RAIN_KERAS);
    cadenza_verdict verdict = CADENZA_NEEDS_WHOLE_SEQUENCE;
    const char *reason = NULL;
    CHECK_OK(cadenza_model_streamability(model, &verdict, &reason));
    CHECK(verdict == CADENZA_STREAMS && reason && !*reason);
    CHECK_OK(cadenza_model_streamability(model, &verdict, NULL));

    size_t size = 0;
    CHECK_OK(cadenza_model_summary(model, NULL, 0, &size));
    char *text = allocate(size);
    CHECK_OK(cadenza_model_summary(model, text, size, &size));
    CHECK(strlen(text) == size - 1 && strstr(text, "lstm_1 (LSTM)") && strstr(text, "7,761") && strstr(text, "Streams"));
    free(text);

    CHECK(cadenza_model_layer_count(model) == 8);
    static const char *const classes[] = {"InputLayer", "LSTM", "LeakyReLU", "Dropout", "LSTM", "Dropout", "LeakyReLU", "Dense"};
    for (size_t i = 0; i < 8; i++) {
        cadenza_layer_info info = {.struct_size = sizeof info};
        CHECK_OK(cadenza_model_layer_info(model, i, &info));
        CHECK(strcmp(info.class_name, classes[i]) == 0);
        CHECK(info.parameter_count == (i == 1 ? 4608 : i == 4 ? 3136 : i == 7 ? 17 : 0));
    }
    cadenza_tensor_info info = {.struct_size = sizeof info};
    CHECK_OK(cadenza_model_input_info(model, 0, &info));
    CHECK(strcmp(info.name, "days") == 0 && info.rank == 2 && info.has_time == 1 && info.dims[0] == 7 && info.dims[1] == 3 &&
          info.step_size == 3);
    CHECK_OK(cadenza_model_output_info(model, 0, &info));
    CHECK(strcmp(info.name, "rain_tomorrow") == 0 && info.rank == 1 && info.dims[0] == 1 && info.step_size == 1);

    /* The two files hold the same weights; Keras 2's has them in another shape of file. */
    cadenza_model *old = load(RAIN_H5);
    CHECK(same_weights(model, old) && same_answers(model, old));
    cadenza_model_release(old), cadenza_model_release(model);
}

/* Holds a safetensors file against its format: a length, a JSON object of tensors that lie one after the other
 * without gaps to the file's end; and against what the header promises: weights 64-byte aligned, by Keras path. */
static void check_safetensors(const cadenza_model *model, const unsigned char *bytes, size_t size) {
    uint64_t length = 0;
    for (int i = 0; i < 8; i++) length |= (uint64_t)bytes[i] << (8 * i);
    if (!CHECK(size > 8 && length < size - 8 && bytes[8] == '{')) return;
    char *header = allocate(length + 1);
    memcpy(header, bytes + 8, length);
    header[length] = 0;
    size_t end = length;
    while (end && header[end - 1] == ' ') end--;
    CHECK(end && header[end - 1] == '}' && strstr(header, "\"__metadata__\"") && strlen(header) == length);

    /* Every tensor begins where another ends, the first at 0, and the last ends with the file. */
    size_t data = size - 8 - length, starts[64], ends[64], count = 0;
    for (const char *p = header; (p = strstr(p, "\"data_offsets\"")) && count < 64; count++) {
        p = strchr(p, '[') + 1;
        char *next;
        starts[count] = strtoull(p, &next, 10);
        while (!isdigit((unsigned char)*next)) next++;
        ends[count] = strtoull(next, NULL, 10);
    }
    CHECK(count >= cadenza_model_weight_count(model));
    size_t place = 0;
    for (size_t found = 0; found < count; found++) {
        size_t i = 0;
        while (i < count && (starts[i] != place || ends[i] == place)) i++;
        if (!CHECK(i < count)) break;
        place = ends[i];
    }
    CHECK(place == data);

    for (size_t i = 0; i < cadenza_model_weight_count(model); i++) {
        cadenza_weight_info info = {.struct_size = sizeof info};
        char key[256];
        CHECK_OK(cadenza_model_weight_info(model, i, &info));
        snprintf(key, sizeof key, "\"%s\"", info.name);
        const char *entry = strstr(header, key);
        if (!CHECK(entry != NULL)) continue;
        size_t start = strtoull(strchr(strstr(entry, "\"data_offsets\""), '[') + 1, NULL, 10);
        float *values = floats(info.count);
        CHECK((8 + length + start) % 64 == 0);
        CHECK_OK(cadenza_model_weight_get(model, i, values, info.count));
        CHECK(start + info.count * sizeof(float) <= data && memcmp(bytes + 8 + length + start, values, info.count * sizeof(float)) == 0);
        free(values);
    }
    free(header);
}

static void test_native_file(const char *name, cadenza_model *model) {
    check_trying("%s in the library's own format", name);
    if (!model) return;
    char path[] = "build/tests/model.XXXXXX";
    close(mkstemp(path));
    size_t size = 0, filled = 0;
    CHECK_OK(cadenza_model_save_memory(model, NULL, 0, &size));
    unsigned char *bytes = allocate(size);
    CHECK_OK(cadenza_model_save_memory(model, bytes, size, &filled));
    CHECK(size == filled);
    check_safetensors(model, bytes, size);

    CHECK_OK(cadenza_model_save_file(model, path));
    unsigned char *file = read_file(path, &filled);
    CHECK(file && size == filled && memcmp(file, bytes, size) == 0);

    cadenza_model *from_file = load(path), *from_memory = NULL;
    CHECK_OK(cadenza_model_load_memory(bytes, size, NULL, &from_memory));
    memset(bytes, 0, size); /* not needed any more */
    CHECK(same_weights(model, from_file) && same_weights(model, from_memory));
    uint64_t a = 0, b = 1, c = 2;
    CHECK_OK(cadenza_model_fingerprint(model, &a));
    CHECK_OK(cadenza_model_fingerprint(from_file, &b));
    CHECK_OK(cadenza_model_fingerprint(from_memory, &c));
    CHECK(a == b && a == c);
    if (cadenza_model_input_count(model) == 1) CHECK(same_answers(model, from_file) && same_answers(model, from_memory));

    /* Saving over the file that a model is mapped from leaves that model as it is. */
    float *weight = NULL;
    cadenza_weight_info info = {.struct_size = sizeof info};
    CHECK_OK(cadenza_model_weight_info(model, 0, &info));
    weight = random_floats(info.count, 99);
    CHECK_OK(cadenza_model_weight_set(from_memory, 0, weight, info.count));
    CHECK_OK(cadenza_model_save_file(from_memory, path));
    CHECK(same_weights(model, from_file) && !same_weights(model, from_memory));

    /* A mapped model's weights can be set, and the file stays what it was. */
    CHECK_OK(cadenza_model_weight_set(from_file, 0, weight, info.count));
    CHECK(same_weights(from_file, from_memory));
    if (cadenza_model_input_count(model) == 1) CHECK(same_answers(from_file, from_memory));
    free(weight), free(file), free(bytes);
    unlink(path);
    cadenza_model_release(from_memory), cadenza_model_release(from_file), cadenza_model_release(model);
}

/* A file of weights only takes its architecture from the options. */
static void test_weights_file(void) {
    size_t size;
    char *json = (char *)read_file("Tests/golden/keras/lstm_k2.json", &size);
    if (!CHECK(json != NULL)) return;
    cadenza_model *model = NULL, *whole = load("Tests/golden/keras/lstm_k2.h5");
    cadenza_load_options options;
    cadenza_load_options_init(&options);
    options.architecture = json;
    options.architecture_size = size;
    check_trying("lstm_k2.weights.h5 with its architecture");
    CHECK_OK(cadenza_model_load_file("Tests/golden/keras/lstm_k2.weights.h5", &options, &model));
    if (model && whole) CHECK(same_weights(model, whole) && same_answers(model, whole));
    cadenza_model_release(model), cadenza_model_release(whole);
    free(json);
}

int main(void) {
    check_begin();
    test_seeds();
    test_json();
    test_builder_goes_on();
    test_weights();
    test_descriptions();
    test_native_file("rain.keras", load(RAIN_KERAS));
    test_native_file("rain.h5", load(RAIN_H5));
    test_native_file("mixed", mixed_model());
    test_native_file("two inputs", two_inputs_model());
    test_weights_file();
    return check_end("builder");
}
