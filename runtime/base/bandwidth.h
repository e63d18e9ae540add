// Plain read bandwidth: the ceiling for decoding, which reads every weight once a token.
#pragma once
#include <cstdint>

namespace svq::rt {

// Bytes per second; best of 3 passes over `bytes` of touched memory by `threads` threads.
double measure_read_bandwidth(uint32_t threads, uint64_t bytes);

}  // namespace svq::rt
