// What an application beside a control loop asks of the runtime, measured: stopping, saved sessions, grammars, memory.
#pragma once
#include <cstdint>
#include <string>

namespace svq::tools {

struct MannersOptions {
  std::string model;     // a file
  uint32_t threads = 0;  // 0: the library's default
  uint32_t tokens = 2000;  // of the session that is saved and restored
};

// A report, a line per figure.
std::string manners_report(const MannersOptions& options);

}  // namespace svq::tools
