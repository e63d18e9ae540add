#include "converter/job/preflight.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>

#include "converter/base/error.h"
#include "converter/job/report.h"
#include "converter/models/float/startup.h"
#include "converter/write/atomic_file.h"
#include "converter/write/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace svq::convert {

namespace fs = std::filesystem;

namespace {

fs::path directory_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

// The nearest ancestor that exists: where a directory still to be created will lie.
fs::path existing_ancestor(fs::path path) {
  path = fs::absolute(path);
  while (!fs::exists(path) && path.has_relative_path()) path = path.parent_path();
  return path;
}

uint64_t device_of(const fs::path& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_dev) : 0;
}

// A field of /proc/meminfo in bytes; 0 if it is not there.
uint64_t memory_field(const std::string& name) {
  std::ifstream in("/proc/meminfo");
  std::string label;
  uint64_t kilobytes;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    if (words >> label >> kilobytes && label == name) return kilobytes * 1024;
  }
  return 0;
}

}  // namespace

fs::path work_path(const Options& options) {
  if (!options.work.empty()) return options.work;
  fs::path path = options.output;
  path += ".work";
  return path;
}

void check_output(const Options& options) {
  std::error_code error;
  const fs::path& output = options.output;
  if (output.filename().empty()) throw Error("--output " + output.string() + ": expected the name of a file");
  if (fs::is_directory(output, error))
    throw Error(output.string() + ": is a directory; expected the name of the file to write");
  const fs::path directory = directory_of(output);
  if (!fs::is_directory(directory, error))
    throw Error(directory.string() + ": no such directory to write " + output.filename().string() + " to");
  if (fs::exists(output, error) && fs::equivalent(options.source, output, error))
    throw Error(output.string() + ": the output is the source itself");
  const bool overwrite =
      options.force || fs::exists(work_path(options) / (std::string(kPartialState) + ".state"), error);
  if (!overwrite && fs::exists(output, error))
    throw Error(output.string() + ": exists already; overwrite it by --force");
  const fs::path report = report_path(options);
  if (!overwrite && options.report && fs::exists(report, error))
    throw Error(report.string() + ": exists already; overwrite it by --force, or write none by --no-report");
  if (access(directory.c_str(), W_OK | X_OK) != 0) throw_errno(directory, "write to this directory");
}

void check_resources(const Options& options) {
  const fs::path& text = options.calibration;
  std::error_code error;
  if (!text.empty()) {
    const std::string name = "--calibration " + text.string();
    if (!fs::exists(text, error)) throw Error(name + ": no such file");
    if (!fs::is_regular_file(text, error)) throw Error(name + ": is no regular file; expected a text file or .jsonl");
    if (fs::file_size(text, error) == 0) throw Error(name + ": is empty; expected a text file or .jsonl");
    if (access(text.c_str(), R_OK) != 0) throw_errno(text, "read");
  }
  if (options.device == "cuda") (void)choose_device(options.device);
}

std::vector<DiskUse> disk_use(const Plan& plan, const Options& options) {
  const fs::path work = work_path(options), output = directory_of(options.output);
  uint64_t held = 0;
  std::error_code error;
  if (fs::is_directory(work, error)) {
    for (const auto& entry : fs::directory_iterator(work, error))
      held += entry.is_regular_file(error) ? entry.file_size(error) : 0;
  }
  const auto available = [](const fs::path& path) {
    std::error_code failed;
    const fs::space_info space = fs::space(path, failed);
    return failed ? UINT64_MAX : static_cast<uint64_t>(space.available);
  };
  const uint64_t work_bytes = plan.work_bytes - std::min(held, plan.work_bytes);
  const fs::path work_at = existing_ancestor(work);
  if (device_of(work_at) == device_of(output)) return {{output, work_bytes + plan.file_bytes, available(output)}};
  return {{work, work_bytes, available(work_at)}, {output, plan.file_bytes, available(output)}};
}

void check_disk(const std::vector<DiskUse>& disk) {
  for (const DiskUse& d : disk) {
    if (d.needed > d.available) {
      throw Error(d.where.string() + ": the disk has " + format_bytes(d.available) + " free, and " +
                  format_bytes(d.needed) + " are needed; --work DIR puts the intermediate state elsewhere");
    }
  }
}

uint64_t available_memory() { return memory_field("MemAvailable:"); }
uint64_t total_memory() { return memory_field("MemTotal:"); }

std::string file_hash(const fs::path& path) {
  ReadFile file;
  if (!file.open(path)) {
    if (fs::is_directory(path)) throw Error(path.string() + ": is a directory; expected a text file or .jsonl");
    throw_errno(path, "open");
  }
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
  XXH3_128bits_reset(state.get());
  std::vector<std::byte> buffer(size_t{1} << 20);
  for (uint64_t at = 0; at < file.size();) {
    const auto chunk = std::span(buffer).first(std::min<uint64_t>(buffer.size(), file.size() - at));
    if (!file.read(at, chunk)) throw_errno(path, "read");
    XXH3_128bits_update(state.get(), chunk.data(), chunk.size());
    at += chunk.size();
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text;
}

}  // namespace svq::convert
