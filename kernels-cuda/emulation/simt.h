// Runs CUDA kernels on the host, for tests: each thread of a block is a fiber, blocks run one after another. The .cu
// files are compiled as C++ against this header (SVQ_CUDA_EMULATION) in place of the CUDA runtime.
//
// What is checked by running here, beyond results:
// - races: Options::seed ≠ 0 picks the next warp and the next lane at random whenever one blocks, so lanes of a warp
//   and warps of a block are out of step as far as their barriers allow, and takes the blocks in random order; shared
//   memory starts as NaN in every block.
// - barriers: a block that can get no further, lanes of a warp in different collectives, or a partial mask, abort.
// - cp.async: a copy takes place at the wait that completes it, not before.
// - bounds and alignment, under the address and undefined-behaviour sanitizers: shared memory and device buffers are
//   allocations of their exact size.
// What it cannot show: memory ordering between blocks (blocks are sequential) and inside a warp without barriers,
// timing, register and shared-memory limits.
#pragma once
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#include "kernels-neon/f16.h"

namespace svq::simt {

struct Dim {
  unsigned x = 1, y = 1, z = 1;
  constexpr Dim(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct Options {
  uint64_t seed = 0;  // 0: threads in order
};
void set_options(const Options& options);
inline std::atomic<uint64_t> prefetched{0};  // lines, since the program started

// Runs `job` once for each thread of each block, or records it when the stream is being captured.
struct Stream;
Stream* create_stream();
void destroy(Stream* stream);
void launch(Stream* stream, Dim grid, Dim block, size_t shared_bytes, const char* name, std::function<void()> job);
// Between begin and end, launches and copies are recorded instead of run.
void begin_capture(Stream* stream);
std::function<void()> end_capture(Stream* stream, size_t* launches);
void enqueue(Stream* stream, std::function<void()> job);  // a copy or a fill
uint64_t launch_count();                                  // of this process, replays counted

// ---- inside a kernel
struct Place {
  Dim thread, block, block_size, grid;
};
extern const Place* current_place;
extern unsigned char* current_shared;
inline const Place& place() { return *current_place; }
inline unsigned char* shared_memory() { return current_shared; }
void block_barrier();
// Every lane gives up to 6 words and gets those of all 32; `op` must agree.
const uint32_t (*exchange(int op, const uint32_t* words, int n))[6];
void copy_async(void* to, const void* from, size_t n);
void copy_commit();
void copy_wait(int newest_left);
[[noreturn]] void die(const char* what);

template <class T>
T from_lane(int op, T value, unsigned lane) {
  uint32_t words[2] = {};
  static_assert(sizeof(T) <= 8);
  std::memcpy(words, &value, sizeof(T));
  const uint32_t* got = exchange(op, words, 2)[lane & 31];
  std::memcpy(&value, got, sizeof(T));
  return value;
}
inline unsigned lane() { return place().thread.x & 31; }

}  // namespace svq::simt

// ---- what kernels-cuda uses of the CUDA language
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define threadIdx (::svq::simt::place().thread)
#define blockIdx (::svq::simt::place().block)
#define blockDim (::svq::simt::place().block_size)
#define gridDim (::svq::simt::place().grid)

struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

namespace svq::cuda {

inline void check_mask(unsigned mask) {
  if (mask != 0xffffffffu) simt::die("a warp collective with a partial mask");
}
template <class T>
T __shfl_sync(unsigned mask, T v, int source) {
  check_mask(mask);
  return simt::from_lane(1, v, static_cast<unsigned>(source));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int bits) {
  check_mask(mask);
  return simt::from_lane(2, v, simt::lane() ^ static_cast<unsigned>(bits));
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  check_mask(mask);
  const uint32_t word = predicate != 0;
  const auto* all = simt::exchange(3, &word, 1);
  unsigned out = 0;
  for (unsigned i = 0; i < 32; ++i) out |= all[i][0] << i;
  return out;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline void __syncwarp() {
  const uint32_t word = 0;
  simt::exchange(4, &word, 1);
}
inline void __syncthreads() { simt::block_barrier(); }
inline void __threadfence() {}
template <class T>
T __ldg(const T* p) {
  return *p;
}
inline int atomicAdd(int* p, int v) {
  const int old = *p;
  *p = static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(v));
  return old;
}
// old; *p = old >= limit ? 0 : old + 1
inline unsigned atomicInc(unsigned* p, unsigned limit) {
  const unsigned old = *p;
  *p = old >= limit ? 0 : old + 1;
  return old;
}
inline unsigned atomicOr(unsigned* p, unsigned v) {
  const unsigned old = *p;
  *p = old | v;
  return old;
}
inline int __float2int_rn(float f) { return static_cast<int>(std::nearbyint(f)); }
inline float __int_as_float(int i) {
  float f;
  std::memcpy(&f, &i, 4);
  return f;
}
inline unsigned __float_as_uint(float f) {
  unsigned i;
  std::memcpy(&i, &f, 4);
  return i;
}

}  // namespace svq::cuda
