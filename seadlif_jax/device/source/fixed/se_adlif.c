/* Advance SE-adLIF neurons by a step; list those that spike, and return their number. */
static uint16_t step_se_adlif(
    int32_t *u, int32_t *w, const int32_t *current, const int16_t *alpha, const int16_t *beta, const int16_t *a,
    const int16_t *b, int coupling_shift, const int32_t *threshold, uint16_t *spikes, size_t n)
{
    uint16_t count = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        int spike;
        u[i] = leak(u[i], alpha[i], (int64_t)current[i] - w[i]);
        spike = u[i] > threshold[i];
        if (spike) {
            spikes[count++] = (uint16_t)i;
            u[i] = 0;
        }
        w[i] = adapt(w[i], beta[i], a[i], b[i], u[i], spike, coupling_shift);
    }
    return count;
}
