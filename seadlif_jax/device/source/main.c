/* An example: reads steps from standard input, a line each, and writes the outputs of each step as a line.

       ./network < steps.txt               a step is a number for each channel
       ./network events < events.txt       a step is the list of the channels that have an event, which may be empty
       ./network check < test_vector.txt   a step is a number for each channel, and then the expected outputs */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "network.h"

#define MAX_NUMBERS (NETWORK_CHANNELS + NETWORK_OUTPUTS + 4096)
#define MAX_LINE (MAX_NUMBERS * 24)

static char line[MAX_LINE];
static double numbers[MAX_NUMBERS];

static void fail(const char *problem, long step)
{
    fprintf(stderr, "error: step %ld: %s\n", step, problem);
    exit(1);
}

/* Read the numbers of the next line; return how many, or -1 at the end. */
static long read_numbers(long step)
{
    long count = 0;
    char *text = line, *end;
    if (!fgets(line, sizeof line, stdin)) {
        return -1;
    }
    if (strlen(line) == sizeof line - 1) {
        fail("the line is too long", step);
    }
    for (;;) {
        double number = strtod(text, &end);
        if (end == text) {
            break;
        }
        if (count == MAX_NUMBERS) {
            fail("there are too many numbers", step);
        }
        numbers[count++] = number;
        text = end;
    }
    if (text[strspn(text, " \t\r\n")] != '\0') {
        fail("there is something that is no number", step);
    }
    return count;
}

int main(int argc, char **argv)
{
    static network_state state;
    static network_input x[NETWORK_CHANNELS];
    static uint16_t channels[MAX_NUMBERS];
    network_output y[NETWORK_OUTPUTS];
    const char *mode = argc > 1 ? argv[1] : "steps";
    int events = strcmp(mode, "events") == 0, check = strcmp(mode, "check") == 0;
    double largest = 0;
    long i, count, step = 0;

    if (!events && !check && strcmp(mode, "steps") != 0) {
        fprintf(stderr, "error: %s is none of steps, events and check\n", mode);
        return 1;
    }
    network_reset(&state);
    while ((count = read_numbers(++step)) >= 0) {
        if (events) {
            for (i = 0; i < count; i++) {
                if (!(numbers[i] >= 0 && numbers[i] < NETWORK_CHANNELS) || numbers[i] != (int)numbers[i]) {
                    fail("a number is none of a channel", step);
                }
                channels[i] = (uint16_t)numbers[i];
            }
            network_step_events(&state, channels, (size_t)count, y);
        } else {
            if (count != NETWORK_CHANNELS + (check ? NETWORK_OUTPUTS : 0)) {
                fail("there are more or fewer numbers than channels (and, for check, outputs)", step);
            }
            for (i = 0; i < NETWORK_CHANNELS; i++) {
                if (!(numbers[i] >= -NETWORK_MAX_INPUT && numbers[i] <= NETWORK_MAX_INPUT)) {
                    fail("an input is out of range", step);
                }
                x[i] = (network_input)numbers[i];
                if (sizeof x[0] == 2 && (double)x[i] != numbers[i]) {
                    fail("in fixed point, inputs are whole numbers", step);
                }
            }
            network_step(&state, x, y);
        }
        for (i = 0; i < NETWORK_OUTPUTS; i++) {
            if (check) {
                double difference = (double)y[i] - numbers[NETWORK_CHANNELS + i];
                difference = difference < 0 ? -difference : difference;
                largest = difference <= largest ? largest : difference; /* also if it is no number */
            } else {
                printf(i ? " %.*g" : "%.*g", sizeof x[0] == 2 ? 10 : 9, (double)y[i]); /* all digits */
            }
        }
        if (!check) {
            printf("\n");
        }
    }
    if (check) {
        printf("%ld steps; largest difference from the expected outputs: %g (allowed: %g)\n", step - 1, largest,
               NETWORK_TOLERANCE);
        return step == 1 || !(largest <= NETWORK_TOLERANCE);
    }
    return 0;
}
