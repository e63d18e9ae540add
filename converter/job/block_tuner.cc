#include "converter/job/block_tuner.h"

#include "converter/job/group_writer.h"
#include "converter/job/prefix.h"
#include "converter/models/float/startup.h"

namespace svq::convert {

BlockTuner::BlockTuner(const Model& model, const Options& options, const Plan& plan, WorkDirectory& work)
    : model_(model), options_(options), plan_(plan), work_(work) {}

double BlockTuner::cost() const {
  if (!enabled()) return 0;
  // Forward, and backward to the inputs.
  return 2.0 * static_cast<double>(options_.block_tokens) * static_cast<double>(plan_.block_weights) /
         static_cast<double>(model_.architecture().n_layers);
}

BlockTuning BlockTuner::tune(int layer, Parts& raw, Parts& parts, const at::Tensor& inputs, const at::Tensor& targets,
                             const std::function<void(double)>& progress) {
  Student student(model_);
  student.tied = true;  // there is neither embedding nor head
  StudentBlock& block = student.blocks.emplace_back();
  std::vector<size_t> groups;
  std::vector<GroupContent> contents;
  for (size_t i = 0; i < plan_.groups.size(); ++i) {
    const PlannedGroup& planned = plan_.groups[i];
    if (planned.layer != layer) continue;
    groups.push_back(i);
    contents.push_back(read_content(*raw[i], raw_path(planned.name)));
    load_student_group(planned, model_, contents.back(), bf16_is_faster(c10::kCPU), block);
  }
  BlockTuningOptions tuning;
  tuning.tokens = options_.block_tokens;
  tuning.seed = options_.seed;
  const BlockTuning result = tune_block(student, inputs, targets, tuning, progress);
  for (size_t g = 0; g < groups.size(); ++g) {
    const size_t i = groups[g];
    const PlannedGroup& planned = plan_.groups[i];
    store_student_group(planned, block, contents[g]);
    parts[i] = std::make_unique<fb::PartT>(write_part(planned, model_, options_, work_.fingerprint(), contents[g],
                                                      raw[i]->seconds, work_.part_path(planned.name)));
  }
  for (const size_t i : groups) {
    std::error_code ignored;
    std::filesystem::remove(raw_path(plan_.groups[i].name), ignored);
    raw[i].reset();
  }
  return result;
}

}  // namespace svq::convert
