/* Checks for the C programs: each failed one is printed with its place, and the program goes on. */
#ifndef CHECK_H
#define CHECK_H

#include <cadenza.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *check_out; /* stands apart from fd 1, so that a program can watch what the library prints there */
static long check_count, check_failures;
static char check_case[256] = "";

/* Names what is being tried, for the message of a failed check or of a crash. */
__attribute__((format(printf, 1, 2))) static inline void check_trying(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(check_case, sizeof check_case, format, arguments);
    va_end(arguments);
}

static inline int check_that(int holds, const char *what, const char *file, int line) {
    check_count++;
    if (!holds && ++check_failures <= 40)
        fprintf(check_out, "%s:%d: %s%s%s%s\n", file, line, what, *check_case ? "  [" : "", check_case, *check_case ? "]" : "");
    return holds;
}

static inline int check_ok(cadenza_status status, const char *what, const char *file, int line) {
    if (status == CADENZA_OK) return check_that(1, what, file, line);
    char text[1024];
    snprintf(text, sizeof text, "%s gave %s: %s", what, cadenza_status_name(status), cadenza_last_message());
    return check_that(0, text, file, line);
}

/* A failure with this status, whose message holds `words` (several, separated by '|'; NULL: any message). */
static inline int check_fails(cadenza_status expected, cadenza_status status, const char *words, const char *what,
                              const char *file, int line) {
    const char *message = cadenza_last_message();
    char text[1024];
    int says = *message != 0 && !strchr(message, '\n');
    for (const char *word = words; says && word; word = strchr(word, '|') ? strchr(word, '|') + 1 : NULL) {
        char one[128];
        snprintf(one, sizeof one, "%.*s", (int)strcspn(word, "|"), word);
        says = strstr(message, one) != NULL;
    }
    snprintf(text, sizeof text, "%s: expected %s%s%s, got %s: \"%s\"", what, cadenza_status_name(expected),
             words ? " saying " : "", words ? words : "", cadenza_status_name(status), message);
    return check_that(status == expected && says, text, file, line);
}

#define CHECK(condition) check_that((condition) != 0, #condition, __FILE__, __LINE__)
#define CHECK_OK(call) check_ok((call), #call, __FILE__, __LINE__)
#define CHECK_FAILS(status, call, words) check_fails((status), (call), (words), #call, __FILE__, __LINE__)

/* Says what was being tried, without memory of its own, and lets the signal do its work. */
static inline void check_crashed(int number) {
    char text[] = "died of signal 00 while trying: ";
    text[15] = (char)('0' + number / 10), text[16] = (char)('0' + number % 10);
    ssize_t written = write(fileno(check_out), text, sizeof text - 1);
    written += write(fileno(check_out), check_case, strlen(check_case));
    written += write(fileno(check_out), "\n", 1);
    (void)written;
    raise(number);
}

static inline void check_begin(void) {
    check_out = fdopen(dup(STDOUT_FILENO), "w");
    setvbuf(check_out, NULL, _IOLBF, 0);
    const int signals[] = {SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGABRT};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &(struct sigaction){.sa_handler = check_crashed, .sa_flags = (int)SA_RESETHAND}, NULL);
}

/* The last line, and the exit code. */
static inline int check_end(const char *name) {
    if (check_failures) fprintf(check_out, "%s: %ld of %ld checks failed\n", name, check_failures, check_count);
    else fprintf(check_out, "%s: %ld checks\n", name, check_count);
    fclose(check_out);
    return check_failures != 0;
}

#endif
