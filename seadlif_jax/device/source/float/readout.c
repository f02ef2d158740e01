/* Advance the readout by a step, and copy it to y. */
static void step_readout(
    network_real *u, const network_real *current, const network_real *alpha, network_real *y, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        u[i] = alpha[i] * u[i] + (1 - alpha[i]) * current[i];
        y[i] = u[i];
    }
}
