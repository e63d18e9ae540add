#include "converter/models/source_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "converter/base/error.h"
#include "converter/models/architecture.h"
#include "converter/sources/text.h"

namespace svq::convert {
namespace {

Shape shape_of(const TensorView& tensor) {
  Shape shape{1, 1};
  if (!tensor.shape.empty()) shape.columns = tensor.shape.back();
  for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) shape.rows *= tensor.shape[i];
  return shape;
}

std::string shown(const std::vector<uint64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

bool finite(float value) { return (std::bit_cast<uint32_t>(value) & 0x7F800000u) != 0x7F800000u; }

void check_finite(const std::string& label, const TensorView& tensor, std::span<const float> values, uint64_t first) {
  uint32_t bad = 0;  // no early exit: the loop vectorises
  for (float value : values) bad |= static_cast<uint32_t>(!finite(value));
  if (!bad) return;
  const auto it = std::find_if_not(values.begin(), values.end(), finite);
  throw Error(label + ": tensor " + in_quotes(tensor.name) +
              " holds a value that is not a finite number (NaN or infinity) at index " +
              std::to_string(first + static_cast<uint64_t>(it - values.begin())));
}

// Where row `row` of a head-wise half-split tensor stands when the halves of each head are interleaved: llama.cpp's
// converter views [heads, 2, head_dim / 2] as [heads, head_dim / 2, 2].
uint64_t interleaved_row(uint64_t row, uint64_t head_dim) {
  const uint64_t head = row / head_dim, within = row % head_dim, half = head_dim / 2;
  return head * head_dim + 2 * (within % half) + within / half;
}

// Two roundings of one matrix: rows point the same way. Independent matrices of a model are far from that (cosines
// below one half), 2-bit and 6-bit roundings of one are far above it (0.95).
bool same_values(const TensorView& a, const TensorView& b) {
  constexpr double kLeastCosine = 0.9;
  constexpr uint64_t kSample = 64;
  const auto [rows, columns] = shape_of(a);
  if (shape_of(b).rows != rows || shape_of(b).columns != columns) return false;
  std::vector<float> x(columns), y(columns);
  uint64_t compared = 0;
  for (uint64_t i = 0; i < std::min(rows, kSample); ++i) {
    const uint64_t row = i * rows / std::min(rows, kSample);
    dequantize(a, row, row + 1, x.data());
    dequantize(b, row, row + 1, y.data());
    double xx = 0, yy = 0, xy = 0;
    for (uint64_t k = 0; k < columns; ++k) {
      xx += double(x[k]) * x[k];
      yy += double(y[k]) * y[k];
      xy += double(x[k]) * y[k];
    }
    if (xx == 0 && yy == 0) continue;  // an unused token
    if (!(xy > kLeastCosine * std::sqrt(xx * yy))) return false;
    const double ratio = xx / yy;
    if (!(ratio > 0.5 && ratio < 2)) return false;
    ++compared;
  }
  return compared > 0;
}

}  // namespace

SourceModel::SourceModel(Parts parts) : parts_(std::move(parts)) {
  place_tensors();
  check_tensors();
  format_ = parts_.source->format() + " " + dominant_type();
}

const TensorView* SourceModel::find(Slot slot, int layer) const {
  if (layer < 0) return outer_[static_cast<size_t>(slot)];
  return static_cast<size_t>(layer) < layers_.size() ? layers_[static_cast<size_t>(layer)][static_cast<size_t>(slot)]
                                                     : nullptr;
}

const TensorView& SourceModel::require(Slot slot, int layer) const {
  if (const TensorView* tensor = find(slot, layer)) return *tensor;
  const std::string name = tensor_name(*parts_.config.family, parts_.naming, slot, layer);
  throw Error(parts_.label + ": the tensor " + in_quotes(name) + " is missing");
}

void SourceModel::place_tensors() {
  const auto n_layers = parts_.config.architecture.n_layers;
  // Each layer has tensors of its own: a claim of more layers than tensors needs no memory to be refused.
  if (n_layers > parts_.source->tensors().size()) {
    throw Error(parts_.label + ": claims " + std::to_string(n_layers) + " layers but holds only " +
                std::to_string(parts_.source->tensors().size()) + " tensors");
  }
  layers_.resize(n_layers);
  for (const TensorView& tensor : parts_.source->tensors()) {
    Place place;
    if (!place_tensor(*parts_.config.family, parts_.naming, parts_.label, tensor.name, place)) continue;
    if (place.layer >= static_cast<int>(n_layers)) {
      throw Error(parts_.label + ": tensor " + in_quotes(tensor.name) + " belongs to a layer beyond the model's " +
                  std::to_string(n_layers));
    }
    Tensors& home = place.layer < 0 ? outer_ : layers_[static_cast<size_t>(place.layer)];
    home[static_cast<size_t>(place.slot)] = &tensor;
  }
}

void SourceModel::check_tensors() {
  const Config& config = parts_.config;
  const auto check_slot = [&](const TensorName& entry) {
    const bool per_layer = std::string_view(entry.gguf).find('#') != std::string_view::npos;
    const int first = per_layer ? 0 : -1, end = per_layer ? static_cast<int>(layers_.size()) : 0;
    // A tensor that may be absent is so everywhere or nowhere.
    const bool needed =
        entry.required || (per_layer && find(entry.slot, 0)) || (per_layer && config.attention_bias.value_or(false));
    for (int layer = first; layer < end; ++layer) {
      if (needed) require(entry.slot, layer);
      if (const TensorView* tensor = find(entry.slot, layer)) {
        if (!needed && per_layer) {
          throw Error(parts_.label + ": tensor " + in_quotes(tensor->name) + " has no counterpart in layer 0");
        }
        check_shape(entry.slot, *tensor);
      }
    }
  };
  for (const TensorName& entry : common_tensors()) check_slot(entry);
  for (const TensorName& entry : config.family->own_tensors) check_slot(entry);

  if (!find(Slot::kHead, -1) && config.tied == false) {
    throw Error(parts_.label + ": the tensor " +
                in_quotes(tensor_name(*config.family, parts_.naming, Slot::kHead, -1)) +
                " is missing, and \"tie_word_embeddings\" is false");
  }
  tied_ = !find(Slot::kHead, -1) || config.tied.value_or(false);
  if (!tied_ && !config.tied.has_value()) tied_ = join_copies();
  if (tied_) outer_[static_cast<size_t>(Slot::kHead)] = nullptr;  // a copy of the embedding, as the configuration says
}

void SourceModel::check_shape(Slot slot, const TensorView& tensor) const {
  if (tensor.type == WeightType::kU8) {
    throw Error(parts_.label + ": tensor " + in_quotes(tensor.name) +
                " holds bytes, expected floating-point numbers (bytes are codes in LC-QAT checkpoints only)");
  }
  const Shape expected = slot_shape(parts_.config.architecture, slot), actual = shape_of(tensor);
  // A vector may have any number of leading ones.
  const bool flat_ok = expected.rows == 1 || tensor.shape.size() == 2;
  if (expected.rows != actual.rows || expected.columns != actual.columns || !flat_ok) {
    const auto wanted =
        expected.rows == 1 ? std::vector{expected.columns} : std::vector{expected.rows, expected.columns};
    throw Error(parts_.label + ": tensor " + in_quotes(tensor.name) + " has the shape " + shown(tensor.shape) +
                ", expected " + shown(wanted));
  }
}

bool SourceModel::join_copies() {
  const TensorView*& embedding = outer_[static_cast<size_t>(Slot::kEmbedding)];
  const TensorView* head = find(Slot::kHead, -1);
  if (!embedding || !head || !same_values(*embedding, *head)) return false;
  const auto bits = [](const TensorView& t) {
    const auto block = block_size(t.type);
    return 8.0 * static_cast<double>(block.bytes) / static_cast<double>(block.elements);
  };
  const TensorView* better = bits(*head) > bits(*embedding) ? head : embedding;
  parts_.warnings.push_back("the tensors " + in_quotes(embedding->name) + " and " + in_quotes(head->name) +
                            " hold one matrix: it is taken once, from " + in_quotes(better->name) + " (" +
                            weight_type_name(better->type) + ")");
  embedding = better;
  return true;
}

bool SourceModel::interleaved(Slot slot) const {
  if (parts_.naming != Naming::kGguf || !parts_.config.family->interleaved_in_gguf) return false;
  return slot == Slot::kQ || slot == Slot::kK || slot == Slot::kQBias || slot == Slot::kKBias;
}

std::string SourceModel::dominant_type() const {
  std::map<WeightType, uint64_t> elements;
  for (const Tensors& layer : layers_) {
    for (const TensorView* tensor : layer) {
      if (tensor)
        elements[tensor->type] += tensor->bytes / block_size(tensor->type).bytes * block_size(tensor->type).elements;
    }
  }
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return weight_type_name(most->first);
}

Shape SourceModel::shape(Slot slot, int layer) const { return shape_of(require(slot, layer)); }

void SourceModel::read(Slot slot, int layer, std::span<float> out) const {
  read_rows(slot, layer, 0, shape(slot, layer).rows, out);
}

void SourceModel::read_rows(Slot slot, int layer, uint64_t begin, uint64_t end, std::span<float> out) const {
  const TensorView& tensor = require(slot, layer);
  const auto [rows, columns] = shape_of(tensor);
  if (begin > end || end > rows || out.size() != (end - begin) * columns) {
    throw Error(parts_.label + ": rows " + std::to_string(begin) + " to " + std::to_string(end) + " of tensor " +
                in_quotes(tensor.name) + " do not fit the buffer of " + std::to_string(out.size()) + " values");
  }
  const uint64_t head_dim = parts_.config.architecture.head_dim;
  if (!interleaved(slot)) {
    dequantize(tensor, begin, end, out.data());
    check_finite(parts_.label, tensor, out, begin * columns);
  } else if (rows == 1) {  // a bias: its elements are the rows
    std::vector<float> stored(columns);
    dequantize(tensor, 0, 1, stored.data());
    check_finite(parts_.label, tensor, stored, 0);
    for (uint64_t i = 0; begin < end && i < columns; ++i) out[i] = stored[interleaved_row(i, head_dim)];
  } else {
    for (uint64_t row = begin; row < end; ++row) {
      const uint64_t source = interleaved_row(row, head_dim);
      const auto target = out.subspan((row - begin) * columns, columns);
      dequantize(tensor, source, source + 1, target.data());
      check_finite(parts_.label, tensor, target, source * columns);
    }
  }
  // Permuted rows stay within their head, so this is what was read, or nearly.
  const uint64_t row_bytes = tensor.bytes / rows;
  parts_.source->release({tensor.data + begin * row_bytes, (end - begin) * row_bytes});
}

}  // namespace svq::convert
