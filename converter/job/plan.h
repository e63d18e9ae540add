// What a conversion will do, and how large its result will be: known before any work. No libtorch here.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "converter/job/options.h"
#include "converter/models/model.h"
#include "converter/write/part_file.h"

namespace svq::convert {

enum class GroupKind { kEmbedding, kAttnIn, kOIn, kFfnIn, kDownIn, kFinalNorm, kHead };
const char* group_kind_name(GroupKind kind);  // "attn_in"

struct PlannedLinear {
  std::string name;  // "blocks.3.q"
  Slot slot;
  std::optional<Slot> bias;
  uint64_t rows, columns;  // N, K
  int bits;
  bool packed() const { return bits != 16; }
};

// The linears that read one input, and the norms stored with them: one part file.
struct PlannedGroup {
  std::string name;  // "blocks.3.attn_in", "embedding", "final_norm", "head"
  GroupKind kind;
  int layer = -1;
  std::vector<PlannedLinear> linears;
  std::vector<Slot> norms;          // stored as they are, f32
  std::optional<Slot> folded_norm;  // multiplied into the input transform's scale
  bool needs_hessian = false;       // of calibration activations
  bool imported = false;            // the source holds these linears in codes, which are taken as they are
  bool packed() const;
};

struct Plan {
  std::vector<PlannedGroup> groups;  // in the order of the file: embedding, blocks, final norm, head
  bool needs_calibration = false;
  bool tied = false;
  uint64_t parameters = 0;     // of everything; a tied embedding counts once
  uint64_t block_weights = 0;  // of the linears in the decoder blocks
  uint64_t block_bytes = 0;    // their codes or f16, scales and affine maps
  uint64_t data_bytes = 0;     // data section
  uint64_t file_bytes = 0;     // exact
  uint64_t work_bytes = 0;     // most that the work directory holds
  uint64_t memory_bytes = 0;   // estimate of the peak
  bool at_most = false;        // widths are chosen later, by a budget: it bounds what it is for
};

// Linears whose outputs' curvature is measured where that is asked for: above this many rows the matrices would be
// larger than the model.
inline constexpr uint64_t kMostCurvatureRows = 4096;
bool has_curvature(const PlannedGroup& group, const PlannedLinear& linear);

// Of the head, also where the embedding is the head.
double head_weights(const Plan& plan);
// FLOP of training on one token: the blocks forward twice (activations are not kept) and backward to inputs and
// weights, the head once and backward.
double training_flops(const Plan& plan);

// Tokens of training while quantizing (progressive.h): by default none for a model whose weights and their gradients
// would take most of this machine's memory.
int64_t progressive_tokens(const Options& options, const Plan& plan);
// The sequences of its steps that are computed at the same time, each with gradients of its own: all for models so
// small that one sequence does not keep all threads busy, else one.
uint64_t progressive_at_once(const Plan& plan);

// Throws Error: an override that matches nothing, a width that a shape does not allow.
Plan make_plan(const Model& model, const Options& options);

// Metadata of the group's part with every tensor's place and size; checksums are still 0, relative errors -1.
// Packed linears of equal bits share an affine map; maps are in the order of first use.
fb::PartT layout_part(const PlannedGroup& group, const Model& model, const Options& options, uint64_t fingerprint);

// Everything of the file's metadata but what assemble() adds.
fb::ModelT describe_model(const Model& model, const Plan& plan, const Options& options, const std::string& source_hash,
                          const std::string& calibration_hash, const std::vector<double>& measures);

// Names of the measures in describe_model, in their order: geometric means of the relative errors over packed linears.
// `on` is "blocks" (all of them) or a slot's name.
std::vector<std::string> measured_parts(const Plan& plan);

// Measures of fine-tuning that follow them where there is some: (metric, on).
std::vector<std::pair<std::string, std::string>> tuning_measure_names(const Options& options);

// "sampled from the model: 32 sequences of 512 tokens, seed 0".
std::string describe_calibration(const Plan& plan, const Options& options, const std::string& calibration_hash);

}  // namespace svq::convert
