#include "converter/quantize/ldlq.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "converter/quantize/block_kernels.h"

namespace svq::convert {

void ldlq_(at::Tensor& values, at::Tensor& codes, const HessianFactor& factor, int bits) {
  const int64_t columns = values.size(0), rows = values.size(1);
  const at::Tensor base = at::zeros({std::min(kBlockColumns, columns), rows}, at::kFloat);
  for (int64_t begin = 0; begin < columns; begin += kBlockColumns) {
    const int64_t size = std::min(kBlockColumns, columns - begin);
    at::Tensor block_base = base.narrow(0, 0, size);
    if (begin > 0) {
      at::mm_out(block_base, factor.feedback.narrow(0, begin, size).narrow(1, 0, begin), values.narrow(0, 0, begin));
    }
    ColumnBlock block;
    block.columns = size;
    block.stride = rows;
    block.matrix = factor.feedback.data_ptr<float>() + begin * columns + begin;
    block.matrix_stride = columns;
    block.base = base.data_ptr<float>();
    block.values = values.data_ptr<float>() + begin * rows;
    block.codes = codes.data_ptr<uint8_t>() + begin * rows;
    block.max_code = (1 << bits) - 1;
    at::parallel_for(0, (rows + kTileRows - 1) / kTileRows, 1, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) ldlq_tile(block, t * kTileRows, std::min(rows, (t + 1) * kTileRows));
    });
  }
}

void round_(at::Tensor& values, at::Tensor& codes, int bits) {
  const at::Tensor nearest = values.add(0.5).floor_().clamp_(0, (1 << bits) - 1);
  codes.copy_(nearest);
  values.sub_(nearest);
}

}  // namespace svq::convert
