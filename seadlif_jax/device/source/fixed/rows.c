/* Set the sums of n neurons to zero. */
static void start(int32_t *sum, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        sum[i] = 0;
    }
}

/* Add a row of weights, times a factor, to the sums of n neurons. */
static void add_row(int32_t *sum, const int8_t *row, int32_t factor, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        sum[i] += factor * row[i];
    }
}

/* Add the rows of the neurons that spiked. */
static void add_spikes(int32_t *sum, const int8_t *weights, const uint16_t *spikes, size_t count, size_t n)
{
    size_t k;
    for (k = 0; k < count; k++) {
        add_row(sum, weights + spikes[k] * n, 1, n);
    }
}

/* Return the nearest integer of 32 bits. */
static int32_t saturate(int64_t value)
{
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

/* Turn the sums of input and recurrent weights into currents, in place of the sums of input weights. */
static void scale(
    int32_t *input, const int32_t *gain, const int32_t *recurrent, const int32_t *recurrent_gain, const int32_t *bias,
    int shift, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        int64_t total = (int64_t)input[i] * gain[i];
        if (recurrent_gain) {
            total += (int64_t)recurrent[i] * recurrent_gain[i];
        }
        input[i] = saturate(total / ((int64_t)1 << shift) + bias[i]);
    }
}

/* Return alpha u + (1 - alpha) drive. */
static int32_t leak(int32_t u, int16_t alpha, int64_t drive)
{
    return saturate(((int64_t)alpha * u + (int64_t)(32768 - alpha) * drive) / 32768);
}
