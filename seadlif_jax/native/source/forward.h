// The forward pass: the membrane potentials before the reset, u^, of all layers in all steps.

#ifndef SEADLIF_FORWARD_H_
#define SEADLIF_FORWARD_H_

#include <array>

#include "dense.h"
#include "layer.h"

namespace seadlif {

// The product of rows and weights where most elements of the rows are not zero.
class DenseProduct {
 public:
  // Of at most `most_rows` rows and weights [sources, columns].
  DenseProduct(int most_rows, const Real* weights, int sources, int columns)
      : most_rows_(most_rows), weights_(weights), sources_(sources), columns_(columns), stride_(padded(columns)) {}

  // Computes the product of some rows if it is faster so; otherwise, `row` gives null.
  void update(const SparseRows& x, int first_row, int rows) {
    size_t total = 0;
    for (int row = 0; row < rows; row++) total += x.count(first_row + row);
    is_current_ = total > kDenseFrom * sources_ * rows;
    if (!is_current_) return;
    if (product_ == nullptr) {
      panels_ = Panels(sources_, columns_);
      panels_.read(weights_, sources_, columns_, 1);
      x_ = zeros<Real>(size_t(most_rows_) * sources_);
      product_ = zeros<Real>(size_t(most_rows_) * stride_);
    }
    std::memset(x_.get(), 0, size_t(rows) * sources_ * sizeof(Real));
    for (int row = 0; row < rows; row++)
      for (int i = 0; i < x.count(first_row + row); i++)
        x_[size_t(row) * sources_ + x.indices(first_row + row)[i]] = x.values(first_row + row)[i];
    panels_.multiply(x_.get(), sources_, rows, product_.get());
  }

  const Real* row(int row) const { return is_current_ ? product_.get() + size_t(row) * stride_ : nullptr; }

 private:
  int most_rows_;
  const Real* weights_;
  int sources_, columns_, stride_;
  bool is_current_ = false;
  Panels panels_;
  Array<Real> x_{nullptr, &std::free}, product_{nullptr, &std::free};
};

// Where the last kSteps + 1 steps of a group of samples are in `SparseRows`: the step before a chunk is still there.
struct Ring {
  int group_size;

  int rows() const { return (kSteps + 1) * group_size; }

  // The first row of a step, which is -1 for the state before the first.
  int first_row(int step) const { return (step + 1) % (kSteps + 1) * group_size; }
};

// A layer with the states of a group of samples.
class ForwardLayer {
 public:
  ForwardLayer(const Layer& layer, int group_size)
      : layer_(layer), ring_{group_size}, stride_(padded(layer.neurons)),
        kernel_(layer.kernel, layer.sources, layer.neurons), bias_(layer.bias, 1, layer.neurons),
        recurrent_kernel_(layer.recurrent_kernel, layer.recurrent ? layer.neurons : 0, layer.neurons),
        alpha_(layer.coefficient(0)), beta_(layer.coefficient(1)), a_(layer.coefficient(2)),
        b_(layer.coefficient(3)), u_hat_(zeros<Real>(size_t(group_size) * stride_)),
        w_(zeros<Real>(adaptive(layer.kind) ? size_t(group_size) * stride_ : 0)),
        dense_inputs_(group_size, layer.kernel, layer.sources, layer.neurons),
        dense_spikes_(group_size, layer.recurrent_kernel, layer.recurrent ? layer.neurons : 0, layer.neurons),
        spikes_(ring_.rows(), layer.neurons, 1) {}

  void start() {
    const int size = ring_.group_size;
    std::memset(u_hat_.get(), 0, size_t(size) * stride_ * sizeof(Real));
    if (adaptive(layer_.kind)) std::memset(w_.get(), 0, size_t(size) * stride_ * sizeof(Real));
    for (int sample = 0; sample < size; sample++) spikes_.clear(ring_.first_row(-1) + sample);
  }

  // Makes a step of some samples, with the inputs x.
  void run(int step, const SparseRows& x, int samples) {
    with_kind(layer_.kind, [&](auto kind) { run_kind<decltype(kind)::value>(step, x, samples); });
  }

  // The neurons that have spiked in the last steps.
  const SparseRows& spikes() const { return spikes_; }

  void copy_u_hat(int samples, Real* to) const {
    copy_rows(u_hat_.get(), stride_, to, layer_.neurons, samples, layer_.neurons);
  }

 private:
  template <Kind kKind>
  void run_kind(int step, const SparseRows& x, int samples) {
    const int before = ring_.first_row(step - 1), now = ring_.first_row(step);
    dense_inputs_.update(x, now, samples);
    if (layer_.recurrent) dense_spikes_.update(spikes_, before, samples);
    for (int sample = 0; sample < samples; sample++) spikes_.clear(now + sample);
    kernel_.for_each([&](int first, int vectors) {
      with_constant(vectors, [&](auto vectors_constant) {
        constexpr int kVectors = decltype(vectors_constant)::value;
        for (int sample = 0; sample < samples; sample++) {
          Vector current[kVectors];
          sum_rows<kVectors>(first, sample, x, now + sample, before + sample, current);
          advance<kKind, kVectors>(first, sample, current);
          if constexpr (spiking(kKind))
            spikes_.append_spikes(now + sample, first, u_hat_.get() + size_t(sample) * stride_ + first,
                                  kernel_.filled(first, kVectors), layer_.threshold);
        }
      });
    });
  }

  // The current of a block of neurons: bias + sum_i x_i W_i + sum_j W^rec_j, over nonzero inputs and spiking neurons.
  template <int kVectors>
  INLINE void sum_rows(int first, int sample, const SparseRows& x, int x_row, int before, Vector* current) const {
    constexpr int kWidth = kVectors * kLanes;
    const auto add = [&](const Real* row) {
#pragma GCC unroll 8
      for (int q = 0; q < kVectors; q++) current[q] += load(row + q * kLanes);
    };
#pragma GCC unroll 8
    for (int q = 0; q < kVectors; q++) current[q] = load(bias_.block(first) + q * kLanes);
    if (const Real* product = dense_inputs_.row(sample)) {
      add(product + first);
    } else {
      const int* channels = x.indices(x_row);
      const Real *values = x.values(x_row), *kernel = kernel_.block(first);
      for (int i = 0; i < x.count(x_row); i++) {
        const Real* row = kernel + size_t(channels[i]) * kWidth;
        const Vector value = broadcast(values[i]);
#pragma GCC unroll 8
        for (int q = 0; q < kVectors; q++) current[q] += value * load(row + q * kLanes);
      }
    }
    if (!layer_.recurrent) return;
    if (const Real* product = dense_spikes_.row(sample)) {
      add(product + first);
    } else {
      const int* neurons = spikes_.indices(before);
      const Real* recurrent_kernel = recurrent_kernel_.block(first);
      for (int i = 0; i < spikes_.count(before); i++) add(recurrent_kernel + size_t(neurons[i]) * kWidth);
    }
  }

  template <Kind kKind, int kVectors>
  INLINE void advance(int first, int sample, const Vector* current) {
#pragma GCC unroll 8
    for (int q = 0; q < kVectors; q++) {
      const int column = first + q * kLanes;
      const size_t at = size_t(sample) * stride_ + column;
      const Vector zero{}, one = broadcast(Real(1)), alpha = load(alpha_.get() + column);
      const Vector old_u_hat = load(u_hat_.get() + at);
      const auto spiked = (old_u_hat - layer_.threshold) > zero;
      Vector u = old_u_hat, drive = current[q];
      if constexpr (spiking(kKind)) u = spiked ? zero : old_u_hat;
      if constexpr (adaptive(kKind)) {
        const Vector z = spiked ? one : zero, old_w = load(w_.get() + at);
        const Vector w = load(beta_.get() + column) * old_w + load(a_.get() + column) * u + load(b_.get() + column) * z;
        drive -= kKind == Kind::kSE ? w : old_w;
        store(w_.get() + at, w);
      }
      store(u_hat_.get() + at, alpha * u + (one - alpha) * drive);
    }
  }

  const Layer& layer_;
  Ring ring_;
  int stride_;
  ColumnBlocks kernel_, bias_, recurrent_kernel_;
  Array<Real> alpha_, beta_, a_, b_, u_hat_, w_;
  DenseProduct dense_inputs_, dense_spikes_;
  SparseRows spikes_;
};

// Where results are written for each layer; null where they are not wanted.
struct ForwardResults {
  std::vector<Real*> u_hats;     // [step, sample, neuron]
  std::vector<Real*> activity;   // [step, sample]: the fraction of the neurons that spike
  std::vector<uint8_t*> masks;   // [step, sample, neuron]: of dropout
};

// Runs some samples through all layers and steps.
class ForwardPass {
 public:
  ForwardPass(const Network& network, const ForwardResults& results)
      : network_(network), results_(results), last_(network.layers.size() - 1), ring_{network.group_size()},
        layer_keys_(network.layers.size()), scratch_kept_(allocate<uint8_t>(widest())),
        words_(allocate<uint32_t>(Dropout::scratch_size(widest()))), inputs_(ring_.rows(), network.inputs.channels) {
    for (const Layer& layer : network.layers) states_.emplace_back(layer, ring_.group_size);
    if (network.dropout.keys == nullptr) return;
    for (const Layer& layer : network.layers)
      dropped_.emplace_back(ring_.rows(), layer.neurons, 1 / network.dropout.probability);
  }

  void run(int first_sample, int samples) {
    for (auto& state : states_) state.start();
    for (int index = 0; network_.dropout.keys != nullptr && index < last_; index++)
      for (int sample = 0; sample < samples; sample++)
        layer_keys_[index][sample] = fold_in(network_.dropout.keys[first_sample + sample], index);
    for (int first_step = 0; first_step < network_.steps; first_step += kSteps) {
      const int end = std::min(first_step + kSteps, network_.steps);
      for (int step = first_step; step < end; step++) read_inputs(step, first_sample, samples);
      for (int index = 0; index <= last_; index++)
        for (int step = first_step; step < end; step++) {
          states_[index].run(step, inputs_of(index), samples);
          write_results(index, step, first_sample, samples);
          if (index < last_ && network_.dropout.keys != nullptr) drop(index, step, first_sample, samples);
        }
    }
  }

 private:
  // The index of a sample in arrays [step, sample].
  size_t row(int step, int sample) const { return size_t(step) * network_.batch + sample; }

  int widest() const {
    int widest = 0;
    for (const Layer& layer : network_.layers) widest = std::max(widest, layer.neurons);
    return widest;
  }

  const SparseRows& inputs_of(int index) const {
    if (index == 0) return inputs_;
    return network_.dropout.keys == nullptr ? states_[index - 1].spikes() : dropped_[index - 1];
  }

  void read_inputs(int step, int first_sample, int samples) {
    for (int sample = 0; sample < samples; sample++)
      inputs_.fill(ring_.first_row(step) + sample, [&](int* indices, Real* values) {
        return network_.inputs.find_nonzero(row(step, first_sample + sample), indices, values);
      });
  }

  void write_results(int index, int step, int first_sample, int samples) {
    const int n = network_.layers[index].neurons;
    const size_t at = row(step, first_sample);
    if (results_.u_hats[index] != nullptr) states_[index].copy_u_hat(samples, results_.u_hats[index] + at * n);
    if (results_.activity[index] != nullptr)
      for (int sample = 0; sample < samples; sample++)
        results_.activity[index][at + sample] = Real(states_[index].spikes().count(ring_.first_row(step) + sample)) / n;
  }

  // Dropout on the spikes of a layer.
  void drop(int index, int step, int first_sample, int samples) {
    const int n = network_.layers[index].neurons;
    std::array<Key, kSamples> step_keys;  // more than needed: a constant number is computed by vectors
    for (int sample = 0; sample < kSamples; sample++) step_keys[sample] = fold_in(layer_keys_[index][sample], step);
    for (int sample = 0; sample < samples; sample++) {
      uint8_t* kept = results_.masks[index];
      kept = kept == nullptr ? scratch_kept_.get() : kept + row(step, first_sample + sample) * n;
      network_.dropout.mask(step_keys[sample], n, words_.get(), kept);
      const int at = ring_.first_row(step) + sample;
      dropped_[index].copy_kept(at, states_[index].spikes(), at, kept);
    }
  }

  const Network& network_;
  const ForwardResults& results_;
  int last_;
  Ring ring_;
  std::vector<ForwardLayer> states_;
  std::vector<std::array<Key, kSamples>> layer_keys_;
  Array<uint8_t> scratch_kept_;
  Array<uint32_t> words_;
  SparseRows inputs_;                // in the last steps
  std::vector<SparseRows> dropped_;  // of each layer, what is left of its spikes
};

inline void forward(const Network& network, const ForwardResults& results) {
  divide_samples(network, [&](int, int first_sample, int end) {
    ForwardPass pass(network, results);
    for (int sample = first_sample; sample < end; sample += kSamples)
      pass.run(sample, std::min(kSamples, end - sample));
  });
}

}  // namespace seadlif

#endif  // SEADLIF_FORWARD_H_
