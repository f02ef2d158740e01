/* Copy the biases of n neurons to their currents. */
static void start(network_real *current, const network_real *bias, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        current[i] = bias[i];
    }
}

/* Add a row of weights, times a factor, to the currents of n neurons. */
static void add_row(network_real *current, const network_real *row, network_real factor, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        current[i] += factor * row[i];
    }
}

/* Add the rows of the neurons that spiked. */
static void add_spikes(
    network_real *current, const network_real *weights, const uint16_t *spikes, size_t count, size_t n)
{
    size_t k;
    for (k = 0; k < count; k++) {
        add_row(current, weights + spikes[k] * n, 1, n);
    }
}
