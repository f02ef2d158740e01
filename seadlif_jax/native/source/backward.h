// The backward pass: from u^ of all steps to the gradients of coefficients and weights (see neurons/adlif.py).

#ifndef SEADLIF_BACKWARD_H_
#define SEADLIF_BACKWARD_H_

#include "dense.h"
#include "layer.h"

namespace seadlif {

struct Gradients {
  Real *coefficients, *kernel, *bias, *recurrent_kernel;
};

// A layer with the gradients of a group of samples, which goes back in time by chunks of steps. Rows of a chunk are
// [step, sample], and padded.
class BackwardLayer {
 public:
  BackwardLayer(const Layer& layer, bool first, int group_size, int chunk_rows)
      : layer_(layer), stride_(padded(layer.neurons)), alpha_(layer.coefficient(0)), beta_(layer.coefficient(1)),
        a_(layer.coefficient(2)), b_(layer.coefficient(3)), sums_(zeros<Real>(size_t(kSums) * stride_)),
        u_hats_(rows(chunk_rows + group_size)), current_bars_(rows(chunk_rows)), output_bars_(rows(chunk_rows)),
        u_hat_bar_(rows(group_size)), recurrent_bar_(rows(group_size)),
        w_bar_(rows(adaptive(layer.kind) ? group_size : 0)), filter_(rows(adaptive(layer.kind) ? group_size : 0)),
        transposed_kernel_(first ? 0 : layer.neurons, layer.sources),
        transposed_recurrent_kernel_(layer.recurrent ? layer.neurons : 0, layer.neurons),
        kernel_bar_(layer.sources, layer.neurons), recurrent_kernel_bar_(layer.recurrent ? layer.neurons : 0, layer.neurons) {
    const int n = layer.neurons;
    transposed_kernel_.read(layer.kernel, first ? 0 : n, 1, n);
    transposed_recurrent_kernel_.read(layer.recurrent_kernel, layer.recurrent ? n : 0, 1, n);
  }

  // Starts with a group of samples, behind its last step.
  void start(int samples) {
    samples_ = samples;
    clear(u_hat_bar_);
    clear(recurrent_bar_);
    if (adaptive(layer_.kind)) {
      clear(w_bar_);
      clear(filter_);
    }
  }

  // Reads u^ of a chunk, and of the step before it, from an array of all steps and samples. Before the first, it is 0.
  void read_u_hats(const Real* u_hats, int batch, int first_sample, int first_step, int steps) {
    const int n = layer_.neurons;
    if (first_step == 0) clear(u_hats_);
    for (int step = first_step == 0 ? 0 : -1; step < steps; step++)
      copy_rows(u_hats + (size_t(first_step + step) * batch + first_sample) * n, n,
                u_hats_.get() + at_row((step + 1) * samples_), stride_, samples_, n);
  }

  // The gradients for the outputs of a chunk, to be written before `run`.
  Real* output_bars(int row) { return output_bars_.get() + at_row(row); }

  // The gradients for the inputs of a chunk, after `run`.
  void write_input_bars(int steps, Real* input_bars) const {
    transposed_kernel_.multiply(current_bars_.get(), stride_, steps * samples_, input_bars);
  }

  // Goes back in time by a chunk. `for_each_input(row, found)` calls `found` for what is not zero in its inputs.
  template <class ForEachInput>
  void run(int steps, ForEachInput for_each_input) {
    with_kind(layer_.kind, [&](auto kind) {
      for (int step = steps - 1; step >= 0; step--) step_back<decltype(kind)::value>(step);
    });
    const auto spike_before = [&](int row, auto found) { for_each_spike_of(row - samples_, found); };
    kernel_bar_.add(steps * samples_, for_each_input, current_bars_.get());
    if (layer_.recurrent) recurrent_kernel_bar_.add(steps * samples_, spike_before, current_bars_.get());
  }

  // Calls `found(neuron, 1)` for the neurons that spike in a row of a chunk; in the step before it, if negative.
  template <class Found>
  void for_each_spike_of(int row, Found found) const {
    for_each_spike(u_hats_.get() + at_row(row + samples_), layer_.neurons, layer_.threshold,
                   [&](int neuron) { found(neuron, Real(1)); });
  }

  // The gradients for the currents of a chunk.
  void copy_current_bars(int batch, int first_sample, int first_step, int steps, Real* to) const {
    const int n = layer_.neurons;
    for (int step = 0; step < steps; step++)
      copy_rows(current_bars_.get() + at_row(step * samples_), stride_,
                to + (size_t(first_step + step) * batch + first_sample) * n, n, samples_, n);
  }

  // Adds the gradients of other samples.
  void add(const BackwardLayer& other) {
    for (size_t i = 0; i < at_row(kSums); i++) sums_[i] += other.sums_[i];
    kernel_bar_.add(other.kernel_bar_);
    if (layer_.recurrent) recurrent_kernel_bar_.add(other.recurrent_kernel_bar_);
  }

  void copy_gradients(const Gradients& to) const {
    const int n = layer_.neurons;
    copy_rows(sums_.get(), stride_, to.coefficients, n, adaptive(layer_.kind) ? 4 : 1, n);
    std::memcpy(to.bias, sums_.get() + at_row(kBias), n * sizeof(Real));
    kernel_bar_.copy_to(to.kernel);
    if (layer_.recurrent) recurrent_kernel_bar_.copy_to(to.recurrent_kernel);
  }

 private:
  enum { kAlpha, kBeta, kA, kB, kBias, kSums };  // rows of `sums_`

  size_t at_row(int row) const { return size_t(row) * stride_; }
  Array<Real> rows(int count) const { return zeros<Real>(at_row(count)); }
  void clear(Array<Real>& state) const { std::memset(state.get(), 0, at_row(samples_) * sizeof(Real)); }

  // Goes from step t + 1 back to t, the step of the chunk that is given: from u^_bar_{t+1} to u^_bar_t.
  template <Kind kKind>
  void step_back(int step) {
    const size_t chunk_at = at_row(step * samples_);
    for (int column = 0; column < stride_; column += kLanes) {
      const Vector zero{}, one = broadcast(Real(1));
      const Vector alpha = load(alpha_.get() + column), beta = load(beta_.get() + column);
      const Vector a = load(a_.get() + column), b = load(b_.get() + column);
      Vector sums[kSums] = {};
      for (int sample = 0; sample < samples_; sample++) {
        const size_t at = at_row(sample) + column, in_chunk = chunk_at + at;
        const Vector u_hat = load(u_hats_.get() + in_chunk + at_row(samples_)), v = u_hat - layer_.threshold;
        const Vector next_u_hat_bar = load(u_hat_bar_.get() + at), next_current_bar = (one - alpha) * next_u_hat_bar;
        const Vector output_bar = load(output_bars_.get() + in_chunk);
        Vector u_hat_bar = alpha * next_u_hat_bar, u = u_hat;
        if constexpr (spiking(kKind)) {
          const auto spiked = v > zero;
          const Vector z = spiked ? one : zero;
          Vector z_bar = output_bar + load(recurrent_bar_.get() + at);
          u = spiked ? zero : u_hat;
          if constexpr (adaptive(kKind)) {
            constexpr bool kSymplectic = kKind == Kind::kSE;
            const Vector w_bar = load(w_bar_.get() + at), p = load(filter_.get() + at);
            const Vector source_bar = kSymplectic ? w_bar - next_current_bar : w_bar;
            sums[kBeta] += p * (a * u + b * z);
            sums[kA] += source_bar * u;
            sums[kB] += source_bar * z;
            store(filter_.get() + at, source_bar + beta * p);
            store(w_bar_.get() + at, kSymplectic ? beta * source_bar : beta * w_bar - next_current_bar);
            u_hat_bar += a * source_bar;
            z_bar += b * source_bar;
          }
          u_hat_bar = (spiked ? zero : u_hat_bar) + z_bar * layer_.surrogate.derivative(v);
        } else {
          u_hat_bar += output_bar;
        }
        const Vector current_bar = (one - alpha) * u_hat_bar;
        sums[kAlpha] += next_current_bar * u - current_bar * u_hat;  // see `alpha_bar` in neurons/lif.py
        sums[kBias] += current_bar;
        store(u_hat_bar_.get() + at, u_hat_bar);
        store(current_bars_.get() + in_chunk, current_bar);
      }
      for (int sum = 0; sum < kSums; sum++) {
        Real* total = sums_.get() + at_row(sum) + column;
        store(total, load(total) + sums[sum]);
      }
    }
    if (layer_.recurrent)
      transposed_recurrent_kernel_.multiply(current_bars_.get() + chunk_at, stride_, samples_, recurrent_bar_.get());
  }

  const Layer& layer_;
  int stride_, samples_ = 0;
  Array<Real> alpha_, beta_, a_, b_, sums_, u_hats_, current_bars_, output_bars_;
  Array<Real> u_hat_bar_, recurrent_bar_, w_bar_, filter_;  // of a step; `filter_` is p in neurons/adlif.py
  Panels transposed_kernel_, transposed_recurrent_kernel_;
  SparseOuterProducts kernel_bar_, recurrent_kernel_bar_;
};

// What is read for each layer; null where there is none.
struct BackwardArguments {
  std::vector<const Real*> u_hats;         // [step, sample, neuron]
  std::vector<const uint8_t*> masks;       // [step, sample, neuron]: of dropout
  const Real* output_bars;                 // [step, sample, neuron]: the gradients for the outputs of the last layer
  std::vector<const Real*> activity_bars;  // [step, sample]: the gradients for the activity
};

struct BackwardResults {
  std::vector<Gradients> gradients;  // of each layer
  Real* current_bars;                // [step, sample, neuron]: of the first layer; null if they are not wanted
};

// Runs some samples back through all steps and layers.
class BackwardPass {
 public:
  BackwardPass(const Network& network, const BackwardArguments& arguments)
      : network_(network), arguments_(arguments), last_(network.layers.size() - 1),
        scale_(1 / network.dropout.probability), channels_(allocate<int>(network.inputs.channels)),
        values_(allocate<Real>(network.inputs.channels)) {
    for (const Layer& layer : network.layers) 
      states_.emplace_back(layer, states_.empty(), network.group_size(), kMostRows);
  }

  void run(int first_sample, int samples, Real* current_bars) {
    first_sample_ = first_sample;
    samples_ = samples;
    for (auto& state : states_) state.start(samples);
    const int chunk_steps = kMostRows / samples;
    for (int end = network_.steps; end > 0; end -= chunk_steps) {
      first_step_ = std::max(0, end - chunk_steps);
      const int steps = end - first_step_;
      for (int index = 0; index <= last_; index++)
        states_[index].read_u_hats(arguments_.u_hats[index], network_.batch, first_sample, first_step_, steps);
      for (int index = last_; index >= 0; index--) {
        set_output_bars(index, steps);
        states_[index].run(steps, [&](int row, auto found) { for_each_input(index, row, found); });
      }
      if (current_bars != nullptr)
        states_[0].copy_current_bars(network_.batch, first_sample, first_step_, steps, current_bars);
    }
  }

  void add(const BackwardPass& other) {
    for (int index = 0; index <= last_; index++) states_[index].add(other.states_[index]);
  }

  void copy_gradients(const std::vector<Gradients>& to) const {
    for (int index = 0; index <= last_; index++) states_[index].copy_gradients(to[index]);
  }

 private:
  static constexpr int kMostRows = SparseOuterProducts::kMostRows;  // of a chunk
  static_assert(kMostRows >= kSamples);

  // The index of a row of the chunk in arrays [step, sample].
  size_t global_row(int row) const {
    return size_t(first_step_ + row / samples_) * network_.batch + first_sample_ + row % samples_;
  }

  // Sets the gradients for the outputs of a layer in a chunk.
  void set_output_bars(int index, int steps) {
    const int n = network_.layers[index].neurons;
    const Real scale = scale_;
    if (index < last_) states_[index + 1].write_input_bars(steps, states_[index].output_bars(0));
    for (int row = 0; row < steps * samples_; row++) {
      Real* output_bars = states_[index].output_bars(row);
      const size_t from = global_row(row);
      if (index == last_) {
        copy(arguments_.output_bars + from * n, n, output_bars);
      } else if (arguments_.masks[index] != nullptr) {
        const uint8_t* kept = arguments_.masks[index] + from * n;
        for (int j = 0; j < n; j++) output_bars[j] = kept[j] ? scale * output_bars[j] : 0;
      }
      if (arguments_.activity_bars[index] != nullptr) {
        const Real activity_bar = arguments_.activity_bars[index][from] / n;
        for (int j = 0; j < n; j++) output_bars[j] += activity_bar;
      }
    }
  }

  // Calls `found(source, value)` for what is not zero in the inputs of a layer, in a row of the chunk.
  template <class Found>
  INLINE void for_each_input(int index, int row, Found found) {
    if (index == 0) {
      const int count = network_.inputs.find_nonzero(global_row(row), channels_.get(), values_.get());
      for (int i = 0; i < count; i++) found(channels_[i], values_[i]);
    } else if (arguments_.masks[index - 1] == nullptr) {
      states_[index - 1].for_each_spike_of(row, found);
    } else {
      const uint8_t* kept = arguments_.masks[index - 1] + global_row(row) * network_.layers[index - 1].neurons;
      states_[index - 1].for_each_spike_of(row, [&](int neuron, Real) {
        if (kept[neuron]) found(neuron, scale_);
      });
    }
  }

  const Network& network_;
  const BackwardArguments& arguments_;
  int last_;
  Real scale_;
  Array<int> channels_;
  Array<Real> values_;
  std::vector<BackwardLayer> states_;
  int first_sample_ = 0, samples_ = 0, first_step_ = 0;
};

inline void backward(const Network& network, const BackwardArguments& arguments, const BackwardResults& results) {
  std::vector<std::unique_ptr<BackwardPass>> passes(network.threads);
  divide_samples(network, [&](int part, int first_sample, int end) {
    passes[part] = std::make_unique<BackwardPass>(network, arguments);
    for (int sample = first_sample; sample < end; sample += kSamples)
      passes[part]->run(sample, std::min(kSamples, end - sample), results.current_bars);
  });
  for (int part = 1; part < network.threads; part++)  // in order, so that rounding is the same every time
    if (passes[part] != nullptr) passes[0]->add(*passes[part]);
  passes[0]->copy_gradients(results.gradients);
}

}  // namespace seadlif

#endif  // SEADLIF_BACKWARD_H_
