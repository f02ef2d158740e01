// Vectors of the processor's width, and memory for them.
//
// Compiled with -DREAL=float or -DREAL=double, the type of states and weights.

#ifndef SEADLIF_VECTORS_H_
#define SEADLIF_VECTORS_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define SEADLIF_AVX512
#endif
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))

namespace seadlif {

using Real = REAL;

#if defined(SEADLIF_AVX512)
constexpr int kVectorBytes = 64;
#else
constexpr int kVectorBytes = 32;
#endif

typedef Real Vector __attribute__((vector_size(kVectorBytes)));
constexpr int kLanes = kVectorBytes / sizeof(Real);

INLINE Vector load(const Real* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

INLINE void store(Real* to, Vector vector) { std::memcpy(to, &vector, sizeof vector); }

INLINE Vector broadcast(Real value) { return value - Vector{}; }

// One bit for every lane in which a comparison of vectors holds.
template <class Comparison>
INLINE uint32_t lane_bits(Comparison lanes) {
#if defined(SEADLIF_AVX512)
  __m512i integers;
  std::memcpy(&integers, &lanes, sizeof integers);
  return sizeof(Real) == 4 ? _mm512_movepi32_mask(integers) : _mm512_movepi64_mask(integers);
#elif defined(__AVX2__)
  if constexpr (sizeof(Real) == 4) {
    __m256 floats;
    std::memcpy(&floats, &lanes, sizeof floats);
    return _mm256_movemask_ps(floats);
  } else {
    __m256d doubles;
    std::memcpy(&doubles, &lanes, sizeof doubles);
    return _mm256_movemask_pd(doubles);
  }
#else
  uint32_t bits = 0;
  for (int lane = 0; lane < kLanes; lane++) bits |= (lanes[lane] ? 1u : 0u) << lane;
  return bits;
#endif
}

// Rows are padded with zeros to whole vectors.
constexpr int padded(int columns) { return (columns + kLanes - 1) / kLanes * kLanes; }

template <class T>
using Array = std::unique_ptr<T[], decltype(&std::free)>;

// Memory that is not set to anything, aligned to the lines of the cache.
template <class T>
Array<T> allocate(size_t size) {
  const size_t bytes = (std::max<size_t>(size, 1) * sizeof(T) + 63) / 64 * 64;
  T* memory = static_cast<T*>(std::aligned_alloc(64, bytes));
  if (memory == nullptr) throw std::bad_alloc();
  return {memory, &std::free};
}

template <class T>
Array<T> zeros(size_t size) {
  auto memory = allocate<T>(size);
  std::memset(memory.get(), 0, size * sizeof(T));
  return memory;
}

// Copies n elements, by vectors of which the last may overlap the one before: faster than a call of memcpy.
INLINE void copy(const Real* from, int n, Real* to) {
  if (n < kLanes) {
    std::memcpy(to, from, n * sizeof(Real));
    return;
  }
  for (int column = 0; column + kLanes <= n; column += kLanes) store(to + column, load(from + column));
  store(to + n - kLanes, load(from + n - kLanes));
}

// Copies rows of n elements between arrays in which the rows are `from_stride` and `to_stride` apart.
INLINE void copy_rows(const Real* from, size_t from_stride, Real* to, size_t to_stride, int rows, int n) {
  for (int row = 0; row < rows; row++) copy(from + row * from_stride, n, to + row * to_stride);
}

}  // namespace seadlif

#endif  // SEADLIF_VECTORS_H_
