// Apart from the test, so that the compiler does not inline one half of a new/delete pair into it.
#include "tests/sources/allocation_watch.h"

#include <cstdlib>
#include <new>

namespace svq::test {

std::atomic<size_t> largest_allocation = 0;

}  // namespace svq::test

void* operator new(size_t size) {
  auto& largest = svq::test::largest_allocation;
  size_t seen = largest.load(std::memory_order_relaxed);
  while (size > seen && !largest.compare_exchange_weak(seen, size)) {
  }
  if (void* memory = std::malloc(size ? size : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
