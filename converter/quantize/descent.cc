#include "converter/quantize/descent.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <atomic>

#include "converter/quantize/block_kernels.h"

namespace svq::convert {

int64_t descend_(at::Tensor& errors, at::Tensor& codes, const at::Tensor& hessian, int bits) {
  const int64_t columns = errors.size(0), rows = errors.size(1);
  const at::Tensor gradient = at::empty({std::min(kBlockColumns, columns), rows}, at::kFloat);
  std::atomic<int64_t> moved = 0;
  for (int64_t begin = 0; begin < columns; begin += kBlockColumns) {
    const int64_t size = std::min(kBlockColumns, columns - begin);
    at::Tensor block_gradient = gradient.narrow(0, 0, size);
    at::mm_out(block_gradient, hessian.narrow(0, begin, size), errors);
    ColumnBlock block;
    block.columns = size;
    block.stride = rows;
    block.matrix = hessian.data_ptr<float>() + begin * columns + begin;
    block.matrix_stride = columns;
    block.base = gradient.data_ptr<float>();
    block.values = errors.data_ptr<float>() + begin * rows;
    block.codes = codes.data_ptr<uint8_t>() + begin * rows;
    block.max_code = (1 << bits) - 1;
    at::parallel_for(0, (rows + kTileRows - 1) / kTileRows, 1, [&](int64_t first, int64_t last) {
      int64_t count = 0;
      for (int64_t t = first; t < last; ++t)
        count += descent_tile(block, t * kTileRows, std::min(rows, (t + 1) * kTileRows));
      moved += count;
    });
  }
  return moved;
}

at::Tensor weighted_error(const at::Tensor& errors, const at::Tensor& hessian) {
  return at::mm(hessian, errors).mul_(errors).sum(0, /*keepdim=*/false, at::kDouble);
}

}  // namespace svq::convert
