#include "converter/train/attention.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "converter/train/attention_kernels.h"

namespace svq::convert {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// visit(batch · heads + head) in parallel.
template <class Visit>
void for_heads(int64_t heads, const Visit& visit) {
  at::parallel_for(0, heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) visit(h);
  });
}

struct Attend : Function<Attend> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            int64_t window) {
    const int64_t heads = q.size(0) * q.size(1), length = q.size(2), dim = q.size(3), group = q.size(1) / k.size(1);
    at::Tensor out = at::empty_like(q), log_sum = at::empty({heads, length}, at::kFloat);
    const HeadShape shape{length, dim, window, scale(dim)};
    for_heads(heads, [&](int64_t h) {
      const int64_t kv = h / group * length * dim;
      attend_head(q.data_ptr<float>() + h * length * dim, k.data_ptr<float>() + kv, v.data_ptr<float>() + kv, shape,
                  out.data_ptr<float>() + h * length * dim, log_sum.data_ptr<float>() + h * length);
    });
    ctx->save_for_backward({q, k, v, out, log_sum});
    ctx->saved_data["window"] = window;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &log_sum = saved[4];
    const int64_t heads = q.size(0) * q.size(1), kv_heads = k.size(0) * k.size(1), length = q.size(2), dim = q.size(3),
                  group = heads / kv_heads;
    const at::Tensor g = grads[0].contiguous();
    at::Tensor dq = at::empty_like(q), dk = at::zeros_like(q), dv = at::zeros_like(q);
    const HeadShape shape{length, dim, ctx->saved_data["window"].toInt(), scale(dim)};
    for_heads(heads, [&](int64_t h) {
      const int64_t at = h * length * dim, kv = h / group * length * dim;
      attend_head_backward(q.data_ptr<float>() + at, k.data_ptr<float>() + kv, v.data_ptr<float>() + kv,
                           out.data_ptr<float>() + at, log_sum.data_ptr<float>() + h * length, g.data_ptr<float>() + at,
                           shape, dq.data_ptr<float>() + at, dk.data_ptr<float>() + at, dv.data_ptr<float>() + at);
    });
    const auto by_group = [&](const at::Tensor& x) {
      return x.view({kv_heads, group, length, dim}).sum(1).view(k.sizes());
    };
    return {dq, by_group(dk), by_group(dv), at::Tensor()};
  }

 private:
  static float scale(int64_t dim) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim))); }
};

}  // namespace

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t window) {
  return Attend::apply(q.contiguous(), k.contiguous(), v.contiguous(), window);
}

}  // namespace svq::convert
