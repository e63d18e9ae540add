// Accuracy on multiple-choice tasks.
#pragma once
#include <string>

#include "tools/common/runtime.h"

namespace svq::tools {

struct ChoicesOptions {
  std::string model;
  std::string tasks;
  std::string delimiter = "\nAnswer: ";
  uint32_t limit = 0;  // 0: all
  SessionOptions session;
  bool json = false;
};

// The model's answer is the candidate with the highest log-likelihood; beside it, the one with the highest
// log-likelihood per byte. Returns the exit code.
int run_choices(const ChoicesOptions& options);

}  // namespace svq::tools
