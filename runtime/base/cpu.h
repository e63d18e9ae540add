// What this process may run on.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace svq::rt {

std::vector<uint32_t> allowed_cpus();  // logical CPUs of the affinity mask, ascending; never empty
uint32_t physical_cores();             // distinct cores among them: SMT siblings count once; at least 1
size_t second_level_cache();           // bytes of a core's own; 256 KiB where the system does not say
// Restricts the calling thread to `cpus`. False if the system refuses (e.g. none of them is allowed).
bool pin_this_thread(const std::vector<uint32_t>& cpus);
// The calling thread's nice value, -20 … 19; 20: the system's idle class. False, with errno, if the system refuses.
bool set_this_threads_priority(int nice);

}  // namespace svq::rt
