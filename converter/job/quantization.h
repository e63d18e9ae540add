// What makes the parts of a file: calibration, curvature and Hessians, then group after group of linears quantized and
// written to the work directory, block by block. What an earlier run left there is not done again.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "converter/job/block_tuner.h"
#include "converter/job/costs.h"
#include "converter/job/curvature.h"
#include "converter/job/float_pass.h"
#include "converter/job/plan.h"
#include "converter/job/prefix.h"
#include "converter/job/progressive.h"
#include "converter/job/reporter.h"
#include "converter/job/sequences.h"
#include "converter/job/tuning.h"
#include "converter/job/work_directory.h"
#include "converter/quantize/hessian.h"

namespace svq::convert {

// What a file is made of: the finished parts, or after Ctrl-C those there are and the other linears in 16 bits.
struct Content {
  Options options;  // the plan's
  Plan plan;
  std::vector<std::unique_ptr<fb::PartT>> parts;  // of the plan's groups
  std::vector<std::filesystem::path> files;       // with them
  std::optional<Tuning> tuning;
  std::string stopped;  // by the user: where, and what the file holds; empty: finished
};

inline constexpr const char* kRestPrefix = "rest.";  // of the parts in 16 bits of a file that Ctrl-C asked for

class Quantization {
 public:
  Quantization(const Model& model, const Options& options, const Plan& plan, WorkDirectory& work, Reporter& reporter);

  // Every part of the plan finished and on disk, in the plan's order.
  std::vector<std::unique_ptr<fb::PartT>> run();

  // After run() was interrupted: its parts, and the linears without one in 16 bits, as they are trained so far. Nothing
  // if no linear of a block has been quantized, if codes are imported, or if the disk is too full. run() is over then.
  std::optional<Content> rest_in_floats();

  // All sequences, read or sampled once: [S, T] i64; sequences() tells what each is for.
  const at::Tensor& tokens();
  const SequencePlan& sequences();
  double drawing_cost() const { return costs_.sampling(plan_); }
  const FloatPass& pass() const { return pass_; }
  int64_t steps_while_quantizing() const { return progressive_.total_steps(); }

 private:
  // Quantizes a group, writes its part to `path` and reports it.
  void write(size_t index, at::Tensor hessian, std::unique_ptr<Correction> correction, std::unique_ptr<fb::PartT>& part,
             const std::filesystem::path& path);
  // Groups of one block in order: each is measured with, and corrected for, what the quantized ones before it produce.
  void quantize_block(int layer);
  // targets: what the float block makes of `inputs`.
  void tune_block(int layer, const at::Tensor& inputs, const at::Tensor& targets);
  void measure_curvatures();
  // Forward, backward to the inputs, and half of the outer products, which are symmetric.
  double curvature_cost() const;
  // Takes hidden_ through block `layer` as it is quantized; with `quantize`, parts that are missing are made on the
  // way, from what the float block makes of the same states. Returns what the float block gives at its end, which is
  // computed for block-wise tuning alone: nobody else reads it.
  at::Tensor run_stages(int layer, bool quantize);
  // Reads the parts that an earlier run left, and tells the reporter how much there is to do.
  void find_finished();
  double block_cost(int layer) const;
  double blocks_cost() const;
  // The file's order, but groups fed by the last block's output come last.
  std::vector<size_t> work_order() const;
  bool block_finished(int layer) const;
  // With --prefix float, and of the head and the embedding: [K, K] f32, of the states so far.
  at::Tensor hessian_of(const PlannedGroup& group);
  // Makes hidden_ the input of block `layer`.
  void advance_to(int layer);
  // The float block; sums the Hessians of its groups that have no part yet.
  void run_block(int layer, bool with_hessians);
  bool load_hidden(int layer);
  void save_hidden();
  // Reads or samples the sequences. calibration: how many of them the Hessians are measured on.
  at::Tensor draw_tokens(int64_t& calibration);
  // FLOP/s of the blocks' largest linear.
  double training_rate() const;
  void report(const PlannedGroup& group, const fb::PartT& part);

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

}  // namespace svq::convert
