// Runs the kernel over random networks of all kinds of neurons, for the sanitizers of the compiler (`make sanitize`).
// That the numbers are right is tested in tests/test_native.py; here, that one thread gives those of three.

#include <cmath>
#include <cstdio>
#include <random>

#include "backward.h"
#include "forward.h"

using namespace seadlif;

namespace {

int find_nonzero(const void* data, size_t row, int channels, int* indices, Real* values) {
  int count = 0;
  for_each_nonzero(static_cast<const uint8_t*>(data) + row * channels, channels, [&](int channel, uint8_t value) {
    indices[count] = channel;
    values[count++] = value;
  });
  return count;
}

struct Case {
  Kind kind;
  int steps, batch, channels, neurons;
  double density;
  bool recurrent, dropout;
};

// Two hidden layers and a readout. Returns the gradients of all coefficients and weights, and of the currents.
std::vector<Real> run(const Case& shape, int threads) {
  std::mt19937 random(0);
  std::uniform_real_distribution<Real> uniform(0, 1);
  std::vector<std::vector<Real>> arrays;  // all of exactly the size that is needed
  const auto filled = [&](size_t size, Real low, Real high) {
    arrays.emplace_back(size);
    for (Real& x : arrays.back()) x = low + (high - low) * uniform(random);
    return arrays.back().data();
  };
  std::vector<uint8_t> x(size_t(shape.steps) * shape.batch * shape.channels);
  for (auto& count : x) count = uniform(random) < shape.density ? 1 + random() % 3 : 0;
  std::vector<Key> keys(shape.batch);
  for (auto& key : keys) key = {uint32_t(random()), uint32_t(random())};

  Network network{shape.steps, shape.batch, {x.data(), shape.channels, find_nonzero}, {}, {}, threads};
  network.dropout = {shape.dropout ? keys.data() : nullptr, Real(shape.dropout ? 0.7 : 1)};
  ForwardResults forward_results;
  BackwardArguments arguments;
  BackwardResults results{{}, nullptr};
  std::vector<std::vector<uint8_t>> masks;
  const size_t rows = size_t(shape.steps) * shape.batch;
  int sources = shape.channels;
  std::vector<std::pair<Real*, size_t>> gradients;
  const auto gradient = [&](size_t size) {
    gradients.emplace_back(filled(size, 0, 0), size);
    return gradients.back().first;
  };
  for (Kind kind : {shape.kind, shape.kind, Kind::kLeakyIntegrator}) {
    const bool hidden = kind != Kind::kLeakyIntegrator, recurrent = hidden && shape.recurrent;
    const int n = hidden ? shape.neurons : 3;
    const Real* coefficients = filled(4 * n, 0.1, 0.9);
    const Real *kernel = filled(size_t(sources) * n, -1, 1.2), *bias = filled(n, -0.1, 0.1);
    const Real* recurrent_kernel = recurrent ? filled(size_t(n) * n, -0.5, 0.5) : nullptr;
    network.layers.push_back({kind, sources, n, recurrent, coefficients, Real(0.1),
                              {SurrogateShape::kExponential, 5, Real(0.4)}, kernel, bias, recurrent_kernel});
    masks.emplace_back(hidden && shape.dropout ? rows * n : 0);
    forward_results.u_hats.push_back(filled(rows * n, 0, 0));
    forward_results.activity.push_back(hidden ? filled(rows, 0, 0) : nullptr);
    forward_results.masks.push_back(masks.back().empty() ? nullptr : masks.back().data());
    arguments.u_hats.push_back(forward_results.u_hats.back());
    arguments.activity_bars.push_back(hidden ? filled(rows, -1, 1) : nullptr);
    arguments.masks.push_back(forward_results.masks.back());
    if (!hidden) arguments.output_bars = filled(rows * n, -1, 1);
    Real *coefficients_bar = gradient(4 * n), *kernel_bar = gradient(size_t(sources) * n), *bias_bar = gradient(n);
    Real* recurrent_kernel_bar = recurrent ? gradient(size_t(n) * n) : nullptr;
    results.gradients.push_back({coefficients_bar, kernel_bar, bias_bar, recurrent_kernel_bar});
    sources = n;
  }
  results.current_bars = gradient(rows * shape.neurons);
  forward(network, forward_results);
  backward(network, arguments, results);
  std::vector<Real> all;
  for (const auto& [values, size] : gradients) all.insert(all.end(), values, values + size);
  return all;
}

}  // namespace

int main() {
  for (Kind kind : {Kind::kLIF, Kind::kEF, Kind::kSE})
    for (int neurons : {1, 16, 37, 150})
      for (int batch : {3, 70})
        for (double density : {0.1, 1.0})
          for (bool flag : {false, true}) {
            const Case shape{kind, 37, batch, batch % 2 ? 7 : 24, neurons, density, flag, flag};
            const auto one = run(shape, 1), three = run(shape, 3);
            for (size_t i = 0; i < one.size(); i++)
              if (!(std::abs(one[i] - three[i]) <= 1e-4 * (1 + std::abs(one[i])))) {
                std::printf("%d neurons, batch %d: %g and %g\n", neurons, batch, double(one[i]), double(three[i]));
                return 1;
              }
          }
  std::printf("clean\n");
}
