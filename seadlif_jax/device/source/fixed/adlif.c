/* Return beta w + a u, or beta w + b after a spike. */
static int32_t adapt(int32_t w, int16_t beta, int16_t a, int16_t b, int32_t u, int spike, int coupling_shift)
{
    int64_t coupled = spike ? (int64_t)b * 65536 : (int64_t)a * u;
    return saturate((int64_t)beta * w / 32768 + coupled / ((int64_t)1 << coupling_shift));
}

/* Advance adLIF neurons by a step; list those that spike, and return their number. In EF-adLIF, the adaptation current w
   follows potential and spike a step later, and next_w is that of the next step; in SE-adLIF, both are one array. */
static uint16_t step_adlif(
    int32_t *u, int32_t *w, int32_t *next_w, const int32_t *current, const int16_t *alpha, const int16_t *beta,
    const int16_t *a, const int16_t *b, int coupling_shift, const int32_t *threshold, uint16_t *spikes, size_t n)
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
        w[i] = next_w[i];
        next_w[i] = adapt(w[i], beta[i], a[i], b[i], u[i], spike, coupling_shift);
    }
    return count;
}
