// What fine-tuning did, measured on held-out sequences. No libtorch here.
#pragma once
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

}  // namespace svq::convert
