#include "converter/models/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace svq::convert {
namespace {

double llama3(double frequency, const RopeScaling& s) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength < s.original_context / s.high_freq_factor) return frequency;
  if (wavelength > s.original_context / s.low_freq_factor) return frequency / s.factor;
  const double smooth =
      (s.original_context / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

struct YarnRamp {
  double low, high;  // in pairs
};
YarnRamp yarn_ramp(double theta, double dim, const RopeScaling& s) {
  // The pair that turns `rotations` times over the original context.
  const auto pair = [&](double rotations) {
    return dim * std::log(s.original_context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  double low = pair(s.beta_fast), high = pair(s.beta_slow);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;  // as the reference: no division by zero
  return {low, high};
}

double yarn_attention_factor(const RopeScaling& s) {
  const auto mscale = [&](double scale) { return s.factor <= 1 ? 1.0 : 0.1 * scale * std::log(s.factor) + 1.0; };
  if (s.attention_factor != 0) return s.attention_factor;
  if (s.mscale != 0 && s.mscale_all_dim != 0) return mscale(s.mscale) / mscale(s.mscale_all_dim);
  return mscale(1);
}

}  // namespace

void set_rope(fb::ArchitectureT& architecture, double theta, const RopeScaling& scaling,
              const std::vector<float>& divisors) {
  using Kind = RopeScaling::Kind;
  const uint32_t pairs = architecture.head_dim / 2;
  const YarnRamp ramp = scaling.kind == Kind::kYarn ? yarn_ramp(theta, architecture.head_dim, scaling) : YarnRamp{};
  architecture.rope_inv_freq.resize(pairs);
  for (uint32_t i = 0; i < pairs; ++i) {
    double frequency = std::pow(theta, -2.0 * i / architecture.head_dim);
    switch (scaling.kind) {
      case Kind::kNone:
        break;
      case Kind::kLinear:
        frequency /= scaling.factor;
        break;
      case Kind::kLlama3:
        frequency = llama3(frequency, scaling);
        break;
      case Kind::kYarn: {
        const double interpolated = std::clamp((i - ramp.low) / (ramp.high - ramp.low), 0.0, 1.0);
        frequency = frequency / scaling.factor * interpolated + frequency * (1 - interpolated);
        break;
      }
    }
    if (!divisors.empty()) frequency /= static_cast<double>(divisors[i]);
    architecture.rope_inv_freq[i] = static_cast<float>(frequency);
  }
  architecture.rope_attention_factor =
      scaling.kind == Kind::kYarn ? static_cast<float>(yarn_attention_factor(scaling)) : 1.0f;
  static constexpr const char* kNames[] = {"none", "linear", "llama3", "yarn"};
  architecture.rope_scaling = kNames[static_cast<int>(scaling.kind)];
  if (scaling.kind == Kind::kNone && !divisors.empty()) architecture.rope_scaling = "llama3";
}

}  // namespace svq::convert
