/* Will it rain tomorrow? Streams the last days of Seattle's weather record through a trained Keras model.
 *
 *     rain [folder] [model]          examples/rain and its rain.keras, where not given
 *
 * Each day is one step: the three numbers that seattle_weather.csv has for it, divided by ten as in train.py. After
 * each day the model gives the probability of rain on the next one, and Keras's stored answer stands beside it. */
#include <cadenza.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_DAYS 4096
#define TOLERANCE 1e-5

typedef struct {
    char date[11];
    double values[3];
} row;

/* Reads lines of a date and `columns` numbers after a line of headings; the count of rows, or -1. */
static int read_rows(const char *folder, const char *name, int columns, row *rows) {
    char path[4096], line[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(line, sizeof line, file)) {
        fprintf(stderr, "cannot read %s\n", path);
        return -1;
    }
    int count = 0;
    for (; count < MAX_DAYS && fgets(line, sizeof line, file); count++) {
        row *r = &rows[count];
        if (sscanf(line, "%10[0-9-],%lf,%lf,%lf", r->date, &r->values[0], &r->values[1], &r->values[2]) != columns + 1) {
            fprintf(stderr, "%s, line %d: not a date and %d numbers\n", path, count + 2, columns);
            return -1;
        }
    }
    fclose(file);
    return count;
}

static int failed(void) {
    fprintf(stderr, "%s\n", cadenza_last_message());
    return EXIT_FAILURE;
}

int main(int argc, char **argv) {
    static row weather[MAX_DAYS], expected[MAX_DAYS];
    const char *folder = argc > 1 ? argv[1] : "examples/rain";
    char path[4096];
    snprintf(path, sizeof path, argc > 2 ? "%s" : "%s/rain.keras", argc > 2 ? argv[2] : folder);

    int days = read_rows(folder, "seattle_weather.csv", 3, weather);
    int shown = read_rows(folder, "expected.csv", 1, expected);
    if (days < shown || shown < 1) return EXIT_FAILURE;

    cadenza_model *model = NULL;
    cadenza_stream *stream = NULL;
    if (cadenza_model_load_file(path, NULL, &model) || cadenza_stream_create(model, 1, &stream)) return failed();

    printf("date        rain tomorrow   Keras says\n");
    double largest = 0;
    int apart = 0;
    for (int day = 0; day < shown; day++) {
        const row *today = &weather[days - shown + day];
        float sample[3], probability;
        for (int i = 0; i < 3; i++) sample[i] = (float)(today->values[i] / 10);

        if (cadenza_stream_step(stream, sample, &probability)) return failed();

        double keras = expected[day].values[0], difference = fabs(probability - keras);
        if (!(difference <= TOLERANCE)) apart++;
        if (difference > largest) largest = difference;
        printf("%s  %13.6f   %10.6f\n", today->date, probability, keras);
    }
    cadenza_stream_release(stream);
    cadenza_model_release(model);

    if (apart) {
        fprintf(stderr, "\n%d of %d days differ from Keras by more than %g.\n", apart, shown, TOLERANCE);
        return EXIT_FAILURE;
    }
    printf("\nAll %d days agree with Keras within %g; the largest difference is %.2g.\n", shown, TOLERANCE, largest);
    return EXIT_SUCCESS;
}
