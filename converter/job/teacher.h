// The float model's hidden states after the final norm for every sequence: what the student is to predict.
#pragma once
#include "converter/job/float_pass.h"
#include "converter/job/reporter.h"
#include "converter/job/work_directory.h"
#include "converter/train/distill.h"

namespace svq::convert {

// From the work directory, or computed and kept there, layer by layer (an interrupted run goes on). In units of
// progress it goes from `start` to `start` + `cost`. Throws Interrupted when asked to stop.
Teacher make_teacher(const Model& model, const FloatPass& pass, const at::Tensor& tokens, WorkDirectory& work,
                     Reporter& reporter, double start, double cost);

}  // namespace svq::convert
