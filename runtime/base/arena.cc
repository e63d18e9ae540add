#include "runtime/base/arena.h"

#include <utility>

#include "runtime/base/error.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace svq::rt {
namespace {
constexpr uint64_t kAlign = 64;
constexpr uint64_t kGuard = 64;  // between two blocks: under the address sanitizer, touching it is an error

void poison([[maybe_unused]] uint8_t* p, [[maybe_unused]] uint64_t n) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(p, n);
#endif
}
void unpoison([[maybe_unused]] uint8_t* p, [[maybe_unused]] uint64_t n) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(p, n);
#endif
}
}  // namespace

Arena::Arena(uint64_t bytes) : memory_(MemoryMap::anonymous(bytes)) { poison(memory_.data(), memory_.size()); }

Arena::Arena(MemoryMap memory) : memory_(std::move(memory)) { poison(memory_.data(), memory_.size()); }

Arena::~Arena() {
  if (!measuring()) unpoison(memory_.data(), memory_.size());
}

uint8_t* Arena::take_bytes(uint64_t bytes) {
  const uint64_t begin = used_;
  used_ += (bytes + kAlign - 1) / kAlign * kAlign + kGuard;
  if (measuring()) return nullptr;
  if (used_ > memory_.size()) fail(SVQ_ERROR_INTERNAL, "the session's memory was laid out differently than measured");
  unpoison(memory_.data() + begin, bytes);
  return memory_.data() + begin;
}

}  // namespace svq::rt
