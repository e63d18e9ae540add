// Checkpoints that LC-QAT trained (arXiv 2606.10520's authors): safetensors with 2-bit codes and their scales. Beside
// NAME.weight, uint8 [rows, columns / 4] with four codes a byte, stand NAME.SU [columns], NAME.SV [rows], and
// NAME.code_generator.codebook_scale and .codebook_zero_point, one number each. Hadamard transforms of 128.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "converter/models/model.h"
#include "converter/models/source_model.h"
#include "converter/sources/source.h"

namespace svq::convert {

bool is_lcqat(const Source& source);  // some linear has a codebook

// The codes and what belongs to them, taken out of a source.
class LcqatCodes {
 public:
  // Throws Error naming the tensor that is missing or has another shape or type. `label` stands for the file.
  LcqatCodes(std::string label, std::unique_ptr<Source> source);

  // What is left: the weights, those with codes as matrices [rows, columns] of codes. May be taken once; it borrows
  // from this object.
  std::unique_ptr<Source> weights();
  // By the weight's name; null if it has no codes.
  const ImportedLinear* find(const std::string& weight) const;

 private:
  std::string label_;
  std::unique_ptr<Source> source_;
  std::vector<TensorView> weights_;
  std::map<std::string, ImportedLinear> linears_;
};

// parts.source is codes->weights().
std::unique_ptr<Model> make_lcqat_model(std::unique_ptr<LcqatCodes> codes, SourceModel::Parts parts);

}  // namespace svq::convert
