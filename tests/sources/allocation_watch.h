// The largest single request to operator new, in a test binary that links allocation_watch.cc.
#pragma once
#include <atomic>
#include <cstddef>

namespace svq::test {

extern std::atomic<size_t> largest_allocation;  // bytes; set to 0 to start anew

}  // namespace svq::test
