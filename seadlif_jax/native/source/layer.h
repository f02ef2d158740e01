// What a call says of a network: layers of neurons, each fed with the outputs of the one before, and the inputs.
//
// Equations and names are those of neurons/lif.py, neurons/adlif.py and neurons/leaky_integrator.py. All arrays are
// time-major and contiguous, [step, sample, neuron].

#ifndef SEADLIF_LAYER_H_
#define SEADLIF_LAYER_H_

#include <future>
#include <vector>

#include "dropout.h"
#include "sparse.h"
#include "surrogate.h"

namespace seadlif {

enum class Kind { kLIF, kEF, kSE, kLeakyIntegrator };

constexpr bool adaptive(Kind kind) { return kind == Kind::kEF || kind == Kind::kSE; }
constexpr bool spiking(Kind kind) { return kind != Kind::kLeakyIntegrator; }

struct Layer {
  Kind kind;
  int sources, neurons;
  bool recurrent;
  const Real* coefficients;  // [alpha, or alpha beta a b][neuron]
  Real threshold;
  Surrogate surrogate;
  const Real *kernel, *bias, *recurrent_kernel;

  // Row `index` of the coefficients, padded.
  Array<Real> coefficient(int index) const {
    auto row = zeros<Real>(padded(neurons));
    if (index == 0 || adaptive(kind)) std::memcpy(row.get(), coefficients + index * neurons, neurons * sizeof(Real));
    return row;
  }
};

// The inputs, of any type of numbers.
struct Inputs {
  const void* data;
  int channels;
  int (*find)(const void* data, size_t row, int channels, int* indices, Real* values);

  // Writes the channels and values of what is not zero in a row; returns their number.
  int find_nonzero(size_t row, int* indices, Real* values) const { return find(data, row, channels, indices, values); }
};

// At most so many samples go through time together: their states stay in the cache while a block of weights serves all.
constexpr int kSamples = 64;

struct Network {
  int steps, batch;
  Inputs inputs;
  Dropout dropout;  // on what each layer but the last gives to the next
  std::vector<Layer> layers;
  int threads;  // over which the samples are divided

  int samples_per_thread() const { return (batch + threads - 1) / threads; }

  // The number of samples that go through time together.
  int group_size() const { return std::min(kSamples, samples_per_thread()); }
};

// So many steps a layer runs before the next layer does: its weights stay in the cache.
constexpr int kSteps = 16;

// Calls `body(part, first sample, end)` for the samples of each thread, in that thread.
template <class Body>
void divide_samples(const Network& network, Body body) {
  const int per_thread = network.samples_per_thread();
  std::vector<std::future<void>> others;
  for (int part = 1; part * per_thread < network.batch; part++)
    others.push_back(std::async(std::launch::async, [&, part] {
      body(part, part * per_thread, std::min(network.batch, (part + 1) * per_thread));
    }));
  body(0, 0, std::min(network.batch, per_thread));
  for (auto& other : others) other.get();
}

// Calls `body` with the kind of neuron as a constant.
template <class Body>
void with_kind(Kind kind, Body body) {
  switch (kind) {
    case Kind::kLIF: return body(std::integral_constant<Kind, Kind::kLIF>{});
    case Kind::kEF: return body(std::integral_constant<Kind, Kind::kEF>{});
    case Kind::kSE: return body(std::integral_constant<Kind, Kind::kSE>{});
    case Kind::kLeakyIntegrator: return body(std::integral_constant<Kind, Kind::kLeakyIntegrator>{});
  }
}

}  // namespace seadlif

#endif  // SEADLIF_LAYER_H_
