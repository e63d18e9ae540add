// Pages that several mappings may show: written by one, then frozen and seen by others, each of which gets a page of
// its own only where it writes (copy on write, by the kernel).
#pragma once
#include <cstddef>
#include <memory>

#include "runtime/base/memory_map.h"

namespace svq::rt {

class SharedPages {
 public:
  // Zeroed pages that take memory when first written. Null where the system offers none (no memfd, or a limit on the
  // size of files).
  static std::shared_ptr<SharedPages> create(size_t bytes);
  ~SharedPages();
  SharedPages(const SharedPages&) = delete;
  SharedPages& operator=(const SharedPages&) = delete;

  MemoryMap writable() const;  // what is written goes into the shared pages
  MemoryMap copy() const;      // what is written stays in this mapping
  // Turns a mapping of the same size into such a copy, at its address. What it showed is forgotten.
  void replace_by_copy(MemoryMap& map) const;

 private:
  SharedPages(int fd, size_t bytes) : fd_(fd), bytes_(bytes) {}
  const int fd_;
  const size_t bytes_;
};

}  // namespace svq::rt
