// A range of pages: a file mapped for reading, or anonymous zeroed memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace svq::rt {

// A descriptor of a regular file, opened for reading, and its size. Errors name it.
int open_regular(const std::string& path, uint64_t* bytes);
// All of [at, at + bytes) of it; `name` is for errors.
void read_at(int fd, const std::string& name, uint64_t at, uint8_t* to, uint64_t bytes);

class MemoryMap {
 public:
  MemoryMap() = default;
  // Throws Error (IO) naming the path. The length is the file's at the time of the call.
  static MemoryMap file(const std::string& path);
  // Zeroed, readable and writable; pages take memory when first touched. Throws Error (OUT_OF_MEMORY).
  static MemoryMap anonymous(size_t bytes);
  // Readable and writable pages of an open descriptor; flags as of mmap. Throws Error (OUT_OF_MEMORY).
  static MemoryMap of_descriptor(int fd, size_t bytes, int flags);

  MemoryMap(MemoryMap&& other) noexcept;
  MemoryMap& operator=(MemoryMap&& other) noexcept;
  ~MemoryMap();

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  // For anonymous memory that will be filled entirely: fewer TLB misses, but pages of 2 MB are taken at a touch.
  void prefer_huge_pages();
  void prefault() const;  // reads every page into memory
  // Keeps the pages in memory from now on. Throws Error (OUT_OF_MEMORY): `what`, the bytes and the process's limit.
  void lock(const std::string& what) const;

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace svq::rt
