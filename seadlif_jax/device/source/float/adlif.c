/* Advance adLIF neurons by a step; list those that spike, and return their number. In EF-adLIF, the adaptation current w
   follows potential and spike a step later, and next_w is that of the next step; in SE-adLIF, both are one array. */
static uint16_t step_adlif(
    network_real *u, network_real *w, network_real *next_w, const network_real *current,
    const network_real *alpha, const network_real *beta, const network_real *a,
    const network_real *b, const network_real *threshold, uint16_t *spikes, size_t n)
{
    uint16_t count = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        u[i] = alpha[i] * u[i] + (1 - alpha[i]) * (current[i] - w[i]);
        w[i] = next_w[i];
        next_w[i] = beta[i] * w[i];
        if (u[i] > threshold[i]) {
            spikes[count++] = (uint16_t)i;
            u[i] = 0;
            next_w[i] += b[i];
        } else {
            next_w[i] += a[i] * u[i];
        }
    }
    return count;
}
