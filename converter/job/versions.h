// Versions and the machine that a result depends on.
#pragma once
#include <string>

namespace svq::convert {

std::string library_versions();  // "libtorch 1.13.1, flatbuffers 2.0.8"
// The CPU, by which the libraries choose their kernels and with them the order of their sums: "x86_64 Intel(R) Xeon(R)
// …".
std::string cpu_name();

}  // namespace svq::convert
