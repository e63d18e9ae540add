// All memory of a session in one block, laid out once. A measuring arena hands out nothing and only adds up sizes, so
// that the same layout code answers "how much" before anything is allocated.
#pragma once
#include <cstddef>
#include <cstdint>

#include "runtime/base/memory_map.h"

namespace svq::rt {

class Arena {
 public:
  Arena() = default;                 // measures
  explicit Arena(uint64_t bytes);    // hands out; throws Error (OUT_OF_MEMORY)
  explicit Arena(MemoryMap memory);  // hands out zeroed memory that is already there
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  // count values, 64-byte aligned, zeroed; null while measuring.
  template <class T>
  T* take(uint64_t count) {
    return reinterpret_cast<T*>(take_bytes(count * sizeof(T)));
  }
  uint64_t used() const { return used_; }
  bool measuring() const { return memory_.data() == nullptr; }
  MemoryMap& memory() { return memory_; }

 private:
  uint8_t* take_bytes(uint64_t bytes);
  MemoryMap memory_;
  uint64_t used_ = 0;
};

}  // namespace svq::rt
