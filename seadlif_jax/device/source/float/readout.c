/* Advance the readout by a step, and copy it to y. */
static void step_readout(float *u, const float *current, const float *alpha, float *y, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        u[i] = alpha[i] * u[i] + (1.0f - alpha[i]) * current[i];
        y[i] = u[i];
    }
}
