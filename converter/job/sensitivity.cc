#include "converter/job/sensitivity.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "converter/job/group_writer.h"
#include "converter/job/prefix.h"
#include "converter/models/float/block.h"
#include "converter/models/float/vocabulary.h"
#include "converter/quantize/hessian.h"
#include "converter/train/agreement_sum.h"

namespace svq::convert {

namespace {

constexpr int64_t kMeasuredSequences = 2, kMeasuredLength = 128;

class Losses {
 public:
  Losses(const Model& model, const Options& options, const Plan& plan, const FloatPass& pass, const at::Tensor& tokens,
         std::vector<Choice>& choices, const std::function<void(double)>& progress)
      : model_(model),
        plan_(plan),
        pass_(pass),
        tokens_(tokens),
        progress_(progress),
        quantize_(quantize_options(options)),
        measured_(tokens.narrow(0, 0, std::min(kMeasuredSequences, tokens.size(0)))
                      .narrow(1, 0, std::min(kMeasuredLength, tokens.size(1)))
                      .contiguous()),
        rope_(rope_tables(model.architecture(), 0, measured_.size(1), at::kCPU)) {
    quantize_.descent_passes = 0;
    quantize_.search_moves = 0;
    for (Choice& c : choices) choices_[c.name] = &c;
  }

  void run() {
    const at::NoGradGuard no_grad;
    const auto layers = static_cast<int>(model_.architecture().n_layers);
    calibration_ = pass_.embed(tokens_);
    states_ = pass_.embed(measured_);  // the float model's own
    for (int layer = 0; layer < layers; ++layer) {
      run_block(layer);
      progress_(0.8 * (layer + 1.0) / layers);
    }
    score_blocks();
    run_ends();
    progress_(1);
  }

 private:
  Choice* choice_of(const PlannedLinear& l) const {
    const auto found = choices_.find(l.name);
    return found == choices_.end() ? nullptr : found->second;
  }

  GroupJob job_of(const PlannedGroup& group, const at::Tensor& hessian) const {
    GroupJob job;
    job.name = group.name;
    job.hessian = hessian;
    for (const PlannedLinear& l : group.linears) {
      if (choice_of(l))
        job.linears.push_back(
            {l.name, read_tensor(model_, l.slot, group.layer, false), choice_of(l)->levels[0].bits, group.layer >= 0});
    }
    return job;
  }

  // Whose weights can be exchanged.
  StudentBlock float_block(int layer) const { return make_float_block(plan_, model_, layer, /*bf16=*/false); }
  at::Tensor through(const StudentBlock& block, const at::Tensor& hidden) const {
    return block.forward(hidden, model_.architecture(), rope_);
  }
  // Of all variants, in place; as many sequences at once as the float pass takes.
  void all_through(const StudentBlock& block, const at::Tensor& states) const {
    const int64_t at_once = pass_.forward_options().sequences_per_pass(states.size(1));
    for (const at::Tensor& some : states.split(at_once)) some.copy_(through(block, some));
  }
  // Of variant i, 0: the float model's.
  at::Tensor state(size_t i) const {
    return states_.narrow(0, static_cast<int64_t>(i) * measured_.size(0), measured_.size(0));
  }

  void run_block(int layer) {
    std::map<GroupKind, HessianAccumulator> sums;
    for (const PlannedGroup& g : plan_.groups) {
      if (g.layer == layer) sums.try_emplace(g.kind, static_cast<int64_t>(g.linears[0].columns));
    }
    pass_.block(
        layer, calibration_, [&](GroupKind kind, const at::Tensor& x) { sums.at(kind).add(x); }, [](double) {});
    StudentBlock block = float_block(layer);
    const at::Tensor input = state(0).clone();
    all_through(block, states_);
    std::vector<at::Tensor> states{states_};
    for (const PlannedGroup& g : plan_.groups) {
      if (g.layer != layer) continue;
      const GroupJob job = job_of(g, sums.at(g.kind).mean());
      if (job.linears.empty()) continue;
      const QuantizedGroup quantized = quantize_group(job, quantize_);
      size_t next = 0;
      for (size_t i = 0; i < g.linears.size(); ++i) {
        if (!choice_of(g.linears[i])) continue;
        at::Tensor& weight = group_of(block, g.kind).linears[i].weight;
        const at::Tensor original = weight;
        weight = dequantize_linear(quantized, next++);
        states.push_back(through(block, input));
        variants_.push_back(choice_of(g.linears[i]));
        weight = original;
      }
    }
    states_ = at::cat(states);
  }

  // Mean KL of the float model's predictions to those from `hidden` by `head`.
  double divergence(const at::Tensor& hidden, const at::Tensor& head) const {
    const at::Tensor x = normalised(hidden);
    double sum = 0;
    for (int64_t begin = 0; begin < x.size(0); begin += kTokenSlice) {
      const int64_t count = std::min(kTokenSlice, x.size(0) - begin);
      const at::Tensor log_q = at::log_softmax(at::linear(x.narrow(0, begin, count), head), -1);
      sum += kl_sum(log_p_.narrow(0, begin, count), log_q);
    }
    return sum / static_cast<double>(x.size(0));
  }
  at::Tensor normalised(const at::Tensor& hidden) const {
    return final_norm(model_, hidden, pass_.forward_options()).to(at::kCPU).to(at::kFloat).flatten(0, 1);
  }

  void score_blocks() {
    head_ = read_tensor(model_, head_slot(model_), -1, false);
    log_p_ = at::log_softmax(at::linear(normalised(state(0)), head_), -1);
    for (size_t i = 0; i < variants_.size(); ++i) {
      const double loss = divergence(state(i + 1), head_);
      for (Level& level : variants_[i]->levels)
        level.loss = loss * relative_error_of_width(level.bits) / relative_error_of_width(variants_[i]->levels[0].bits);
      progress_(0.8 + 0.1 * static_cast<double>(i + 1) / static_cast<double>(variants_.size()));
    }
    states_ = state(0).clone();
  }

  // Embedding and head, at every width.
  void run_ends() {
    struct End {
      Level* level;
      at::Tensor head;
      bool looked_up;  // `hidden` comes from a quantized embedding, and has to go through the blocks
      at::Tensor hidden;
    };
    std::vector<End> ends;
    for (const PlannedGroup& g : plan_.groups) {
      if (g.layer >= 0 || g.linears.empty() || !choice_of(g.linears[0])) continue;
      const bool embedding = g.kind == GroupKind::kEmbedding, head = !embedding || plan_.tied;
      GroupJob job = job_of(g, {});
      if (g.needs_hessian) {
        HessianAccumulator sum(static_cast<int64_t>(g.linears[0].columns));
        pass_.head_input(calibration_, [&](GroupKind, const at::Tensor& x) { sum.add(x); });
        job.hessian = sum.mean();
      }
      for (Level& level : choice_of(g.linears[0])->levels) {
        job.linears[0].bits = level.bits;
        const at::Tensor weight = dequantize_linear(quantize_group(job, quantize_), 0);
        at::Tensor hidden = states_;
        if (embedding)
          hidden = weight.index_select(0, measured_.flatten()).view({measured_.size(0), measured_.size(1), -1});
        ends.push_back({&level, head ? weight : head_, embedding, hidden});
      }
    }
    const auto layers = static_cast<int>(model_.architecture().n_layers);
    const bool any = std::any_of(ends.begin(), ends.end(), [](const End& e) { return e.looked_up; });
    for (int layer = 0; any && layer < layers; ++layer) {
      const StudentBlock block = float_block(layer);
      for (End& e : ends) {
        if (e.looked_up) e.hidden = through(block, e.hidden);
      }
      progress_(0.9 + 0.1 * (layer + 1.0) / layers);
    }
    for (const End& e : ends) e.level->loss = divergence(e.hidden, e.head);
  }

  const Model& model_;
  const Plan& plan_;
  const FloatPass& pass_;
  at::Tensor tokens_;
  const std::function<void(double)>& progress_;
  QuantizeOptions quantize_;
  at::Tensor measured_;  // [s, t]
  RopeTables rope_;
  std::map<std::string, Choice*> choices_;
  at::Tensor calibration_;         // hidden states of all sequences
  at::Tensor states_;              // [n · s, t, hidden]: the float model's, then of each variant
  std::vector<Choice*> variants_;  // of state(i + 1)
  at::Tensor head_, log_p_;        // [vocab, hidden]; [s · t, vocab] of the float model
};

}  // namespace

double relative_error_of_width(int bits) {
  constexpr double kErrors[] = {1, 0.28, 0.117, 0.035, 0.0105, 0.0031, 0.0009};  // 2 … 8 bits
  return kErrors[bits - 2];
}

void measure_losses(const Model& model, const Options& options, const Plan& plan, const FloatPass& pass,
                    const at::Tensor& tokens, std::vector<Choice>& choices,
                    const std::function<void(double)>& progress) {
  Losses(model, options, plan, pass, tokens, choices, progress).run();
}

}  // namespace svq::convert
