// The finished model against its float source, and the runtime against the converter, on sequences that nothing was
// fitted to.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "converter/job/float_pass.h"
#include "converter/job/plan.h"
#include "converter/job/tuning.h"
#include "converter/train/agreement.h"

namespace svq::convert {

// Of the model that the parts hold, on tokens [S, T] i64: f32, no rounding of activations. parts and files are those of
// plan.groups, in order. One block of either model is in memory at a time, and both heads. progress(fraction) may
// throw.
Agreement measure_parts(const Model& model, const Plan& plan, const std::vector<const fb::PartT*>& parts,
                        const std::vector<std::filesystem::path>& files, const FloatPass& pass,
                        const at::Tensor& tokens, const std::function<void(double)>& progress);

// Perplexity that the runtime gives the same tokens: exp of the mean -log p of every token but the first of a sequence.
// activations: 32, or 8. Throws Error with the runtime's sentence if it cannot run the file. progress may throw.
double runtime_perplexity(const std::filesystem::path& file, const at::Tensor& tokens, int activations, int threads,
                          const std::function<void(double)>& progress);

// [sequences, length] i64 drawn by the runtime from the model in the file, each from a token drawn by the seed.
at::Tensor runtime_tokens(const std::filesystem::path& file, int64_t sequences, int64_t length, uint64_t seed,
                          int threads);

// The runtime's float path computes what the converter evaluates, but for the order of sums and a KV cache in f16.
inline constexpr double kMostRuntimeDifference = 0.005;
// Throws Error naming `output` and both perplexities if they differ by more than that.
void require_agreement(const RuntimeCheck& check, const std::filesystem::path& output);

}  // namespace svq::convert
