/* Return beta w + a u, or beta w + b after a spike. */
static int32_t adapt(int32_t w, int16_t beta, int16_t a, int16_t b, int32_t u, int spike, int coupling_shift)
{
    int64_t coupled = spike ? (int64_t)b * 65536 : (int64_t)a * u;
    return saturate((int64_t)beta * w / 32768 + coupled / ((int64_t)1 << coupling_shift));
}
