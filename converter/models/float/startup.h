// What a program that computes with libtorch does first.
#pragma once
#include <c10/core/Device.h>

#include <string_view>

namespace svq::convert {

// Call first in main(). Two choices are made by the environment while the libraries of a program are being loaded, so
// this sets what is not set there and starts the program again in the same process; it returns if nothing was missing.
//   OPENBLAS_CORETYPE  by the CPU's own flags: an OpenBLAS older than the CPU takes plain SSE kernels (a fifth of the
//                      speed with 0.3.21 on an Emerald Rapids).
//   OMP_WAIT_POLICY    passive: threads that spin at the end of every loop are ten times slower than sleeping ones as
//                      soon as anything else runs on the machine.
void choose_blas_kernels(char** argv);
// Sets them for programs started from now on; false: nothing was missing.
bool set_blas_environment();

// Blocks of a gigabyte come and go with every layer: let malloc keep them instead of mapping and clearing each one
// anew.
void init_allocator();
// Gives what is free back to the system: between steps of very different sizes, where the allocator would keep the sum.
void release_free_memory();

// Threads of libtorch's own loops and of its BLAS; libtorch's default is one thread on some machines.
void init_threads(int threads);

// While one exists, products by the BLAS run on the thread that asks for them: for loops that are parallel themselves.
// Not nested.
class SerialBlas {
 public:
  SerialBlas();
  ~SerialBlas();
  SerialBlas(const SerialBlas&) = delete;
  SerialBlas& operator=(const SerialBlas&) = delete;
};

// "auto" (CUDA if this libtorch has it and a device is there, else CPU), "cpu", "cuda", "cuda:1".
// Throws Error if there is no such device.
c10::Device choose_device(std::string_view name);

// The CPU multiplies bfloat16 itself (AVX512-BF16): elsewhere libtorch's bfloat16 linears are very slow.
bool cpu_has_bf16();

// Linears in bfloat16 are faster than in float32: where there are tensor cores, AMX, or AVX512-BF16 on AMD's cores
// (oneDNN 2.6: 210 GFLOP/s a core against 100 by OpenBLAS in float32, Zen 4). AVX512-BF16 on Intel's does not do it: 83
// against 147 (Emerald Rapids, 2.3 GHz).
bool bf16_is_faster(c10::Device device);

// FLOP/s of a linear [rows, columns] over 1,024 tokens, in bfloat16 where that is faster: the best of a few, measured
// now.
double product_rate(int64_t rows, int64_t columns, c10::Device device);

}  // namespace svq::convert
