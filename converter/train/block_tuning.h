// The block-wise fine-tuning of UniSVQ (arXiv 2606.10520): scales, affine maps, norms and biases of one quantized block
// are trained until it gives what the float block gives.
#pragma once
#include <cstdint>
#include <functional>

#include "converter/train/student.h"

namespace svq::convert {

struct BlockTuningOptions {
  int64_t tokens = 65536;  // trained on, counting repetitions
  int64_t sequences_per_step = 4;
  double scale_rate = 2e-3, map_rate = 1e-3;  // as Adam's
  uint64_t seed = 0;                          // of the sequences' order
};

struct BlockTuning {
  double before = 0, after = 0;  // losses on the sequences held out
  int64_t steps = 0;
};

// student: one block and nothing else. inputs, targets: [S, T, hidden] f32; every eighth sequence is held out (of fewer
// the last; a single one is its own). Loss: mean over tokens of |y − target|² / |target|: some tokens are a hundred
// times as large as others, and would else be all that counts, or not count at all. The learning rate is warmed up over
// four steps and falls as a cosine to 3 %. The held-out loss is looked at once an epoch; where it brings nothing for a
// quarter of the steps (or two epochs) training ends. The values of the best look are kept, those of the start
// included. progress(fraction) may throw.
BlockTuning tune_block(Student& student, const at::Tensor& inputs, const at::Tensor& targets,
                       const BlockTuningOptions& options, const std::function<void(double)>& progress = {});

}  // namespace svq::convert
