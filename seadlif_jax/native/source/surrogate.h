// The derivatives of the surrogate gradients of neurons/surrogate.py.

#ifndef SEADLIF_SURROGATE_H_
#define SEADLIF_SURROGATE_H_

#include <cmath>

#include "vectors.h"

namespace seadlif {

// exp(x) for x <= 0.
INLINE Vector exp_of_negative(Vector x) {
  if constexpr (sizeof(Real) == 8) {
    for (int lane = 0; lane < kLanes; lane++) x[lane] = std::exp(x[lane]);
    return x;
  } else {
    // exp(x) = 2^k exp(r), |r| <= ln(2) / 2; relative error below 2e-7.
    typedef int32_t Integers __attribute__((vector_size(kVectorBytes)));
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
    Integers bits, exponent;
    std::memcpy(&bits, &p, sizeof bits);
    std::memcpy(&exponent, &shifted, sizeof exponent);
    bits += exponent << 23;
    std::memcpy(&p, &bits, sizeof p);
    return p;
  }
}

// The density of a normal distribution.
INLINE Vector normal(Vector x, Real mean, Real sigma) {
  const Vector distance = (x - mean) / sigma;
  return exp_of_negative(-distance * distance / 2) / (sigma * Real(2.50662827463100050));  // sqrt(2 pi)
}

enum class SurrogateShape { kExponential, kFastSigmoid, kArctan, kTriangular, kBoxcar, kDoubleGaussian, kMultiGaussian };


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
      case SurrogateShape::kTriangular: { const Vector s = one - size / Real(2); y = s < zero ? zero : s; break; }
      case SurrogateShape::kBoxcar: y = size < one ? one : zero; break;
      case SurrogateShape::kDoubleGaussian: y = gaussians(x, Real(1.032556490450767), 0); break;
      default: y = gaussians(x, Real(1.0332038509565895), 1); break;
    }
    return c * slope / 2 * y;
  }

 private:
  // A Gaussian, less a wide one on each side, `shift` standard deviations away.
  static INLINE Vector gaussians(Vector x, Real sigma, Real shift) {
    const Vector lobes = normal(x, shift * sigma, 6 * sigma) + normal(x, -shift * sigma, 6 * sigma);
    return (Real(1.15) * normal(x, 0, sigma) - Real(0.15) * lobes) * Real(2 / 0.85);
  }
};

}  // namespace seadlif

#endif  // SEADLIF_SURROGATE_H_
