#include "converter/sources/source.h"

#include <algorithm>
#include <array>

namespace svq::convert {
namespace {

struct TypeInfo {
  const char* name;
  BlockSize block;
};
// Indexed by WeightType. Sizes: the fields of a block as listed in dequantize.cc and dequantize_k.cc.
constexpr std::array<TypeInfo, 17> kTypes = {{
    {"F32", {1, 4}},
    {"F16", {1, 2}},
    {"BF16", {1, 2}},
    {"F64", {1, 8}},
    {"Q4_0", {32, 18}},
    {"Q4_1", {32, 20}},
    {"Q5_0", {32, 22}},
    {"Q5_1", {32, 24}},
    {"Q8_0", {32, 34}},
    {"Q2_K", {256, 84}},
    {"Q3_K", {256, 110}},
    {"Q4_K", {256, 144}},
    {"Q5_K", {256, 176}},
    {"Q6_K", {256, 210}},
    {"IQ4_NL", {32, 18}},
    {"U8", {1, 1}},
    {"2-bit codes", {4, 1}},
}};

}  // namespace

const char* weight_type_name(WeightType type) { return kTypes[static_cast<size_t>(type)].name; }
BlockSize block_size(WeightType type) { return kTypes[static_cast<size_t>(type)].block; }

const TensorView* Source::find(std::string_view name) const {
  const auto& all = tensors();
  // Sources keep their tensors sorted by name.
  auto it = std::lower_bound(all.begin(), all.end(), name,
                             [](const TensorView& tensor, std::string_view key) { return tensor.name < key; });
  return it != all.end() && it->name == name ? &*it : nullptr;
}

}  // namespace svq::convert
