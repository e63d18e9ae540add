// XXH3-64 of spans and streams, sealed headers, and positioned reads: what the container's writers and readers share.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "schema/container.h"

namespace svq::convert {

uint64_t checksum(std::span<const std::byte> bytes);
inline uint64_t checksum(std::span<const uint8_t> bytes) { return checksum(std::as_bytes(bytes)); }

class Checksum {
 public:
  Checksum();
  ~Checksum();
  void reset();
  void update(std::span<const std::byte> bytes);
  uint64_t digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Sets, or tests, header_checksum.
void seal(format::Header& header);
bool is_sealed(const format::Header& header);

// Positioned reads of a file; false at the end of the file or on an error.
class ReadFile {
 public:
  ReadFile() = default;
  ~ReadFile();
  ReadFile(const ReadFile&) = delete;
  ReadFile& operator=(const ReadFile&) = delete;
  bool open(const std::filesystem::path& path);
  bool read(uint64_t offset, std::span<std::byte> out) const;
  uint64_t size() const { return size_; }

 private:
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace svq::convert
