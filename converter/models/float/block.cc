#include "converter/models/float/block.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "converter/base/error.h"
#include "converter/models/float/decode_attention.h"

namespace svq::convert {

at::Tensor read_tensor_rows(const Model& model, Slot slot, int layer, int64_t begin, int64_t end) {
  const int64_t columns = static_cast<int64_t>(model.shape(slot, layer).columns);
  at::Tensor out = at::empty({end - begin, columns}, at::kFloat);
  float* data = out.data_ptr<float>();
  const int64_t grain = std::max<int64_t>(1, (1 << 18) / std::max<int64_t>(1, columns));
  at::parallel_for(begin, end, grain, [&](int64_t first, int64_t last) {
    model.read_rows(slot, layer, static_cast<uint64_t>(first), static_cast<uint64_t>(last),
                    std::span<float>(data + (first - begin) * columns, static_cast<size_t>((last - first) * columns)));
  });
  return out;
}

at::Tensor read_tensor(const Model& model, Slot slot, int layer, bool vector) {
  const at::Tensor out = read_tensor_rows(model, slot, layer, 0, static_cast<int64_t>(model.shape(slot, layer).rows));
  return vector ? out.view({-1}) : out;
}

at::Tensor FloatLinear::operator()(const at::Tensor& x) const {
  if (weight.scalar_type() == at::kBFloat16) {
    at::Tensor y = at::linear(x.to(at::kBFloat16), weight).to(at::kFloat);
    return bias.defined() ? y.add_(bias) : y;
  }
  if (x.is_cpu() && x.dim() == 2 && x.size(0) < 64) {
    // A few tokens: OpenBLAS packs the weights faster from this side (104 against 79 GFLOP/s at 32 x 576 x 1536).
    at::Tensor y = at::mm(weight, x.t()).t().contiguous();
    return bias.defined() ? y.add_(bias) : y;
  }
  return at::linear(x, weight, bias);
}

FloatBlock FloatBlock::load(const Model& model, int layer, const ForwardOptions& options) {
  const fb::ArchitectureT& a = model.architecture();
  FloatBlock block;
  block.n_heads_ = a.n_heads;
  block.n_kv_heads_ = a.n_kv_heads;
  block.head_dim_ = a.head_dim;
  block.window_ = a.sliding_window;
  block.options_ = options;
  block.eps_ = a.norm_eps;
  block.architecture_ = &a;
  const auto vector = [&](Slot slot) {
    return model.has(slot, layer) ? read_tensor(model, slot, layer, true).to(options.device) : at::Tensor();
  };
  const auto linear = [&](Slot slot) {
    return read_tensor(model, slot, layer, false).to(options.device, options.bf16_linears ? at::kBFloat16 : at::kFloat);
  };
  block.attn_norm = vector(Slot::kAttnNorm);
  block.ffn_norm = vector(Slot::kFfnNorm);
  block.q_norm = vector(Slot::kQNorm);
  block.k_norm = vector(Slot::kKNorm);
  block.q = {linear(Slot::kQ), vector(Slot::kQBias)};
  block.k = {linear(Slot::kK), vector(Slot::kKBias)};
  block.v = {linear(Slot::kV), vector(Slot::kVBias)};
  block.o = {linear(Slot::kO), vector(Slot::kOBias)};
  block.gate = {linear(Slot::kGate), {}};
  block.up = {linear(Slot::kUp), {}};
  block.down = {linear(Slot::kDown), {}};
  return block;
}

FloatBlock::Heads FloatBlock::project(const at::Tensor& x) const {
  const int64_t tokens = x.size(0);
  at::Tensor query = q(x).view({tokens, n_heads_, head_dim_});
  at::Tensor key = k(x).view({tokens, n_kv_heads_, head_dim_});
  const at::Tensor value = v(x).view({tokens, n_kv_heads_, head_dim_});
  if (q_norm.defined()) query = rms_norm(query, q_norm, eps_);
  if (k_norm.defined()) key = rms_norm(key, k_norm, eps_);
  return {query, key, value};
}

// x [sequences · T, hidden], before attn_norm → [sequences · T, hidden], to be added to it.
at::Tensor FloatBlock::attention(const at::Tensor& x, int64_t sequences, const RopeTables& rope,
                                 const BlockHooks& hooks) const {
  const at::Tensor normalised = rms_norm(x, attn_norm, eps_);
  if (hooks.attn_in) hooks.attn_in(normalised);
  const Heads heads = project(normalised);
  const int64_t length = x.size(0) / sequences;
  at::Tensor mixed = at::empty({x.size(0), n_heads_ * head_dim_}, x.options());
  for (int64_t s = 0; s < sequences; ++s) {
    const auto of_sequence = [&](const at::Tensor& t) { return t.narrow(0, s * length, length).transpose(0, 1); };
    mixed.narrow(0, s * length, length)
        .copy_(causal_attention(apply_rope(of_sequence(heads.q), rope), apply_rope(of_sequence(heads.k), rope),
                                of_sequence(heads.v).contiguous(), window_));
  }
  if (hooks.o_in) hooks.o_in(mixed);
  return o(mixed);
}

void FloatBlock::add_feed_forward(at::Tensor x, const BlockHooks& hooks) const {
  for (int64_t begin = 0; begin < x.size(0); begin += options_.tokens_per_pass) {
    at::Tensor part = x.narrow(0, begin, std::min(options_.tokens_per_pass, x.size(0) - begin));
    const at::Tensor normalised = rms_norm(part, ffn_norm, eps_);
    if (hooks.ffn_in) hooks.ffn_in(normalised);
    const at::Tensor inner = silu_and_multiply(gate(normalised), up(normalised));
    if (hooks.down_in) hooks.down_in(inner);
    part.add_(down(inner));
  }
}

at::Tensor FloatBlock::forward(const at::Tensor& hidden, const BlockHooks& hooks) const {
  const int64_t batch = hidden.size(0), length = hidden.size(1), width = hidden.size(2);
  const RopeTables rope = rope_tables(*architecture_, 0, length, hidden.device());
  const int64_t sequences_per_pass = options_.sequences_per_pass(length);
  at::Tensor out = hidden.clone(at::MemoryFormat::Contiguous);
  for (int64_t begin = 0; begin < batch; begin += sequences_per_pass) {
    const int64_t sequences = std::min(sequences_per_pass, batch - begin);
    at::Tensor x = out.narrow(0, begin, sequences).view({sequences * length, width});
    x.add_(attention(x, sequences, rope, hooks));
    add_feed_forward(x, hooks);
  }
  return out;
}

at::Tensor FloatBlock::step(const at::Tensor& hidden, int64_t position, const RopeTables& rope, KvCache& cache) const {
  const int64_t batch = hidden.size(0), group = n_heads_ / n_kv_heads_;
  const Heads heads = project(rms_norm(hidden, attn_norm, eps_));
  cache.k.select(2, position).copy_(apply_rope(heads.k, rope));
  cache.v.select(2, position).copy_(heads.v);

  const int64_t first = window_ > 0 ? std::max<int64_t>(0, position - window_ + 1) : 0;
  const int64_t keys = position + 1 - first;
  const at::Tensor query = (apply_rope(heads.q, rope) * (1.0 / std::sqrt(static_cast<double>(head_dim_))))
                               .view({batch * n_kv_heads_, group, head_dim_});
  const at::Tensor k_seen = cache.k.flatten(0, 1).narrow(1, first, keys);
  const at::Tensor v_seen = cache.v.flatten(0, 1).narrow(1, first, keys);
  at::Tensor mixed;
  if (hidden.is_cpu()) {
    mixed = at::empty_like(query);
    const auto attend = [&](const auto* k_data, const auto* v_data) {
      at::parallel_for(0, batch * n_kv_heads_, 1, [&](int64_t begin, int64_t end) {
        std::vector<float> scores(static_cast<size_t>(group * keys));
        for (int64_t i = begin; i < end; ++i) {
          const int64_t heads_at = i * group * head_dim_;
          attend_one(query.data_ptr<float>() + heads_at, k_data + i * k_seen.stride(0), v_data + i * v_seen.stride(0),
                     group, keys, head_dim_, scores.data(), mixed.data_ptr<float>() + heads_at);
        }
      });
    };
    if (k_seen.scalar_type() == at::kBFloat16) {
      attend(static_cast<const uint16_t*>(k_seen.data_ptr()), static_cast<const uint16_t*>(v_seen.data_ptr()));
    } else {
      attend(k_seen.data_ptr<float>(), v_seen.data_ptr<float>());
    }
  } else {
    mixed = at::bmm(at::softmax(at::bmm(query, k_seen.transpose(1, 2)), -1), v_seen);
  }
  at::Tensor x = hidden + o(mixed.view({batch, n_heads_ * head_dim_}));
  add_feed_forward(x, {});
  return x;
}

}  // namespace svq::convert
