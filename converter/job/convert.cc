#include "converter/job/convert.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "converter/base/error.h"
#include "converter/job/allocate.h"
#include "converter/job/block_tuner.h"
#include "converter/job/cancel.h"
#include "converter/job/clock.h"
#include "converter/job/completions.h"
#include "converter/job/curvature.h"
#include "converter/job/export.h"
#include "converter/job/finetune.h"
#include "converter/job/float_pass.h"
#include "converter/job/group_writer.h"
#include "converter/job/import.h"
#include "converter/job/preflight.h"
#include "converter/job/prefix.h"
#include "converter/job/progressive.h"
#include "converter/job/quality.h"
#include "converter/job/report.h"
#include "converter/job/sensitivity.h"
#include "converter/job/versions.h"
#include "converter/job/work_directory.h"
#include "converter/models/float/block.h"
#include "converter/models/float/startup.h"
#include "converter/quantize/hessian.h"
#include "converter/write/atomic_file.h"
#include "converter/write/svq_file.h"
#include "converter/job/tensor_bytes.h"

namespace svq::convert {

namespace {

// Everything that the bytes of the result and of the intermediate state depend on.
nlohmann::ordered_json make_fingerprint(const Options& options, const std::string& source_hash,
                                        const std::string& calibration_hash) {
  nlohmann::ordered_json j;
  j["source_hash"] = source_hash;
  j["calibration_hash"] = options.calibration.empty() ? "sampled" : calibration_hash;
  j["calibration_name"] = options.calibration.filename().string();
  j["calibration_fields"] = options.calibration_fields;
  const auto all = recipe(options);
  for (const auto& [key, value] : all.items()) j[key] = value;
  j["threads"] = options.threads;
  j["device"] = options.device;
  j["converter"] = converter_version();
  j["libraries"] = library_versions();
  j["cpu"] = cpu_name();
  return j;
}

// A tied embedding is looked up as well: there every direction of a row counts alike. Weight of that beside the head's
// input, in units of the mean diagonal of its Hessian. SmolLM2-135M at 4 bits: error unweighted 0.0162, weighted 0.0013
// with 0; 0.0130, 0.0014 with 0.3 (KL of the model with it 1.643 against 1.647); 0.0116, 0.0018 with 3 (1.642).
constexpr double kLookupWeight = 0.3;

constexpr size_t kSensitivitySequences = 8;     // that Hessians are measured on when widths are chosen
constexpr const char* kLossesState = "losses";  // f64 of every level of every choice

constexpr int64_t kCheckedSequences = 4;  // that the runtime is compared on
constexpr int64_t kCheckedLength = 128;   // of those drawn from the file, where there are no others
// What share of that is over with the converter's own evaluation, and with the runtime's on float activations.
constexpr double kOwnEnd = 0.35, kFloatEnd = 0.9;

constexpr double kCorrectionDamping = 0.05;  // of the mean diagonal (prefix.h)

// The given rows of [S, T].
at::Tensor select(const at::Tensor& tokens, std::vector<int64_t> sequences) {
  return tokens.index_select(0, at::from_blob(sequences.data(), {static_cast<int64_t>(sequences.size())}, at::kLong));
}

// Work in units of progress: multiply-adds, times factors fitted roughly to the steps of SmolLM2-135M on two CPU cores.
struct Costs {
  double tokens;          // of the calibration set
  double sampled_tokens;  // written by the model, with those that are trained on
  // One token at a time reads all weights: several times slower than the forward pass of whole sequences.
  double sampling(const Plan& plan) const { return 5 * sampled_tokens * static_cast<double>(plan.parameters); }
  double forward(double weights) const { return 2 * tokens * weights; }
  double hessian(const PlannedGroup& g) const { return g.needs_hessian ? tokens * columns(g) * columns(g) : 0; }
  // Per linear: a part that does not grow with it, its elements, and (with a Hessian) products of it with [K, K]
  // matrices and the search; per group the factorisation of the Hessian.
  double group(const PlannedGroup& g, const Options& o) const {
    double sum = 0;
    for (const PlannedLinear& l : g.linears) {
      const double size = static_cast<double>(l.rows) * static_cast<double>(l.columns);
      if (!l.packed()) sum += 40 * size;
      if (l.packed()) sum += 1e9 + 500 * size;
      if (l.packed() && g.needs_hessian)
        sum += 9e9 +
               size * (static_cast<double>(l.columns) * (4 + o.descent) + 16 * static_cast<double>(o.search_moves()));
    }
    return sum + (g.needs_hessian ? 6 * columns(g) * columns(g) * columns(g) : 0);
  }
  static double columns(const PlannedGroup& g) {
    return g.linears.empty() ? 0 : static_cast<double>(g.linears[0].columns);
  }
};

// What a file is made of: the finished parts, or after Ctrl-C those there are and the other linears in 16 bits.
struct Content {
  Options options;  // the plan's
  Plan plan;
  std::vector<std::unique_ptr<fb::PartT>> parts;  // of the plan's groups
  std::vector<std::filesystem::path> files;       // with them
  std::optional<Tuning> tuning;
  std::string stopped;  // by the user: where, and what the file holds; empty: finished
};

constexpr const char* kRestPrefix = "rest.";  // of the parts in 16 bits of a file that Ctrl-C asked for

class Conversion {
 public:
  Conversion(const Model& model, const Options& options, const Plan& plan, WorkDirectory& work, Reporter& reporter)
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

  // Every part of the plan finished and on disk, in the plan's order.
  std::vector<std::unique_ptr<fb::PartT>> run() {
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

  // After run() was interrupted: its parts, and the linears without one in 16 bits, as they are trained so far. Nothing
  // if no linear of a block has been quantized, if codes are imported, or if the disk is too full. run() is over then.
  std::optional<Content> rest_in_floats() {
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

  // All sequences, read or sampled once: [S, T] i64; sequences() tells what each is for.
  const at::Tensor& tokens() {
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
  const SequencePlan& sequences() {
    tokens();
    return sequences_;
  }
  double drawing_cost() const { return costs_.sampling(plan_); }
  const FloatPass& pass() const { return pass_; }
  int64_t steps_while_quantizing() const { return progressive_.total_steps(); }

 private:
  void write(size_t index, at::Tensor hessian, std::unique_ptr<Correction> correction, std::unique_ptr<fb::PartT>& part,
             const std::filesystem::path& path) {
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

  // Groups of one block in order: each is measured with, and corrected for, what the quantized ones before it produce.
  void quantize_block(int layer) {
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

  void tune_block(int layer, const at::Tensor& inputs, const at::Tensor& targets) {
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

  void measure_curvatures() {
    if (options_.curvature_count() == 0) return;
    const double cost = curvature_cost();
    bool there = true;
    for (size_t i = 0; i < plan_.groups.size(); ++i) there = there && (parts_[i] || curvatures_.has(plan_.groups[i]));
    if (!there) {
      const auto started = Clock::now();
      const at::Tensor& all = tokens();
      curvatures_.measure(
          all, spread(sequences_.calibration, curvature_sequences_), options_.seed,
          [&](double fraction) { reporter_.progress("curvature of the outputs", done_ + fraction * cost); });
      reporter_.group_done("curvature of the outputs", 0, seconds_since(started), done_ + cost);
    }
    done_ += cost;
  }

  // Forward, backward to the inputs, and half of the outer products, which are symmetric.
  double curvature_cost() const {
    double per_token = 4 * static_cast<double>(plan_.parameters);
    for (const PlannedGroup& g : plan_.groups) {
      for (const PlannedLinear& l : g.linears) {
        if (has_curvature(g, l)) per_token += static_cast<double>(l.rows) * static_cast<double>(l.rows);
      }
    }
    return options_.curvature_count() * static_cast<double>(options_.calibration_length) * per_token;
  }

  // Takes hidden_ through block `layer` as it is quantized; with `quantize`, parts that are missing are made on the
  // way, from what the float block makes of the same states. Returns what the float block gives at its end, which is
  // computed for block-wise tuning alone: nobody else reads it.
  at::Tensor run_stages(int layer, bool quantize) {
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

  void find_finished() {
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
    if (options_.trains())
      total += Finetune::cost(plan_, options_, plan_sequences(options_, wanted_sequences(options_)));
    const auto parts_there = std::count_if(parts_.begin(), parts_.end(), [](const auto& p) { return p != nullptr; });
    if (work_.resumed())
      reporter_.note("going on with " + work_.path().string() + ": " + std::to_string(parts_there) + " of " +
                     std::to_string(parts_.size()) + " parts are there");
    reporter_.start_work(total * 1.01, done_);
  }

  double block_cost(int layer) const {
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

  double blocks_cost() const {
    double cost = 0;
    for (uint32_t layer = 0; layer < model_.architecture().n_layers; ++layer)
      cost += block_cost(static_cast<int>(layer));
    return cost;
  }

  // The file's order, but groups fed by the last block's output come last.
  std::vector<size_t> work_order() const {
    std::vector<size_t> order, last;
    for (size_t i = 0; i < plan_.groups.size(); ++i) {
      const PlannedGroup& g = plan_.groups[i];
      (g.layer < 0 && g.needs_hessian ? last : order).push_back(i);
    }
    order.insert(order.end(), last.begin(), last.end());
    return order;
  }

  bool block_finished(int layer) const {
    for (size_t i = 0; i < plan_.groups.size(); ++i) {
      if (plan_.groups[i].layer == layer && !parts_[i]) return false;
    }
    return true;
  }

  at::Tensor hessian_of(const PlannedGroup& group) {
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

  // Makes hidden_ the input of block `layer`.
  void advance_to(int layer) {
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

  void run_block(int layer, bool with_hessians) {
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

  bool load_hidden(int layer) {
    return work_.contains(hidden_tag(layer)) && work_.load(hidden_tag(layer), bytes_of(hidden_));
  }

  void save_hidden() {
    work_.save(hidden_tag(position_), bytes_of(hidden_));
    if (saved_ > 0) work_.remove(hidden_tag(saved_));
    saved_ = position_;
    hessian_layer_ = -1;
  }

  // calibration: how many of them the Hessians are measured on.
  at::Tensor draw_tokens(int64_t& calibration) {
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

  // FLOP/s of the blocks' largest linear.
  double training_rate() const {
    const PlannedLinear* largest = nullptr;
    for (const PlannedGroup& g : plan_.groups) {
      for (const PlannedLinear& l : g.linears) {
        if (g.layer >= 0 && (largest == nullptr || l.rows * l.columns > largest->rows * largest->columns)) largest = &l;
      }
    }
    return product_rate(static_cast<int64_t>(largest->rows), static_cast<int64_t>(largest->columns),
                        pass_.forward_options().device);
  }

  void report(const PlannedGroup& group, const fb::PartT& part) {
    for (size_t i = 0; i < group.linears.size(); ++i) {
      const PlannedLinear& l = group.linears[i];
      reporter_.linear({l.name, slot_name(l.slot), l.rows, l.columns, l.bits, part.relative_errors[i]});
    }
    reporter_.group_done(group.name, geometric_mean(part.relative_errors), part.seconds, done_);
  }

  static std::string hidden_tag(int layer) { return "hidden." + std::to_string(layer); }

  const Model& model_;
  const Options& options_;
  const Plan& plan_;
  WorkDirectory& work_;
  Reporter& reporter_;
  FloatPass pass_;
  Progressive progressive_;
  BlockTuner tuner_;
  OutputCurvatures curvatures_;
  Costs costs_{};
  double done_ = 0;
  std::vector<std::unique_ptr<fb::PartT>> parts_;         // of plan_.groups; null: to be done
  std::vector<std::unique_ptr<fb::PartT>> raw_;           // of a block that is to be tuned
  std::map<GroupKind, HessianAccumulator> accumulators_;  // of one block, or of the head's input
  int hessian_layer_ = -1;                                // the block whose Hessians these are
  // [sequences, length, hidden] f32, of the blocks so far: quantized where they are followed, else float.
  at::Tensor hidden_;
  int position_ = 0;   // hidden_ is the input of this block
  int saved_ = 0;      // hidden.N on disk; 0: none
  at::Tensor tokens_;  // [S, T]; undefined until needed
  SequencePlan sequences_;
  int64_t curvature_sequences_ = 0;
};

// Measures what the linears lose, or reads it from the work directory, and adds the chosen widths to `options`.
Allocation allocate(const Model& model, Options& options, const Plan& least, WorkDirectory& work, Reporter& reporter) {
  Allocation allocation{open_choices(options, least), {}};
  size_t levels = 0;
  for (const Choice& c : allocation.choices) levels += c.levels.size();
  at::Tensor losses = at::empty({static_cast<int64_t>(levels)}, at::kDouble);
  if (!work.load(kLossesState, bytes_of(losses))) {
    Conversion source(model, options, least, work, reporter);
    const double drawing = source.drawing_cost(), measuring = std::max(1.0, drawing / 2);
    reporter.start_work(drawing + measuring * 1.01, 0);
    const at::Tensor all = source.tokens();
    std::vector<int64_t> some = source.sequences().calibration;
    some.resize(std::min(some.size(), kSensitivitySequences));
    const at::Tensor tokens = select(all, some);
    measure_losses(model, options, least, source.pass(), tokens, allocation.choices, [&](double fraction) {
      reporter.progress("what each linear loses", drawing + fraction * measuring);
      if (stop_requested()) throw Interrupted{};
    });
    double* out = losses.data_ptr<double>();
    for (const Choice& c : allocation.choices)
      for (const Level& l : c.levels) *out++ = l.loss;
    work.save(kLossesState, bytes_of(losses));
  }
  const double* in = losses.data_ptr<double>();
  for (Choice& c : allocation.choices)
    for (Level& l : c.levels) l.loss = *in++;
  options = apply_budget(model, options, least, allocation);
  return allocation;
}

// All the work but the file. Interrupted only where there is nothing to write.
Content quantize(Conversion& conversion, const Model& model, const Options& options, const Plan& plan,
                 WorkDirectory& work, Reporter& reporter) {
  Content content{options, plan, {}, {}, {}, {}};
  try {
    content.parts = conversion.run();
  } catch (const Interrupted&) {
    auto rest = conversion.rest_in_floats();
    if (!rest) throw;
    return std::move(*rest);
  }
  for (const PlannedGroup& group : plan.groups) content.files.push_back(work.part_path(group.name));
  if (!options.trains()) return content;
  const double left = options.time_limit > 0 ? std::max(0.0, options.time_limit - work.seconds_spent()) : INFINITY;
  const at::Tensor& tokens = conversion.tokens();
  Finetune finetune(model, options, plan, work, reporter, conversion.pass(), tokens, conversion.sequences(),
                    conversion.steps_while_quantizing());
  try {
    content.tuning = finetune.run(content.parts, left);
  } catch (const Interrupted&) {  // before its first step
    content.stopped = "before fine-tuning";
    return content;
  }
  for (size_t i = 0; i < content.files.size(); ++i)
    content.files[i] = Finetune::tuned_path(work.path(), plan.groups[i].name);
  if (finetune.stopped()) content.stopped = "during fine-tuning: the file holds what was reached";
  return content;
}

}  // namespace

void convert(const Options& options, Reporter& reporter) {
  check_output(options);  // before the source is read
  init_threads(options.threads);
  init_allocator();
  convert(*open_model(options.source), options, reporter);
}

void convert(const Model& model, const Options& asked, Reporter& reporter) {
  Options options = asked;  // widths are added where a budget chooses them
  if (imports_codes(model)) import_options(options);
  const auto started = Clock::now();
  check_output(options);
  check_resources(options);
  Plan plan = options.has_budget() ? make_budget_plan(model, options) : make_plan(model, options);
  if (options.trains() && options.follows_prefix()) {
    options.progressive_by_time = options.time_limit > 0 && !options.progressive_tokens;
    options.progressive_tokens = progressive_tokens(options, plan);
  }
  const auto disk = disk_use(plan, options);
  reporter.plan(model, plan, options, disk);
  for (const std::string& warning : model.warnings()) reporter.warning(warning);
  check_disk(disk);
  if (const uint64_t free = available_memory(); free != 0 && free < plan.memory_bytes) {
    reporter.warning("about " + format_bytes(plan.memory_bytes) + " of memory are needed, and " + format_bytes(free) +
                     " are available");
  }
  if (options.plan_only) return;
  check_export(options);

  if (model.source_bytes() > (uint64_t{4} << 30)) reporter.note("reading the source to compute its checksum");
  const std::string source_hash = model.source_hash();
  const std::string calibration_hash = options.calibration.empty() ? "" : file_hash(options.calibration);
  WorkDirectory work(work_path(options), make_fingerprint(options, source_hash, calibration_hash), options.force);
  if (options.time_limit > 0) reporter.limit(options.time_limit, work.seconds_spent());
  Report report;
  if (options.has_budget()) {
    report.allocation = allocate(model, options, plan, work, reporter);
    plan = make_plan(model, options);
    reporter.allocation(*report.allocation, plan);
  }
  Conversion conversion(model, options, plan, work, reporter);
  Content content = quantize(conversion, model, options, plan, work, reporter);
  plan = content.plan;
  const std::vector<std::unique_ptr<fb::PartT>>& parts = content.parts;
  std::vector<const fb::PartT*> pointers;
  Summary summary;
  std::map<std::string, std::vector<double>> errors;
  for (size_t i = 0; i < parts.size(); ++i) {
    const PlannedGroup& group = plan.groups[i];
    pointers.push_back(parts[i].get());
    for (size_t j = 0; j < group.linears.size(); ++j) {
      const PlannedLinear& l = group.linears[j];
      summary.linears.push_back({l.name, slot_name(l.slot), l.rows, l.columns, l.bits, parts[i]->relative_errors[j]});
      errors[slot_name(l.slot)].push_back(parts[i]->relative_errors[j]);
      if (group.layer >= 0) errors["blocks"].push_back(parts[i]->relative_errors[j]);
    }
  }
  std::vector<double> measures;
  for (const std::string& name : measured_parts(plan)) measures.push_back(geometric_mean(errors[name]));
  if (content.tuning) {
    for (double value : tuning_measures(*content.tuning)) measures.push_back(value);
  }
  fb::ModelT metadata = describe_model(model, plan, content.options, source_hash, calibration_hash, measures);
  assemble(metadata, pointers);
  const auto allow_overwriting = [&] {  // by the same command, once it goes on
    const char partial = 1;
    work.save(kPartialState, std::as_bytes(std::span(&partial, 1)));
  };
  const auto check = [&](const std::filesystem::path& file) {
    const auto begun = Clock::now();
    RuntimeCheck result;
    result.held_out = plan.needs_calibration;
    const at::Tensor tokens =
        result.held_out ? select(conversion.tokens(), spread(conversion.sequences().held_out, kCheckedSequences))
                        : runtime_tokens(file, kCheckedSequences, kCheckedLength, options.seed, options.threads);
    result.tokens = tokens.numel();
    const auto progress = [&](double begin, double end) {
      return [&reporter, begin, end](double fraction) {
        reporter.closing("running the file", begin + (end - begin) * fraction);
        if (stop_requested()) throw Interrupted{};
      };
    };
    try {
      const Agreement quality =
          measure_parts(model, plan, pointers, content.files, conversion.pass(), tokens, progress(0, kOwnEnd));
      if (result.held_out) summary.quality = quality;
      result.converter = quality.perplexity;
      result.runtime_float = runtime_perplexity(file, tokens, 32, options.threads, progress(kOwnEnd, kFloatEnd));
      result.runtime = runtime_perplexity(file, tokens, 8, options.threads, progress(kFloatEnd, 1));
      result.seconds = seconds_since(begun);
      require_agreement(result, options.output);
      summary.runtime = result;
    } catch (const Interrupted&) {
      content.stopped = "while the runtime ran the file, which is complete otherwise";
      allow_overwriting();
    }
  };
  if (!content.stopped.empty()) allow_overwriting();
  const bool checked = options.check && content.stopped.empty();  // who stops it wants the file soon
  summary.file_bytes = write_svq(options.output, metadata, content.files, pointers, {},
                                 checked ? std::function<void(const std::filesystem::path&)>(check) : nullptr);
  for (const auto& file : content.files)
    if (file.filename().string().starts_with(kRestPrefix)) std::filesystem::remove(file);
  const bool stopped = !content.stopped.empty();
  if (!options.export_directory.empty() && !stopped) {
    export_dequantized(model, plan, pointers, content.files, options,
                       [&](double fraction) { reporter.closing("dequantized export", fraction); });
    reporter.note("written in 16-bit floats to " + options.export_directory.string());
  }
  summary.bits_per_weight =
      8.0 * static_cast<double>(plan.block_bytes) / static_cast<double>(std::max<uint64_t>(1, plan.block_weights));
  summary.seconds = seconds_since(started);
  summary.total_seconds = summary.seconds + work.earlier_seconds();
  summary.tuning = content.tuning;
  summary.stopped = content.stopped;
  if (options.report) {
    report.source_hash = source_hash;
    report.calibration = describe_calibration(plan, options, calibration_hash);
    report.summary = summary;
    if (!stopped) {
      report.completions = complete(model, options.output, conversion.pass().forward_options(), options.threads,
                                    [&](double fraction) { reporter.closing("completions", fraction); });
    }
    write_atomically(report_path(options), html_report(model, plan, options, report));
    reporter.note("report: " + report_path(options).string());
  }
  if (!stopped) {
    work.remove(kPartialState);
    if (options.work.empty() && !options.keep_work) work.remove_all();
  }
  reporter.summary(plan, summary);
  if (stopped) {
    reporter.note("stopped " + content.stopped);
    throw Interrupted{};
  }
}

}  // namespace svq::convert
