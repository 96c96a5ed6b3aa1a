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

enum { SAMPLES = 100, PRIMER = 20, STEPS = SAMPLES - 1, RUN = 1000, UNITS = 5, WEIGHTS = 5, LARGEST = 4 * UNITS * UNITS };
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

/* Free-running: a tape for each step, forward from the first to the last and backward from the last to the first. */
static void run_free(cadenza_model *model) {
    static float output[STEPS], fed[STEPS], state[STEPS + 1][2][UNITS], state_gradient[2][UNITS], gradient[WEIGHTS][LARGEST];
    const float *gradients[WEIGHTS], *states[2], *state_gradients[2] = {state_gradient[0], state_gradient[1]};
    cadenza_trainer *trainer = trainer_of(model, 0.01, 0.1);
    cadenza_tape *tapes[STEPS];
    check(cadenza_tape_create(model, NULL, &tapes[0]));
    for (int t = 1; t < STEPS; t++) check(cadenza_tape_fork(tapes[0], &tapes[t]));
    const size_t time = 1;

    for (int update = 0; update < FREE_UPDATES; update++) {
        cadenza_trainer_set_learning_rate(trainer, 0.005 * (1 + cos(3.14159265 * update / FREE_UPDATES)));
        for (int t = 0; t < STEPS; t++) {
            fed[t] = t < PRIMER ? series[t] : output[t - 1];
            const float *input = &fed[t];
            for (int s = 0; s < 2; s++) states[s] = state[t][s];
            check(cadenza_tape_forward(tapes[t], 1, &time, &input, states, 1, 0));
            check(cadenza_tape_output(tapes[t], 0, &output[t], 1));
            for (size_t s = 0; s < 2; s++) check(cadenza_tape_state(tapes[t], s, state[t + 1][s], UNITS));
        }
        float from_next = 0;
        for (int s = 0; s < 2 * UNITS; s++) state_gradient[0][s] = 0;
        for (int t = STEPS - 1; t >= 0; t--) {
            float of_output = (t >= PRIMER - 1 ? (output[t] - series[t + 1]) / (STEPS - PRIMER + 1) : 0) + from_next;
            const float *given = &of_output;
            check(cadenza_tape_backward(tapes[t], &given, state_gradients, t < STEPS - 1));
            for (size_t s = 0; s < 2; s++) check(cadenza_tape_state_gradient(tapes[t], s, state_gradient[s], UNITS));
            check(cadenza_tape_input_gradient(tapes[t], 0, &from_next, 1));
            if (t < PRIMER) from_next = 0;
        }
        for (size_t w = 0; w < WEIGHTS; w++) {
            cadenza_weight_info info = {.struct_size = sizeof info};
            check(cadenza_model_weight_info(model, w, &info));
            check(cadenza_tape_weight_gradient(tapes[0], w, gradient[w], info.count));
            gradients[w] = gradient[w];
        }
        check(cadenza_trainer_apply(trainer, gradients));
    }
    for (int t = 0; t < STEPS; t++) cadenza_tape_release(tapes[t]);
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
