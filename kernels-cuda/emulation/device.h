// An emulated GPU for tests. Deallocated by delete.
#pragma once
#include "kernels-cuda/device.h"

namespace svq::cuda {

struct EmulatedOptions {
  bool integrated = true;
  uint32_t max_shared = 99 << 10;
  uint32_t multiprocessors = 4;
  uint64_t memory = uint64_t{8} << 30;
  uint32_t l2 = 2 << 20;
  bool registers = true;  // host memory can be registered
};
Device* open_emulated(const EmulatedOptions& options);
const Kernels& emulated_kernels();

// Since the process started.
struct EmulatedCounts {
  uint64_t allocations = 0, synchronizations = 0, copied_to_host = 0, graphs = 0, graph_launches = 0;
  uint64_t last_graph_kernels = 0;  // of the graph captured last
  uint64_t registered = 0;          // ranges of host memory that are at the moment
  int last_priority = 0;            // of the stream created last
};
EmulatedCounts emulated_counts();

}  // namespace svq::cuda
