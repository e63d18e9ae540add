// Block-wise fine-tuning within a conversion: train/block_tuning.h on the parts of a block that was just quantized.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "converter/job/options.h"
#include "converter/job/plan.h"
#include "converter/job/work_directory.h"
#include "converter/train/block_tuning.h"

namespace svq::convert {

class BlockTuner {
 public:
  using Parts = std::vector<std::unique_ptr<fb::PartT>>;  // of the plan's groups

  BlockTuner(const Model& model, const Options& options, const Plan& plan, WorkDirectory& work);

  bool enabled() const { return options_.block_tokens > 0 && options_.follows_prefix(); }
  // Where a group's part waits until its whole block is quantized and trained.
  std::filesystem::path raw_path(const std::string& group) const { return work_.path() / ("raw." + group + ".part"); }
  // Trains block `layer`, whose `raw` parts stand at their raw_path, on inputs → targets, [S, T, hidden] f32, and
  // writes its `parts`; the raw ones are removed. progress(fraction) may throw.
  BlockTuning tune(int layer, Parts& raw, Parts& parts, const at::Tensor& inputs, const at::Tensor& targets,
                   const std::function<void(double)>& progress);
  // In multiply-adds, of one block.
  double cost() const;

 private:
  const Model& model_;
  const Options& options_;
  const Plan& plan_;
  WorkDirectory& work_;
};

}  // namespace svq::convert
