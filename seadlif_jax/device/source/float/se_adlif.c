/* Advance SE-adLIF neurons by a step; list those that spike, and return their number. */
static uint16_t step_se_adlif(
    float *u, float *w, const float *current, const float *alpha, const float *beta, const float *a, const float *b,
    const float *threshold, uint16_t *spikes, size_t n)
{
    uint16_t count = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        u[i] = alpha[i] * u[i] + (1.0f - alpha[i]) * (current[i] - w[i]);
        w[i] = beta[i] * w[i];
        if (u[i] > threshold[i]) {
            spikes[count++] = (uint16_t)i;
            u[i] = 0.0f;
            w[i] += b[i];
        } else {
            w[i] += a[i] * u[i];
        }
    }
    return count;
}
