#include "converter/quantize/products.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "converter/quantize/bf16_products.h"

namespace svq::convert {
namespace {

constexpr int64_t kTallPanels = 16;  // of the left side that a thread takes: 512 KB, which the second-level cache holds

int64_t panels(int64_t columns) { return (columns + kPanel - 1) / kPanel; }

// Panel by panel of tokens [begin, begin + count).
at::Tensor pack(const at::Tensor& x, int64_t begin, int64_t count, bool left) {
  const int64_t columns = x.size(1), n = panels(columns);
  const at::Tensor packed = at::empty({n, kPanelValues}, at::kShort);
  const float* data = x.data_ptr<float>() + begin * x.stride(0);
  auto* out = reinterpret_cast<uint16_t*>(packed.data_ptr<int16_t>());
  at::parallel_for(0, n, 4, [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p)
      (left ? pack_left : pack_right)(data, x.stride(0), count, columns, p, out + p * kPanelValues);
  });
  return packed;
}

void add_products_bf16(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum, bool upper) {
  const at::Tensor x = a.stride(1) == 1 ? a : a.contiguous(), y = b.stride(1) == 1 ? b : b.contiguous();
  const int64_t left_panels = panels(x.size(1)), right_panels = panels(y.size(1));
  for (int64_t begin = 0; begin < x.size(0); begin += kPanelTokens) {
    const int64_t count = std::min(kPanelTokens, x.size(0) - begin);
    const at::Tensor left = pack(x, begin, count, true), right = pack(y, begin, count, false);
    const auto* l = reinterpret_cast<const uint16_t*>(left.data_ptr<int16_t>());
    const auto* r = reinterpret_cast<const uint16_t*>(right.data_ptr<int16_t>());
    float* out = sum.data_ptr<float>();
    const int64_t tasks = (left_panels + kTallPanels - 1) / kTallPanels;
    at::parallel_for(0, tasks, 1, [&](int64_t first, int64_t last) {
      for (int64_t s = first; s < last; ++s) {
        // From both ends: a thread takes neighbours, and of a triangle the upper rows have more to do.
        const int64_t top = (s % 2 ? tasks - 1 - s / 2 : s / 2) * kTallPanels;
        bf16_products(l, r, count, top, std::min(left_panels, top + kTallPanels), upper ? top : 0, right_panels,
                      x.size(1), y.size(1), upper, out, sum.stride(0));
      }
    });
  }
}

}  // namespace

void add_products_f32(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum, bool upper) {
  constexpr int64_t kRows = 1024;
  const int64_t rows = sum.size(0), columns = sum.size(1);
  for (int64_t begin = 0; begin < rows; begin += kRows) {
    const int64_t size = std::min(kRows, rows - begin), left = upper ? begin : 0;
    at::Tensor part = sum.narrow(0, begin, size).narrow(1, left, columns - left);
    part.addmm_(a.narrow(1, begin, size).t(), b.narrow(1, left, columns - left));
  }
}

void add_products(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum, bool upper) {
  const at::NoGradGuard no_grad;
  TORCH_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(0) == b.size(0) && sum.size(0) == a.size(1) &&
                  sum.size(1) == b.size(1) && sum.stride(1) == 1 && a.scalar_type() == at::kFloat &&
                  b.scalar_type() == at::kFloat && sum.scalar_type() == at::kFloat,
              "add_products: [T, M] and [T, N] into [M, N], f32");
  if (a.is_cpu() && b.is_cpu() && sum.is_cpu() && bf16_products_available()) {
    add_products_bf16(a, b, sum, upper);
  } else {
    add_products_f32(a, b, sum, upper);
  }
}

}  // namespace svq::convert
