#include "converter/models/float/ops.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>

#include "converter/models/float/startup.h"

namespace svq::convert {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return (x * x.square().mean(-1, /*keepdim=*/true).add_(eps).rsqrt_()).mul_(weight);
}

at::Tensor silu_and_multiply(at::Tensor gate, const at::Tensor& up) {
  const at::Tensor s = at::sigmoid(gate);
  return gate.mul_(s).mul_(up);
}

RopeTables rope_tables(const fb::ArchitectureT& architecture, int64_t first_position, int64_t positions,
                       c10::Device device) {
  // Angles in double: position · frequency loses digits in float32 at positions of 10⁵.
  const std::vector<double> frequencies(architecture.rope_inv_freq.begin(), architecture.rope_inv_freq.end());
  const at::Tensor inv_freq =
      at::from_blob(const_cast<double*>(frequencies.data()), {static_cast<int64_t>(frequencies.size())}, at::kDouble);
  const at::Tensor angle = at::outer(at::arange(first_position, first_position + positions, at::kDouble), inv_freq);
  const double factor = architecture.rope_attention_factor;
  return {at::cos(angle).mul_(factor).to(device, at::kFloat), at::sin(angle).mul_(factor).to(device, at::kFloat)};
}

at::Tensor apply_rope(const at::Tensor& x, const RopeTables& tables) {
  const int64_t half = x.size(-1) / 2;
  const at::Tensor first = x.narrow(-1, 0, half), second = x.narrow(-1, half, half);
  return at::cat({first * tables.cos - second * tables.sin, second * tables.cos + first * tables.sin}, -1);
}

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t window) {
  const int64_t n_heads = q.size(0), n_queries = q.size(1), head_dim = q.size(2);
  const int64_t n_kv_heads = k.size(0), n_keys = k.size(1), group = n_heads / n_kv_heads;
  const int64_t first = n_keys - n_queries;
  constexpr int64_t kScores = 16 << 20;  // 64 MiB of them
  const int64_t step = std::clamp<int64_t>(kScores / (n_heads * n_keys), 1, 128);
  const at::Tensor scaled = q * (1.0 / std::sqrt(static_cast<double>(head_dim)));
  at::Tensor out = at::empty({n_queries, n_heads, head_dim}, q.options());

  const auto attend = [&](int64_t head) {
    const at::Tensor keys_of = k[head / group], values = v[head / group];
    for (int64_t begin = 0; begin < n_queries; begin += step) {
      const int64_t count = std::min(step, n_queries - begin);
      const int64_t last_key = first + begin + count;
      const int64_t first_key = window > 0 ? std::max<int64_t>(0, first + begin - window + 1) : 0;
      const int64_t keys = last_key - first_key;
      at::Tensor scores = at::mm(scaled[head].narrow(0, begin, count), keys_of.narrow(0, first_key, keys).t());
      // Entry [i, j] is hidden if key first_key + j lies after query first + begin + i, or before its window.
      const at::Tensor distance =
          at::arange(first + begin, first + begin + count, q.options().dtype(at::kLong)).unsqueeze(1) -
          at::arange(first_key, last_key, q.options().dtype(at::kLong));
      at::Tensor hidden = distance < 0;
      if (window > 0) hidden = hidden.logical_or_(distance >= window);
      const at::Tensor weights = at::softmax(scores.masked_fill_(hidden, -INFINITY), -1);
      out.narrow(0, begin, count).select(1, head).copy_(at::mm(weights, values.narrow(0, first_key, keys)));
    }
  };
  if (!q.is_cpu()) {
    for (int64_t head = 0; head < n_heads; ++head) attend(head);
  } else {
    const SerialBlas serial;
    at::parallel_for(0, n_heads, 1, [&](int64_t begin, int64_t end) {
      const at::NoGradGuard no_grad;  // a property of the thread
      for (int64_t head = begin; head < end; ++head) attend(head);
    });
  }
  return out.view({n_queries, n_heads * head_dim});
}

}  // namespace svq::convert
