/* Advance the readout by a step, and copy it to y. */
static void step_readout(int32_t *u, const int32_t *current, const int16_t *alpha, int32_t *y, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        u[i] = leak(u[i], alpha[i], current[i]);
        y[i] = u[i];
    }
}
