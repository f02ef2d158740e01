// A network of LIF, EF-adLIF or SE-adLIF neurons over whole sequences, forward and backward, as calls from XLA.
//
// Most of what enters a layer is zero: events and spikes are sparse. So the current of a step is the sum of those rows
// of the weights whose input is not zero or whose neuron has spiked, and the gradients of the weights are sums over the
// same. Nothing is left out but products with zero; so a weight that is NaN or infinite may have no effect before its
// input is not zero. The gradients for the currents are not sparse: their products with the weights are dense.
//
// A call runs in the thread that makes it and in `threads` - 1 others.

#include "backward.h"
#include "forward.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace seadlif {
namespace {

using Integers = ffi::Span<const int64_t>;

template <class X>
int find_nonzero(const void* data, size_t row, int channels, int* indices, Real* values) {
  int count = 0;
  for_each_nonzero(static_cast<const X*>(data) + row * channels, channels, [&](int channel, X value) {
    indices[count] = channel;
    values[count++] = Real(value);
  });
  return count;
}

Inputs inputs_of(const ffi::AnyBuffer& x) {
  const int channels = x.dimensions().back();
  switch (x.element_type()) {
    case ffi::U8: return {x.untyped_data(), channels, find_nonzero<uint8_t>};
    case ffi::S8: return {x.untyped_data(), channels, find_nonzero<int8_t>};
    case ffi::S16: return {x.untyped_data(), channels, find_nonzero<int16_t>};
    case ffi::S32: return {x.untyped_data(), channels, find_nonzero<int32_t>};
    default: return {x.untyped_data(), channels, find_nonzero<Real>};
  }
}

// Arguments and results, one after the other; what is empty is null.
class Buffers {
 public:
  Buffers(ffi::RemainingArgs arguments, ffi::RemainingRets results) : arguments_(arguments), results_(results) {}

  ffi::AnyBuffer argument() { return *arguments_.get<ffi::AnyBuffer>(next_argument_++); }

  template <class T>
  const T* read() {
    const auto buffer = argument();
    return buffer.element_count() == 0 ? nullptr : static_cast<const T*>(buffer.untyped_data());
  }

  template <class T>
  T* write() {
    auto buffer = **results_.get<ffi::AnyBuffer>(next_result_++);
    return buffer.element_count() == 0 ? nullptr : static_cast<T*>(buffer.untyped_data());
  }

 private:
  ffi::RemainingArgs arguments_;
  ffi::RemainingRets results_;
  size_t next_argument_ = 0, next_result_ = 0;
};

// Reads the arguments that both passes share.
Network network_of(Buffers& buffers, Integers kinds, Integers surrogates, int64_t threads) {
  const auto x = buffers.argument();
  Network network{int(x.dimensions()[0]), int(x.dimensions()[1]), inputs_of(x), {}, {}, int(threads)};
  network.dropout.keys = buffers.read<Key>();
  network.dropout.probability = *buffers.read<Real>();
  int sources = network.inputs.channels;
  for (size_t i = 0; i < kinds.size(); i++) {
    const auto coefficients = buffers.argument();
    const int neurons = coefficients.dimensions()[1];
    const Real* numbers = buffers.read<Real>();
    const Surrogate surrogate{SurrogateShape(surrogates[i]), numbers[1], numbers[2]};
    const Real *kernel = buffers.read<Real>(), *bias = buffers.read<Real>(), *recurrent = buffers.read<Real>();
    network.layers.push_back({Kind(kinds[i]), sources, neurons, recurrent != nullptr,
                              static_cast<const Real*>(coefficients.untyped_data()), numbers[0], surrogate, kernel,
                              bias, recurrent});
    sources = neurons;
  }
  return network;
}

// Calls `body` with a network that was read from the first buffers, and these. Returns an error if something throws: an
// exception must not reach XLA.
template <class Body>
ffi::Error with_network(Buffers buffers, Integers kinds, Integers surrogates, int64_t threads, Body body) {
  try {
    const Network network = network_of(buffers, kinds, surrogates, threads);
    body(network, buffers);
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for the native kernel; make the batch smaller");
  } catch (const std::exception& error) {  // such as that of a thread that cannot be started
    return ffi::Error(ffi::ErrorCode::kInternal, std::string("the native kernel failed: ") + error.what());
  }
  return ffi::Error::Success();
}

ffi::Error Forward(ffi::RemainingArgs arguments, ffi::RemainingRets results, Integers kinds, Integers surrogates,
                   int64_t threads) {
  return with_network({arguments, results}, kinds, surrogates, threads, [](const Network& network, Buffers& buffers) {
    ForwardResults to;
    for (size_t i = 0; i < network.layers.size(); i++) {
      to.u_hats.push_back(buffers.write<Real>());
      to.activity.push_back(buffers.write<Real>());
      to.masks.push_back(buffers.write<uint8_t>());
    }
    forward(network, to);
  });
}

ffi::Error Backward(ffi::RemainingArgs arguments, ffi::RemainingRets results, Integers kinds, Integers surrogates,
                    int64_t threads) {
  return with_network({arguments, results}, kinds, surrogates, threads, [](const Network& network, Buffers& buffers) {
    BackwardArguments from;
    BackwardResults to;
    for (size_t i = 0; i < network.layers.size(); i++) {
      from.u_hats.push_back(buffers.read<Real>());
      from.activity_bars.push_back(buffers.read<Real>());
      from.masks.push_back(buffers.read<uint8_t>());
      Real *coefficients = buffers.write<Real>(), *kernel = buffers.write<Real>(), *bias = buffers.write<Real>();
      to.gradients.push_back({coefficients, kernel, bias, buffers.write<Real>()});
    }
    from.output_bars = buffers.read<Real>();
    to.current_bars = buffers.write<Real>();
    backward(network, from, to);
  });
}

}  // namespace
}  // namespace seadlif

#define SEADLIF_BINDING                                                                  \
  xla::ffi::Ffi::Bind()                                                                  \
      .RemainingArgs()                                                                   \
      .RemainingRets()                                                                   \
      .Attr<seadlif::Integers>("kinds")                                                  \
      .Attr<seadlif::Integers>("surrogates")                                             \
      .Attr<int64_t>("threads")

XLA_FFI_DEFINE_HANDLER_SYMBOL(seadlif_forward, seadlif::Forward, SEADLIF_BINDING);
XLA_FFI_DEFINE_HANDLER_SYMBOL(seadlif_backward, seadlif::Backward, SEADLIF_BINDING);
