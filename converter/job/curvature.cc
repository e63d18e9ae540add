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

std::string tag_of(const std::string& linear) { return "outputs." + linear; }

}  // namespace

Student float_student(const Model& model, const Plan& plan) {
  const bool bf16 = bf16_is_faster(c10::kCPU);
  Student student(model);
  student.tied = plan.tied;
  for (int layer = 0; layer < static_cast<int>(model.architecture().n_layers); ++layer)
    student.blocks.push_back(make_float_block(plan, model, layer, bf16));
  for (const PlannedGroup& planned : plan.groups) {
    if (planned.kind == GroupKind::kEmbedding) student.embedding = make_float_group(planned, model, bf16);
    if (planned.kind == GroupKind::kHead) student.head = make_float_group(planned, model, bf16);
  }
  student.final_norm = read_tensor(model, Slot::kFinalNorm, -1, true);
  return student;
}

OutputCurvatures::OutputCurvatures(const Model& model, const Plan& plan, WorkDirectory& work)
    : model_(model), plan_(plan), work_(work) {}

bool OutputCurvatures::has(const PlannedGroup& group) const {
  return std::all_of(group.linears.begin(), group.linears.end(), [&](const PlannedLinear& l) {
    return !has_curvature(group, l) || work_.contains(tag_of(l.name));
  });
}

void OutputCurvatures::remove(const PlannedGroup& group) const {
  for (const PlannedLinear& l : group.linears) {
    if (has_curvature(group, l)) work_.remove(tag_of(l.name));
  }
}

void OutputCurvatures::measure(const at::Tensor& tokens, const std::vector<int64_t>& sequences, uint64_t seed,
                               const std::function<void(double)>& progress) {
  Student student = float_student(model_, plan_);
  const bool keep = keeps_activations(model_.architecture(), tokens.size(1), activation_budget());
  OutputCurvature curvature(student, kMostCurvatureRows);
  for (size_t i = 0; i < sequences.size(); ++i) {
    progress(static_cast<double>(i) / static_cast<double>(sequences.size()));
    curvature.add(tokens.narrow(0, sequences[i], 1), sequences[i], seed, keep);
    if (stop_requested()) throw Interrupted{};
  }
  for (const auto& [name, sum] : curvature.sums()) work_.save(tag_of(name), bytes_of(sum.mean()));
}

at::Tensor OutputCurvatures::of(const PlannedGroup& group, const PlannedLinear& linear) const {
  if (!has_curvature(group, linear) || !work_.contains(tag_of(linear.name))) return {};
  const auto n = static_cast<int64_t>(linear.rows);
  at::Tensor h = at::empty({n, n}, at::kFloat);
  return work_.load(tag_of(linear.name), bytes_of(h)) ? h : at::Tensor();
}

}  // namespace svq::convert
