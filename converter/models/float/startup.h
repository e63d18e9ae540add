// What a program that computes with libtorch does first.
#pragma once
#include <c10/core/Device.h>

#include <string_view>

namespace svq::convert {

// Call first in main(). OpenBLAS chooses its kernels while the program is being loaded, and a version older than the
// CPU takes plain SSE ones (a fifth of the speed with 0.3.21 on an Emerald Rapids). Where OPENBLAS_CORETYPE is not set,
// sets it by the CPU's own flags and starts the program again in the same process; returns if there is nothing to do.
void choose_blas_kernels(char** argv);

// Blocks of a gigabyte come and go with every layer: let malloc keep them instead of mapping and clearing each one
// anew.
void init_allocator();

// Threads of libtorch's own loops and of its BLAS; libtorch's default is one thread on some machines.
void init_threads(int threads);

// "auto" (CUDA if this libtorch has it and a device is there, else CPU), "cpu", "cuda", "cuda:1".
// Throws Error if there is no such device.
c10::Device choose_device(std::string_view name);

// The CPU multiplies bfloat16 itself (AVX512-BF16, AMX): elsewhere bf16_linears only costs time.
bool cpu_has_bf16();

}  // namespace svq::convert
