// Local search over the codes of a linear, from those that coordinate descent ended with (row_search.h).
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace svq::convert {

struct SearchOptions {
  int64_t moves = 0;  // a row, at most; 0: no search
  uint64_t seed = 0;  // random numbers derive from it and the row's codes at the start
};

// Lowers tr(e H eᵀ). errors [K, n] f32 in code units and codes [K, n] u8, both contiguous; hessian [K, K] f32.
void search_codes_(at::Tensor& errors, at::Tensor& codes, const at::Tensor& hessian, int bits,
                   const SearchOptions& options);

// Lowers tr(eᵀ output e H), row after row given the others. errors [N, K], codes [N, K], output [N, N] f32.
void search_rows_(at::Tensor& errors, at::Tensor& codes, const at::Tensor& hessian, const at::Tensor& output, int bits,
                  const SearchOptions& options);

}  // namespace svq::convert
