// Linears that the source holds in codes already (ImportedLinear) go into the file as they are: codes are packed anew,
// nothing is computed.
#pragma once
#include <cstdint>
#include <filesystem>

#include "converter/job/options.h"
#include "converter/job/plan.h"
#include "converter/write/part_file.h"

namespace svq::convert {

bool imports_codes(const Model& model);
// Sets what follows from it: the method, and that nothing is trained. Throws Error if the options ask for another
// width.
void import_options(Options& options);

// Input transforms, affine maps and linears of an imported group's part; its norms are there. Linears of equal input
// scales share a transform, those of about equal scale and equal zero point a map.
void layout_imported(fb::PartT& part, const PlannedGroup& group, const Model& model);
fb::PartT write_imported(const PlannedGroup& group, const Model& model, const Options& options, uint64_t fingerprint,
                         const std::filesystem::path& path);

}  // namespace svq::convert
