// A file that appears under its name complete, on disk, or not at all.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace svq::convert {

// Written as "PATH.tmp" beside PATH; commit() makes it PATH. Without commit() it is removed, and an older PATH stays as
// it was. Every failure is an Error naming the file and the system's reason. Two processes never write the same one:
// the second is refused (the temporary file is locked).
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void append(std::span<const std::byte> bytes);
  void append_zeros(uint64_t count);
  void overwrite(uint64_t offset, std::span<const std::byte> bytes);  // of bytes appended before
  uint64_t size() const { return size_; }
  const std::filesystem::path& temporary() const { return temporary_; }
  // fsync, rename, fsync of the directory.
  void commit() { commit_as(path_); }
  void commit_as(const std::filesystem::path& path);  // in the same directory

 private:
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

// A small file at once.
void write_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_atomically(const std::filesystem::path& path, std::string_view text);

// "PATH: cannot WHAT: No space left on device", from errno.
[[noreturn]] void throw_errno(const std::filesystem::path& path, std::string_view what);

}  // namespace svq::convert
