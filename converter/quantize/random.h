// The random numbers of a quantization: a fixed function of (seed, name), the same with every libtorch and compiler.
#pragma once
#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>
#include <string_view>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace svq::convert {

// splitmix64 (Steele, Lea, Flood 2014), started at XXH3-64 of the name with the seed.
class NamedRandom {
 public:
  NamedRandom(uint64_t seed, std::string_view name) : state_(XXH3_64bits_withSeed(name.data(), name.size(), seed)) {}

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  float sign() { return next() >> 63 ? -1.0f : 1.0f; }
  double uniform() { return (static_cast<double>(next() >> 11) + 0.5) * 0x1p-53; }  // in (0, 1)
  double normal() {                                                                 // Box-Muller
    const double radius = std::sqrt(-2.0 * std::log(uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * uniform());
  }
  // Fisher and Yates.
  template <class T>
  void shuffle(std::span<T> values) {
    for (size_t k = values.size(); k-- > 1;) std::swap(values[k], values[next() % (k + 1)]);
  }

 private:
  uint64_t state_;
};

}  // namespace svq::convert
