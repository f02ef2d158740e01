/* An example: reads steps from standard input, a line each, and writes the outputs of each step as a line.

       ./network < steps.txt               a step is a number for each channel
       ./network events < events.txt       a step is the list of the channels that have an event, which may be empty
       ./network check < test_vector.txt   a step is a number for each channel, and then the expected outputs */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "network.h"

#define MAX_LINE 65536
#define MAX_NUMBERS (MAX_LINE / 2)

static char line[MAX_LINE];
static double numbers[MAX_NUMBERS];

/* Read the numbers of the next line; return how many, or -1 at the end. */
static long read_numbers(void)
{
    long count = 0;
    char *text = line, *end;
    if (!fgets(line, sizeof line, stdin)) {
        return -1;
    }
    for (;;) {
        double number = strtod(text, &end);
        if (end == text) {
            return count;
        }
        numbers[count++] = number;
        text = end;
    }
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
    long i, count;

    network_reset(&state);
    while ((count = read_numbers()) >= 0) {
        if (events) {
            for (i = 0; i < count; i++) {
                if (numbers[i] < 0 || numbers[i] >= NETWORK_CHANNELS) {
                    fprintf(stderr, "error: there is no channel %g; channels are 0..%d\n", numbers[i], NETWORK_CHANNELS - 1);
                    return 1;
                }
                channels[i] = (uint16_t)numbers[i];
            }
            network_step_events(&state, channels, (size_t)count, y);
        } else {
            long expected = NETWORK_CHANNELS + (check ? NETWORK_OUTPUTS : 0);
            if (count != expected) {
                fprintf(stderr, "error: a step has %ld numbers; it must have %ld\n", count, expected);
                return 1;
            }
            for (i = 0; i < NETWORK_CHANNELS; i++) {
                x[i] = (network_input)numbers[i];
            }
            network_step(&state, x, y);
        }
        for (i = 0; i < NETWORK_OUTPUTS; i++) {
            if (check) {
                double difference = y[i] - numbers[NETWORK_CHANNELS + i];
                difference = difference < 0 ? -difference : difference;
                largest = difference > largest ? difference : largest;
            } else {
                printf(i ? " " NETWORK_FORMAT : NETWORK_FORMAT, y[i]);
            }
        }
        if (!check) {
            printf("\n");
        }
    }
    if (check) {
        printf("largest difference from the expected outputs: %g (allowed: %g)\n", largest, NETWORK_TOLERANCE);
        return largest > NETWORK_TOLERANCE;
    }
    return 0;
}
