#include "kernels-cuda/emulation/simt.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

#if defined(__x86_64__) && !defined(SVQ_SIMT_UCONTEXT)
#define SVQ_SIMT_ASM 1  // swapcontext makes a system call at every switch
#else
#define SVQ_SIMT_ASM 0
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace svq::simt {
namespace {

constexpr size_t kStack = (128 << 10) + 17 * 64;  // not a power of two: tops of stacks spread over the cache's sets
constexpr unsigned kMaxThreads = 1024, kWarp = 32;

struct Copy {
  void* to;
  const void* from;
  size_t n;
  uint32_t group;
};

struct Fiber {
#if SVQ_SIMT_ASM
  void* sp;
#else
  ucontext_t context;
#endif
  uint8_t* stack;
  void* fake_stack;  // the address sanitizer's
  Place place;
  uint32_t warp, lane, generation;
  bool at_barrier, done;
  std::vector<Copy> copies;
  uint32_t group;  // of cp.async, being filled
};

struct Warp {
  uint32_t ready = 0;  // lanes that can run
  uint32_t arrived = 0;
  int op = 0;
  uint32_t values[2][kWarp][6];
};

struct Machine {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Fiber* current = nullptr;
#if SVQ_SIMT_ASM
  void* scheduler_sp = nullptr;
#else
  ucontext_t scheduler;
#endif
  void* scheduler_fake = nullptr;
  const void* scheduler_stack = nullptr;
  size_t scheduler_size = 0;
  const std::function<void()>* job = nullptr;
  const char* kernel = "";
  unsigned n = 0, live = 0, waiting = 0;
  uint64_t random = 0;
  Options options;
  uint64_t launches = 0;
};

// One machine: launches of several host threads take turns.
Machine the_machine;
inline Machine& machine() { return the_machine; }
std::recursive_mutex& turn() {
  static std::recursive_mutex m;
  return m;
}

uint64_t next_random(uint64_t* state) {  // SplitMix64
  uint64_t z = *state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

#if SVQ_SIMT_ASM
// Saves the callee-saved registers and the stack pointer at *save, continues at `load`.
extern "C" void svq_simt_switch(void** save, void* load);
asm(R"(
  .text
  .type svq_simt_switch, @function
svq_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size svq_simt_switch, .-svq_simt_switch
)");
#endif

void to_scheduler(bool forever) {
  Machine& m = machine();
  Fiber& f = *m.current;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(forever ? nullptr : &f.fake_stack, m.scheduler_stack, m.scheduler_size);
#endif
#if SVQ_SIMT_ASM
  svq_simt_switch(&f.sp, m.scheduler_sp);
#else
  swapcontext(&f.context, &m.scheduler);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(f.fake_stack, nullptr, nullptr);
#endif
  (void)forever;
}

void release_barrier() {
  Machine& m = machine();
  if (m.live == 0 || m.waiting != m.live) return;
  m.waiting = 0;
  for (unsigned i = 0; i < m.n; ++i) {
    Fiber& f = m.fibers[i];
    if (!f.at_barrier) continue;
    f.at_barrier = false;
    m.warps[f.warp].ready |= 1u << f.lane;
  }
}

void entry() {
  Machine& m = machine();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &m.scheduler_stack, &m.scheduler_size);
#endif
  (*m.job)();
  Fiber& f = *m.current;
  if (!f.copies.empty()) die("a thread ended with cp.async not waited for");
  f.done = true;
  --m.live;
  m.warps[f.warp].ready &= ~(1u << f.lane);
  release_barrier();
  to_scheduler(true);
}

void resume(Fiber& f) {
  Machine& m = machine();
  m.current = &f;
  current_place = &f.place;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&m.scheduler_fake, f.stack, kStack);
#endif
#if SVQ_SIMT_ASM
  svq_simt_switch(&m.scheduler_sp, f.sp);
#else
  swapcontext(&m.scheduler, &f.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(m.scheduler_fake, nullptr, nullptr);
#endif
  m.current = nullptr;
}

void prepare(Fiber& f) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(f.stack, kStack);
#endif
#if SVQ_SIMT_ASM
  auto** top = reinterpret_cast<void**>(f.stack + kStack);
  *--top = nullptr;                         // a call's return address: keeps the ABI's alignment
  *--top = reinterpret_cast<void*>(entry);  // where the switch returns to
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  f.sp = top;
#else
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = f.stack;
  f.context.uc_stack.ss_size = kStack;
  f.context.uc_link = nullptr;
  makecontext(&f.context, entry, 0);
#endif
}

void run_block(Dim block_at, Dim grid, Dim block) {
  Machine& m = machine();
  for (unsigned i = 0; i < m.n; ++i) {
    Fiber& f = m.fibers[i];
    f.place = {{i % block.x, i / block.x % block.y, i / block.x / block.y}, block_at, block, grid};
    f.warp = i / kWarp;
    f.lane = i % kWarp;
    f.generation = 0;
    f.at_barrier = f.done = false;
    f.group = 0;
    prepare(f);
  }
  m.live = m.n;
  m.waiting = 0;
  const unsigned n_warps = m.n / kWarp;
  for (unsigned w = 0; w < n_warps; ++w) {
    m.warps[w].ready = 0xffffffffu;
    m.warps[w].arrived = 0;
  }
  while (m.live != 0) {
    bool moved = false;
    if (m.options.seed == 0) {
      for (unsigned w = 0; w < n_warps; ++w) {
        while (m.warps[w].ready != 0) {
          for (unsigned l = 0; l < kWarp; ++l) {
            if (m.warps[w].ready >> l & 1) resume(m.fibers[w * kWarp + l]);
          }
          moved = true;
        }
      }
    } else {
      unsigned candidates = 0;
      for (unsigned w = 0; w < n_warps; ++w) candidates += m.warps[w].ready != 0;
      if (candidates != 0) {
        moved = true;
        unsigned pick = static_cast<unsigned>(next_random(&m.random) % candidates), w = 0;
        for (;; ++w) {
          if (m.warps[w].ready != 0 && pick-- == 0) break;
        }
        unsigned l = static_cast<unsigned>(next_random(&m.random) % kWarp);
        while (!(m.warps[w].ready >> l & 1)) l = (l + 1) % kWarp;
        resume(m.fibers[w * kWarp + l]);
      }
    }
    if (!moved) die("no thread of a block can go on: a barrier that not all reach");
  }
}

void run(Dim grid, Dim block, size_t shared_bytes, const char* name, const std::function<void()>& job) {
  const std::lock_guard lock(turn());
  Machine& m = machine();
  ++m.launches;
  m.n = block.x * block.y * block.z;
  m.kernel = name;
  m.job = &job;
  if (m.n == 0 || m.n % kWarp != 0 || m.n > kMaxThreads) die("a block that is not 1 … 32 whole warps");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) die("an empty grid");
  if (shared_bytes > (227u << 10)) die("more shared memory than any device has");
  if (m.fibers.empty()) {
    m.fibers.resize(kMaxThreads);
    m.warps.resize(kMaxThreads / kWarp);
    void* stacks =
        mmap(nullptr, kMaxThreads * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) die("no memory for the stacks");
    for (unsigned i = 0; i < kMaxThreads; ++i) m.fibers[i].stack = static_cast<uint8_t*>(stacks) + i * kStack;
  }
  m.random = m.options.seed;
  current_shared = static_cast<unsigned char*>(std::aligned_alloc(128, (shared_bytes + 127) / 128 * 128 + 128));
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(current_shared + shared_bytes, (shared_bytes + 127) / 128 * 128 + 128 - shared_bytes);
#endif
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  std::vector<uint32_t> order(m.options.seed == 0 ? 0 : blocks);
  for (uint64_t i = 0; i < order.size(); ++i) {  // shuffled from the front
    order[i] = static_cast<uint32_t>(i);
    std::swap(order[i], order[next_random(&m.random) % (i + 1)]);
  }
  for (uint64_t i = 0; i < blocks; ++i) {
    const auto at = static_cast<unsigned>(order.empty() ? i : order[i]);
    std::memset(current_shared, 0xff, shared_bytes);
    run_block({at % grid.x, at / grid.x % grid.y, at / grid.x / grid.y}, grid, block);
  }
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(current_shared, (shared_bytes + 127) / 128 * 128 + 128);
#endif
  std::free(current_shared);
  current_shared = nullptr;
}

}  // namespace

void die(const char* what) {
  const Machine& m = machine();
  std::fprintf(stderr, "emulated kernel %s: %s\n", m.kernel, what);
  if (m.current != nullptr) {
    const Place& p = m.current->place;
    std::fprintf(stderr, "  thread %u of block %u,%u,%u\n", p.thread.x, p.block.x, p.block.y, p.block.z);
  }
  std::abort();
}

void set_options(const Options& options) {
  const std::lock_guard lock(turn());
  machine().options = options;
}
uint64_t launch_count() {
  const std::lock_guard lock(turn());
  return machine().launches;
}

struct Stream {
  bool capturing = false;
  std::vector<std::function<void()>> recorded;
  size_t launches = 0;
};
Stream* create_stream() { return new Stream; }
void destroy(Stream* stream) { delete stream; }

void enqueue(Stream* stream, std::function<void()> job) {
  if (stream->capturing) {
    stream->recorded.push_back(std::move(job));
  } else {
    job();
  }
}

void launch(Stream* stream, Dim grid, Dim block, size_t shared_bytes, const char* name, std::function<void()> job) {
  stream->launches += stream->capturing;
  enqueue(stream, [=, job = std::move(job)] { run(grid, block, shared_bytes, name, job); });
}

void begin_capture(Stream* stream) {
  stream->capturing = true;
  stream->recorded.clear();
  stream->launches = 0;
}
std::function<void()> end_capture(Stream* stream, size_t* launches) {
  stream->capturing = false;
  *launches = stream->launches;
  return [jobs = std::move(stream->recorded)] {
    for (const auto& job : jobs) job();
  };
}

const Place* current_place = nullptr;
unsigned char* current_shared = nullptr;

void block_barrier() {
  Machine& m = machine();
  Fiber& f = *m.current;
  f.at_barrier = true;
  m.warps[f.warp].ready &= ~(1u << f.lane);
  ++m.waiting;
  release_barrier();
  // The last to arrive goes on as any other.
  if (m.warps[f.warp].ready >> f.lane & 1 && m.options.seed == 0) return;
  to_scheduler(false);
}

const uint32_t (*exchange(int op, const uint32_t* words, int n))[6] {
  Machine& m = machine();
  Fiber& f = *m.current;
  Warp& w = m.warps[f.warp];
  if (w.arrived == 0) w.op = op;
  if (w.op != op) die("lanes of a warp are in different collectives");
  // Two sets of slots in turn: who is still reading the last exchange is not yet in the next but one.
  uint32_t(*slots)[6] = w.values[f.generation++ & 1];
  std::memcpy(slots[f.lane], words, static_cast<size_t>(n) * 4);
  w.arrived |= 1u << f.lane;
  if (w.arrived == 0xffffffffu) {
    w.arrived = 0;
    w.ready = 0xffffffffu;
    if (m.options.seed != 0) to_scheduler(false);
  } else {
    w.ready &= ~(1u << f.lane);
    to_scheduler(false);
  }
  return slots;
}

void copy_async(void* to, const void* from, size_t n) {
  Fiber& f = *machine().current;
  if (reinterpret_cast<uintptr_t>(to) % n != 0 || reinterpret_cast<uintptr_t>(from) % n != 0)
    die("cp.async between addresses that are not aligned to its size");
  f.copies.push_back({to, from, n, f.group});
}
void copy_commit() { ++machine().current->group; }
void copy_wait(int newest_left) {
  Fiber& f = *machine().current;
  size_t kept = 0;
  for (const Copy& c : f.copies) {
    if (c.group + static_cast<uint32_t>(newest_left) < f.group) {
      std::memcpy(c.to, c.from, c.n);
    } else {
      f.copies[kept++] = c;
    }
  }
  f.copies.resize(kept);
}

}  // namespace svq::simt
