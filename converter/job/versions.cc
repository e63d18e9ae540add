#include "converter/job/versions.h"

#include <flatbuffers/base.h>
#include <sys/utsname.h>
#include <torch/version.h>

#include <fstream>

namespace svq::convert {

std::string library_versions() {
  return std::string("libtorch ") + TORCH_VERSION + ", flatbuffers " + FLATBUFFERS_STRING(FLATBUFFERS_VERSION_MAJOR) +
         "." + FLATBUFFERS_STRING(FLATBUFFERS_VERSION_MINOR) + "." + FLATBUFFERS_STRING(FLATBUFFERS_VERSION_REVISION);
}

std::string cpu_name() {
  utsname system{};
  std::string name = uname(&system) == 0 ? system.machine : "unknown";
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) name.append(" ").append(line, colon + 2);
    break;
  }
  return name;
}

}  // namespace svq::convert
