// The differentiable block and the staged one against the float forward pass, and the correction of weights for inputs
// that differ from the float model's.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include "converter/base/error.h"
#include "converter/job/curvature.h"
#include "converter/job/prefix.h"
#include "converter/models/float/block.h"
#include "converter/models/float/vocabulary.h"
#include "converter/train/block_tuning.h"
#include "converter/train/distill.h"
#include "converter/train/student.h"
#include "tests/converter/float_fake_model.h"
#include "tests/converter/quantize_reference.h"

namespace svq::convert::test {
namespace {

std::vector<FakeOptions> models() {
  return {{}, {.biases = true}, {.qk_norms = true}, {.sliding_window = 5}, {.n_heads = 3, .n_kv_heads = 3}};
}

struct Prepared {
  explicit Prepared(const FakeOptions& options) : model(options), plan(make_plan(model, {})) {
    for (const PlannedGroup& g : plan.groups) {
      if (g.layer != 0) continue;
      groups.push_back(make_float_group(g, model, /*bf16=*/false));
    }
    if (options.qk_norms) {
      q_norm = read_tensor(model, Slot::kQNorm, 0, true);
      k_norm = read_tensor(model, Slot::kKNorm, 0, true);
    }
  }
  FakeModel model;
  Plan plan;
  std::vector<StudentGroup> groups;  // attn_in, o_in, ffn_in, down_in of block 0
  at::Tensor q_norm, k_norm;
};

TEST(Prefix, StagesGiveTheBlockAndItsInputs) {
  for (const FakeOptions& options : models()) {
    const Prepared p(options);
    const at::Tensor start = normal({5, 17, options.hidden}, "hidden");
    std::vector<at::Tensor> inputs[4];
    BlockHooks hooks;
    hooks.attn_in = [&](const at::Tensor& x) { inputs[0].push_back(x.clone()); };
    hooks.o_in = [&](const at::Tensor& x) { inputs[1].push_back(x.clone()); };
    hooks.ffn_in = [&](const at::Tensor& x) { inputs[2].push_back(x.clone()); };
    hooks.down_in = [&](const at::Tensor& x) { inputs[3].push_back(x.clone()); };
    const at::Tensor expected = FloatBlock::load(p.model, 0, {}).forward(start, hooks);

    for (const bool bf16 : {false, true}) {
      const double tolerance = bf16 ? 1e-2 : 1e-5;
      at::Tensor hidden = start.clone();
      BlockStages stages(p.model.architecture(), hidden, 2, bf16);
      for (int stage = 0; stage < 4; ++stage) {
        EXPECT_EQ(stages.stage(), stage);
        std::vector<at::Tensor> parts;
        for (int64_t i = 0; i < stages.chunks(); ++i) parts.push_back(stages.input(i));
        at::Tensor x = at::cat(parts);
        if (p.groups[stage].norm.defined()) x = x * p.groups[stage].norm;
        EXPECT_LT(relative_difference(x, at::cat(inputs[stage])), tolerance) << stage;
        stages.finish(p.groups[stage], p.q_norm, p.k_norm);
      }
      EXPECT_LT(relative_difference(hidden, expected), tolerance);
    }
  }
}

TEST(Prefix, TheDifferentiableBlockIsTheFloatBlock) {
  for (const FakeOptions& options : models()) {
    const Prepared p(options);
    const at::Tensor start = normal({2, 23, options.hidden}, "hidden");
    StudentBlock block;
    block.attn_in = p.groups[0];
    block.o_in = p.groups[1];
    block.ffn_in = p.groups[2];
    block.down_in = p.groups[3];
    block.q_norm = p.q_norm;
    block.k_norm = p.k_norm;
    const RopeTables rope = rope_tables(p.model.architecture(), 0, 23, at::kCPU);
    const at::Tensor y = block.forward(start, p.model.architecture(), rope);
    EXPECT_LT(relative_difference(y, FloatBlock::load(p.model, 0, {}).forward(start)), 1e-5);
  }
}

TEST(Prefix, MomentsAreThoseOfBothInputs) {
  const FakeOptions options;
  const Prepared p(options);
  at::Tensor one = normal({3, 9, options.hidden}, "one"), other = one + normal({3, 9, options.hidden}, "noise") * 0.3;
  const auto rms = [&](const at::Tensor& x) {
    return (x * (x.square().mean(-1, true) + p.model.architecture().norm_eps).rsqrt()).view({27, options.hidden}) *
           p.groups[0].norm;
  };
  const at::Tensor x = rms(one), y = rms(other);
  const Moments m = measure_moments(BlockStages(p.model.architecture(), one, 2, false),
                                    BlockStages(p.model.architecture(), other, 2, false), p.groups[0].norm);
  // Inputs are rounded to bfloat16 where that is how the CPU multiplies fast.
  EXPECT_LT(relative_difference(m.quantized, at::mm(y.t(), y) / 27), 5e-3);
  EXPECT_LT(relative_difference(m.cross, at::mm(x.t(), y) / 27), 5e-3);
  // And what the difference does to a weight.
  const at::Tensor w = normal({7, options.hidden}, "w");
  const Moments narrow = measure_moments(BlockStages(p.model.architecture(), one, 2, false),
                                         BlockStages(p.model.architecture(), other, 2, false), p.groups[0].norm, w);
  EXPECT_FALSE(narrow.cross.defined());
  EXPECT_TRUE(narrow.quantized.equal(m.quantized));
  EXPECT_LT(relative_difference(narrow.difference, at::mm(w, at::mm((x - y).t(), y)) / 27), 5e-3);
}

TEST(Prefix, TheCorrectionIsTheLeastSquaresMap) {
  const int64_t k = 48, tokens = 400;
  const at::Tensor x = correlated_activations(tokens, k), noisy = x + normal({tokens, k}, "noise") * 0.5;
  const Moments same{mean_hessian(x), mean_hessian(x)};
  EXPECT_LT(relative_difference(Correction(same, 0.05, "group").apply(at::eye(k)), at::eye(k)), 1e-4);

  // A correction overwrites the moments it is given.
  const auto moments = [&] { return Moments{mean_hessian(noisy), at::mm(x.t(), noisy) / tokens}; };
  const at::Tensor w = normal({20, k}, "w");
  const auto error = [&](const at::Tensor& weight) {
    return (at::mm(noisy, weight.t()) - at::mm(x, w.t())).square().mean().item<double>();
  };
  const at::Tensor best = Correction(moments(), 0, "group").apply(w);
  const Moments of_w{moments().quantized, {}, at::mm(w, moments().cross - moments().quantized)};
  EXPECT_LT(relative_difference(Correction(of_w, 0, "group").apply(w), best), 1e-5);
  EXPECT_THROW(Correction({of_w.quantized, {}, at::full({20, k}, NAN)}, 0.05, "group"), Error);
  EXPECT_LT(error(best), 0.9 * error(w));
  // No direction is better.
  for (int i = 0; i < 5; ++i) {
    const at::Tensor direction = normal({20, k}, "d", static_cast<uint64_t>(i)) * 0.01;
    EXPECT_GT(error(best + direction), error(best));
    EXPECT_GT(error(best - direction), error(best));
  }
  const Moments broken{at::full({k, k}, NAN), moments().cross};
  EXPECT_THROW(Correction(broken, 0.05, "group"), Error);
  // Damping leads back to the weights as they are.
  EXPECT_LT(relative_difference(Correction(moments(), 1e4, "group").apply(w), w), 1e-2);
}

// Block 0 of a model at 2 bits.
StudentBlock quantized_block(const FakeModel& model, bool bf16 = false) {
  StudentBlock block;
  for (const PlannedGroup& g : make_plan(model, {}).groups) {
    if (g.layer != 0) continue;
    GroupJob job;
    job.name = g.name;
    if (g.folded_norm) job.input_norm = read_tensor(model, *g.folded_norm, 0, true);
    for (const PlannedLinear& l : g.linears)
      job.linears.push_back({l.name, read_tensor(model, l.slot, 0, false), 2, true, {}});
    group_of(block, g.kind) = make_group(quantize_group(job, {}), bf16);
  }
  return block;
}

// A quantized block, and what the float one gives for some inputs.
struct ToTune {
  explicit ToTune(int64_t sequences) : inputs(normal({sequences, 12, 24}, "inputs")) {
    student.tied = true;
    student.blocks.push_back(quantized_block(model));
  }
  FakeModel model{{.hidden = 24}};
  at::Tensor inputs, targets = FloatBlock::load(model, 0, {}).forward(inputs);
  Student student{model};
};

TEST(BlockTuning, BringsABlockNearerToTheFloatOne) {
  ToTune t(17);
  const auto error = [&](const Student& s) {
    const at::NoGradGuard no_grad;
    return relative_difference(s.blocks[0].forward(t.inputs, t.model.architecture(), s.rope(12)), t.targets);
  };
  const double before = error(t.student);
  const BlockTuning result = tune_block(t.student, t.inputs, t.targets, {.tokens = 12 * 600});
  EXPECT_EQ(result.steps, 150);
  EXPECT_LT(result.after, 0.95 * result.before);  // 0.925
  EXPECT_LT(error(t.student), 0.95 * before);
}

TEST(BlockTuning, IsNeverWorseThanItsStart) {
  ToTune t(5);
  std::vector<at::Tensor> start;
  for (const Parameter& p : t.student.parameters()) start.push_back(p.value.detach().clone());
  const BlockTuning result =
      tune_block(t.student, t.inputs, t.targets, {.tokens = 12 * 400, .scale_rate = 3, .map_rate = 3});
  EXPECT_EQ(result.after, result.before);
  EXPECT_EQ(result.steps, 25);  // of 100
  size_t i = 0;
  for (const Parameter& p : t.student.parameters()) EXPECT_TRUE(p.value.detach().equal(start[i++])) << p.name;
}

int64_t allocated() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<int64_t>(info.uordblks + info.hblkhd);
}

// What is allocated between the start of a block's forward pass and its end, against what blocks_to_keep goes by.
TEST(Distillation, KeepsAsManyBytesAsItCounts) {
  constexpr int64_t kLength = 512;
  for (const bool bf16 : {false, true}) {
    for (const bool norms : {false, true}) {
      const FakeModel model({.hidden = 96, .intermediate = 320, .qk_norms = norms});
      const fb::ArchitectureT& a = model.architecture();
      Student student(model);
      student.tied = true;
      student.blocks.assign(4, quantized_block(model, bf16));
      StudentBlock& block = student.blocks[0];
      if (norms) {
        block.q_norm = read_tensor(model, Slot::kQNorm, 0, true);
        block.k_norm = read_tensor(model, Slot::kKNorm, 0, true);
      }
      (void)student.parameters();
      const at::AutoGradMode grad(true);
      const RopeTables rope = student.rope(kLength);
      const at::Tensor input = normal({1, kLength, 96}, "input").requires_grad_(true);
      (void)block.forward(input, a, rope);  // threads and pools
      const int64_t before = allocated();
      const at::Tensor output = block.forward(input, a, rope);
      const int64_t kept = allocated() - before;
      const uint64_t counted = activation_bytes(a, kLength, bf16 ? at::kBFloat16 : at::kFloat, norms);
      EXPECT_NEAR(static_cast<double>(kept) / static_cast<double>(counted), 1, 0.05) << bf16 << norms;
      EXPECT_EQ(blocks_to_keep(student, kLength, 3 * counted - 1), 2);
      EXPECT_EQ(blocks_to_keep(student, kLength, 9 * counted), 4);
    }
  }
}

// Weights of the later block trained in place, behind a block that is not.
TEST(Distillation, OneAfterAnotherGivesTheGradientsOfSideBySide) {
  const FakeModel model({.hidden = 24, .n_layers = 2, .vocab = 40});
  const Plan plan = make_plan(model, {});
  TunedModel tuned(model);
  const auto student_of = [&] {
    Student student = float_student(model, plan);
    student.first_trained_block = 1;
    for (const PlannedGroup& g : plan.groups) {
      if (g.layer != 1) continue;
      for (const PlannedLinear& l : g.linears)
        tuned.set(l.slot, 1, read_tensor(model, l.slot, 1, false).to(at::kFloat) * 1.25);
      group_of(student.blocks[1], g.kind) = make_trained_group(g, tuned, /*bf16=*/false);
    }
    return student;
  };
  Teacher teacher;
  teacher.tokens = at::arange(3 * 17).mul(7).add(3).remainder(40).view({3, 17});
  const Student source = float_student(model, plan);
  teacher.hidden = source.head_input(source.hidden(teacher.tokens)).to(at::kFloat);
  teacher.head = read_tensor(model, head_slot(model), -1, false).to(at::kFloat);

  const std::vector<int64_t> sequences{2, 0, 1};
  std::vector<double> losses;
  std::vector<std::vector<at::Tensor>> gradients;
  for (const bool side_by_side : {true, false}) {
    Student student = student_of();
    Distillation distillation(student, teacher, uint64_t{1} << 30, side_by_side);
    distillation.accumulate(sequences);  // what is left of it must not count
    losses.push_back(distillation.accumulate(sequences));
    gradients.emplace_back();
    for (const Parameter& p : student.parameters()) gradients.back().push_back(p.value.grad());
  }
  EXPECT_GT(losses[0], 0);
  EXPECT_EQ(losses[0], losses[1]);
  ASSERT_EQ(gradients[0].size(), 7u);
  for (size_t i = 0; i < 7; ++i) {
    EXPECT_GT(gradients[0][i].abs().max().item<double>(), 0);
    EXPECT_LT(relative_difference(gradients[1][i], gradients[0][i]), 1e-5) << i;
  }
  // The weights are the tuned model's own.
  Student student = student_of();
  const at::NoGradGuard no_grad;
  student.blocks[1].o_in.linears[0].weight.detach().fill_(3);
  EXPECT_EQ(tuned.own(Slot::kO, 1).max().item<float>(), 3);
}

}  // namespace
}  // namespace svq::convert::test
