// A range of pages: a file mapped for reading, or anonymous zeroed memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace svq::rt {

class MemoryMap {
 public:
  MemoryMap() = default;
  // Throws Error (IO) naming the path. The length is the file's at the time of the call.
  static MemoryMap file(const std::string& path);
  // Zeroed, readable and writable; pages take memory when first touched. Throws Error (OUT_OF_MEMORY).
  static MemoryMap anonymous(size_t bytes);

  MemoryMap(MemoryMap&& other) noexcept;
  MemoryMap& operator=(MemoryMap&& other) noexcept;
  ~MemoryMap();

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  // For anonymous memory that will be filled entirely: fewer TLB misses, but pages of 2 MB are taken at a touch.
  void prefer_huge_pages();
  void prefault() const;  // reads every page into memory

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace svq::rt
