// A file mapped read-only for as long as the object lives.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace svq::convert {

class MappedFile {
 public:
  // Throws Error naming the file if it cannot be opened or is not a regular file. An empty file maps to an empty span.
  explicit MappedFile(std::filesystem::path path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile& operator=(MappedFile&&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }
  // What lies wholly within `read` no longer counts as this process's memory; reading it again brings it back, from the
  // system's cache as a rule. Bytes outside the mapping are left alone.
  void release(std::span<const std::byte> read) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace svq::convert
