// Products of matrices most of whose elements are not zero.

#ifndef SEADLIF_DENSE_H_
#define SEADLIF_DENSE_H_

#include "vectors.h"

namespace seadlif {

// From this share of elements that are not zero on, a dense product is faster than a sparse one.
constexpr double kDenseFrom = 0.4;

// A matrix in panels of a few vectors of columns, each [row, columns of the panel].
class Panels {
 public:
  explicit Panels(int rows = 0, int columns = 0)
      : rows_(rows), columns_(columns), padded_(padded(columns)), elements_(zeros<Real>(size_t(rows) * padded_)) {}

  // Reads element [k, j] of the first `rows` rows at `from[k * row_stride + j * column_stride]`; others are left alone.
  void read(const Real* from, int rows, size_t row_stride, size_t column_stride) {
    for_each_panel([&](int first, int vectors) {
      Real* panel = elements_.get() + size_t(first) * rows_;
      const int width = vectors * kLanes, filled = std::min(width, columns_ - first);
      for (int k = 0; k < rows; k++)
        for (int j = 0; j < filled; j++)
          panel[size_t(k) * width + j] = from[k * row_stride + (first + j) * column_stride];
    });
  }

  // product[m, j] = sum_k x[m, k] matrix[k, j], for `rows` rows, which are `x_stride` and padded(columns) apart.
  void multiply(const Real* x, int x_stride, int rows, Real* product) const {
    for_each_panel([&](int first, int vectors) {
      const Real* panel = elements_.get() + size_t(first) * rows_;
      if (vectors == kVectors) multiply_panel<kVectors>(x, x_stride, rows, panel, product + first);
      else multiply_panel<1>(x, x_stride, rows, panel, product + first);
    });
  }

 private:
  static constexpr int kVectors = 2;
  static constexpr int kTileRows = kVectorBytes == 64 ? 12 : 6;  // as many sums as registers allow

  template <class Body>
  void for_each_panel(Body body) const {
    for (int first = 0; first < padded_;) {
      const int vectors = padded_ - first >= kVectors * kLanes ? kVectors : 1;
      body(first, vectors);
      first += vectors * kLanes;
    }
  }

  template <int kWide>
  void multiply_panel(const Real* x, int x_stride, int rows, const Real* panel, Real* product) const {
    int row = 0;
    for (; row + kTileRows <= rows; row += kTileRows) multiply_tile<kWide, kTileRows>(x, x_stride, row, panel, product);
    for (; row + 4 <= rows; row += 4) multiply_tile<kWide, 4>(x, x_stride, row, panel, product);
    for (; row < rows; row++) multiply_tile<kWide, 1>(x, x_stride, row, panel, product);
  }

  template <int kWide, int kTall>
  INLINE void multiply_tile(const Real* x, int x_stride, int row, const Real* panel, Real* product) const {
    Vector sums[kTall][kWide] = {};
    const Real* rows = x + size_t(row) * x_stride;
    for (int k = 0; k < rows_; k++) {
      Vector weights[kWide];
#pragma GCC unroll 2
      for (int q = 0; q < kWide; q++) weights[q] = load(panel + (size_t(k) * kWide + q) * kLanes);
#pragma GCC unroll 12
      for (int m = 0; m < kTall; m++) {
        const Vector value = broadcast(rows[size_t(m) * x_stride + k]);
#pragma GCC unroll 2
        for (int q = 0; q < kWide; q++) sums[m][q] += value * weights[q];
      }
    }
#pragma GCC unroll 12
    for (int m = 0; m < kTall; m++)
#pragma GCC unroll 2
      for (int q = 0; q < kWide; q++) store(product + size_t(row + m) * padded_ + q * kLanes, sums[m][q]);
  }

  int rows_, columns_, padded_;
  Array<Real> elements_;
};

}  // namespace seadlif

#endif  // SEADLIF_DENSE_H_
