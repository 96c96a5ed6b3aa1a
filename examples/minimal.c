#include <cadenza.h>
#include <stdio.h>

int main(void) {
    cadenza_model *model = NULL;
    cadenza_stream *stream = NULL;
    float sample[3] = {0.4f, 0.6f, 0.3f}, probability[1];

    if (cadenza_model_load_file("rain.keras", NULL, &model) != CADENZA_OK ||
        cadenza_stream_create(model, 1, &stream) != CADENZA_OK ||
        cadenza_stream_step(stream, sample, probability) != CADENZA_OK) {
        fprintf(stderr, "%s\n", cadenza_last_message());
        return 1;
    }
    printf("%g\n", probability[0]);
    cadenza_stream_release(stream);
    cadenza_model_release(model);
    return 0;
}
