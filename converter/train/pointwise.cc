#include "converter/train/pointwise.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "converter/train/row_kernels.h"

namespace svq::convert {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

constexpr int64_t kRows = 32;  // of a part: sums over rows are taken part by part, whatever the number of threads
constexpr int64_t kValues = 1 << 14;

struct Normalise : Function<Normalise> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, const c10::optional<at::Tensor>& weight_in,
                            double eps) {
    const at::Tensor x = x_in.contiguous(), weight = weight_in ? weight_in->contiguous() : at::Tensor();
    const int64_t n = x.size(-1), rows = x.numel() / n;
    at::Tensor y = at::empty_like(x), r = at::empty({rows}, at::kFloat);
    const float* w = weight.defined() ? weight.data_ptr<float>() : nullptr;
    at::parallel_for(0, rows, kRows, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        r.data_ptr<float>()[i] =
            normalise_row(x.data_ptr<float>() + i * n, w, static_cast<float>(eps), n, y.data_ptr<float>() + i * n);
      }
    });
    ctx->save_for_backward({x, weight, r});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &r = saved[2], dy = grads[0].contiguous();
    const int64_t n = x.size(-1), rows = x.numel() / n, parts = (rows + kRows - 1) / kRows;
    at::Tensor dx = at::empty_like(x), partial;
    if (weight.defined()) partial = at::zeros({parts, n}, at::kFloat);
    const float* w = weight.defined() ? weight.data_ptr<float>() : nullptr;
    at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) {
        float* dw = w ? partial.data_ptr<float>() + part * n : nullptr;
        for (int64_t i = part * kRows; i < std::min(rows, (part + 1) * kRows); ++i) {
          normalise_row_backward(x.data_ptr<float>() + i * n, w, r.data_ptr<float>()[i], dy.data_ptr<float>() + i * n,
                                 n, dx.data_ptr<float>() + i * n, dw);
        }
      }
    });
    return {dx, w ? partial.sum(0) : at::Tensor(), {}};
  }
};

struct SiluProduct : Function<SiluProduct> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_in, const at::Tensor& up_in) {
    const at::Tensor gate = gate_in.contiguous(), up = up_in.contiguous();
    at::Tensor y = at::empty_like(gate);
    at::parallel_for(0, gate.numel(), kValues, [&](int64_t begin, int64_t end) {
      silu_product_row(gate.data_ptr<float>() + begin, up.data_ptr<float>() + begin, end - begin,
                       y.data_ptr<float>() + begin);
    });
    ctx->save_for_backward({gate, up});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1], dy = grads[0].contiguous();
    at::Tensor dgate = at::empty_like(gate), dup = at::empty_like(up);
    at::parallel_for(0, gate.numel(), kValues, [&](int64_t begin, int64_t end) {
      silu_product_row_backward(gate.data_ptr<float>() + begin, up.data_ptr<float>() + begin,
                                dy.data_ptr<float>() + begin, end - begin, dgate.data_ptr<float>() + begin,
                                dup.data_ptr<float>() + begin);
    });
    return {dgate, dup};
  }
};

}  // namespace

at::Tensor normalise(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return Normalise::apply(x, weight.defined() ? c10::optional<at::Tensor>(weight) : c10::nullopt, eps);
}

at::Tensor silu_product(const at::Tensor& gate, const at::Tensor& up) { return SiluProduct::apply(gate, up); }

double kl_gradient(const at::Tensor& wanted_in, at::Tensor& logits, double weight) {
  const at::Tensor wanted = wanted_in.contiguous();
  const int64_t rows = logits.size(0), n = logits.size(1);
  at::Tensor kl = at::empty({rows}, at::kDouble);
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(n));
    for (int64_t i = begin; i < end; ++i) {
      float* row = logits.data_ptr<float>() + i * n;
      kl.data_ptr<double>()[i] =
          wanted.scalar_type() == at::kBFloat16
              ? kl_row(static_cast<const uint16_t*>(wanted.data_ptr()) + i * n, row, n, static_cast<float>(weight),
                       scratch.data())
              : kl_row(wanted.data_ptr<float>() + i * n, row, n, static_cast<float>(weight), scratch.data());
    }
  });
  return kl.sum().item<double>();
}

}  // namespace svq::convert
