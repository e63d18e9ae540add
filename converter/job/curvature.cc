#include "converter/job/curvature.h"

#include <algorithm>

#include "converter/job/cancel.h"
#include "converter/job/clock.h"
#include "converter/job/prefix.h"
#include "converter/job/preflight.h"
#include "converter/job/tensor_bytes.h"
#include "converter/models/float/block.h"
#include "converter/models/float/startup.h"
#include "converter/train/curvature.h"
#include "converter/train/distill.h"

namespace svq::convert {
namespace {

constexpr const char* kSumsState = "outputs";
constexpr double kSecondsBetweenSums = 300;  // they may take a gigabyte

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

std::vector<const PlannedLinear*> OutputCurvatures::watched() const {
  std::vector<const PlannedLinear*> all;
  for (const PlannedGroup& group : plan_.groups) {
    for (const PlannedLinear& l : group.linears) {
      if (has_curvature(group, l)) all.push_back(&l);
    }
  }
  return all;
}

void OutputCurvatures::save_sums(const OutputCurvature& curvature, int64_t done) const {
  std::vector<at::Tensor> all{at::full({1}, static_cast<double>(done), at::kFloat)};
  for (const PlannedLinear* l : watched()) all.push_back(curvature.sums().at(l->name).sum().view({-1}));
  work_.save(kSumsState, bytes_of(at::cat(all)));
}

int64_t OutputCurvatures::load_sums(OutputCurvature& curvature, int64_t length) const {
  if (!work_.contains(kSumsState)) return 0;
  int64_t size = 1;
  for (const PlannedLinear* l : watched()) size += static_cast<int64_t>(l->rows * l->rows);
  const at::Tensor all = at::empty({size}, at::kFloat);
  if (!work_.load(kSumsState, bytes_of(all))) return 0;
  const auto done = static_cast<int64_t>(all[0].item<float>());
  int64_t at = 1;
  for (const PlannedLinear* l : watched()) {
    const auto n = static_cast<int64_t>(l->rows);
    curvature.restore(l->name, all.narrow(0, at, n * n).view({n, n}), done * length);
    at += n * n;
  }
  return done;
}

void OutputCurvatures::measure(const at::Tensor& tokens, const std::vector<int64_t>& sequences, uint64_t seed,
                               const std::function<void(double)>& progress) {
  Student student = float_student(model_, plan_);
  const int64_t keep = blocks_to_keep(student, tokens.size(1), activation_budget());
  OutputCurvature curvature(student, kMostCurvatureRows);
  auto last_save = Clock::now();
  for (auto i = static_cast<size_t>(load_sums(curvature, tokens.size(1))); i < sequences.size(); ++i) {
    progress(static_cast<double>(i) / static_cast<double>(sequences.size()));
    curvature.add(tokens.narrow(0, sequences[i], 1), sequences[i], seed, keep);
    const bool stop = stop_requested() && i + 1 < sequences.size();
    if (stop || seconds_since(last_save) > kSecondsBetweenSums) {
      save_sums(curvature, static_cast<int64_t>(i + 1));
      last_save = Clock::now();
    }
    if (stop) throw Interrupted{};
  }
  for (const auto& [name, sum] : curvature.sums()) work_.save(tag_of(name), bytes_of(sum.mean()));
  work_.remove(kSumsState);
}

at::Tensor OutputCurvatures::of(const PlannedGroup& group, const PlannedLinear& linear) const {
  if (!has_curvature(group, linear) || !work_.contains(tag_of(linear.name))) return {};
  const auto n = static_cast<int64_t>(linear.rows);
  at::Tensor h = at::empty({n, n}, at::kFloat);
  return work_.load(tag_of(linear.name), bytes_of(h)) ? h : at::Tensor();
}

}  // namespace svq::convert
