// What fine-tuning did and how good the result is, measured on held-out sequences. No libtorch here.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

#include "converter/train/agreement.h"

namespace svq::convert {

struct Tuning {
  Agreement before, after;
  int64_t steps = 0, planned_steps = 0, tokens = 0;
  std::vector<float> losses;  // of every step: nats a token
  double seconds = 0;
};

// Perplexity of the written file, as the converter computes it from its parts and as the runtime does.
struct RuntimeCheck {
  double converter = 0;      // float activations
  double runtime_float = 0;  // float activations
  double runtime = 0;        // int8 activations, as the file is used
  int64_t tokens = 0;
  bool held_out = true;  // false: drawn from the file itself, since nothing was calibrated
  double seconds = 0;
  // Relative: of the runtime's float path to the converter, and of int8 activations to float ones.
  double difference() const { return runtime_float / converter - 1; }
  double int8_effect() const { return runtime / runtime_float - 1; }
};

}  // namespace svq::convert
