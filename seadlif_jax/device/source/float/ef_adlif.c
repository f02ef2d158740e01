/* Advance EF-adLIF neurons by a step; list those that spike, and return their number. The adaptation current w follows
   potential and spike a step later than in SE-adLIF: next_w is that of the next step. */
static uint16_t step_ef_adlif(
    float *u, float *w, float *next_w, const float *current, const float *alpha, const float *beta, const float *a,
    const float *b, const float *threshold, uint16_t *spikes, size_t n)
{
    uint16_t count = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        u[i] = alpha[i] * u[i] + (1.0f - alpha[i]) * (current[i] - w[i]);
        w[i] = next_w[i];
        next_w[i] = beta[i] * w[i];
        if (u[i] > threshold[i]) {
            spikes[count++] = (uint16_t)i;
            u[i] = 0.0f;
            next_w[i] += b[i];
        } else {
            next_w[i] += a[i] * u[i];
        }
    }
    return count;
}
