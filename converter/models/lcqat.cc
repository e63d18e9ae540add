#include "converter/models/lcqat.h"

#include <algorithm>
#include <cmath>

#include "converter/base/error.h"
#include "converter/sources/text.h"

namespace svq::convert {

namespace {

constexpr std::string_view kScale = ".code_generator.codebook_scale", kZero = ".code_generator.codebook_zero_point",
                           kWeight = ".weight", kSu = ".SU", kSv = ".SV";
constexpr uint32_t kBlock = 128;  // of the Hadamard transforms

uint64_t count_of(const TensorView& tensor) {
  uint64_t n = 1;
  for (const uint64_t size : tensor.shape) n *= size;
  return n;
}

// A source whose tensors are given; the bytes are another's.
class Rest final : public Source {
 public:
  Rest(const Source& origin, const std::vector<TensorView>& tensors) : origin_(origin), tensors_(tensors) {}
  const std::string& format() const override { return format_; }
  const std::vector<TensorView>& tensors() const override { return tensors_; }
  std::string hash() const override { return origin_.hash(); }
  void release(std::span<const std::byte> read) const override { origin_.release(read); }

 private:
  const Source& origin_;
  const std::vector<TensorView>& tensors_;
  std::string format_ = "LC-QAT safetensors";
};

// In place on n items of `width` values, n a multiple of kBlock: normalised Hadamard transforms of blocks of items.
void hadamard(float* values, uint64_t n, uint64_t width) {
  const float norm = 1 / std::sqrt(static_cast<float>(kBlock));
  for (uint64_t begin = 0; begin < n; begin += kBlock) {
    float* v = values + begin * width;
    for (uint64_t half = 1; half < kBlock; half *= 2) {
      for (uint64_t i = 0; i < kBlock; i += 2 * half) {
        for (uint64_t k = i * width; k < (i + half) * width; ++k) {
          const float a = v[k], b = v[k + half * width];
          v[k] = a + b;
          v[k + half * width] = a - b;
        }
      }
    }
    for (uint64_t k = 0; k < kBlock * width; ++k) v[k] *= norm;
  }
}

class LcqatModel final : public Model {
 public:
  LcqatModel(std::unique_ptr<LcqatCodes> codes, const Family& family, SourceModel::Parts parts)
      : codes_(std::move(codes)), family_(family), inner_(std::move(parts)) {}

  const fb::ArchitectureT& architecture() const override { return inner_.architecture(); }
  const fb::TokenizerT* tokenizer() const override { return inner_.tokenizer(); }
  const fb::ChatT& chat() const override { return inner_.chat(); }
  const fb::GenerationT& generation() const override { return inner_.generation(); }
  const std::string& name() const override { return inner_.name(); }
  const std::string& source_name() const override { return inner_.source_name(); }
  const std::string& source_format() const override { return inner_.source_format(); }
  std::string source_hash() const override { return inner_.source_hash(); }
  uint64_t source_bytes() const override { return inner_.source_bytes(); }
  bool tied() const override { return inner_.tied(); }
  const std::vector<std::string>& warnings() const override { return inner_.warnings(); }
  bool has(Slot slot, int layer) const override { return inner_.has(slot, layer); }
  Shape shape(Slot slot, int layer) const override { return inner_.shape(slot, layer); }

  const ImportedLinear* imported(Slot slot, int layer) const override {
    return codes_->find(tensor_name(family_, Naming::kHf, slot, layer));
  }
  void read_codes(Slot slot, int layer, std::span<uint8_t> out) const override {
    std::vector<float> codes(out.size());
    inner_.read(slot, layer, codes);
    std::transform(codes.begin(), codes.end(), out.begin(), [](float c) { return static_cast<uint8_t>(c); });
  }
  void read(Slot slot, int layer, std::span<float> out) const override {
    read_rows(slot, layer, 0, shape(slot, layer).rows, out);
  }
  void read_rows(Slot slot, int layer, uint64_t begin, uint64_t end, std::span<float> out) const override {
    const ImportedLinear* linear = imported(slot, layer);
    if (!linear) return inner_.read_rows(slot, layer, begin, end, out);
    const auto [rows, columns] = shape(slot, layer);
    // Whole blocks of rows, which the transform mixes.
    const uint64_t first = begin / kBlock * kBlock, last = std::min(rows, (end + kBlock - 1) / kBlock * kBlock);
    std::vector<float> whole((last - first) * columns);
    inner_.read_rows(slot, layer, first, last, whole);
    for (float& v : whole) v = linear->scale * (v - linear->zero_point);
    for (uint64_t r = 0; r < last - first; ++r) hadamard(&whole[r * columns], columns, 1);
    hadamard(whole.data(), last - first, columns);
    for (uint64_t r = begin; r < end; ++r) {
      for (uint64_t c = 0; c < columns; ++c)
        out[(r - begin) * columns + c] = whole[(r - first) * columns + c] * linear->out_scale[r] * linear->in_scale[c];
    }
  }

 private:
  std::unique_ptr<LcqatCodes> codes_;
  const Family& family_;
  SourceModel inner_;
};

}  // namespace

bool is_lcqat(const Source& source) {
  return std::any_of(source.tensors().begin(), source.tensors().end(),
                     [](const TensorView& t) { return t.name.ends_with(kScale); });
}

LcqatCodes::LcqatCodes(std::string label, std::unique_ptr<Source> source)
    : label_(std::move(label)), source_(std::move(source)) {
  const auto values = [&](const std::string& name, uint64_t expected) {
    const TensorView* t = source_->find(name);
    if (!t) throw Error(label_ + ": the tensor " + in_quotes(name) + " is missing, beside codes of LC-QAT");
    if (t->type == WeightType::kU8 || count_of(*t) != expected)
      throw Error(label_ + ": tensor " + in_quotes(name) + " has " + std::to_string(count_of(*t)) + " values of type " +
                  weight_type_name(t->type) + ", expected " + std::to_string(expected) + " floating-point numbers");
    TensorView flat = *t;
    flat.shape = {expected};
    std::vector<float> result(expected);
    dequantize(flat, 0, 1, result.data());
    for (const float v : result) {
      if (!std::isfinite(v)) throw Error(label_ + ": tensor " + in_quotes(name) + " holds a value that is not finite");
    }
    return result;
  };
  for (const TensorView& t : source_->tensors()) {
    const auto belongs = [&](std::string_view ending) {
      return t.name.ends_with(ending) &&
             source_->find(t.name.substr(0, t.name.size() - ending.size()) + std::string(kScale)) != nullptr;
    };
    if (belongs(kScale) || belongs(kZero) || belongs(kSu) || belongs(kSv)) continue;
    weights_.push_back(t);
    if (!belongs(kWeight)) continue;
    if (t.type != WeightType::kU8 || t.shape.size() != 2)
      throw Error(label_ + ": tensor " + in_quotes(t.name) + " is a " + weight_type_name(t.type) +
                  " tensor, expected a U8 matrix of LC-QAT's codes");
    const uint64_t rows = t.shape[0], columns = 4 * t.shape[1];
    if (rows % kBlock != 0 || columns % kBlock != 0)
      throw Error(label_ + ": tensor " + in_quotes(t.name) + " has " + std::to_string(rows) + " rows and codes of " +
                  std::to_string(columns) + " columns, expected multiples of " + std::to_string(kBlock));
    weights_.back().type = WeightType::kCrumbs;
    weights_.back().shape = {rows, columns};
    const std::string name = t.name.substr(0, t.name.size() - kWeight.size());
    linears_[t.name] = {values(name + std::string(kSu), columns), values(name + std::string(kSv), rows),
                        values(name + std::string(kScale), 1)[0], values(name + std::string(kZero), 1)[0], kBlock};
  }
}

std::unique_ptr<Source> LcqatCodes::weights() { return std::make_unique<Rest>(*source_, weights_); }

const ImportedLinear* LcqatCodes::find(const std::string& weight) const {
  const auto found = linears_.find(weight);
  return found == linears_.end() ? nullptr : &found->second;
}

std::unique_ptr<Model> make_lcqat_model(std::unique_ptr<LcqatCodes> codes, SourceModel::Parts parts) {
  const Family& family = *parts.config.family;
  return std::make_unique<LcqatModel>(std::move(codes), family, std::move(parts));
}

}  // namespace svq::convert
