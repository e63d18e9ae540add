#include "converter/job/plan.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "converter/base/error.h"
#include "converter/job/completions.h"
#include "converter/job/float_pass.h"
#include "converter/job/import.h"
#include "converter/job/preflight.h"
#include "converter/job/sequences.h"
#include "converter/job/versions.h"
#include "converter/models/float/sample.h"
#include "converter/models/float/startup.h"
#include "converter/write/svq_file.h"

namespace svq::convert {

namespace {

std::string tensor_name(Slot slot, int layer) {
  return layer < 0 ? slot_name(slot) : "blocks." + std::to_string(layer) + "." + slot_name(slot);
}

std::optional<Slot> bias_of(Slot slot) {
  switch (slot) {
    case Slot::kQ:
      return Slot::kQBias;
    case Slot::kK:
      return Slot::kKBias;
    case Slot::kV:
      return Slot::kVBias;
    case Slot::kO:
      return Slot::kOBias;
    default:
      return std::nullopt;
  }
}

class Planner {
 public:
  Planner(const Model& model, const Options& options)
      : model_(model), options_(options), used_(options.overrides.size()) {}

  void add(GroupKind kind, int layer, std::initializer_list<Slot> linears, std::initializer_list<Slot> other_norms,
           std::optional<Slot> input_norm) {
    PlannedGroup group;
    group.kind = kind;
    group.layer = layer;
    group.name = layer < 0 ? group_kind_name(kind) : "blocks." + std::to_string(layer) + "." + group_kind_name(kind);
    for (Slot slot : linears) group.linears.push_back(linear(slot, layer));
    const bool all_packed =
        std::all_of(group.linears.begin(), group.linears.end(), [](const auto& l) { return l.packed(); });
    // gptq and rtn have no input scale to fold a norm into; without a rotation there is none either.
    const auto imported = [&](Slot slot) { return model_.imported(slot, layer) != nullptr; };
    group.imported = std::any_of(linears.begin(), linears.end(), imported);
    if (group.imported && !std::all_of(linears.begin(), linears.end(), imported))
      throw Error(model_.source_name() + ": of the linears of " + group.name + " some have codes and some have not");
    const bool foldable = all_packed && !group.imported && options_.rotates() && options_.rotation != "none";
    if (input_norm && foldable) group.folded_norm = input_norm;
    if (input_norm && !foldable) group.norms.push_back(*input_norm);
    for (Slot slot : other_norms) {
      if (model_.has(slot, layer)) group.norms.push_back(slot);
    }
    // The embedding looked up is weighted equally in every direction; where it is also the head, its input is known.
    const bool untied_embedding = kind == GroupKind::kEmbedding && !model_.tied();
    group.needs_hessian = group.packed() && options_.method != "rtn" && !untied_embedding && !group.imported;
    plan.needs_calibration |= group.needs_hessian;
    plan.groups.push_back(std::move(group));
  }

  void check_overrides() const {
    for (size_t i = 0; i < used_.size(); ++i) {
      if (!used_[i]) {
        throw Error("--override " + options_.overrides[i].first + ": matches no linear; names are embedding, head" +
                    (model_.tied() ? " (here tied: embedding only)" : "") + ", blocks.0.q … blocks." +
                    std::to_string(model_.architecture().n_layers - 1) + ".down");
      }
    }
  }

  Plan plan;

 private:
  PlannedLinear linear(Slot slot, int layer) {
    PlannedLinear result;
    result.name = tensor_name(slot, layer);
    result.slot = slot;
    const Shape shape = model_.shape(slot, layer);
    result.rows = shape.rows;
    result.columns = shape.columns;
    result.bits = slot == Slot::kEmbedding ? options_.embedding_width()
                  : slot == Slot::kHead    ? options_.head_width()
                                           : options_.bits;
    if (model_.imported(slot, layer)) result.bits = 2;
    for (size_t i = 0; i < used_.size(); ++i) {
      if (fnmatch(options_.overrides[i].first.c_str(), result.name.c_str(), 0) == 0) {
        if (model_.imported(slot, layer))
          throw Error("--override " + options_.overrides[i].first + ": " + result.name +
                      " is imported with the codes that the source has");
        result.bits = options_.overrides[i].second;
        used_[i] = true;
      }
    }
    if (const auto bias = bias_of(slot); bias && model_.has(*bias, layer)) result.bias = bias;
    if (result.packed() && result.columns % static_cast<uint64_t>(options_.group) != 0) {
      throw Error(result.name + ": " + std::to_string(result.columns) + " columns are not a multiple of --group " +
                  std::to_string(options_.group) + "; keep it with --override " + result.name + "=16");
    }
    return result;
  }

  const Model& model_;
  const Options& options_;
  std::vector<bool> used_;
};

bool in_block(const PlannedGroup& group) { return group.layer >= 0; }

// Forward and backward through one sequence: the logits of a slice of positions, the activations of one block and its
// gradients, the inputs of all. Where more is free, the activations of more blocks are kept.
uint64_t backward_memory(const fb::ArchitectureT& a, uint64_t length) {
  return 6 * 4 * 256 * uint64_t{a.vocab} + 4 * length * (12 * uint64_t{a.hidden} + 12 * uint64_t{a.intermediate}) +
         length * a.hidden * 4 * a.n_layers;
}

// Fine-tuning: all codes as 16- or 32-bit matrices, the float head, and the float model's hidden states.
uint64_t training_memory(const Model& model, const Plan& plan, const Options& options) {
  if (!options.trains()) return 0;
  const auto& a = model.architecture();
  const uint64_t tokens = static_cast<uint64_t>(wanted_sequences(options)) * uint64_t(options.calibration_length);
  const uint64_t head = uint64_t{a.vocab} * a.hidden;
  return 4 * plan.block_weights + 4 * head * (plan.tied ? 2 : 3) + 4 * tokens * a.hidden +
         uint64_t(kSequencesPerStep) * backward_memory(a, uint64_t(options.calibration_length));
}

// Weights and gradients in f32.
uint64_t trained_weights_memory(const Plan& plan) { return 4 * (1 + progressive_at_once(plan)) * plan.block_weights; }

// What has no codes yet has weights and gradients instead.
uint64_t progressive_memory(const Model& model, const Plan& plan, const Options& options) {
  if (progressive_tokens(options, plan) == 0) return 0;
  return trained_weights_memory(plan) + training_memory(model, plan, options) - 4 * plan.block_weights;
}

uint64_t curvature_bytes(const Plan& plan, const Options& options) {
  uint64_t bytes = 0;
  if (options.curvature_count() == 0) return 0;
  for (const PlannedGroup& group : plan.groups) {
    for (const PlannedLinear& l : group.linears) bytes += has_curvature(group, l) ? 4 * l.rows * l.rows : 0;
  }
  return bytes;
}

// The float model and the matrices.
uint64_t curvature_memory(const Model& model, const Plan& plan, const Options& options) {
  if (options.curvature_count() == 0) return 0;
  return curvature_bytes(plan, options) + 4 * plan.parameters +
         backward_memory(model.architecture(), uint64_t(options.calibration_length));
}

// The float model and the cache of the sequences that it writes.
uint64_t sampling_memory(const Model& model, const Plan& plan, const Options& options) {
  if (!plan.needs_calibration) return 0;
  const auto sequences =
      static_cast<int64_t>(std::ceil(options.sampled() * static_cast<double>(wanted_sequences(options))));
  if (sequences == 0) return 0;
  return plan_sampling(model, sequences, options.calibration_length, 0, choose_forward(options)).bytes;
}

// Bytes of the largest step; what was read of the mapped source is given back. The quantizer's share: H in double,
// where its Cholesky factor takes its place, three forms of H in f32, and some four copies of the largest weight in
// f32; the codes one byte each. Blocks freed but kept by malloc add a quarter (SmolLM2-135M takes 1.3 GB where the sum
// is 1.0).
uint64_t estimate_memory(const Model& model, const Plan& plan, const Options& options) {
  constexpr uint64_t kLibraries = 400u << 20;  // libtorch's code and pools
  constexpr uint64_t kSlices = 256u << 20;     // of a matrix whose rows are worked on a few at a time
  const auto& a = model.architecture();
  const uint64_t tokens =
      plan.needs_calibration ? uint64_t(options.calibration_sequences) * uint64_t(options.calibration_length) : 0;
  const bool both = options.follows_prefix(), tuned = options.block_tokens > 0;
  // Hidden states before and after a block, and with block-wise tuning its inputs and targets; with the quantized
  // prefix those of both blocks, and the inputs of down, of which the float block's are gone once they are measured.
  const uint64_t states = 4 * tokens * uint64_t{a.hidden};
  const uint64_t inner = both ? tokens * (bf16_is_faster(c10::kCPU) ? 2 : 4) * uint64_t{a.intermediate} : 0;
  const uint64_t activations = (tuned ? 4 : 2) * states + 2 * inner;
  uint64_t most = 0, block_weights = 0, hessians = 0;
  int layer = -1;
  for (const PlannedGroup& group : plan.groups) {
    if (group.layer != layer) block_weights = hessians = 0;
    layer = group.layer;
    uint64_t weights = 0, largest = 0, columns = 0, half = 0;
    for (const PlannedLinear& l : group.linears) {
      weights += l.rows * l.columns;
      columns = l.columns;
      (l.packed() ? largest : half) = std::max(l.packed() ? largest : half, l.rows * l.columns);
    }
    hessians += group.needs_hessian ? columns * columns * 4 : 0;
    uint64_t held = states, solver = std::min<uint64_t>(half * 6, kSlices);
    if (in_block(group)) {
      block_weights += weights;
      const uint64_t pass = tokens / uint64_t(std::max(1, options.calibration_sequences)) * 16 * a.intermediate;
      most = std::max(most, activations + 4 * block_weights + hessians + pass);
      held = both && !tuned && group.kind == GroupKind::kDownIn ? states + inner : activations;
    }
    if (group.packed()) {
      solver = (group.needs_hessian ? (8 + 3 * 4) * columns * columns + (both ? 0 : hessians) : 0) + 4 * weights;
      solver += in_block(group) ? 13 * largest
                                : largest + std::min(12 * largest, kSlices);  // outside the blocks nothing mixes rows
    }
    most = std::max(most, held + solver);
  }
  const uint64_t shown = options.report ? completions_memory(model, choose_forward(options)) : 0;
  return kLibraries +
         std::max(most * 5 / 4,
                  std::max({training_memory(model, plan, options), progressive_memory(model, plan, options),
                            curvature_memory(model, plan, options), sampling_memory(model, plan, options), shown}));
}

}  // namespace

const char* group_kind_name(GroupKind kind) {
  switch (kind) {
    case GroupKind::kEmbedding:
      return "embedding";
    case GroupKind::kAttnIn:
      return "attn_in";
    case GroupKind::kOIn:
      return "o_in";
    case GroupKind::kFfnIn:
      return "ffn_in";
    case GroupKind::kDownIn:
      return "down_in";
    case GroupKind::kFinalNorm:
      return "final_norm";
    case GroupKind::kHead:
      return "head";
  }
  return "";
}

bool has_curvature(const PlannedGroup& group, const PlannedLinear& linear) {
  return in_block(group) && linear.packed() && linear.rows <= kMostCurvatureRows;
}

double head_weights(const Plan& plan) {
  const PlannedLinear& head = (plan.tied ? plan.groups.front() : plan.groups.back()).linears[0];
  return static_cast<double>(head.rows) * static_cast<double>(head.columns);
}

double training_flops(const Plan& plan) { return 8 * static_cast<double>(plan.block_weights) + 6 * head_weights(plan); }

int64_t progressive_tokens(const Options& options, const Plan& plan) {
  if (!options.trains() || !options.follows_prefix()) return 0;
  if (options.progressive_tokens) return *options.progressive_tokens;
  const uint64_t memory = total_memory();
  return memory > 0 && trained_weights_memory(plan) > memory / 2 ? 0 : options.training_tokens();
}

uint64_t progressive_at_once(const Plan& plan) { return plan.block_weights < 400'000'000 ? kSequencesPerStep : 1; }

bool PlannedGroup::packed() const {
  return std::any_of(linears.begin(), linears.end(), [](const PlannedLinear& l) { return l.packed(); });
}

Plan make_plan(const Model& model, const Options& options) {
  if (model.tied() && options.head_bits && *options.head_bits != options.embedding_width()) {
    throw Error("--head-bits: this model's embedding is also its head; set --embedding-bits");
  }
  Planner planner(model, options);
  const auto& a = model.architecture();
  planner.add(GroupKind::kEmbedding, -1, {Slot::kEmbedding}, {}, std::nullopt);
  for (int layer = 0; layer < static_cast<int>(a.n_layers); ++layer) {
    planner.add(GroupKind::kAttnIn, layer, {Slot::kQ, Slot::kK, Slot::kV}, {Slot::kQNorm, Slot::kKNorm},
                Slot::kAttnNorm);
    planner.add(GroupKind::kOIn, layer, {Slot::kO}, {}, std::nullopt);
    planner.add(GroupKind::kFfnIn, layer, {Slot::kGate, Slot::kUp}, {}, Slot::kFfnNorm);
    planner.add(GroupKind::kDownIn, layer, {Slot::kDown}, {}, std::nullopt);
  }
  planner.add(GroupKind::kFinalNorm, -1, {}, {Slot::kFinalNorm}, std::nullopt);
  if (!model.tied()) planner.add(GroupKind::kHead, -1, {Slot::kHead}, {}, std::nullopt);
  planner.check_overrides();

  Plan plan = std::move(planner.plan);
  plan.tied = model.tied();
  std::vector<fb::PartT> parts;
  std::vector<const fb::PartT*> pointers;
  for (const PlannedGroup& group : plan.groups) {
    parts.push_back(layout_part(group, model, options, 1));
    const uint64_t bytes = data_size(parts.back());
    plan.data_bytes += bytes;
    plan.work_bytes += bytes + kPartDataOffset + 16384;  // metadata of a part: a few KB
    for (const PlannedLinear& l : group.linears) {
      plan.parameters += l.rows * l.columns + (l.bias ? l.rows : 0);
      if (in_block(group)) plan.block_weights += l.rows * l.columns;
    }
    const Slot folded[] = {group.folded_norm.value_or(Slot::kFinalNorm)};
    for (Slot slot : group.norms) plan.parameters += model.shape(slot, group.layer).columns;
    if (group.folded_norm) plan.parameters += model.shape(folded[0], group.layer).columns;
    if (in_block(group)) {
      for_each_tensor(std::as_const(parts.back()), [&](const fb::TensorT& t) { plan.block_bytes += t.size; });
      for (const auto& norm : parts.back().norms) plan.block_bytes -= norm->size;
      for (const auto& l : parts.back().linears) plan.block_bytes -= l->bias ? l->bias->size : 0;
    }
  }
  if (options.trains()) {
    // The tuned parts, the float model's hidden states (old and new while they are made), the optimiser's state.
    const uint64_t tokens = static_cast<uint64_t>(wanted_sequences(options)) * uint64_t(options.calibration_length);
    plan.work_bytes += plan.work_bytes + 2 * tokens * a.hidden * 4 + tokens * 8 + (plan.parameters / 8);
  }
  if (plan.needs_calibration) {
    const uint64_t tokens = uint64_t(options.calibration_sequences) * uint64_t(options.calibration_length);
    // Hidden states, old and new, and the tokens.
    plan.work_bytes += 2 * tokens * a.hidden * 4 + tokens * 8;
  }
  plan.work_bytes += curvature_bytes(plan, options);
  for (const fb::PartT& part : parts) pointers.push_back(&part);
  const std::string hash(32, '0');
  fb::ModelT metadata =
      describe_model(model, plan, options, hash, hash,
                     std::vector<double>(measured_parts(plan).size() + tuning_measure_names(options).size(), 1.0));
  const uint64_t data = assemble(metadata, pointers);
  plan.file_bytes = file_size(serialize(metadata).size(), data);
  plan.memory_bytes = estimate_memory(model, plan, options);
  return plan;
}

fb::PartT layout_part(const PlannedGroup& group, const Model& model, const Options& options, uint64_t fingerprint) {
  fb::PartT part;
  part.name = group.name;
  part.fingerprint = fingerprint;
  part.seconds = 0;
  for (Slot slot : group.norms) {
    part.norms.push_back(
        make_tensor(tensor_name(slot, group.layer), fb::DType::F32, {model.shape(slot, group.layer).columns}));
  }
  if (group.imported) {
    layout_imported(part, group, model);
    assign_offsets(part);
    return part;
  }
  std::vector<int> widths;  // of the affine maps
  for (const PlannedLinear& l : group.linears) {
    auto linear = std::make_unique<fb::LinearT>();
    linear->name = l.name;
    linear->rows = static_cast<uint32_t>(l.rows);
    linear->columns = static_cast<uint32_t>(l.columns);
    linear->bits = static_cast<uint8_t>(l.bits);
    linear->output_rotation = std::make_unique<fb::Rotation>();
    linear->weight =
        make_tensor(l.name + ".weight", l.packed() ? fb::DType::Codes : fb::DType::F16, {l.rows, l.columns}, l.bits);
    if (l.packed()) {
      auto width = std::find(widths.begin(), widths.end(), l.bits);
      if (width == widths.end()) width = widths.insert(widths.end(), l.bits);
      linear->input_transform = 0;
      linear->affine = static_cast<int32_t>(width - widths.begin());
      linear->out_scale = make_tensor(l.name + ".out_scale", fb::DType::F16, {l.rows});
    }
    if (l.bias) linear->bias = make_tensor(l.name + ".bias", fb::DType::F32, {l.rows});
    part.linears.push_back(std::move(linear));
    part.relative_errors.push_back(-1);
  }
  if (group.packed()) {
    const uint64_t columns = group.linears[0].columns;
    const uint64_t d = static_cast<uint64_t>(options.group);
    const uint64_t per_map = static_cast<uint64_t>(options.map_columns);
    const uint64_t maps = per_map == 0 ? 1 : (columns + per_map - 1) / per_map;
    auto transform = std::make_unique<fb::InputTransformT>();
    transform->columns = static_cast<uint32_t>(columns);
    transform->rotation = std::make_unique<fb::Rotation>();
    if (options.rotates()) transform->scale = make_tensor(group.name + ".scale", fb::DType::F16, {columns});
    part.input_transforms.push_back(std::move(transform));
    for (int width : widths) {
      const std::string name = group.name + ".affine" + std::to_string(width);
      auto affine = std::make_unique<fb::AffineMapsT>();
      affine->dim = static_cast<uint8_t>(d);
      affine->columns_per_map = static_cast<uint32_t>(per_map);
      affine->a = make_tensor(name + ".a", fb::DType::F16, {maps, d, d});
      affine->b = make_tensor(name + ".b", fb::DType::F16, {maps, d});
      part.affine_maps.push_back(std::move(affine));
    }
  }
  assign_offsets(part);
  return part;
}

std::vector<std::string> measured_parts(const Plan& plan) {
  std::vector<std::string> result;
  const auto add = [&](const std::string& name) {
    if (std::find(result.begin(), result.end(), name) == result.end()) result.push_back(name);
  };
  for (const PlannedGroup& group : plan.groups) {
    for (const PlannedLinear& l : group.linears) {
      if (!l.packed()) continue;
      if (in_block(group)) add("blocks");
      add(slot_name(l.slot));
    }
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::vector<std::pair<std::string, std::string>> tuning_measure_names(const Options& options) {
  if (!options.trains()) return {};
  return {{"perplexity", "held-out sequences, source"},        {"perplexity", "held-out sequences, quantized"},
          {"perplexity", "held-out sequences, fine-tuned"},    {"kl_to_source", "held-out sequences, quantized"},
          {"kl_to_source", "held-out sequences, fine-tuned"},  {"same_top_token", "held-out sequences, quantized"},
          {"same_top_token", "held-out sequences, fine-tuned"}};
}

std::string describe_calibration(const Plan& plan, const Options& o, const std::string& calibration_hash) {
  if (!plan.needs_calibration) return "none";
  const std::string training = o.trains() ? "; fine-tuned on " +
                                                (o.time_limit > 0 ? std::string("what the time limit allowed")
                                                                  : std::to_string(o.training_tokens()) + " tokens") +
                                                " of " + std::to_string(wanted_sequences(o)) + " such sequences at most"
                                          : "";
  const std::string amount = (o.calibration_by_time ? "up to " : "") + std::to_string(o.calibration_sequences) +
                             " sequences of " + std::to_string(o.calibration_length) + " tokens";
  if (o.calibration.empty()) return "sampled from the model: " + amount + ", seed " + std::to_string(o.seed) + training;
  const std::string hash = calibration_hash.empty() ? "" : " (XXH3-128 " + calibration_hash + ")";
  const std::string mixed =
      o.sampled() > 0 ? fmt::format(", {:.0f} % of them sampled from the model, seed {}", 100 * o.sampled(), o.seed)
                      : "";
  return o.calibration.filename().string() + hash + ": " + amount + mixed + training;
}

fb::ModelT describe_model(const Model& model, const Plan& plan, const Options& options, const std::string& source_hash,
                          const std::string& calibration_hash, const std::vector<double>& measures) {
  fb::ModelT result;
  result.name = model.name();
  result.architecture = std::make_unique<fb::ArchitectureT>(model.architecture());
  if (model.tokenizer()) result.tokenizer = std::make_unique<fb::TokenizerT>(*model.tokenizer());
  result.chat = std::make_unique<fb::ChatT>(model.chat());
  result.generation = std::make_unique<fb::GenerationT>(model.generation());
  auto provenance = std::make_unique<fb::ProvenanceT>();
  provenance->source_name = model.source_name();
  provenance->source_format = model.source_format();
  provenance->source_hash = source_hash;
  const bool any_packed = std::any_of(plan.groups.begin(), plan.groups.end(), [](const auto& g) { return g.packed(); });
  provenance->method = any_packed ? options.method : "float";
  provenance->recipe = recipe(options).dump();
  provenance->calibration = describe_calibration(plan, options, calibration_hash);
  provenance->converter = std::string(converter_version()) + ", " + library_versions();
  const auto parts = measured_parts(plan);
  std::vector<std::pair<std::string, std::string>> names;
  for (const std::string& part : parts) names.emplace_back("relative_weighted_error", part);
  if (measures.size() > names.size()) {  // it was fine-tuned, not stopped before
    for (const auto& name : tuning_measure_names(options)) names.push_back(name);
  }
  for (size_t i = 0; i < names.size(); ++i) {
    auto measure = std::make_unique<fb::MeasureT>();
    measure->metric = names[i].first;
    measure->value = measures.at(i);
    measure->on = names[i].second;
    provenance->measures.push_back(std::move(measure));
  }
  result.provenance = std::move(provenance);
  return result;
}

}  // namespace svq::convert
