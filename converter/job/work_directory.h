// State of a conversion on disk, from which the same command goes on: fingerprint, calibration tokens, hidden states
// after the last finished block, and a part file per finished group. Every file appears complete or not at all
// (AtomicFile) and carries checksums; what does not match them is done again.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "converter/job/clock.h"

namespace svq::convert {

class WorkDirectory {
 public:
  // Creates the directory, locks it against other processes, and compares what `fingerprint` (every input that the
  // result depends on) says with the one found. A different one is refused with a sentence, or its state removed with
  // `restart`. A directory that holds other files and no state is refused.
  WorkDirectory(std::filesystem::path path, const nlohmann::ordered_json& fingerprint, bool restart);
  ~WorkDirectory();
  WorkDirectory(const WorkDirectory&) = delete;
  WorkDirectory& operator=(const WorkDirectory&) = delete;

  uint64_t fingerprint() const { return fingerprint_; }
  bool resumed() const { return resumed_; }  // state of this conversion was there
  const std::filesystem::path& path() const { return path_; }
  // Seconds of work on this conversion by earlier runs, up to what they saved last; and with this run's.
  double earlier_seconds() const { return earlier_seconds_; }
  double seconds_spent() const { return earlier_seconds_ + seconds_since(opened_); }
  std::filesystem::path part_path(const std::string& group) const { return path_ / (group + ".part"); }

  // Raw memory with a tag that says what it is ("tokens", "hidden.3"): name of the file, checked when it is read.
  void save(const std::string& tag, std::span<const std::byte> bytes) const;
  // False if absent, damaged, of another size or another conversion.
  bool load(const std::string& tag, std::span<std::byte> out) const;
  bool contains(const std::string& tag) const;
  void remove(const std::string& tag) const;

  // Removes the files of the conversion, and the directory if nothing else is in it.
  void remove_all();

 private:
  void write_state(const std::string& tag, std::span<const std::byte> bytes) const;

  std::filesystem::path path_;
  Clock::time_point opened_ = Clock::now();
  double earlier_seconds_ = 0;
  uint64_t fingerprint_ = 0;
  bool resumed_ = false, created_ = false;
  int lock_ = -1;
};

}  // namespace svq::convert
