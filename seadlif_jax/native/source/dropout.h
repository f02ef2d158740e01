// The masks of nn/dropout.py, bit for bit: those of jax.random with the generator threefry2x32.

#ifndef SEADLIF_DROPOUT_H_
#define SEADLIF_DROPOUT_H_

#include <cmath>

#include "vectors.h"

namespace seadlif {

struct Key {
  uint32_t first, second;
};

// Twenty rounds of Threefry 2x32 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
INLINE Key threefry(Key key, uint32_t x, uint32_t y) {
  const uint32_t keys[3] = {key.first, key.second, key.first ^ key.second ^ 0x1BD11BDA};
  constexpr int kRotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  x += keys[0];
  y += keys[1];
#pragma GCC unroll 5
  for (int group = 0; group < 5; group++) {
#pragma GCC unroll 4
    for (int round = 0; round < 4; round++) {
      const int rotation = kRotations[group % 2][round];
      x += y;
      y = (y << rotation | y >> (32 - rotation)) ^ x;
    }
    x += keys[(group + 1) % 3];
    y += keys[(group + 2) % 3] + group + 1;
  }
  return {x, y};
}

// As jax.random.fold_in.
INLINE Key fold_in(Key key, uint32_t number) { return threefry(key, 0, number); }

struct Dropout {
  const Key* keys;   // one a sample; null for no dropout
  Real probability;  // of being kept

  // Writes 1 for each of n neurons whose spike is kept, 0 for the others. `words` is scratch for `scratch_size(n)`.
  void mask(Key step_key, int n, uint32_t* words, uint8_t* kept) const {
    const int half = (n + 1) / 2;
    const uint32_t limit = std::nearbyint(probability * 65536);
    for (int i = 0; i < scratch_size(n); i++) {  // more than needed, which is faster than a rest of a vector
      const Key bits = threefry(step_key, 0, i);
      words[i] = bits.first ^ bits.second;
    }
    for (int i = 0; i < half; i++) kept[i] = (words[i] & 0xFFFF) < limit;
    for (int i = half; i < n; i++) kept[i] = (words[i - half] >> 16) < limit;
  }

  static constexpr int scratch_size(int n) { return ((n + 1) / 2 + 15) / 16 * 16; }
};

}  // namespace seadlif

#endif  // SEADLIF_DROPOUT_H_
