#pragma once
#include <cstdint>

namespace svq::rt {

// One of the largest logits.
struct TopLogit {
  float logit;
  int32_t id;
};

}  // namespace svq::rt
