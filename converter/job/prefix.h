// One decoder block, stage by stage: what each group of linears reads once the groups before it are given. Run twice in
// step from the same hidden states, with the float linears and with the quantized ones, it tells the quantizer both
// inputs of the same tokens.
#pragma once
#include <ATen/ATen.h>

#include "converter/job/group_writer.h"
#include "converter/job/plan.h"
#include "converter/job/tuned_model.h"
#include "converter/train/student.h"

namespace svq::convert {

class BlockStages {
 public:
  // hidden [S, T, hidden] f32, kept and advanced in place. sequences_at_once bounds temporary memory. bf16: what the
  // second and the fourth group read is kept in bfloat16, as exact as products of that type can tell.
  BlockStages(const fb::ArchitectureT& architecture, at::Tensor hidden, int64_t sequences_at_once, bool bf16);

  // The input [tokens, K] of the stage's group (attn_in, o_in, ffn_in, down_in in order), normalised but not weighted
  // by the norm, some sequences at a time.
  int64_t chunks() const { return (hidden_.size(0) + step_ - 1) / step_; }
  at::Tensor input(int64_t chunk) const;
  // Goes on with this group's outputs. q_norm, k_norm: [head_dim] or undefined, for attn_in only.
  void finish(const StudentGroup& group, const at::Tensor& q_norm = {}, const at::Tensor& k_norm = {});
  int stage() const { return stage_; }  // 0 … 4

 private:
  at::Tensor rows(const at::Tensor& of, int64_t sequence, int64_t count) const;  // [count · T, K] view
  const fb::ArchitectureT& a_;
  at::Tensor hidden_;  // [S, T, hidden]
  at::Tensor inner_;   // [S · T, K]: the attention's mix, or silu(gate) ⊙ up
  at::ScalarType inner_type_;
  RopeTables rope_;
  int64_t step_;
  int stage_ = 0;
};

// A planned group as its part holds it: packed linears, others from the source rounded as stored, biases, the norm
// before it where that is stored.
StudentGroup make_student_group(const PlannedGroup& planned, const Model& model, const GroupContent& content,
                                bool bf16);

// A planned group of a block as the student's, into the block; with attn_in the norms of q and k.
void load_student_group(const PlannedGroup& planned, const Model& model, const GroupContent& content, bool bf16,
                        StudentBlock& block);
// And back: the trained values, rounded to what the file stores.
void store_student_group(const PlannedGroup& planned, const StudentBlock& block, GroupContent& content);

// The group of a block that `kind` names: attn_in, o_in, ffn_in or down_in.
StudentGroup& group_of(StudentBlock& block, GroupKind kind);
const StudentGroup& group_of(const StudentBlock& block, GroupKind kind);

// The float linears of a planned group as a group of the student. bf16: weights in bfloat16.
StudentGroup make_float_group(const PlannedGroup& planned, const Model& model, bool bf16);
// The same with the trained model's own weights, in place, as parameters where they will be packed.
StudentGroup make_trained_group(const PlannedGroup& planned, const TunedModel& model, bool bf16);
// Those of a whole block.
StudentBlock make_float_block(const Plan& plan, const Model& model, int layer, bool bf16);

// Second moments of the two inputs: Ĥ = E[x̂ x̂ᵀ] and C = E[x x̂ᵀ], [K, K] f32; or instead of C what it does to one weight
// W [N, K], W (C − Ĥ) = E[W (x − x̂) x̂ᵀ], [N, K].
struct Moments {
  at::Tensor quantized, cross, difference;
};
// weight: undefined, or W, for N < K: products with K² sums a token are what takes longest in a wide block.
Moments measure_moments(const BlockStages& source, const BlockStages& quantized, const at::Tensor& norm,
                        const at::Tensor& weight = {});

// W ↦ W M, the least-squares map from x̂ to W x: M = (C + λ I) (Ĥ + λ I)⁻¹ = I + (C − Ĥ) (Ĥ + λ I)⁻¹, λ = damping · mean
// diagonal of Ĥ (as the asymmetric calibration of GPTAQ, Li et al. 2025). With C = Ĥ it is the identity.
class Correction {
 public:
  // Throws Error naming `name` if the moments are not finite. moments.cross is overwritten.
  Correction(const Moments& moments, double damping, const std::string& name);
  at::Tensor apply(const at::Tensor& weight) const;  // [N, K] f32 → the same; W itself where moments.difference is W's

 private:
  at::Tensor difference_;  // C − Ĥ, f32
  at::Tensor applied_;     // or W (C − Ĥ)
  at::Tensor factor_;      // of Ĥ + λ I = U Uᵀ, f64 or f32: U in the upper triangle
};

}  // namespace svq::convert
