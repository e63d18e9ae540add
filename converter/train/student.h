// The quantized model as a differentiable function of its float parameters: affine maps, input and output scales,
// norms, biases. The codes are constants. It computes what the runtime computes before int8 rounding, on libtorch's CPU
// tensors in f32.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "converter/models/float/ops.h"
#include "converter/models/model.h"
#include "converter/quantize/quantize.h"
#include "converter/train/transforms.h"

namespace svq::convert {

// A trained tensor. In units of `unit` it is of the order of 1: learning rates and steps are relative to it.
struct Parameter {
  std::string name;     // "blocks.3.attn_in.scale"
  at::Tensor value;     // f32, wants gradients
  double unit = 1;      // mean magnitude at the start
  bool is_map = false;  // A or B of an affine map
};

struct StudentLinear {
  std::string name;  // "blocks.3.q"
  int bits = 0;
  int64_t rows = 0;
  at::Tensor bias;  // [N] or undefined
  // Packed:
  at::Tensor codes;              // [N, K], centred (transforms.h)
  at::Tensor out_scale;          // [N]
  fb::Rotation output_rotation;  // none for embedding and head
  int map = 0;
  // 16 bits:
  at::Tensor weight;                         // [N, K]; trained if it wants gradients
  at::ScalarType product_type = at::kFloat;  // of its products: f32, or bf16 with f32 sums
};

// y_l = W_l x of every linear l that reads x.
struct StudentGroup {
  std::string name;
  int64_t columns = 0;
  at::Tensor norm;  // [K] weight of the norm before it, or undefined: folded into in_scale, or there is none
  // Packed linears:
  at::Tensor in_scale;  // [K]
  fb::Rotation rotation;
  struct Map {
    int dim = 4;
    int64_t columns_per_map = 0;
    at::Tensor a;       // [G, d, d]
    at::Tensor centre;  // [G, d]: B + A · (2^bits − 1)/2 · 1, the offset of centred codes
    int bits = 2;
  };
  std::vector<Map> maps;
  std::vector<StudentLinear> linears;
  // Called in the backward pass with the loss's gradient of a linear's output, [T, N]; may be empty.
  std::function<void(size_t linear, const at::Tensor& gradient)> on_output_gradient;

  // x [T, K], normalised → outputs [T, N] in the order of `linears`.
  std::vector<at::Tensor> forward(const at::Tensor& x) const;
};

// From the outputs q, k, v [B · T, …] of attn_in to the input of o [B · T, heads · head_dim]: norms of q and k
// (undefined: none), rope, causal attention.
at::Tensor mix_heads(const std::vector<at::Tensor>& qkv, int64_t length, const fb::ArchitectureT& a,
                     const RopeTables& rope, const at::Tensor& q_norm, const at::Tensor& k_norm);

class StudentBlock {
 public:
  StudentGroup attn_in, o_in, ffn_in, down_in;
  at::Tensor q_norm, k_norm;  // [head_dim] or undefined

  // hidden [B, T, hidden] → the same.
  at::Tensor forward(const at::Tensor& hidden, const fb::ArchitectureT& a, const RopeTables& rope) const;
};

class Student {
 public:
  explicit Student(const Model& model) : architecture_(&model.architecture()) {}

  StudentGroup embedding;  // one linear; also the head if `tied`
  std::vector<StudentBlock> blocks;
  at::Tensor final_norm;  // [hidden]
  StudentGroup head;      // no linears if tied
  bool tied = false;
  // Above 0: only weights that want gradients are trained, in blocks from this one on.
  size_t first_trained_block = 0;

  const fb::ArchitectureT& architecture() const { return *architecture_; }
  const StudentGroup& head_group() const { return tied ? embedding : head; }
  // Every tensor that is trained, in a fixed order; wants_gradients is set on all of them.
  std::vector<Parameter> parameters();
  // The same student, its parameters included, with gradients of its own.
  Student replica() const;
  std::vector<StudentGroup*> groups();

  at::Tensor embed(const at::Tensor& tokens) const;       // [B, T] i64 → [B, T, hidden]
  at::Tensor head_input(const at::Tensor& hidden) const;  // final norm
  at::Tensor logits(const at::Tensor& normalised) const;  // [T, hidden] → [T, vocab]
  RopeTables rope(int64_t length) const { return rope_tables(*architecture_, 0, length, at::kCPU); }
  // Hidden states after the last block, without gradients.
  at::Tensor hidden(const at::Tensor& tokens) const;

 private:
  // visit(name, tensor, the map that it belongs to or null) for every trained tensor in a fixed order.
  template <class Visit>
  void for_parameters(const Visit& visit);
  const fb::ArchitectureT* architecture_;
};

// Rounds the group's parameters to what the file stores.
void round_group(StudentGroup& group);
// A packed group as the quantizer made it ↔ as the student holds it. bf16: codes as bfloat16 matrices (exact).
StudentGroup make_group(const QuantizedGroup& quantized, bool bf16);
// Its trained values, rounded to what the file stores (f16), with today's codes. Relative errors are kept.
void store_group(const StudentGroup& group, QuantizedGroup& quantized);

}  // namespace svq::convert
