/* Writes a model's answers to the inputs that it reads, as floats: of the whole, and step by step where the model streams;
 * then the same with narrow weights.
 *
 *     answers MODEL BATCH TIME… <inputs >answers
 *
 * A TIME for each input: the length of its first axis behind the batch. */
#include <cadenza.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 64 };

static void check(cadenza_status status) {
    if (status == CADENZA_OK) return;
    fprintf(stderr, "%s\n", cadenza_last_message());
    exit(EXIT_FAILURE);
}

/* Of the whole, then of its steps. */
static void answer(const cadenza_model *model, size_t batch, const size_t *times, size_t steps, float *const *input) {
    size_t inputs = cadenza_model_input_count(model), outputs = cadenza_model_output_count(model);
    float *output[MOST];
    for (size_t i = 0; i < outputs; i++) {
        cadenza_shape shape = {.struct_size = sizeof shape};
        check(cadenza_model_output_shape(model, batch, times, i, &shape));
        output[i] = malloc(shape.count * sizeof *output[i]);
    }
    check(cadenza_model_run_multi(model, batch, times, (const float *const *)input, output));
    for (size_t i = 0; i < outputs; i++) {
        cadenza_shape shape = {.struct_size = sizeof shape};
        check(cadenza_model_output_shape(model, batch, times, i, &shape));
        fwrite(output[i], sizeof *output[i], shape.count, stdout);
        free(output[i]);
    }
    cadenza_stream *stream = NULL;
    if (inputs == 1 && steps > 0 && cadenza_stream_create(model, batch, &stream) == CADENZA_OK) {
        for (size_t i = 0; i < outputs; i++) {
            cadenza_tensor_info info = {.struct_size = sizeof info};
            check(cadenza_model_output_info(model, i, &info));
            output[i] = malloc(batch * steps * info.step_size * sizeof *output[i]);
        }
        check(cadenza_stream_run_multi(stream, steps, (const float *const *)input, output, NULL));
        for (size_t i = 0; i < outputs; i++) {
            cadenza_tensor_info info = {.struct_size = sizeof info};
            check(cadenza_model_output_info(model, i, &info));
            fwrite(output[i], sizeof *output[i], batch * steps * info.step_size, stdout);
            free(output[i]);
        }
        cadenza_stream_release(stream);
    }
}

int main(int argc, char **argv) {
    cadenza_model *model = NULL;
    check(argc < 4 ? CADENZA_INVALID_ARGUMENT : cadenza_model_load_file(argv[1], NULL, &model));
    size_t batch = strtoull(argv[2], NULL, 10), times[MOST], steps = 0;
    size_t inputs = cadenza_model_input_count(model), outputs = cadenza_model_output_count(model);
    if (inputs > MOST || outputs > MOST || inputs != (size_t)argc - 3) return EXIT_FAILURE;
    float *input[MOST];
    for (size_t i = 0; i < inputs; i++) {
        cadenza_tensor_info info = {.struct_size = sizeof info};
        check(cadenza_model_input_info(model, i, &info));
        times[i] = strtoull(argv[3 + i], NULL, 10);
        size_t count = batch * times[i];
        for (int axis = 1; axis < info.rank; axis++) count *= (size_t)info.dims[axis];
        if (info.has_time) steps = times[i];
        input[i] = malloc(count * sizeof *input[i]);
        if (fread(input[i], sizeof *input[i], count, stdin) != count) return EXIT_FAILURE;
    }
    answer(model, batch, times, steps, input);
    for (int32_t precision = CADENZA_BF16; precision <= CADENZA_INT8; precision++) {
        cadenza_model *narrow = NULL;
        check(cadenza_model_quantize(model, precision, &narrow));
        answer(narrow, batch, times, steps, input);
        cadenza_model_release(narrow);
    }
    for (size_t i = 0; i < inputs; i++) free(input[i]);
    cadenza_model_release(model);
    return EXIT_SUCCESS;
}
