/* Advance LIF neurons by a step; list those that spike, and return their number. */
static uint16_t step_lif(
    int32_t *u, const int32_t *current, const int16_t *alpha, const int32_t *threshold, uint16_t *spikes, size_t n)
{
    uint16_t count = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        u[i] = leak(u[i], alpha[i], current[i]);
        if (u[i] > threshold[i]) {
            spikes[count++] = (uint16_t)i;
            u[i] = 0;
        }
    }
    return count;
}
