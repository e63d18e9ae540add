#include "converter/job/quantization.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "converter/base/error.h"
#include "converter/job/cancel.h"
#include "converter/job/clock.h"
#include "converter/job/finetune.h"
#include "converter/job/group_writer.h"
#include "converter/job/import.h"
#include "converter/job/preflight.h"
#include "converter/job/tensor_bytes.h"
#include "converter/models/float/block.h"
#include "converter/models/float/startup.h"

namespace svq::convert {

namespace {

// A tied embedding is looked up as well: there every direction of a row counts alike. Weight of that beside the head's
// input, in units of the mean diagonal of its Hessian. SmolLM2-135M at 4 bits: error unweighted 0.0162, weighted 0.0013
// with 0; 0.0130, 0.0014 with 0.3 (KL of the model with it 1.643 against 1.647); 0.0116, 0.0018 with 3 (1.642).
constexpr double kLookupWeight = 0.3;

constexpr double kCorrectionDamping = 0.05;  // of the mean diagonal (prefix.h)

std::string hidden_tag(int layer) { return "hidden." + std::to_string(layer); }

}  // namespace

Quantization::Quantization(const Model& model, const Options& options, const Plan& plan, WorkDirectory& work,
                           Reporter& reporter)
    : model_(model),
      options_(options),
      plan_(plan),
      work_(work),
      reporter_(reporter),
      pass_(model, options),
      progressive_(model, options, plan, work, reporter, pass_),
      tuner_(model, options, plan, work),
      curvatures_(model, plan, work),
      curvature_sequences_(options.curvature_count()) {
  costs_.tokens =
      plan.needs_calibration ? double(options.calibration_sequences) * double(options.calibration_length) : 0;
  costs_.sampled_tokens = options.sampled() * double(wanted_sequences(options)) * double(options.calibration_length);
}

std::vector<std::unique_ptr<fb::PartT>> Quantization::run() {
  find_finished();
  measure_curvatures();
  for (const size_t index : work_order()) {
    const PlannedGroup& group = plan_.groups[index];
    if (options_.follows_prefix() && group.layer >= 0) {
      if (!block_finished(group.layer)) quantize_block(group.layer);
    } else if (!parts_[index]) {
      at::Tensor hessian = group.needs_hessian ? hessian_of(group) : at::Tensor();
      write(index, std::move(hessian), {}, parts_[index], work_.part_path(group.name));
      accumulators_.erase(group.kind);
    }
    if (hessian_layer_ >= 0 && block_finished(hessian_layer_)) save_hidden();
    if (stop_requested()) throw Interrupted{};
  }
  return std::move(parts_);
}

std::optional<Content> Quantization::rest_in_floats() {
  if (imports_codes(model_)) return std::nullopt;
  Content content{options_, {}, {}, {}, {}, {}};
  size_t packed = 0, there = 0;  // linears
  for (size_t i = 0; i < plan_.groups.size(); ++i) {
    for (const PlannedLinear& l : plan_.groups[i].linears) {
      if (!l.packed()) continue;
      ++packed;
      if (parts_[i]) {
        there += plan_.groups[i].layer >= 0;
      } else {
        content.options.overrides.emplace_back(l.name, 16);
      }
    }
  }
  if (there == 0) return std::nullopt;
  const size_t missing = content.options.overrides.size() - options_.overrides.size();
  content.plan = make_plan(model_, content.options);
  try {
    check_disk(disk_use(content.plan, content.options));
  } catch (const Error& error) {
    reporter_.warning(std::string("no file of what is done, the rest in 16 bits: ") + error.what());
    return std::nullopt;
  }
  for (size_t i = 0; i < parts_.size(); ++i) {
    const PlannedGroup& group = content.plan.groups[i];
    content.files.push_back(work_.part_path((parts_[i] ? "" : kRestPrefix) + group.name));
    if (!parts_[i]) {
      reporter_.closing("writing the rest", static_cast<double>(i) / static_cast<double>(parts_.size()));
      parts_[i] = std::make_unique<fb::PartT>(write_group(group, progressive_.model(), content.options,
                                                          work_.fingerprint(), {}, {}, {}, content.files[i], {}));
    }
    content.parts.push_back(std::move(parts_[i]));
  }
  content.stopped = fmt::format("after {} of {} linears{}", packed - missing, packed,
                                missing > 0 ? ": the file holds the others in 16 bits" : "");
  return content;
}

const at::Tensor& Quantization::tokens() {
  if (tokens_.defined()) return tokens_;
  const int64_t wanted = wanted_sequences(options_);
  std::array<int64_t, 2> counts{};  // of sequences, and of those for the Hessians
  const bool known = work_.load("sequences", std::as_writable_bytes(std::span(counts))) && counts[0] > 0 &&
                     counts[0] <= wanted && counts[1] > 0 && counts[1] <= options_.calibration_sequences;
  tokens_ = at::empty({known ? counts[0] : wanted, options_.calibration_length}, at::kLong);
  if (!known || !work_.load("tokens", bytes_of(tokens_))) tokens_ = draw_tokens(counts[1]);
  sequences_ = plan_sequences(options_, tokens_.size(0));
  sequences_.calibration = spread(sequences_.training, counts[1]);
  if (!options_.curvature_sequences)
    curvature_sequences_ =
        std::max<int64_t>(1, options_.curvature_count() * counts[1] / options_.calibration_sequences);
  return tokens_;
}

const SequencePlan& Quantization::sequences() {
  tokens();
  return sequences_;
}

void Quantization::write(size_t index, at::Tensor hessian, std::unique_ptr<Correction> correction,
                         std::unique_ptr<fb::PartT>& part, const std::filesystem::path& path) {
  const PlannedGroup& group = plan_.groups[index];
  const double cost = costs_.group(group, options_);
  part = std::make_unique<fb::PartT>(write_group(
      group, progressive_.model(), options_, work_.fingerprint(), std::move(hessian), std::move(correction),
      [&](const PlannedLinear& l) { return curvatures_.of(group, l); }, path,
      [&](double fraction) { reporter_.progress(group.name, done_ + fraction * cost); }));
  done_ += cost;
  if (options_.curvature_count() > 0) curvatures_.remove(group);
  report(group, *part);
}

void Quantization::quantize_block(int layer) {
  advance_to(layer);
  const at::Tensor inputs = tuner_.enabled() ? hidden_.clone() : at::Tensor();
  const at::Tensor targets = run_stages(layer, true);
  if (tuner_.enabled()) {
    tune_block(layer, inputs, targets);
    hidden_.copy_(inputs);
    run_stages(layer, false);
  }
  save_hidden();
}

void Quantization::tune_block(int layer, const at::Tensor& inputs, const at::Tensor& targets) {
  const auto started = Clock::now();
  const std::string name = "blocks." + std::to_string(layer) + " tuning";
  const BlockTuning result = tuner_.tune(layer, raw_, parts_, inputs, targets, [&](double fraction) {
    reporter_.progress(name, done_ + fraction * tuner_.cost());
    if (stop_requested()) throw Interrupted{};
  });
  done_ += tuner_.cost();
  reporter_.group_done(fmt::format("{}: {:.4g} -> {:.4g}", name, result.before, result.after), 0,
                       seconds_since(started), done_);
}

void Quantization::measure_curvatures() {
  if (options_.curvature_count() == 0) return;
  const double cost = curvature_cost();
  bool there = true;
  for (size_t i = 0; i < plan_.groups.size(); ++i) there = there && (parts_[i] || curvatures_.has(plan_.groups[i]));
  if (!there) {
    const auto started = Clock::now();
    const at::Tensor& all = tokens();
    curvatures_.measure(all, spread(sequences_.calibration, curvature_sequences_), options_.seed, [&](double fraction) {
      reporter_.progress("curvature of the outputs", done_ + fraction * cost);
    });
    reporter_.group_done("curvature of the outputs", 0, seconds_since(started), done_ + cost);
  }
  done_ += cost;
}

double Quantization::curvature_cost() const {
  double per_token = 4 * static_cast<double>(plan_.parameters);
  for (const PlannedGroup& g : plan_.groups) {
    for (const PlannedLinear& l : g.linears) {
      if (has_curvature(g, l)) per_token += static_cast<double>(l.rows) * static_cast<double>(l.rows);
    }
  }
  return options_.curvature_count() * static_cast<double>(options_.calibration_length) * per_token;
}

at::Tensor Quantization::run_stages(int layer, bool quantize) {
  const bool bf16 = bf16_is_faster(c10::kCPU);  // where the stages run
  const bool making = !block_finished(layer);
  if (making) progressive_.prepare(layer, parts_, tokens(), sequences_, done_);
  const int64_t at_once = pass_.forward_options().sequences_per_pass(hidden_.size(1));
  BlockStages quantized(model_.architecture(), hidden_, at_once, bf16);
  std::optional<BlockStages> source;
  at::Tensor beside = making ? hidden_.clone() : at::Tensor();
  if (making) source.emplace(model_.architecture(), beside, at_once, bf16);
  const double cost = block_cost(layer) / 4;
  const bool raw = making && tuner_.enabled();  // all of the block anew, until it is trained as a whole
  raw_.resize(plan_.groups.size());
  for (size_t i = 0; i < plan_.groups.size(); ++i) {
    const PlannedGroup& group = plan_.groups[i];
    if (group.layer != layer) continue;
    std::unique_ptr<fb::PartT>& part = raw ? raw_[i] : parts_[i];
    const std::filesystem::path path = raw ? tuner_.raw_path(group.name) : work_.part_path(group.name);
    if (raw && !part) part = read_part(path, group.name, work_.fingerprint(), true, nullptr);
    // Matrices of [K, K] in double: those of 8960 columns take 642 MB each.
    if (group.needs_hessian && group.linears[0].columns > 4096) release_free_memory();
    StudentGroup floats = making ? make_float_group(group, progressive_.model(), bf16) : StudentGroup();
    if (!part) {
      reporter_.progress(group.name + " inputs", done_);
      Moments moments;
      const PlannedLinear& first = group.linears[0];
      const bool narrow = group.linears.size() == 1 && first.packed() && first.rows < first.columns;
      if (group.needs_hessian)
        moments = measure_moments(*source, quantized, floats.norm, narrow ? floats.linears[0].weight : at::Tensor());
      if (quantize) done_ += cost;
      if (group.kind == GroupKind::kDownIn && !tuner_.enabled()) {  // nobody reads what the float block goes on to
        source.reset();
        beside.reset();
        floats = {};
      }
      std::unique_ptr<Correction> correction;
      if (group.needs_hessian) correction = std::make_unique<Correction>(moments, kCorrectionDamping, group.name);
      moments.cross.reset();
      moments.difference.reset();
      write(i, std::move(moments.quantized), std::move(correction), part, path);
    } else if (quantize) {
      done_ += cost;
    }
    const GroupContent content = read_content(*part, path);
    const auto norm_of_heads = [&](Slot slot) {
      return group.kind == GroupKind::kAttnIn && model_.has(slot, layer) ? read_tensor(model_, slot, layer, true)
                                                                         : at::Tensor();
    };
    const at::Tensor q_norm = norm_of_heads(Slot::kQNorm), k_norm = norm_of_heads(Slot::kKNorm);
    if (source && (tuner_.enabled() || group.kind != GroupKind::kDownIn)) source->finish(floats, q_norm, k_norm);
    quantized.finish(make_student_group(group, model_, content, bf16), q_norm, k_norm);
    if (quantize && stop_requested() && !block_finished(layer)) throw Interrupted{};
  }
  position_ = layer + 1;
  return beside;
}

void Quantization::find_finished() {
  double total = 0;
  for (const PlannedGroup& group : plan_.groups) {
    std::string reason;
    parts_.push_back(nullptr);
    if (std::filesystem::exists(work_.part_path(group.name))) {
      parts_.back() = read_part(work_.part_path(group.name), group.name, work_.fingerprint(), true, &reason);
      if (!parts_.back()) reporter_.warning(reason + ": it is made again");
    }
    const double cost = costs_.group(group, options_);
    total += cost;
    if (parts_.back()) done_ += cost;
  }
  if (plan_.needs_calibration) {
    total += costs_.sampling(plan_);
    const int layers = static_cast<int>(model_.architecture().n_layers);
    total += blocks_cost();
    int finished = 0;
    for (; finished < layers && block_finished(finished); ++finished) done_ += block_cost(finished) + tuner_.cost();
    total += layers * tuner_.cost();
    done_ += progressive_.cost_before(finished);
    if (work_.contains("tokens")) done_ += costs_.sampling(plan_);
  }
  total += curvature_cost();
  total += progressive_.cost();
  if (options_.trains()) total += Finetune::cost(plan_, options_, plan_sequences(options_, wanted_sequences(options_)));
  const auto parts_there = std::count_if(parts_.begin(), parts_.end(), [](const auto& p) { return p != nullptr; });
  if (work_.resumed())
    reporter_.note("going on with " + work_.path().string() + ": " + std::to_string(parts_there) + " of " +
                   std::to_string(parts_.size()) + " parts are there");
  reporter_.start_work(total * 1.01, done_);
}

double Quantization::block_cost(int layer) const {
  double cost = 0;
  for (const PlannedGroup& g : plan_.groups) {
    if (g.layer != layer) continue;
    for (const PlannedLinear& l : g.linears)
      cost += costs_.forward(static_cast<double>(l.rows) * static_cast<double>(l.columns));
    cost += costs_.hessian(g);
  }
  if (options_.follows_prefix()) cost *= 2.5;  // the quantized block as well, and two matrices of moments
  return cost;
}

double Quantization::blocks_cost() const {
  double cost = 0;
  for (uint32_t layer = 0; layer < model_.architecture().n_layers; ++layer) cost += block_cost(static_cast<int>(layer));
  return cost;
}

std::vector<size_t> Quantization::work_order() const {
  std::vector<size_t> order, last;
  for (size_t i = 0; i < plan_.groups.size(); ++i) {
    const PlannedGroup& g = plan_.groups[i];
    (g.layer < 0 && g.needs_hessian ? last : order).push_back(i);
  }
  order.insert(order.end(), last.begin(), last.end());
  return order;
}

bool Quantization::block_finished(int layer) const {
  for (size_t i = 0; i < plan_.groups.size(); ++i) {
    if (plan_.groups[i].layer == layer && !parts_[i]) return false;
  }
  return true;
}

at::Tensor Quantization::hessian_of(const PlannedGroup& group) {
  const bool in_block = group.layer >= 0;
  if (!accumulators_.contains(group.kind) || (in_block && hessian_layer_ != group.layer)) {
    accumulators_.clear();
    if (in_block) {
      advance_to(group.layer);
      run_block(group.layer, true);
      hessian_layer_ = group.layer;
    } else {
      advance_to(static_cast<int>(model_.architecture().n_layers));
      HessianAccumulator& sum =
          accumulators_.try_emplace(group.kind, static_cast<int64_t>(group.linears[0].columns)).first->second;
      pass_.head_input(hidden_, [&](GroupKind, const at::Tensor& x) { sum.add(x); });
    }
  }
  at::Tensor hessian = accumulators_.at(group.kind).mean();
  if (group.kind == GroupKind::kEmbedding) hessian.diagonal().add_(kLookupWeight * hessian.diagonal().mean());
  return hessian;
}

void Quantization::advance_to(int layer) {
  if (!hidden_.defined()) {
    const at::Tensor all = tokens();
    const at::Tensor tokens = select(all, sequences_.calibration);
    hidden_ =
        at::empty({tokens.size(0), tokens.size(1), static_cast<int64_t>(model_.architecture().hidden)}, at::kFloat);
    int start = layer;
    while (start > 0 && !load_hidden(start)) --start;
    if (start == 0) hidden_ = pass_.embed(tokens);
    position_ = saved_ = start;
  }
  while (position_ < layer) {
    if (options_.follows_prefix()) {
      run_stages(position_, false);
    } else {
      run_block(position_, false);
    }
  }
}

void Quantization::run_block(int layer, bool with_hessians) {
  if (with_hessians) {
    for (size_t i = 0; i < plan_.groups.size(); ++i) {
      const PlannedGroup& g = plan_.groups[i];
      if (g.layer == layer && g.needs_hessian && !parts_[i])
        accumulators_.try_emplace(g.kind, static_cast<int64_t>(g.linears[0].columns));
    }
  }
  const double cost = block_cost(layer);
  const std::string step = "blocks." + std::to_string(layer) + " forward";
  pass_.block(
      layer, hidden_,
      [&](GroupKind kind, const at::Tensor& x) {
        if (const auto sum = accumulators_.find(kind); sum != accumulators_.end()) sum->second.add(x);
      },
      [&](double fraction) { reporter_.progress(step, done_ + fraction * cost); });
  if (with_hessians) done_ += cost;
  position_ = layer + 1;
}

bool Quantization::load_hidden(int layer) {
  return work_.contains(hidden_tag(layer)) && work_.load(hidden_tag(layer), bytes_of(hidden_));
}

void Quantization::save_hidden() {
  work_.save(hidden_tag(position_), bytes_of(hidden_));
  if (saved_ > 0) work_.remove(hidden_tag(saved_));
  saved_ = position_;
  hessian_layer_ = -1;
}

at::Tensor Quantization::draw_tokens(int64_t& calibration) {
  const bool sampled = options_.sampled() > 0;
  const double cost = costs_.sampling(plan_);
  int64_t wanted = wanted_sequences(options_);
  calibration = options_.calibration_sequences;
  if (options_.time_limit > 0) {
    const double rate = training_rate();
    calibration = affordable_calibration(options_, curvature_cost() + blocks_cost(), rate);
    wanted = useful_sequences(options_, plan_, calibration, rate);
    if (calibration < options_.calibration_sequences)
      reporter_.note(fmt::format("the time limit allows {} sequences for the Hessians instead of {}", calibration,
                                 options_.calibration_sequences));
  }
  at::Tensor tokens = pass_.calibration_tokens(wanted, [&](double fraction) {
    reporter_.progress(sampled ? "sampling text" : "reading text", done_ + fraction * cost);
    return !stop_requested();
  });
  tokens = tokens.contiguous();
  const std::array<int64_t, 2> counts{tokens.size(0), calibration};
  work_.save("sequences", std::as_bytes(std::span(counts)));
  work_.save("tokens", bytes_of(tokens));
  done_ += cost;
  reporter_.group_done(sampled ? "sampling text" : "reading text", 0, 0, done_);
  return tokens;
}

double Quantization::training_rate() const {
  const PlannedLinear* largest = nullptr;
  for (const PlannedGroup& g : plan_.groups) {
    for (const PlannedLinear& l : g.linears) {
      if (g.layer >= 0 && (largest == nullptr || l.rows * l.columns > largest->rows * largest->columns)) largest = &l;
    }
  }
  return product_rate(static_cast<int64_t>(largest->rows), static_cast<int64_t>(largest->columns),
                      pass_.forward_options().device);
}

void Quantization::report(const PlannedGroup& group, const fb::PartT& part) {
  for (size_t i = 0; i < group.linears.size(); ++i) {
    const PlannedLinear& l = group.linears[i];
    reporter_.linear({l.name, slot_name(l.slot), l.rows, l.columns, l.bits, part.relative_errors[i]});
  }
  reporter_.group_done(group.name, geometric_mean(part.relative_errors), part.seconds, done_);
}

}  // namespace svq::convert
