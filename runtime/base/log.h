// The log hook of the C ABI. The library itself prints nothing.
#pragma once
#include <string>

#include "runtime/include/svqrt/svqrt.h"

namespace svq::rt {

void set_log(svq_log_fn fn, void* user);
void log(svq_log_level level, const std::string& message);

}  // namespace svq::rt
