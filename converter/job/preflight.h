// What is checked before any work: the output's place, disk space, memory.
#pragma once
#include <algorithm>
#include <filesystem>
#include <vector>

#include "converter/job/plan.h"
#include "converter/job/reporter.h"

namespace svq::convert {

// The output can be written, is not the source, and neither it nor its report exist (unless options.force).
void check_output(const Options& options);

// The calibration text is a file with content, and the device is there. A plan that passes can be carried out.
void check_resources(const Options& options);

// A state of this name says that the output is what an interrupted fine-tuning reached: it may be overwritten.
inline constexpr const char* kPartialState = "partial";

std::filesystem::path work_path(const Options& options);

// Space needed and free where the work directory and the output lie (one entry if that is one file system).
// What the work directory holds already is not needed again.
std::vector<DiskUse> disk_use(const Plan& plan, const Options& options);
// Throws Error if it is not enough.
void check_disk(const std::vector<DiskUse>& disk);

uint64_t available_memory();  // bytes, from /proc/meminfo; 0 if unknown
uint64_t total_memory();      // the same of all there is
// What activations may take that are kept for backward passes, where `gradients` bytes are still to be allocated.
inline uint64_t activation_budget(uint64_t gradients = 0) {
  const uint64_t available = available_memory();
  return (available - std::min(available, gradients)) / 2;
}

// XXH3-128 of a file, hex. Throws Error if it cannot be read.
std::string file_hash(const std::filesystem::path& path);

}  // namespace svq::convert
