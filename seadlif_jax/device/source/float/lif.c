/* Advance LIF neurons by a step; list those that spike, and return their number. */
static uint16_t step_lif(
    network_real *u, const network_real *current, const network_real *alpha, const network_real *threshold,
    uint16_t *spikes, size_t n)
{
    uint16_t count = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        u[i] = alpha[i] * u[i] + (1 - alpha[i]) * current[i];
        if (u[i] > threshold[i]) {
            spikes[count++] = (uint16_t)i;
            u[i] = 0;
        }
    }
    return count;
}
