/* Writes on, character by character, as the first chapters of "Alice's Adventures in Wonderland" would.
 *
 *     characters [folder [prompt [seed [temperature]]]]        the folder is examples/characters, where not given
 *
 * Each character is drawn from the model's answer to the one before. The same seed gives the same text, here and in
 * characters.py; temperature 0 takes the likeliest character each time. */
#include <cadenza.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH 400
#define MAX_PROMPT 1000

/* The different characters of a text, in the order of their codes; how many, or -1. */
static int read_vocabulary(const char *folder, char *vocabulary) {
    char path[4096], there[256] = {0};
    snprintf(path, sizeof path, "%s/alice.txt", folder);
    FILE *file = fopen(path, "r");
    if (!file) return fprintf(stderr, "cannot read %s\n", path), -1;
    for (int character; (character = fgetc(file)) != EOF;) there[character] = 1;
    fclose(file);
    int count = 0;
    for (int character = 0; character < 256; character++)
        if (there[character]) vocabulary[count++] = (char)character;
    return count;
}

static int failed(void) {
    fprintf(stderr, "%s\n", cadenza_last_message());
    return EXIT_FAILURE;
}

int main(int argc, char **argv) {
    const char *folder = argc > 1 ? argv[1] : "examples/characters", *prompt = argc > 2 ? argv[2] : "alice ";
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    char vocabulary[256], path[4096];
    int classes = read_vocabulary(folder, vocabulary);
    if (classes < 0) return EXIT_FAILURE;
    snprintf(path, sizeof path, "%s/characters.keras", folder);

    float ids[MAX_PROMPT];
    size_t given = strlen(prompt);
    for (size_t i = 0; i < given; i++) {
        const char *place = given <= MAX_PROMPT ? memchr(vocabulary, prompt[i], (size_t)classes) : NULL;
        if (!place) return fprintf(stderr, "The prompt must have characters of alice.txt, and no others.\n"), EXIT_FAILURE;
        ids[i] = (float)(place - vocabulary);
    }

    cadenza_sampler sampler;
    cadenza_sampler_init(&sampler);
    sampler.kind = CADENZA_SAMPLE_CATEGORICAL;
    sampler.temperature = argc > 4 ? strtof(argv[4], NULL) : 0.5f;
    cadenza_generator_options options;
    cadenza_generator_options_init(&options);
    options.sampler = &sampler;
    options.feedback = CADENZA_FEEDBACK_SAMPLE;
    options.seeds = &seed;
    options.seed_count = 1;

    cadenza_model *model = NULL;
    cadenza_selffeeding *generator = NULL;
    const float *inputs = ids;
    float drawn[LENGTH], logs[LENGTH];
    if (cadenza_model_load_file(path, NULL, &model) || cadenza_selffeeding_create(model, 1, &options, &generator) ||
        cadenza_selffeeding_prime(generator, given, &inputs, NULL) ||
        cadenza_selffeeding_run(generator, LENGTH, NULL, NULL, drawn, logs, NULL))
        return failed();

    double sum = 0;
    fputs(prompt, stdout);
    for (int i = 0; i < LENGTH; i++) {
        putchar(vocabulary[(int)drawn[i]]);
        sum -= logs[i];
    }
    printf("\n\n%d characters, %.3f nats each by the model's own count\n", LENGTH, sum / LENGTH);
    cadenza_selffeeding_release(generator);
    cadenza_model_release(model);
    return EXIT_SUCCESS;
}
