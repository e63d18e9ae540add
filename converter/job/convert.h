// A conversion from the parsed command line to the finished file.
#pragma once
#include "converter/job/options.h"
#include "converter/job/reporter.h"

namespace svq::convert {

// Checks, plan, work, file, summary. Throws Error; Interrupted when a signal asked to stop: the state is then on disk,
// and the file with what is done if any linear of a block is quantized.
void convert(const Options& options, Reporter& reporter);
// The same of a model that is open already; options.source is only its name.
void convert(const Model& model, const Options& options, Reporter& reporter);

}  // namespace svq::convert
