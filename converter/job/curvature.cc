#include "converter/job/curvature.h"

#include <algorithm>

#include "converter/job/cancel.h"
#include "converter/job/prefix.h"
#include "converter/job/preflight.h"
#include "converter/job/tensor_bytes.h"
#include "converter/models/float/block.h"
#include "converter/models/float/startup.h"
#include "converter/train/curvature.h"
#include "converter/train/distill.h"

namespace svq::convert {
namespace {

std::string tag_of(const PlannedLinear& linear) { return "outputs." + linear.name; }

}  // namespace

Student float_student(const Model& model, const Plan& plan) {
  const bool bf16 = bf16_is_faster(c10::kCPU);
  Student student(model);
  student.tied = plan.tied;
  student.blocks.resize(model.architecture().n_layers);
  for (const PlannedGroup& planned : plan.groups) {
    if (planned.kind == GroupKind::kFinalNorm) {
      student.final_norm = read_tensor(model, Slot::kFinalNorm, -1, true);
      continue;
    }
    StudentGroup group = make_float_group(planned, model, bf16);
    if (planned.kind == GroupKind::kEmbedding) {
      student.embedding = std::move(group);
    } else if (planned.kind == GroupKind::kHead) {
      student.head = std::move(group);
    } else {
      StudentBlock& block = student.blocks[static_cast<size_t>(planned.layer)];
      (planned.kind == GroupKind::kAttnIn  ? block.attn_in
       : planned.kind == GroupKind::kOIn   ? block.o_in
       : planned.kind == GroupKind::kFfnIn ? block.ffn_in
                                           : block.down_in) = std::move(group);
      if (planned.kind == GroupKind::kAttnIn) {
        if (model.has(Slot::kQNorm, planned.layer)) block.q_norm = read_tensor(model, Slot::kQNorm, planned.layer, true);
        if (model.has(Slot::kKNorm, planned.layer)) block.k_norm = read_tensor(model, Slot::kKNorm, planned.layer, true);
      }
    }
  }
  return student;
}

OutputCurvatures::OutputCurvatures(const Model& model, const Plan& plan, WorkDirectory& work)
    : model_(model), plan_(plan), work_(work) {}

bool OutputCurvatures::has(const PlannedGroup& group) const {
  return std::all_of(group.linears.begin(), group.linears.end(), [&](const PlannedLinear& l) {
    return !has_curvature(group, l) || work_.contains(tag_of(l));
  });
}

void OutputCurvatures::remove(const PlannedGroup& group) const {
  for (const PlannedLinear& l : group.linears) {
    if (has_curvature(group, l)) work_.remove(tag_of(l));
  }
}

void OutputCurvatures::measure(const at::Tensor& tokens, const std::vector<int64_t>& sequences, uint64_t seed,
                               const std::function<void(double)>& progress) {
  Student student = float_student(model_, plan_);
  const auto& a = model_.architecture();
  const bool keep =
      Distillation::activation_bytes(a, tokens.size(1)) * a.n_layers <= available_memory() / 4;
  OutputCurvature curvature(student, kMostCurvatureRows);
  for (size_t i = 0; i < sequences.size(); ++i) {
    progress(static_cast<double>(i) / static_cast<double>(sequences.size()));
    curvature.add(tokens.narrow(0, sequences[i], 1), sequences[i], seed, keep);
    if (stop_requested()) throw Interrupted{};
  }
  for (const auto& [name, h] : curvature.take()) work_.save("outputs." + name, bytes_of(h));
}

at::Tensor OutputCurvatures::of(const PlannedGroup& group, const PlannedLinear& linear) const {
  if (!has_curvature(group, linear) || !work_.contains(tag_of(linear))) return {};
  const auto n = static_cast<int64_t>(linear.rows);
  at::Tensor h = at::empty({n, n}, at::kFloat);
  return work_.load(tag_of(linear), bytes_of(h)) ? h : at::Tensor();
}

}  // namespace svq::convert
