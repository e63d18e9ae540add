#include "runtime/base/cpu.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <string>
#include <thread>

namespace svq::rt {

std::vector<uint32_t> allowed_cpus() {
  std::vector<uint32_t> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    for (uint32_t c = 0; c < CPU_SETSIZE; ++c) {
      if (CPU_ISSET(c, &set)) cpus.push_back(c);
    }
  }
  if (cpus.empty()) {  // more than CPU_SETSIZE CPUs, or a system without affinity
    const uint32_t n = std::max(1u, std::thread::hardware_concurrency());
    for (uint32_t c = 0; c < n; ++c) cpus.push_back(c);
  }
  return cpus;
}

uint32_t physical_cores() {
  const std::vector<uint32_t> cpus = allowed_cpus();
  std::set<std::string> cores;  // "0,4": the siblings of a core name it
  for (const uint32_t c : cpus) {
    std::ifstream in("/sys/devices/system/cpu/cpu" + std::to_string(c) + "/topology/thread_siblings_list");
    std::string siblings;
    if (!std::getline(in, siblings) || siblings.empty()) return static_cast<uint32_t>(cpus.size());
    cores.insert(siblings);
  }
  return static_cast<uint32_t>(cores.size());
}

size_t second_level_cache() {
  const long known = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (known > 0) return static_cast<size_t>(known);
  std::ifstream in("/sys/devices/system/cpu/cpu0/cache/index2/size");  // "256K"
  size_t kilobytes = 0;
  in >> kilobytes;
  return (kilobytes != 0 ? kilobytes : 256) * 1024;
}

bool pin_this_thread(const std::vector<uint32_t>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const uint32_t c : cpus) {
    if (c < CPU_SETSIZE) CPU_SET(c, &set);
  }
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

bool set_this_threads_priority(int nice) {
  if (nice == 20) {
    sched_param none{};
    return sched_setscheduler(0, SCHED_IDLE, &none) == 0;
  }
  // On Linux a nice value belongs to a thread, whatever the name of the call says.
  return setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), nice) == 0;
}

}  // namespace svq::rt
