#include "converter/job/prefix.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "converter/base/error.h"
#include "converter/models/float/block.h"
#include "converter/quantize/cholesky.h"
#include "converter/quantize/hessian.h"
#include "converter/quantize/products.h"
#include "converter/train/pointwise.h"

namespace svq::convert {

BlockStages::BlockStages(const fb::ArchitectureT& architecture, at::Tensor hidden, int64_t sequences_at_once, bool bf16)
    : a_(architecture),
      hidden_(std::move(hidden)),
      inner_type_(bf16 ? at::kBFloat16 : at::kFloat),
      rope_(rope_tables(architecture, 0, hidden_.size(1), at::kCPU)),
      step_(std::max<int64_t>(1, sequences_at_once)) {}

at::Tensor BlockStages::rows(const at::Tensor& of, int64_t sequence, int64_t count) const {
  const int64_t length = hidden_.size(1);
  return of.view({-1, of.size(-1)}).narrow(0, sequence * length, count * length);
}

at::Tensor BlockStages::input(int64_t chunk) const {
  const int64_t first = chunk * step_, count = std::min(step_, hidden_.size(0) - first);
  return stage_ % 2 == 0 ? normalise(rows(hidden_, first, count), {}, a_.norm_eps)
                         : rows(inner_, first, count).to(at::kFloat);
}

void BlockStages::finish(const StudentGroup& group, const at::Tensor& q_norm, const at::Tensor& k_norm) {
  const at::NoGradGuard no_grad;
  const int64_t length = hidden_.size(1);
  at::Tensor next;
  for (int64_t chunk = 0; chunk < chunks(); ++chunk) {
    const int64_t first = chunk * step_, count = std::min(step_, hidden_.size(0) - first);
    at::Tensor x = input(chunk);
    if (group.norm.defined()) x = x * group.norm;
    const auto y = group.forward(x);
    if (stage_ % 2 == 1) {  // o, down: added to the residual stream
      rows(hidden_, first, count).add_(y[0]);
      continue;
    }
    const at::Tensor out = stage_ == 0 ? mix_heads(y, length, a_, rope_, q_norm, k_norm) : silu_product(y[0], y[1]);
    if (!next.defined()) next = at::empty({hidden_.size(0) * length, out.size(1)}, inner_type_);
    rows(next, first, count).copy_(out);
  }
  inner_ = next;
  ++stage_;
}

StudentGroup make_student_group(const PlannedGroup& planned, const Model& model, const GroupContent& content,
                                bool bf16) {
  StudentGroup group = make_group(content.quantized, bf16);
  std::vector<StudentLinear> packed = std::move(group.linears);
  group.name = planned.name;
  group.linears.clear();
  size_t next = 0;
  for (const PlannedLinear& l : planned.linears) {
    StudentLinear linear;
    if (l.packed()) {
      linear = packed.at(next++);
    } else {
      linear.name = l.name;
      linear.bits = 16;
      linear.rows = static_cast<int64_t>(l.rows);
      linear.weight = read_tensor(model, l.slot, planned.layer, false).to(at::kHalf).to(at::kFloat);
    }
    if (l.bias) linear.bias = content.float_tensor(l.name + ".bias");
    group.linears.push_back(std::move(linear));
  }
  const std::string prefix = "blocks." + std::to_string(planned.layer) + ".";
  if (planned.kind == GroupKind::kAttnIn) group.norm = content.float_tensor(prefix + "attn_norm");
  if (planned.kind == GroupKind::kFfnIn) group.norm = content.float_tensor(prefix + "ffn_norm");
  return group;
}

namespace {

// trained: where packed linears' weights come from, as parameters; null: all are the model's.
StudentGroup float_group(const PlannedGroup& planned, const Model& model, const TunedModel* trained, bool bf16) {
  StudentGroup group;
  group.name = planned.name;
  for (const PlannedLinear& l : planned.linears) {
    StudentLinear linear;
    linear.name = l.name;
    linear.bits = 16;
    linear.rows = static_cast<int64_t>(l.rows);
    linear.product_type = bf16 ? at::kBFloat16 : at::kFloat;
    if (trained && l.packed()) {
      linear.weight = trained->own(l.slot, planned.layer).detach().requires_grad_(true);
    } else {
      linear.weight = read_tensor(model, l.slot, planned.layer, false).to(linear.product_type);
    }
    if (l.bias) linear.bias = read_tensor(model, *l.bias, planned.layer, true);
    group.linears.push_back(std::move(linear));
  }
  if (planned.kind == GroupKind::kAttnIn) group.norm = read_tensor(model, Slot::kAttnNorm, planned.layer, true);
  if (planned.kind == GroupKind::kFfnIn) group.norm = read_tensor(model, Slot::kFfnNorm, planned.layer, true);
  return group;
}

}  // namespace

StudentGroup make_float_group(const PlannedGroup& planned, const Model& model, bool bf16) {
  return float_group(planned, model, nullptr, bf16);
}

StudentGroup make_trained_group(const PlannedGroup& planned, const TunedModel& model, bool bf16) {
  return float_group(planned, model, &model, bf16);
}

const StudentGroup& group_of(const StudentBlock& block, GroupKind kind) {
  return kind == GroupKind::kAttnIn  ? block.attn_in
         : kind == GroupKind::kOIn   ? block.o_in
         : kind == GroupKind::kFfnIn ? block.ffn_in
                                     : block.down_in;
}

StudentGroup& group_of(StudentBlock& block, GroupKind kind) {
  return const_cast<StudentGroup&>(group_of(std::as_const(block), kind));
}

void load_student_group(const PlannedGroup& planned, const Model& model, const GroupContent& content, bool bf16,
                        StudentBlock& block) {
  group_of(block, planned.kind) = make_student_group(planned, model, content, bf16);
  if (planned.kind != GroupKind::kAttnIn) return;
  const std::string prefix = "blocks." + std::to_string(planned.layer) + ".";
  block.q_norm = content.float_tensor(prefix + "q_norm");
  block.k_norm = content.float_tensor(prefix + "k_norm");
}

void store_student_group(const PlannedGroup& planned, const StudentBlock& block, GroupContent& content) {
  const at::NoGradGuard no_grad;
  const auto put = [&](const std::string& name, const at::Tensor& t) {
    if (t.defined()) content.floats[name] = t.detach().contiguous();
  };
  const StudentGroup& group = group_of(block, planned.kind);
  store_group(group, content.quantized);
  for (const StudentLinear& l : group.linears) put(l.name + ".bias", l.bias);
  const std::string prefix = "blocks." + std::to_string(planned.layer) + ".";
  if (planned.kind == GroupKind::kFfnIn) put(prefix + "ffn_norm", group.norm);
  if (planned.kind != GroupKind::kAttnIn) return;
  put(prefix + "attn_norm", group.norm);
  put(prefix + "q_norm", block.q_norm);
  put(prefix + "k_norm", block.k_norm);
}

StudentBlock make_float_block(const Plan& plan, const Model& model, int layer, bool bf16) {
  StudentBlock block;
  for (const PlannedGroup& g : plan.groups) {
    if (g.layer == layer) group_of(block, g.kind) = make_float_group(g, model, bf16);
  }
  if (model.has(Slot::kQNorm, layer)) block.q_norm = read_tensor(model, Slot::kQNorm, layer, true);
  if (model.has(Slot::kKNorm, layer)) block.k_norm = read_tensor(model, Slot::kKNorm, layer, true);
  return block;
}

Moments measure_moments(const BlockStages& source, const BlockStages& quantized, const at::Tensor& norm,
                        const at::Tensor& weight) {
  const at::NoGradGuard no_grad;
  const auto weighted = [&](const at::Tensor& x) { return norm.defined() ? x * norm : x; };
  at::Tensor sum;
  std::optional<HessianAccumulator> own;
  for (int64_t i = 0; i < quantized.chunks(); ++i) {
    const at::Tensor x = weighted(quantized.input(i)), of_float = weighted(source.input(i));
    if (!own) {
      own.emplace(x.size(1));
      sum = at::zeros({weight.defined() ? weight.size(0) : x.size(1), x.size(1)}, at::kFloat);
    }
    own->add(x);
    if (weight.defined()) {
      const at::Tensor missing = at::linear((of_float - x).to(weight.scalar_type()), weight).to(at::kFloat);
      add_products(missing, x, sum, /*upper=*/false);
    } else {
      add_products(of_float, x, sum, /*upper=*/false);
    }
  }
  sum.div_(static_cast<double>(own->tokens()));
  return weight.defined() ? Moments{own->mean(), {}, sum} : Moments{own->mean(), sum, {}};
}

namespace {

// Columns beyond which the factor is f32: it takes half the time and memory, and the damping keeps what is solved well
// conditioned.
constexpr int64_t kWide = 4096;

}  // namespace

Correction::Correction(const Moments& moments, double damping, const std::string& name) {
  const at::NoGradGuard no_grad;
  const at::Tensor& plain = moments.quantized;
  const at::Tensor& other = moments.cross.defined() ? moments.cross : moments.difference;
  if (!all_finite(plain) || !all_finite(other))
    throw Error(name + ": the calibration activations hold a NaN or an infinity; finite values were expected");
  if (moments.cross.defined()) {
    difference_ = moments.cross;
    difference_.sub_(plain);
  } else {
    applied_ = moments.difference;
  }
  const double mean = std::max(plain.diagonal().mean(at::kDouble).item<double>(), 1e-30);
  // Sums in f32 can leave a small eigenvalue below zero: then the damping is raised.
  factor_ = at::empty(plain.sizes(), plain.size(0) > kWide ? at::kFloat : at::kDouble);
  for (damping = std::max(damping, 1e-6);; damping *= 10) {
    factor_.copy_(plain);
    factor_.diagonal().add_(damping * mean);
    if (upper_cholesky_(factor_)) return;
  }
}

at::Tensor Correction::apply(const at::Tensor& weight) const {
  const at::NoGradGuard no_grad;
  const at::Tensor change = applied_.defined() ? applied_ : at::mm(weight, difference_);
  return weight + solve_right(change.to(factor_.scalar_type()), factor_).to(at::kFloat);
}

}  // namespace svq::convert
