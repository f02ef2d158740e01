// A layer of LIF, EF-adLIF or SE-adLIF neurons over a chunk of time steps, forward and backward, on one core.
//
// Equations and names are those of neurons/lif.py and neurons/adlif.py. Most of what enters a layer is zero: events and
// spikes are sparse. So the current of a step is the sum of those rows of the weights whose input is not zero or whose
// neuron has spiked, and the gradients of the weights are sums over the same. Nothing is left out but products with
// zero; so a weight that is NaN or infinite has no effect before its input is not zero. The gradient for the currents is
// not sparse: its product with the recurrent weights is dense.
//
// All arrays are time-major and contiguous, [step, sample, neuron]. A call runs in the thread that makes it.
//
// Compiled with -DREAL=float or -DREAL=double, the type of states and weights.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

#include "xla/ffi/api/ffi.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace ffi = xla::ffi;

namespace {

using Real = REAL;

#define INLINE inline __attribute__((always_inline))

// ---- Vectors of the processor's width --------------------------------------------------------------------------

#if defined(__AVX512F__) && defined(__AVX512DQ__)
constexpr int kVectorBytes = 64;
#else
constexpr int kVectorBytes = 32;
#endif

typedef Real Vector __attribute__((vector_size(kVectorBytes)));
constexpr int kLanes = kVectorBytes / sizeof(Real);

// The number of elements is either a constant, `Full`, or that of the rest of a row.
using Full = std::integral_constant<int, kLanes>;

INLINE Vector load(const Real* from, Full = {}) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

INLINE void store(Real* to, Vector vector, Full = {}) { std::memcpy(to, &vector, sizeof vector); }

#if defined(__AVX512F__) && defined(__AVX512DQ__)
INLINE Vector load(const Real* from, int count) {
  if constexpr (sizeof(Real) == 4) return (Vector)_mm512_maskz_loadu_ps((1u << count) - 1, (const float*)from);
  else return (Vector)_mm512_maskz_loadu_pd((1u << count) - 1, (const double*)from);
}

INLINE void store(Real* to, Vector vector, int count) {
  if constexpr (sizeof(Real) == 4) _mm512_mask_storeu_ps((float*)to, (1u << count) - 1, (__m512)vector);
  else _mm512_mask_storeu_pd((double*)to, (1u << count) - 1, (__m512d)vector);
}
#elif defined(__AVX2__)
INLINE __m256i first_lanes(int count) {
  if constexpr (sizeof(Real) == 4)
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  else return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
}

INLINE Vector load(const Real* from, int count) {
  const __m256i lanes = first_lanes(count);
  if constexpr (sizeof(Real) == 4) return (Vector)_mm256_maskload_ps((const float*)from, lanes);
  else return (Vector)_mm256_maskload_pd((const double*)from, lanes);
}

INLINE void store(Real* to, Vector vector, int count) {
  const __m256i lanes = first_lanes(count);
  if constexpr (sizeof(Real) == 4) _mm256_maskstore_ps((float*)to, lanes, (__m256)vector);
  else _mm256_maskstore_pd((double*)to, lanes, (__m256d)vector);
}
#else
INLINE Vector load(const Real* from, int count) {
  Vector vector{};
  std::memcpy(&vector, from, count * sizeof(Real));
  return vector;
}

INLINE void store(Real* to, Vector vector, int count) { std::memcpy(to, &vector, count * sizeof(Real)); }
#endif

INLINE Vector broadcast(Real value) { return value - Vector{}; }

// Calls `body(first column, number of columns)` for the vectors of a row of n elements.
template <class Body>
INLINE void for_each_vector(int n, Body body) {
  int column = 0;
  for (; column + kLanes <= n; column += kLanes) body(column, Full{});
  if (column < n) body(column, n - column);
}

// One bit for every lane in which a comparison holds.
template <class Mask>
INLINE uint32_t lane_bits(Mask mask) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
  __m512i lanes;
  std::memcpy(&lanes, &mask, sizeof lanes);
  return sizeof(Real) == 4 ? _mm512_movepi32_mask(lanes) : _mm512_movepi64_mask(lanes);
#elif defined(__AVX2__)
  if constexpr (sizeof(Real) == 4) {
    __m256 lanes;
    std::memcpy(&lanes, &mask, sizeof lanes);
    return _mm256_movemask_ps(lanes);
  } else {
    __m256d lanes;
    std::memcpy(&lanes, &mask, sizeof lanes);
    return _mm256_movemask_pd(lanes);
  }
#else
  uint32_t bits = 0;
  for (int lane = 0; lane < kLanes; lane++) bits |= (mask[lane] ? 1u : 0u) << lane;
  return bits;
#endif
}

template <class T>
using Scratch = std::unique_ptr<T[], decltype(&std::free)>;

// Zeros, aligned to the lines of the cache.
template <class T>
Scratch<T> zeros(size_t size) {
  const size_t bytes = (std::max<size_t>(size, 1) * sizeof(T) + 63) / 64 * 64;
  T* memory = static_cast<T*>(std::aligned_alloc(64, bytes));
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, bytes);
  return {memory, &std::free};
}

// ---- Sparse rows -------------------------------------------------------------------------------------------------

// Calls `found(index, value)` for every element that is not zero. Eight bytes are skipped at a time.
template <class X, class Found>
INLINE void for_each_nonzero(const X* x, int n, Found found) {
  constexpr int kPerWord = 8 / sizeof(X), kBits = 8 * sizeof(X);
  int i = 0;
  for (; i + kPerWord <= n; i += kPerWord) {
    uint64_t word;
    std::memcpy(&word, x + i, 8);
    while (word != 0) {
      const int k = __builtin_ctzll(word) / kBits;
      found(i + k, x[i + k]);
      if (kPerWord == 1) break;
      word &= k + 1 == kPerWord ? 0 : ~uint64_t{0} << ((k + 1) * kBits % 64);
    }
  }
  for (; i < n; i++)
    if (x[i] != 0) found(i, x[i]);
}

// A matrix of any type of numbers, of which the nonzero elements of a row can be found.
struct Matrix {
  const void* data;
  int columns;
  int (*find)(const void* data, size_t row, int columns, uint16_t* indices, Real* values);

  // Writes the indices and values of the nonzero elements of a row; returns their number.
  int nonzeros(size_t row, uint16_t* indices, Real* values) const { return find(data, row, columns, indices, values); }
};

template <class X>
int find_nonzeros(const void* data, size_t row, int columns, uint16_t* indices, Real* values) {
  int count = 0;
  for_each_nonzero(static_cast<const X*>(data) + row * columns, columns, [&](int i, X value) {
    indices[count] = i;
    values[count++] = Real(value);
  });
  return count;
}

struct SparseRow {
  int count = 0;
  uint16_t* indices;
  Real* values;
};

// ---- Forward -----------------------------------------------------------------------------------------------------

enum class Kind { kLIF, kEF, kSE };

struct Coefficients {
  const Real *alpha, *beta, *a, *b;
};

// The columns of weights in blocks, each [row, columns of the block]: what a block of neurons needs lies together.
class ColumnBlocks {
 public:
  static constexpr int kMostVectors = 8;

  ColumnBlocks(int columns) : columns_(columns) {
    const int vectors = (columns + kLanes - 1) / kLanes;
    const int blocks = (vectors + kMostVectors - 1) / kMostVectors;
    vectors_ = blocks == 0 ? 1 : (vectors + blocks - 1) / blocks;
    padded_ = vectors * kLanes;
  }

  int padded() const { return padded_; }

  Scratch<Real> pack(const Real* weights, int rows) const {
    Scratch<Real> packed = zeros<Real>(size_t(rows) * padded_);
    Real* to = packed.get();
    for_each([&](int first, int vectors) {
      const int width = vectors * kLanes, filled = std::min(width, columns_ - first);
      for (int row = 0; row < rows; row++, to += width)
        std::memcpy(to, weights + size_t(row) * columns_ + first, filled * sizeof(Real));
    });
    return packed;
  }

  // Calls `body(first column, number of vectors)` for every block. Block i of `pack` begins at rows * first column.
  template <class Body>
  void for_each(Body body) const {
    for (int first = 0; first < padded_; first += vectors_ * kLanes)
      body(first, std::min(vectors_, (padded_ - first) / kLanes));
  }

 private:
  int columns_, vectors_, padded_;
};

// Calls `body` with the number of vectors of a block as a constant.
template <class Body>
INLINE void with_constant(int vectors, Body body) {
  switch (vectors) {
#define CASE(k) case k: body(std::integral_constant<int, k>{}); break;
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
#undef CASE
  }
}

// The current of a block of neurons: bias + sum_i x_i W_i + sum_j W^rec_j, over nonzero inputs and spiking neurons.
template <int kVectors>
INLINE void sum_rows(const Real* bias, const Real* kernel, const SparseRow& x, const Real* recurrent, int num_spikes,
                     const uint16_t* spiking, Vector* current) {
  constexpr int kWidth = kVectors * kLanes;
#pragma GCC unroll 8
  for (int q = 0; q < kVectors; q++) current[q] = load(bias + q * kLanes);
  for (int i = 0; i < x.count; i++) {
    const Real* row = kernel + size_t(x.indices[i]) * kWidth;
    const Vector value = broadcast(x.values[i]);
#pragma GCC unroll 8
    for (int q = 0; q < kVectors; q++) current[q] += value * load(row + q * kLanes);
  }
  for (int i = 0; i < num_spikes; i++) {
    const Real* row = recurrent + size_t(spiking[i]) * kWidth;
#pragma GCC unroll 8
    for (int q = 0; q < kVectors; q++) current[q] += load(row + q * kLanes);
  }
}

struct Shape {
  int steps, batch, channels, neurons;
  bool recurrent;
};

constexpr int kSamples = 64;  // whose states stay in the cache, while a block of the weights serves all of them

template <Kind kKind>
void forward(Shape shape, Coefficients coefficients, Real threshold, const Real* kernel, const Real* bias,
             const Real* recurrent, const Real* first_u_hat, const Real* first_w, Matrix x, Real* u_hats,
             Real* last_w) {
  constexpr bool kAdaptive = kKind != Kind::kLIF;
  const int n = shape.neurons, channels = shape.channels;
  const ColumnBlocks blocks(n);
  const int padded = blocks.padded();
  const auto kernel_blocks = blocks.pack(kernel, channels), bias_blocks = blocks.pack(bias, 1);
  const auto recurrent_blocks = blocks.pack(recurrent, shape.recurrent ? n : 0);
  const auto alpha = blocks.pack(coefficients.alpha, 1);
  const auto beta = blocks.pack(kAdaptive ? coefficients.beta : coefficients.alpha, 1);
  const auto a = blocks.pack(kAdaptive ? coefficients.a : coefficients.alpha, 1);
  const auto b = blocks.pack(kAdaptive ? coefficients.b : coefficients.alpha, 1);
  const auto u = zeros<Real>(size_t(kSamples) * padded), w = zeros<Real>(kAdaptive ? size_t(kSamples) * padded : 0);
  const auto inputs = zeros<uint16_t>(size_t(kSamples) * channels);
  const auto input_values = zeros<Real>(size_t(kSamples) * channels);
  const auto spiking = zeros<uint16_t>(size_t(2) * kSamples * padded);
  SparseRow rows[kSamples];
  int num_spikes[2][kSamples];
  for (int s = 0; s < kSamples; s++)
    rows[s] = {0, inputs.get() + size_t(s) * channels, input_values.get() + size_t(s) * channels};
  const auto spikes_of = [&](int parity, int s) { return spiking.get() + (size_t(parity) * kSamples + s) * padded; };
  const auto add_spikes = [](uint32_t bits, int column, uint16_t* to, int& count) {
    for (; bits != 0; bits &= bits - 1) to[count++] = column + __builtin_ctz(bits);
  };

  for (int begin = 0; begin < shape.batch; begin += kSamples) {
    const int samples = std::min(kSamples, shape.batch - begin);
    for (int s = 0; s < samples; s++) {
      const size_t at = size_t(begin + s) * n;
      std::memcpy(u.get() + size_t(s) * padded, first_u_hat + at, n * sizeof(Real));
      if (kAdaptive) std::memcpy(w.get() + size_t(s) * padded, first_w + at, n * sizeof(Real));
      num_spikes[0][s] = 0;
      for (int j = 0; shape.recurrent && j < n; j++)
        if (first_u_hat[at + j] - threshold > 0) spikes_of(0, s)[num_spikes[0][s]++] = j;
    }
    for (int t = 0; t < shape.steps; t++) {
      const int before = t % 2, after = 1 - before;
      for (int s = 0; s < samples; s++) {
        rows[s].count = x.nonzeros(size_t(t) * shape.batch + begin + s, rows[s].indices, rows[s].values);
        num_spikes[after][s] = 0;
      }
      blocks.for_each([&](int column, int vectors) {
        with_constant(vectors, [&](auto vectors) {
          constexpr int kVectors = decltype(vectors)::value;
          const int filled = std::min(kVectors * kLanes, n - column);
          for (int s = 0; s < samples; s++) {
            Vector current[kVectors];
            sum_rows<kVectors>(bias_blocks.get() + column, kernel_blocks.get() + size_t(column) * channels, rows[s],
                                  recurrent_blocks.get() + size_t(column) * n, num_spikes[before][s],
                                  spikes_of(before, s), current);
            Real* u_row = u.get() + size_t(s) * padded + column;
            Real* w_row = w.get() + (kAdaptive ? size_t(s) * padded + column : 0);
#pragma GCC unroll 8
            for (int q = 0; q < kVectors; q++) {
              const int at = q * kLanes;
              const Vector zero{}, one = broadcast(Real(1)), decay = load(alpha.get() + column + at);
              const Vector u_hat = load(u_row + at);
              const auto spiked = (u_hat - threshold) > zero;
              const Vector reset_u = spiked ? zero : u_hat;
              Vector drive = current[q];
              if constexpr (kAdaptive) {
                const Vector z = spiked ? one : zero, old_w = load(w_row + at);
                const Vector new_w = load(beta.get() + column + at) * old_w +
                                        load(a.get() + column + at) * reset_u + load(b.get() + column + at) * z;
                drive -= kKind == Kind::kSE ? new_w : old_w;
                store(w_row + at, new_w);
              }
              const Vector new_u_hat = decay * reset_u + (one - decay) * drive;
              store(u_row + at, new_u_hat);
              uint32_t bits = lane_bits((new_u_hat - threshold) > zero);
              if (filled - at < kLanes) bits &= (1u << std::max(0, filled - at)) - 1;
              if (shape.recurrent) add_spikes(bits, column + at, spikes_of(after, s), num_spikes[after][s]);
            }
            std::memcpy(u_hats + (size_t(t) * shape.batch + begin + s) * n + column, u_row, filled * sizeof(Real));
          }
        });
      });
    }
    for (int s = 0; kAdaptive && s < samples; s++)
      std::memcpy(last_w + size_t(begin + s) * n, w.get() + size_t(s) * padded, n * sizeof(Real));
  }
}

// ---- Backward ----------------------------------------------------------------------------------------------------

INLINE Vector exp_of_negative(Vector x) {
  if constexpr (std::is_same_v<Real, double>) {
    for (int lane = 0; lane < kLanes; lane++) x[lane] = std::exp(x[lane]);
    return x;
  } else {
    // exp(x) = 2^k exp(r), |r| <= ln(2) / 2; relative error below 2e-7.
    typedef int32_t Ints __attribute__((vector_size(kVectorBytes)));
    const Vector lowest = broadcast(-87), round = broadcast(12582912);  // 1.5 * 2^23
    x = x < lowest ? lowest : x;
    const Vector shifted = x * Real(1.44269504088896341) + round, k = shifted - round;
    const Vector r = x - k * Real(0.693359375) + k * Real(2.12194440e-4);
    Vector p = r * Real(1.9875691500e-4) + Real(1.3981999507e-3);
    p = p * r + Real(8.3334519073e-3);
    p = p * r + Real(4.1665795894e-2);
    p = p * r + Real(1.6666665459e-1);
    p = p * r + Real(5.0000001201e-1);
    p = p * (r * r) + r + Real(1);
    Ints bits, exponent;
    std::memcpy(&bits, &p, sizeof bits);
    std::memcpy(&exponent, &shifted, sizeof exponent);
    bits += exponent << 23;
    std::memcpy(&p, &bits, sizeof p);
    return p;
  }
}

enum class SurrogateShape { kExponential, kFastSigmoid, kArctan, kTriangular, kBoxcar };

// See neurons/surrogate.py.
struct Surrogate {
  SurrogateShape shape;
  Real slope, c;

  INLINE Vector derivative(Vector v) const {
    const Vector zero{}, one = broadcast(Real(1)), x = slope * v, size = x < zero ? -x : x;
    Vector y;
    switch (shape) {
      case SurrogateShape::kExponential: y = exp_of_negative(-size); break;
      case SurrogateShape::kFastSigmoid: y = one / ((one + size) * (one + size)); break;
      case SurrogateShape::kArctan: { const Vector s = Real(M_PI / 2) * x; y = one / (one + s * s); break; }
      case SurrogateShape::kTriangular: { const Vector s = one - size / Real(2); y = s > zero ? s : zero; break; }
      default: y = size < one ? one : zero;
    }
    return c * slope / 2 * y;
  }
};

// The transposed recurrent weights in panels of a few vectors of columns, each [row, columns].
class TransposedWeights {
 public:
  TransposedWeights(const Real* weights, int n) : n_(n), padded_((n + kLanes - 1) / kLanes * kLanes) {
    panels_ = zeros<Real>(size_t(padded_) * n);
    Real* panel = panels_.get();
    for_each_panel([&](int first, int vectors) {
      const int width = vectors * kLanes;
      for (int j = first; j < std::min(first + width, n); j++)
        for (int k = 0; k < n; k++) panel[size_t(k) * width + j - first] = weights[size_t(j) * n + k];
      panel += size_t(width) * n;
    });
  }

  // product[m, j] = sum_k x[m, k] weights[j, k]; rows of the product are `padded` apart.
  void multiply(const Real* x, int rows, Real* product) const {
    for_each_panel([&](int first, int vectors) {
      const Real* panel = panels_.get() + size_t(first) * n_;
      if (vectors == kVectors) multiply_panel<kVectors>(x, rows, panel, product + first);
      else multiply_panel<1>(x, rows, panel, product + first);
    });
  }

  int padded() const { return padded_; }

 private:
  static constexpr int kVectors = 2;
  static constexpr int kRows = kVectorBytes == 64 ? 12 : 6;  // as many sums as registers allow

  template <class Body>
  void for_each_panel(Body body) const {
    for (int first = 0; first < padded_;) {
      const int vectors = padded_ - first >= kVectors * kLanes ? kVectors : 1;
      body(first, vectors);
      first += vectors * kLanes;
    }
  }

  template <int kWide>
  void multiply_panel(const Real* x, int rows, const Real* panel, Real* product) const {
    int row = 0;
    for (; row + kRows <= rows; row += kRows) multiply_tile<kWide, kRows>(x, row, panel, product);
    for (; row + 4 <= rows; row += 4) multiply_tile<kWide, 4>(x, row, panel, product);
    for (; row < rows; row++) multiply_tile<kWide, 1>(x, row, panel, product);
  }

  template <int kWide, int kTall>
  INLINE void multiply_tile(const Real* x, int row, const Real* panel, Real* product) const {
    Vector sums[kTall][kWide] = {};
    const Real* rows = x + size_t(row) * n_;
    for (int k = 0; k < n_; k++) {
      Vector weights[kWide];
#pragma GCC unroll 2
      for (int q = 0; q < kWide; q++) weights[q] = load(panel + (size_t(k) * kWide + q) * kLanes);
#pragma GCC unroll 12
      for (int m = 0; m < kTall; m++) {
        const Vector value = broadcast(rows[size_t(m) * n_ + k]);
#pragma GCC unroll 2
        for (int q = 0; q < kWide; q++) sums[m][q] += value * weights[q];
      }
    }
#pragma GCC unroll 12
    for (int m = 0; m < kTall; m++)
#pragma GCC unroll 2
      for (int q = 0; q < kWide; q++) store(product + size_t(row + m) * padded_ + q * kLanes, sums[m][q]);
  }

  int n_, padded_;
  Scratch<Real> panels_{nullptr, &std::free};
};

// Sums over steps and samples, [neuron]: see `_Sums` in adlif.py.
struct Sums {
  Real *alpha, *beta, *a, *b;
};

// Reads the gradients of the carry after the last step, `last_*_bar`; writes those before the first, `first_*_bar`.
template <Kind kKind>
void backward(Shape shape, Coefficients coefficients, Real threshold, Surrogate surrogate, const Real* recurrent,
              const Real* first_u_hat, const Real* first_w, const Real* u_hats, const Real* last_u_hat_bar,
              const Real* last_w_bar, const Real* output_bars, Real* current_bars, Sums sums, Real* first_u_hat_bar,
              Real* first_w_bar) {
  constexpr bool kAdaptive = kKind != Kind::kLIF, kSymplectic = kKind == Kind::kSE;
  const int n = shape.neurons;
  const size_t step = size_t(shape.batch) * n;
  const Real* last = u_hats + (shape.steps - 1) * step;
  const TransposedWeights transposed(recurrent, shape.recurrent ? n : 0);
  const auto recurrent_bars = zeros<Real>(size_t(kSamples) * transposed.padded());
  const auto filter = zeros<Real>(kAdaptive ? size_t(kSamples) * n : 0);  // p in adlif.py
  Real *u_hat_bars = first_u_hat_bar, *w_bars = first_w_bar;
  if (kAdaptive) std::memcpy(w_bars, last_w_bar, step * sizeof(Real));

  for (int begin = 0; begin < shape.batch; begin += kSamples) {
    const int samples = std::min(kSamples, shape.batch - begin);
    if (kAdaptive) std::memset(filter.get(), 0, size_t(samples) * n * sizeof(Real));
    for (int s = 0; s < samples; s++) {  // through the spikes of the last step
      const size_t row = size_t(begin + s) * n;
      for_each_vector(n, [&](int column, auto count) {
        const size_t at = row + column;
        const Vector output_bar = load(output_bars + (shape.steps - 1) * step + at, count);
        const Vector derivative = surrogate.derivative(load(last + at, count) - threshold);
        store(u_hat_bars + at, load(last_u_hat_bar + at, count) + output_bar * derivative, count);
      });
    }
    for (int t = shape.steps - 1; t >= 0; t--) {
      Real* current_bar_rows = current_bars + t * step + size_t(begin) * n;
      for (int s = 0; s < samples; s++)
        for_each_vector(n, [&](int column, auto count) {
          const Vector alpha = load(coefficients.alpha + column, count);
          const Vector u_hat_bar = load(u_hat_bars + size_t(begin + s) * n + column, count);
          store(current_bar_rows + size_t(s) * n + column, (Real(1) - alpha) * u_hat_bar, count);
        });
      if (shape.recurrent) transposed.multiply(current_bar_rows, samples, recurrent_bars.get());
      const Real* before = t > 0 ? u_hats + (t - 1) * step : first_u_hat;
      for (int s = 0; s < samples; s++) {
        const size_t row = size_t(begin + s) * n;
        for_each_vector(n, [&](int column, auto count) {
          const size_t at = row + column;
          const Vector zero{}, one = broadcast(Real(1));
          const Vector u_hat = load(before + at, count), v = u_hat - threshold;
          const auto spiked = v > zero;
          const Vector u = spiked ? zero : u_hat;
          const Vector current_bar = load(current_bar_rows + size_t(s) * n + column, count);
          const auto add = [&](Real* sum, Vector term) {
            store(sum + column, load(sum + column, count) + term, count);
          };
          add(sums.alpha, current_bar * (u - load(u_hats + t * step + at, count)));
          Vector u_bar = load(coefficients.alpha + column, count) * load(u_hat_bars + at, count), z_bar{};
          if (t > 0) z_bar += load(output_bars + (t - 1) * step + at, count);
          if (shape.recurrent) z_bar += load(recurrent_bars.get() + size_t(s) * transposed.padded() + column, count);
          if constexpr (kAdaptive) {
            const Vector beta = load(coefficients.beta + column, count), z = spiked ? one : zero;
            const Vector a = load(coefficients.a + column, count), b = load(coefficients.b + column, count);
            const Vector w_bar = load(w_bars + at, count);
            const Vector source_bar = kSymplectic ? w_bar - current_bar : w_bar;
            Real* filter_row = filter.get() + size_t(s) * n + column;
            const Vector p = load(filter_row, count);
            add(sums.beta, p * (a * u + b * z));
            add(sums.a, source_bar * u);
            add(sums.b, source_bar * z);
            store(filter_row, source_bar + beta * p, count);
            store(w_bars + at, kSymplectic ? beta * source_bar : beta * w_bar - current_bar, count);
            u_bar += a * source_bar;
            z_bar += b * source_bar;
          }
          store(u_hat_bars + at, (spiked ? zero : u_bar) + z_bar * surrogate.derivative(v), count);
        });
      }
    }
    for (int s = 0; kAdaptive && s < samples; s++)  // the chunk starts with an adaptation current
      for (int j = 0; j < n; j++) sums.beta[j] += filter[size_t(s) * n + j] * first_w[size_t(begin + s) * n + j];
  }
}

// ---- Gradients of the weights ------------------------------------------------------------------------------------

// sum[j] = sum_r x[r, j] d[r], over the rows r in which x is not zero.
void sum_outer_products(int64_t num_rows, Matrix x, int n, const Real* d, Real* sum) {
  constexpr int kTile = 128;  // rows at a time, so that those of a block of columns stay in the cache
  const int sources = x.columns;
  const ColumnBlocks blocks(n);
  const auto total = zeros<Real>(size_t(sources) * blocks.padded());
  const auto rows = zeros<uint16_t>(size_t(sources) * kTile), counts = zeros<uint16_t>(sources);
  const auto values = zeros<Real>(size_t(sources) * kTile);
  const auto indices = zeros<uint16_t>(sources);
  const auto row_values = zeros<Real>(sources);
  for (int64_t begin = 0; begin < num_rows; begin += kTile) {
    const int tile = std::min<int64_t>(kTile, num_rows - begin);
    std::memset(counts.get(), 0, sources * sizeof(uint16_t));
    for (int r = 0; r < tile; r++) {
      const int count = x.nonzeros(begin + r, indices.get(), row_values.get());
      for (int i = 0; i < count; i++) {
        const int j = indices[i];
        const size_t at = size_t(j) * kTile + counts[j]++;
        rows[at] = r;
        values[at] = row_values[i];
      }
    }
    const auto packed = blocks.pack(d + size_t(begin) * n, tile);
    blocks.for_each([&](int column, int vectors) {
      with_constant(vectors, [&](auto vectors) {
        constexpr int kVectors = decltype(vectors)::value;
        const Real* block = packed.get() + size_t(column) * tile;
        Real* to = total.get() + size_t(column) * sources;
        for (int j = 0; j < sources; j++, to += kVectors * kLanes) {
          if (counts[j] == 0) continue;
          Vector acc[kVectors];
#pragma GCC unroll 8
          for (int q = 0; q < kVectors; q++) acc[q] = load(to + q * kLanes);
          for (int i = 0; i < counts[j]; i++) {
            const Real* row = block + size_t(rows[size_t(j) * kTile + i]) * kVectors * kLanes;
            const Vector value = broadcast(values[size_t(j) * kTile + i]);
#pragma GCC unroll 8
            for (int q = 0; q < kVectors; q++) acc[q] += value * load(row + q * kLanes);
          }
#pragma GCC unroll 8
          for (int q = 0; q < kVectors; q++) store(to + q * kLanes, acc[q]);
        }
      });
    });
  }
  const Real* from = total.get();
  blocks.for_each([&](int column, int vectors) {
    const int width = vectors * kLanes, filled = std::min(width, n - column);
    for (int j = 0; j < sources; j++, from += width)
      std::memcpy(sum + size_t(j) * n + column, from, filled * sizeof(Real));
  });
}

// ---- Calls from XLA ----------------------------------------------------------------------------------------------

using Argument = ffi::AnyBuffer;
using Result = ffi::Result<ffi::AnyBuffer>;

const Real* reals(const Argument& buffer) { return static_cast<const Real*>(buffer.untyped_data()); }
Real* reals(Result& buffer) { return static_cast<Real*>(buffer->untyped_data()); }

Matrix matrix(const Argument& x) {
  const int columns = x.dimensions().back();
  switch (x.element_type()) {
    case ffi::U8: return {x.untyped_data(), columns, find_nonzeros<uint8_t>};
    case ffi::S8: return {x.untyped_data(), columns, find_nonzeros<int8_t>};
    case ffi::S16: return {x.untyped_data(), columns, find_nonzeros<int16_t>};
    case ffi::S32: return {x.untyped_data(), columns, find_nonzeros<int32_t>};
    default: return {x.untyped_data(), columns, find_nonzeros<Real>};
  }
}

Shape shape_of(const Argument& x, const Argument& alpha, const Argument& recurrent) {
  const auto size = x.dimensions();
  return {int(size[0]), int(size[1]), int(size[2]), int(alpha.dimensions()[0]), recurrent.element_count() > 0};
}

// Calls `body`, and returns an error if there is no memory: an exception must not reach XLA.
template <class Body>
ffi::Error guarded(Body body) {
  try {
    body();
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for the native kernel; make the batch smaller");
  }
  return ffi::Error::Success();
}

// Calls `body` with the kind of neuron as a constant.
template <class Body>
ffi::Error with_kind(int64_t kind, Body body) {
  return guarded([&] {
    switch (Kind(kind)) {
      case Kind::kLIF: return body(std::integral_constant<Kind, Kind::kLIF>{});
      case Kind::kEF: return body(std::integral_constant<Kind, Kind::kEF>{});
      case Kind::kSE: return body(std::integral_constant<Kind, Kind::kSE>{});
    }
  });
}

ffi::Error Forward(int64_t kind, Argument x, Argument alpha, Argument beta, Argument a, Argument b, Argument threshold,
                   Argument kernel, Argument bias, Argument recurrent, Argument first_u_hat, Argument first_w,
                   Result u_hats, Result last_w) {
  return with_kind(kind, [&](auto kind) {
    forward<decltype(kind)::value>(shape_of(x, alpha, recurrent), {reals(alpha), reals(beta), reals(a), reals(b)},
                                   *reals(threshold), reals(kernel), reals(bias), reals(recurrent), reals(first_u_hat),
                                   reals(first_w), matrix(x), reals(u_hats), reals(last_w));
  });
}

ffi::Error Backward(int64_t kind, int64_t surrogate, Argument alpha, Argument beta, Argument a, Argument b,
                    Argument threshold, Argument slope, Argument c, Argument recurrent, Argument first_u_hat,
                    Argument first_w, Argument u_hats, Argument last_u_hat_bar, Argument last_w_bar,
                    Argument output_bars, Result current_bars, Result alpha_sum, Result beta_sum, Result a_sum,
                    Result b_sum, Result first_u_hat_bar, Result first_w_bar) {
  for (Result* sum : {&alpha_sum, &beta_sum, &a_sum, &b_sum}) std::memset(reals(*sum), 0, (*sum)->size_bytes());
  return with_kind(kind, [&](auto kind) {
    backward<decltype(kind)::value>(
        shape_of(u_hats, alpha, recurrent), {reals(alpha), reals(beta), reals(a), reals(b)}, *reals(threshold),
        {SurrogateShape(surrogate), *reals(slope), *reals(c)}, reals(recurrent), reals(first_u_hat), reals(first_w),
        reals(u_hats), reals(last_u_hat_bar), reals(last_w_bar), reals(output_bars), reals(current_bars),
        {reals(alpha_sum), reals(beta_sum), reals(a_sum), reals(b_sum)}, reals(first_u_hat_bar), reals(first_w_bar));
  });
}

ffi::Error SumOuterProducts(Argument x, Argument d, Result sum) {
  const auto size = x.dimensions();
  return guarded([&] {
    sum_outer_products(size[0] * size[1], matrix(x), int(d.dimensions()[2]), reals(d), reals(sum));
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(seadlif_forward, Forward,
                              ffi::Ffi::Bind().Attr<int64_t>("kind").Arg<Argument>().Arg<Argument>().Arg<Argument>()
                                  .Arg<Argument>().Arg<Argument>().Arg<Argument>().Arg<Argument>().Arg<Argument>()
                                  .Arg<Argument>().Arg<Argument>().Arg<Argument>()
                                  .Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(seadlif_backward, Backward,
                              ffi::Ffi::Bind().Attr<int64_t>("kind").Attr<int64_t>("surrogate").Arg<Argument>()
                                  .Arg<Argument>().Arg<Argument>().Arg<Argument>().Arg<Argument>().Arg<Argument>()
                                  .Arg<Argument>().Arg<Argument>().Arg<Argument>().Arg<Argument>().Arg<Argument>()
                                  .Arg<Argument>().Arg<Argument>().Arg<Argument>()
                                  .Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(seadlif_sum_outer_products, SumOuterProducts,
                              ffi::Ffi::Bind().Arg<Argument>().Arg<Argument>().Ret<ffi::AnyBuffer>());
