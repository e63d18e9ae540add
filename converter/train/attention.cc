#include "converter/train/attention.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

#include "converter/models/float/startup.h"

namespace svq::convert {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

constexpr int64_t kQueries = 128;  // of a block

// Queries [begin, begin + count) of one head see keys [first, begin + count).
struct Block {
  int64_t begin, count, first, keys;
};

template <class Visit>
void for_blocks(int64_t length, int64_t window, const Visit& visit) {
  for (int64_t begin = 0; begin < length; begin += kQueries) {
    const int64_t count = std::min(kQueries, length - begin);
    const int64_t first = window > 0 ? std::max<int64_t>(0, begin - window + 1) : 0;
    visit(Block{begin, count, first, begin + count - first});
  }
}

// q kᵀ of a block with what is not seen at -inf.
at::Tensor scores(const at::Tensor& q, const at::Tensor& k, const Block& b, int64_t window) {
  at::Tensor s = at::mm(q.narrow(0, b.begin, b.count), k.narrow(0, b.first, b.keys).t());
  float* p = s.data_ptr<float>();
  for (int64_t i = 0; i < b.count; ++i) {
    const int64_t last = b.begin + i;
    const int64_t start = window > 0 ? std::max<int64_t>(b.first, last - window + 1) : b.first;
    std::fill(p + i * b.keys, p + i * b.keys + (start - b.first), -INFINITY);
    std::fill(p + i * b.keys + (last + 1 - b.first), p + (i + 1) * b.keys, -INFINITY);
  }
  return s;
}

// visit(batch · heads + head) in parallel, products on the visiting thread.
template <class Visit>
void for_heads(int64_t heads, const Visit& visit) {
  const SerialBlas serial;
  at::parallel_for(0, heads, 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard no_grad;  // a property of the thread
    for (int64_t h = begin; h < end; ++h) visit(h);
  });
}

struct Attend : Function<Attend> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q_in, const at::Tensor& k_in,
                            const at::Tensor& v_in, int64_t window) {
    const int64_t batch = q_in.size(0), heads = q_in.size(1), length = q_in.size(2), dim = q_in.size(3);
    const int64_t group = heads / k_in.size(1);
    const at::Tensor q = (q_in * (1.0 / std::sqrt(static_cast<double>(dim)))).view({batch * heads, length, dim});
    const at::Tensor k = k_in.reshape({-1, length, dim}), v = v_in.reshape({-1, length, dim});
    at::Tensor out = at::empty({batch * heads, length, dim}, at::kFloat);
    at::Tensor log_sum = at::empty({batch * heads, length}, at::kFloat);
    for_heads(batch * heads, [&](int64_t h) {
      for_blocks(length, window, [&](const Block& b) {
        at::Tensor s = scores(q[h], k[h / group], b, window);
        const at::Tensor sum = at::logsumexp(s, -1, /*keepdim=*/true);
        log_sum[h].narrow(0, b.begin, b.count).copy_(sum.squeeze(1));
        at::Tensor o = out[h].narrow(0, b.begin, b.count);
        at::mm_out(o, s.sub_(sum).exp_(), v[h / group].narrow(0, b.first, b.keys));
      });
    });
    ctx->save_for_backward({q, k, v, out, log_sum});
    ctx->saved_data["window"] = window;
    ctx->saved_data["batch"] = batch;
    return out.view({batch, heads, length, dim}).clone();
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &log_sum = saved[4];
    const int64_t window = ctx->saved_data["window"].toInt(), batch = ctx->saved_data["batch"].toInt();
    const int64_t total = q.size(0), length = q.size(1), dim = q.size(2), kv_total = k.size(0),
                  group = total / kv_total;
    const at::Tensor g = grads[0].contiguous().view({total, length, dim});
    const at::Tensor inner = (g * out).sum(-1, /*keepdim=*/true);  // Σ_j dP_j P_j
    at::Tensor dq = at::empty_like(q), dk = at::zeros_like(q), dv = at::zeros_like(q);
    for_heads(total, [&](int64_t h) {
      const at::Tensor &kh = k[h / group], &vh = v[h / group];
      for_blocks(length, window, [&](const Block& b) {
        at::Tensor p = scores(q[h], kh, b, window);
        p.sub_(log_sum[h].narrow(0, b.begin, b.count).unsqueeze(1)).exp_();
        const at::Tensor go = g[h].narrow(0, b.begin, b.count);
        dv[h].narrow(0, b.first, b.keys).addmm_(p.t(), go);
        const at::Tensor dp = at::mm(go, vh.narrow(0, b.first, b.keys).t());
        p.mul_(dp.sub_(inner[h].narrow(0, b.begin, b.count)));
        at::Tensor block_dq = dq[h].narrow(0, b.begin, b.count);
        at::mm_out(block_dq, p, kh.narrow(0, b.first, b.keys));
        dk[h].narrow(0, b.first, b.keys).addmm_(p.t(), q[h].narrow(0, b.begin, b.count));
      });
    });
    const auto by_group = [&](const at::Tensor& x) {
      return x.view({kv_total, group, length, dim}).sum(1).view({batch, kv_total / batch, length, dim});
    };
    return {dq.mul_(1.0 / std::sqrt(static_cast<double>(dim))).view({batch, total / batch, length, dim}), by_group(dk),
            by_group(dv), at::Tensor()};
  }
};

}  // namespace

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t window) {
  return Attend::apply(q.contiguous(), k.contiguous(), v.contiguous(), window);
}

}  // namespace svq::convert
