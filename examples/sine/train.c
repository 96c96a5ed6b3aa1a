/* Trains a model from scratch to go on with a sine by itself, in seconds.
 *
 *     train [seed]
 *
 * A hundred samples are known. First LSTM(5) and Dense(1, tanh) learn to give the sample behind each of them, by Adam on the
 * series itself (teacher forcing). Run free, such a model soon loses the beat: it has never seen its own mistakes. So then
 * it learns on what it gives itself: twenty samples in, each answer is the next input, and gradients go back through all
 * of these steps (free-running). After both, the error of 1000 steps of its own is printed. */
#include <cadenza.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SAMPLES = 100, PRIMER = 20, OUTPUTS = SAMPLES - PRIMER, STEPS = SAMPLES - 1, RUN = 1000 };
enum { TAUGHT_UPDATES = 500, FREE_UPDATES = 4000 };

static float series[SAMPLES + RUN];

static void check(cadenza_status status) {
    if (status == CADENZA_OK) return;
    fprintf(stderr, "%s\n", cadenza_last_message());
    exit(EXIT_FAILURE);
}

static cadenza_model *build(uint64_t seed) {
    cadenza_builder *builder = NULL;
    cadenza_model *model = NULL;
    check(cadenza_builder_create(0, 1, &builder));
    check(cadenza_builder_add(builder, "LSTM", "units=5, return_sequences=True"));
    check(cadenza_builder_add(builder, "Dense", "units=1, activation=tanh"));
    check(cadenza_builder_build(builder, seed, &model));
    cadenza_builder_release(builder);
    return model;
}

static cadenza_trainer *trainer_of(cadenza_model *model, double rate, double clipnorm) {
    cadenza_loss loss;
    cadenza_loss_init(&loss, CADENZA_MEAN_SQUARED_ERROR);
    cadenza_optimizer adam;
    cadenza_optimizer_init(&adam, CADENZA_ADAM);
    adam.learning_rate = rate;
    adam.global_clipnorm = clipnorm;
    cadenza_trainer_options options = {.struct_size = sizeof options, .losses = &loss, .loss_count = 1, .optimizer = &adam};
    cadenza_trainer *trainer = NULL;
    check(cadenza_trainer_create(model, &options, &trainer));
    return trainer;
}

/* Teacher forcing: the series in, the series rolled by one out, without what comes round from its front. */
static void teach(cadenza_model *model) {
    cadenza_trainer *trainer = trainer_of(model, 0.02, 0);
    const float *input = series, *target = series + 1;
    const size_t time = STEPS;
    const cadenza_batch batch = {.struct_size = sizeof batch, .batch = 1, .times = &time, .inputs = &input, .targets = &target};
    for (int update = 0; update < TAUGHT_UPDATES; update++) check(cadenza_trainer_update(trainer, &batch, NULL, NULL));
    cadenza_trainer_release(trainer);
}

/* Free-running: a run that is fed with its own answers, and the gradient back through all of them. */
static void run_free(cadenza_model *model) {
    float output[OUTPUTS], gradient[OUTPUTS];
    cadenza_trainer *trainer = trainer_of(model, 0.01, 0.1);
    cadenza_tape *tape = NULL;
    cadenza_unrolled *run = NULL;
    check(cadenza_tape_create(model, NULL, &tape));
    check(cadenza_unrolled_create(tape, NULL, &run));
    const cadenza_unrolled_batch batch = {.struct_size = sizeof batch, .batch = 1, .steps = PRIMER, .x = series, .outputs = OUTPUTS};
    for (int update = 0; update < FREE_UPDATES; update++) {
        check(cadenza_trainer_set_learning_rate(trainer, 0.005 * (1 + cos(3.14159265 * update / FREE_UPDATES))));
        check(cadenza_unrolled_forward(run, &batch));
        check(cadenza_unrolled_values(run, CADENZA_UNROLLED_OUTPUTS, 0, output, OUTPUTS));
        for (int t = 0; t < OUTPUTS; t++) gradient[t] = (output[t] - series[PRIMER + t]) / OUTPUTS;
        check(cadenza_unrolled_backward(run, gradient, NULL, NULL, 0));
        check(cadenza_trainer_apply_tape(trainer, tape));
    }
    cadenza_unrolled_release(run);
    cadenza_tape_release(tape);
    cadenza_trainer_release(trainer);
}

/* The root of the mean square of what a run of its own is off the sine, over its first steps and over all of them. */
static void report(const char *what, cadenza_model *model) {
    cadenza_generator_options options;
    cadenza_generator_options_init(&options);
    options.feedback = CADENZA_FEEDBACK_OUTPUT;
    cadenza_selffeeding *generator = NULL;
    const float *input = series;
    float values[RUN];
    check(cadenza_selffeeding_create(model, 1, &options, &generator));
    check(cadenza_selffeeding_prime(generator, SAMPLES, &input, NULL));
    check(cadenza_selffeeding_run(generator, RUN, NULL, values, NULL, NULL, NULL));
    cadenza_selffeeding_release(generator);
    double sum = 0, first = 0;
    for (int i = 0; i < RUN; i++) {
        sum += pow(values[i] - series[SAMPLES + i], 2);
        if (i == SAMPLES - 1) first = sum;
    }
    printf("%-16s error of the first 100 steps of its own %.4f, of 1000 steps %.4f\n", what,
           sqrt(first / SAMPLES), sqrt(sum / RUN));
}

int main(int argc, char **argv) {
    for (int i = 0; i < SAMPLES + RUN; i++) series[i] = (float)sin(10.0 * i / 99);
    cadenza_model *model = build(argc > 1 ? strtoull(argv[1], NULL, 10) : 1);
    teach(model);
    report("teacher forcing", model);
    run_free(model);
    report("free-running", model);
    cadenza_model_release(model);
    return EXIT_SUCCESS;
}
