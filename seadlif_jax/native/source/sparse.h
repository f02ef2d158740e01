// Rows of which most elements are zero, and products with them: sums over the elements that are not zero.

#ifndef SEADLIF_SPARSE_H_
#define SEADLIF_SPARSE_H_

#include <algorithm>
#include <type_traits>

#include "dense.h"

namespace seadlif {

// Calls `found(index, value)` for every element that is not zero. Eight bytes are looked at together.
template <class X, class Found>
INLINE void for_each_nonzero(const X* x, int n, Found found) {
  constexpr int kPerWord = 8 / sizeof(X), kBits = 8 * sizeof(X);
  constexpr uint64_t kOnes = ~uint64_t{0}, kLowest = kOnes / (kOnes >> (64 - kBits)), kHighest = kLowest << (kBits - 1);
  int i = 0;
  for (; i + kPerWord <= n; i += kPerWord) {
    uint64_t word;
    std::memcpy(&word, x + i, 8);
    // The highest bit of each element that is not zero: adding what is below it to the other bits carries into it.
    uint64_t bits = (((word & ~kHighest) + ~kHighest) | word) & kHighest;
    for (; bits != 0; bits &= bits - 1) {
      const int k = __builtin_ctzll(bits) / kBits;  // the first in memory, on a little-endian processor
      found(i + k, x[i + k]);
    }
  }
  for (; i < n; i++)
    if (x[i] != 0) found(i, x[i]);
}
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "for_each_nonzero");

// Calls `found(neuron)` for each of n neurons whose potential is above the threshold, in a row that is padded.
template <class Found>
INLINE void for_each_spike(const Real* u_hat, int n, Real threshold, Found found) {
  for (int column = 0; column < n; column += kLanes) {
    uint32_t bits = lane_bits((load(u_hat + column) - threshold) > Vector{});
    if (n - column < kLanes) bits &= (1u << (n - column)) - 1;
    for (; bits != 0; bits &= bits - 1) found(column + __builtin_ctz(bits));
  }
}

// Indices and values of what is not zero, for some rows.
class SparseRows {
 public:
  // For `fill`, which writes indices and values.
  SparseRows(int rows, int columns)
      : columns_(columns), counts_(zeros<int>(rows)), indices_(allocate<int>(size_t(rows) * columns)),
        values_(allocate<Real>(size_t(rows) * columns)) {}

  // For spikes: all values are `value`.
  SparseRows(int rows, int columns, Real value) : SparseRows(rows, columns) {
    std::fill_n(values_.get(), size_t(rows) * columns, value);
  }

  void clear(int row) { counts_[row] = 0; }

  // Adds the neurons of a block that spike; `u_hat` is of the block.
  INLINE void append_spikes(int row, int first, const Real* u_hat, int n, Real threshold) {
    int *begin = indices_.get() + size_t(row) * columns_, *end = begin + counts_[row];
    for_each_spike(u_hat, n, threshold, [&](int neuron) { *end++ = first + neuron; });
    counts_[row] = end - begin;
  }

  // Copies those indices of another row that are kept.
  INLINE void copy_kept(int row, const SparseRows& from, int from_row, const uint8_t* kept) {
    int *begin = indices_.get() + size_t(row) * columns_, *end = begin;
    const int* indices = from.indices(from_row);
    for (int i = 0; i < from.count(from_row); i++) {
      *end = indices[i];
      end += kept[indices[i]];
    }
    counts_[row] = end - begin;
  }

  // Lets `find(indices, values)` write a row, and return the number of its elements.
  template <class Find>
  void fill(int row, Find find) {
    counts_[row] = find(indices_.get() + size_t(row) * columns_, values_.get() + size_t(row) * columns_);
  }

  int count(int row) const { return counts_[row]; }
  const int* indices(int row) const { return indices_.get() + size_t(row) * columns_; }
  const Real* values(int row) const { return values_.get() + size_t(row) * columns_; }

 private:
  int columns_;
  Array<int> counts_, indices_;
  Array<Real> values_;
};

// A matrix in blocks of columns, each [row, columns of the block]: what is read for a block of neurons lies together.
class ColumnBlocks {
 public:
  static constexpr int kMostVectors = 8;

  ColumnBlocks(int rows, int columns)
      : rows_(rows), columns_(columns), elements_(zeros<Real>(size_t(rows) * padded(columns))) {
    const int vectors = padded(columns) / kLanes, blocks = (vectors + kMostVectors - 1) / kMostVectors;
    block_vectors_ = blocks == 0 ? 1 : (vectors + blocks - 1) / blocks;
  }

  ColumnBlocks(const Real* from, int rows, int columns) : ColumnBlocks(rows, columns) {
    if (rows == 0) return;
    for_each([&](int first, int vectors) {
      copy_rows(from + first, columns_, block(first), vectors * kLanes, rows_, filled(first, vectors));
    });
  }

  void copy_to(Real* to) const {
    for_each([&](int first, int vectors) {
      copy_rows(block(first), vectors * kLanes, to + first, columns_, rows_, filled(first, vectors));
    });
  }

  void add(const ColumnBlocks& other) {
    for (size_t i = 0; i < size_t(rows_) * padded(columns_); i++) elements_[i] += other.elements_[i];
  }

  // Calls `body(first column, number of vectors)` for every block.
  template <class Body>
  void for_each(Body body) const {
    const int vectors = padded(columns_) / kLanes;
    for (int first = 0; first < vectors; first += block_vectors_)
      body(first * kLanes, std::min(block_vectors_, vectors - first));
  }

  Real* block(int first) const { return elements_.get() + size_t(rows_) * first; }

  // The number of columns of a block that are not padding.
  int filled(int first, int vectors) const { return std::min(vectors * kLanes, columns_ - first); }

 private:
  int rows_, columns_, block_vectors_;
  Array<Real> elements_;
};

// Calls `body` with the number of vectors of a block as a constant.
template <class Body>
INLINE void with_constant(int vectors, Body body) {
  switch (vectors) {
#define CASE(k) case k: body(std::integral_constant<int, k>{}); break;
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
#undef CASE
  }
  static_assert(ColumnBlocks::kMostVectors == 8);
}

// sum[j] = sum_r x[r, j] y[r], over the rows r in which x is not zero; all, if x is not sparse.
class SparseOuterProducts {
 public:
  static constexpr int kMostRows = 128;  // at a time

  SparseOuterProducts(int sources, int n)
      : sources_(sources), stride_(padded(n)), sum_(sources, n), counts_(zeros<int>(sources)),
        rows_(allocate<uint16_t>(size_t(sources) * kMostRows)), values_(allocate<Real>(size_t(sources) * kMostRows)),
        panels_(kMostRows, n) {}

  // Adds at most `kMostRows` rows. `for_each_nonzero_of(row, found)` finds those of x; rows of y are padded.
  template <class ForEachNonzeroOf>
  void add(int num_rows, ForEachNonzeroOf for_each_nonzero_of, const Real* y) {
    std::memset(counts_.get(), 0, sources_ * sizeof(int));
    size_t total = 0;
    for (int row = 0; row < num_rows; row++)
      for_each_nonzero_of(row, [&](int source, Real value) {
        const size_t at = size_t(source) * kMostRows + counts_[source]++;
        rows_[at] = row;
        values_[at] = value;
        total++;
      });
    if (total > kDenseFrom * sources_ * kMostRows) add_dense(num_rows, y);
    else add_sparse(y);
  }

  void add(const SparseOuterProducts& other) { sum_.add(other.sum_); }

  void copy_to(Real* to) const { sum_.copy_to(to); }

 private:
  void add_sparse(const Real* y) {
    sum_.for_each([&](int first, int vectors) {
      with_constant(vectors, [&](auto vectors_constant) {
        constexpr int kVectors = decltype(vectors_constant)::value;
        Real* sum = sum_.block(first);
        for (int source = 0; source < sources_; source++, sum += kVectors * kLanes)
          if (counts_[source] > 0) add_rows<kVectors>(source, y + first, sum);
      });
    });
  }

  template <int kVectors>
  INLINE void add_rows(int source, const Real* y, Real* sum) const {
    const uint16_t* rows = rows_.get() + size_t(source) * kMostRows;
    const Real* values = values_.get() + size_t(source) * kMostRows;
    Vector added[kVectors] = {};
    for (int i = 0; i < counts_[source]; i++) {
      const Real* row = y + size_t(rows[i]) * stride_;
      const Vector value = broadcast(values[i]);
#pragma GCC unroll 8
      for (int q = 0; q < kVectors; q++) added[q] += value * load(row + q * kLanes);
    }
#pragma GCC unroll 8
    for (int q = 0; q < kVectors; q++) store(sum + q * kLanes, load(sum + q * kLanes) + added[q]);
  }

  void add_dense(int num_rows, const Real* y) {
    const auto x = zeros<Real>(size_t(sources_) * kMostRows), product = allocate<Real>(size_t(sources_) * stride_);
    for (int source = 0; source < sources_; source++)
      for (size_t at = size_t(source) * kMostRows, i = 0; i < size_t(counts_[source]); i++)
        x[at + rows_[at + i]] = values_[at + i];
    panels_.read(y, num_rows, stride_, 1);
    panels_.multiply(x.get(), kMostRows, sources_, product.get());
    sum_.for_each([&](int first, int vectors) {
      for (int source = 0; source < sources_; source++)
        for (int column = 0; column < vectors * kLanes; column += kLanes) {
          Real* sum = sum_.block(first) + size_t(source) * vectors * kLanes + column;
          store(sum, load(sum) + load(product.get() + size_t(source) * stride_ + first + column));
        }
    });
  }

  int sources_, stride_;
  ColumnBlocks sum_;
  Array<int> counts_;
  Array<uint16_t> rows_;
  Array<Real> values_;
  Panels panels_;
};

}  // namespace seadlif

#endif  // SEADLIF_SPARSE_H_
