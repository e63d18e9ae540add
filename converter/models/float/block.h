// One decoder block of the source model in float: its weights, and its forward pass with a view on what the linears
// read.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>

#include "converter/models/float/ops.h"
#include "converter/models/float/options.h"
#include "converter/models/model.h"

namespace svq::convert {

// y = x weightᵀ + bias. x [..., K] f32 → [..., N] f32.
struct FloatLinear {
  at::Tensor weight;  // [N, K] f32, or bf16 with ForwardOptions::bf16_linears
  at::Tensor bias;    // [N] f32, or undefined
  at::Tensor operator()(const at::Tensor& x) const;
};

// Inputs of the linears that share one, as [tokens, K] f32 on the device of the computation: a part of the tokens at a
// time, in order, each token once. Empty functions are not called. The tensor is only lent: clone it to keep it.
struct BlockHooks {
  std::function<void(const at::Tensor&)> attn_in;  // of q, k, v: after attn_norm and its weight
  std::function<void(const at::Tensor&)> o_in;
  std::function<void(const at::Tensor&)> ffn_in;  // of gate, up: after ffn_norm and its weight
  std::function<void(const at::Tensor&)> down_in;
};

// Keys and values of the positions that a block has seen. Both [batch, n_kv_heads, capacity, head_dim], f32; on the CPU
// also bfloat16.
struct KvCache {
  at::Tensor k, v;
};

class FloatBlock {
 public:
  // Reads one layer; throws what Model::read throws.
  static FloatBlock load(const Model& model, int layer, const ForwardOptions& options);

  // hidden [B, T, hidden] f32 on the device, positions 0 … T-1 in each sequence → the same shape.
  at::Tensor forward(const at::Tensor& hidden, const BlockHooks& hooks = {}) const;

  // One further position of each sequence: hidden [B, hidden], at `position`, which `rope` is the table of. Keys and
  // values of positions below it are in the cache; those of this one are added.
  at::Tensor step(const at::Tensor& hidden, int64_t position, const RopeTables& rope, KvCache& cache) const;

  at::Tensor attn_norm, ffn_norm;  // [hidden]
  at::Tensor q_norm, k_norm;       // [head_dim], or undefined
  FloatLinear q, k, v, o, gate, up, down;

 private:
  // q, k, v of normalised x [tokens, hidden]: [tokens, heads, head_dim], after the norms of q and k, before rope.
  struct Heads {
    at::Tensor q, k, v;
  };
  Heads project(const at::Tensor& x) const;
  at::Tensor attention(const at::Tensor& x, int64_t sequences, const RopeTables& rope, const BlockHooks& hooks) const;
  // x + down(silu(gate(n)) ⊙ up(n)), n = ffn_norm(x). In place.
  void add_feed_forward(at::Tensor x, const BlockHooks& hooks) const;

  int64_t n_heads_ = 0, n_kv_heads_ = 0, head_dim_ = 0, window_ = 0;
  ForwardOptions options_;
  double eps_ = 0;
  const fb::ArchitectureT* architecture_ = nullptr;  // the model's
};

// A tensor of the source, f32 on the CPU: [rows, columns], or [columns] if it has one row and `vector`.
at::Tensor read_tensor(const Model& model, Slot slot, int layer, bool vector);
// Rows [begin, end) of it.
at::Tensor read_tensor_rows(const Model& model, Slot slot, int layer, int64_t begin, int64_t end);

}  // namespace svq::convert
