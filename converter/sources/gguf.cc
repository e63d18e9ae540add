#include "converter/sources/gguf.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "converter/base/error.h"
#include "converter/sources/hash.h"
#include "converter/sources/text.h"

namespace svq::convert {
namespace {

static_assert(std::endian::native == std::endian::little, "values are read in place");

constexpr uint64_t kMaxKeyLength = 65535;  // of the format's specification
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint32_t kMaxGgufDims = 4;
constexpr int kMaxArrayDepth = 4;

// Bytes of a scalar; 0 for strings and arrays.
uint64_t scalar_size(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

struct TensorType {
  uint32_t id;
  const char* name;
  std::optional<WeightType> type;  // nullopt: known by name, not supported
};
// ggml's type numbers.
const TensorType kTensorTypes[] = {
    {0, "F32", WeightType::kF32},
    {1, "F16", WeightType::kF16},
    {2, "Q4_0", WeightType::kQ4_0},
    {3, "Q4_1", WeightType::kQ4_1},
    {6, "Q5_0", WeightType::kQ5_0},
    {7, "Q5_1", WeightType::kQ5_1},
    {8, "Q8_0", WeightType::kQ8_0},
    {9, "Q8_1", {}},
    {10, "Q2_K", WeightType::kQ2_K},
    {11, "Q3_K", WeightType::kQ3_K},
    {12, "Q4_K", WeightType::kQ4_K},
    {13, "Q5_K", WeightType::kQ5_K},
    {14, "Q6_K", WeightType::kQ6_K},
    {15, "Q8_K", {}},
    {16, "IQ2_XXS", {}},
    {17, "IQ2_XS", {}},
    {18, "IQ3_XXS", {}},
    {19, "IQ1_S", {}},
    {20, "IQ4_NL", WeightType::kIQ4_NL},
    {21, "IQ3_S", {}},
    {22, "IQ2_S", {}},
    {23, "IQ4_XS", {}},
    {24, "I8", {}},
    {25, "I16", {}},
    {26, "I32", {}},
    {27, "I64", {}},
    {28, "F64", WeightType::kF64},
    {29, "IQ1_M", {}},
    {30, "BF16", WeightType::kBF16},
    {34, "TQ1_0", {}},
    {35, "TQ2_0", {}},
    {39, "MXFP4", {}},
    {40, "NVFP4", {}},
};

WeightType tensor_type(const std::string& label, const std::string& tensor, uint32_t id) {
  std::string supported;
  const char* known = nullptr;
  for (const TensorType& entry : kTensorTypes) {
    if (entry.id == id && entry.type) return *entry.type;
    if (entry.id == id) known = entry.name;
    if (entry.type) supported += (supported.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw Error(label + ": tensor " + in_quotes(tensor) + " has the unsupported type " +
              (known ? std::string(known) : "number " + std::to_string(id)) + "; supported are " + supported);
}

class Reader {
 public:
  Reader(const std::string& label, std::span<const std::byte> bytes) : label_(label), bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }
  [[noreturn]] void fail(const std::string& what) const { throw Error(label_ + ": " + what); }

  const std::byte* take(uint64_t size, const std::string& what) {
    if (size > remaining()) {
      fail("is truncated: " + what + " needs " + std::to_string(size) + " bytes at offset " +
           std::to_string(position_) + ", of " + std::to_string(bytes_.size()) + " in the file");
    }
    const std::byte* at = bytes_.data() + position_;
    position_ += size;
    return at;
  }
  template <typename T>
  T number(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what), sizeof(T));
    return value;
  }
  std::string_view string(const std::string& what) {
    const auto length = number<uint64_t>("the length of " + what);
    return {reinterpret_cast<const char*>(take(length, what)), length};
  }
  GgufType type(const std::string& what) {
    const auto id = number<uint32_t>("the type of " + what);
    if (id > static_cast<uint32_t>(GgufType::kF64)) {
      fail(what + " has the value type " + std::to_string(id) + ", expected 0 to 12");
    }
    return static_cast<GgufType>(id);
  }
  GgufValue value(GgufType type, const std::string& what, int depth = 0) {
    GgufValue result;
    result.type = type;
    if (type == GgufType::kString) {
      result.string = string(what);
    } else if (type != GgufType::kArray) {
      result.data = take(scalar_size(type), what);
      if (type == GgufType::kBool) check_bools(result.data, 1, what);
    } else {
      if (depth == kMaxArrayDepth) fail(what + " nests arrays deeper than " + std::to_string(kMaxArrayDepth));
      result.element = this->type(what);
      result.count = number<uint64_t>("the count of " + what);
      // The least that an element takes: itself, a string's length, or an inner array's type and count.
      const uint64_t least = result.element == GgufType::kString  ? 8
                             : result.element == GgufType::kArray ? 12
                                                                  : scalar_size(result.element);
      if (result.count > remaining() / least) {
        fail(what + " claims " + std::to_string(result.count) + " elements, more than the file can hold");
      }
      if (result.element == GgufType::kString) {
        result.strings.reserve(result.count);
        for (uint64_t i = 0; i < result.count; ++i) result.strings.push_back(string(what));
      } else if (result.element == GgufType::kArray) {
        for (uint64_t i = 0; i < result.count; ++i) value(GgufType::kArray, what, depth + 1);  // checked and skipped
      } else {
        result.data = take(result.count * scalar_size(result.element), what);
        if (result.element == GgufType::kBool) check_bools(result.data, result.count, what);
      }
    }
    return result;
  }

 private:
  void check_bools(const std::byte* data, uint64_t count, const std::string& what) const {
    if (!std::all_of(data, data + count, [](std::byte b) { return std::to_integer<int>(b) <= 1; })) {
      fail(what + " holds a boolean that is neither 0 nor 1");
    }
  }

  const std::string& label_;
  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
};

template <typename T>
T load(const std::byte* data) {
  T value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

// Signed values are sign-extended; the flag tells a U64 above INT64_MAX from a negative number.
struct Integer {
  int64_t value;
  bool too_large;
};
std::optional<Integer> load_integer(GgufType type, const std::byte* data) {
  switch (type) {
    case GgufType::kU8:
      return Integer{load<uint8_t>(data), false};
    case GgufType::kI8:
      return Integer{load<int8_t>(data), false};
    case GgufType::kU16:
      return Integer{load<uint16_t>(data), false};
    case GgufType::kI16:
      return Integer{load<int16_t>(data), false};
    case GgufType::kU32:
      return Integer{load<uint32_t>(data), false};
    case GgufType::kI32:
      return Integer{load<int32_t>(data), false};
    case GgufType::kI64:
      return Integer{load<int64_t>(data), false};
    case GgufType::kU64: {
      const auto value = load<uint64_t>(data);
      return Integer{static_cast<int64_t>(value), value > static_cast<uint64_t>(INT64_MAX)};
    }
    default:
      return std::nullopt;
  }
}

}  // namespace

const char* gguf_type_name(GgufType type) {
  static constexpr const char* kNames[] = {"uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
                                           "bool",  "string", "array",  "uint64", "int64",  "float64"};
  return kNames[static_cast<uint32_t>(type)];
}

GgufFile::GgufFile(const std::filesystem::path& path) : file_(path), label_(path.string()), bytes_(file_->bytes()) {
  parse();
}

GgufFile::GgufFile(std::string label, std::span<const std::byte> bytes) : label_(std::move(label)), bytes_(bytes) {
  parse();
}

void GgufFile::parse() {
  Reader in(label_, bytes_);
  if (bytes_.size() < 4 || std::memcmp(in.take(4, "the magic"), "GGUF", 4) != 0) {
    in.fail("is not a GGUF file: it does not begin with \"GGUF\"");
  }
  const auto version = in.number<uint32_t>("the version");
  if (version != 0 && (version & 0xFFFF) == 0)
    in.fail("is a big-endian GGUF file; only little-endian ones are supported");
  if (version != 2 && version != 3) {
    in.fail("is GGUF version " + std::to_string(version) + "; supported are versions 2 and 3");
  }
  format_ = "GGUF v" + std::to_string(version);
  const auto tensor_count = in.number<uint64_t>("the tensor count");
  const auto key_count = in.number<uint64_t>("the metadata count");
  // A key takes at least 8 + 4 + 1 bytes, a tensor 8 + 4 + 8 + 4 + 8.
  if (key_count > in.remaining() / 13)
    in.fail("claims " + std::to_string(key_count) + " metadata keys, more than it can hold");
  if (tensor_count > in.remaining() / 32)
    in.fail("claims " + std::to_string(tensor_count) + " tensors, more than it can hold");

  for (uint64_t i = 0; i < key_count; ++i) {
    const std::string key(in.string("metadata key " + std::to_string(i)));
    if (key.empty() || key.size() > kMaxKeyLength) {
      in.fail("metadata key " + std::to_string(i) + " has a name of " + std::to_string(key.size()) +
              " bytes, expected 1 to 65535");
    }
    const std::string what = "metadata key " + in_quotes(key);
    const GgufType type = in.type(what);
    if (!metadata_.emplace(key, in.value(type, what)).second) in.fail(what + " occurs twice");
  }
  uint64_t alignment = 32;
  if (auto given = get_uint("general.alignment")) alignment = *given;
  if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) {
    in.fail("general.alignment is " + std::to_string(alignment) + ", expected a power of two up to " +
            std::to_string(kMaxAlignment));
  }

  struct Entry {
    TensorView view;
    uint64_t offset;
  };
  std::vector<Entry> entries;
  entries.reserve(tensor_count);
  for (uint64_t i = 0; i < tensor_count; ++i) {
    Entry entry;
    entry.view.name = in.string("the name of tensor " + std::to_string(i));
    if (entry.view.name.empty() || entry.view.name.size() > kMaxKeyLength) {
      in.fail("tensor " + std::to_string(i) + " has a name of " + std::to_string(entry.view.name.size()) +
              " bytes, expected 1 to 65535");
    }
    const std::string what = "tensor " + in_quotes(entry.view.name);
    const auto dims = in.number<uint32_t>("the dimensions of " + what);
    if (dims == 0 || dims > kMaxGgufDims)
      in.fail(what + " has " + std::to_string(dims) + " dimensions, expected 1 to 4");
    uint64_t elements = 1;
    for (uint32_t d = 0; d < dims; ++d) {
      const auto size = in.number<uint64_t>("dimension " + std::to_string(d) + " of " + what);
      if (size == 0) in.fail(what + " has a dimension of size 0");
      if (__builtin_mul_overflow(elements, size, &elements)) in.fail(what + " has more elements than fit 64 bits");
      entry.view.shape.push_back(size);
    }
    entry.view.type = tensor_type(label_, entry.view.name, in.number<uint32_t>("the type of " + what));
    const BlockSize block = block_size(entry.view.type);
    if (entry.view.shape[0] % block.elements != 0) {
      in.fail(what + " has rows of " + std::to_string(entry.view.shape[0]) + " elements, expected a multiple of " +
              std::to_string(block.elements) + " for " + weight_type_name(entry.view.type));
    }
    std::reverse(entry.view.shape.begin(), entry.view.shape.end());
    if (__builtin_mul_overflow(elements / block.elements, static_cast<uint64_t>(block.bytes), &entry.view.bytes)) {
      in.fail(what + " has more bytes than fit 64 bits");
    }
    entry.offset = in.number<uint64_t>("the offset of " + what);
    if (entry.offset % alignment != 0) {
      in.fail(what + " begins at offset " + std::to_string(entry.offset) + ", expected a multiple of " +
              std::to_string(alignment));
    }
    entries.push_back(std::move(entry));
  }

  // The data section begins at the next multiple of the alignment; it may be missing when there is no tensor.
  const uint64_t data_begin = (in.position() + alignment - 1) / alignment * alignment;
  const uint64_t data_size = data_begin < bytes_.size() ? bytes_.size() - data_begin : 0;
  for (Entry& entry : entries) {
    if (entry.offset > data_size || entry.view.bytes > data_size - entry.offset) {
      in.fail("is truncated: tensor " + in_quotes(entry.view.name) + " needs " + std::to_string(entry.view.bytes) +
              " bytes at offset " + std::to_string(entry.offset) + " of the data section, which has " +
              std::to_string(data_size));
    }
    entry.view.data = bytes_.data() + data_begin + entry.offset;
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.offset < b.offset; });
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].offset - entries[i - 1].offset < entries[i - 1].view.bytes) {
      in.fail("tensors " + in_quotes(entries[i - 1].view.name) + " and " + in_quotes(entries[i].view.name) +
              " overlap");
    }
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.view.name < b.view.name; });
  tensors_.reserve(entries.size());
  for (Entry& entry : entries) {
    if (!tensors_.empty() && tensors_.back().name == entry.view.name) {
      in.fail("tensor " + in_quotes(entry.view.name) + " occurs twice");
    }
    tensors_.push_back(std::move(entry.view));
  }
}

std::string GgufFile::hash() const {
  Hasher hasher;
  hasher.add("gguf", bytes_);
  release(bytes_);
  return hasher.hex();
}

void GgufFile::release(std::span<const std::byte> read) const {
  if (file_) file_->release(read);
}

void GgufFile::wrong_type(std::string_view key, const GgufValue& value, const char* expected) const {
  std::string type = gguf_type_name(value.type);
  if (value.type == GgufType::kArray) type += std::string(" of ") + gguf_type_name(value.element);
  throw Error(label_ + ": metadata key " + in_quotes(key) + " is of type " + type + ", expected " + expected);
}

const GgufValue* GgufFile::value(std::string_view key) const {
  auto it = metadata_.find(key);
  return it == metadata_.end() ? nullptr : &it->second;
}

std::optional<uint64_t> GgufFile::get_uint(std::string_view key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  const auto integer = load_integer(v->type, v->data);
  if (!integer) wrong_type(key, *v, "an unsigned integer");
  if (integer->value < 0 && !integer->too_large) {
    throw Error(label_ + ": metadata key " + in_quotes(key) + " is negative, expected an unsigned integer");
  }
  return static_cast<uint64_t>(integer->value);
}

std::optional<double> GgufFile::get_float(std::string_view key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->type != GgufType::kF32 && v->type != GgufType::kF64) wrong_type(key, *v, "a float");
  const double number = v->type == GgufType::kF32 ? static_cast<double>(load<float>(v->data)) : load<double>(v->data);
  if (!std::isfinite(number)) throw Error(label_ + ": metadata key " + in_quotes(key) + " is not a finite number");
  return number;
}

std::optional<bool> GgufFile::get_bool(std::string_view key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->type != GgufType::kBool) wrong_type(key, *v, "a bool");
  return load<uint8_t>(v->data) != 0;
}

std::optional<std::string> GgufFile::get_string(std::string_view key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->type != GgufType::kString) wrong_type(key, *v, "a string");
  return std::string(v->string);
}

std::optional<std::vector<std::string>> GgufFile::get_strings(std::string_view key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->type != GgufType::kArray || v->element != GgufType::kString) wrong_type(key, *v, "an array of strings");
  return std::vector<std::string>(v->strings.begin(), v->strings.end());
}

std::optional<std::vector<float>> GgufFile::get_floats(std::string_view key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->type != GgufType::kArray || v->element != GgufType::kF32) wrong_type(key, *v, "an array of float32");
  std::vector<float> result(v->count);
  if (v->count) std::memcpy(result.data(), v->data, v->count * sizeof(float));
  return result;
}

std::optional<std::vector<int64_t>> GgufFile::get_ints(std::string_view key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->type != GgufType::kArray ||
      !load_integer(v->element, reinterpret_cast<const std::byte*>("\0\0\0\0\0\0\0\0"))) {
    wrong_type(key, *v, "an array of integers");
  }
  std::vector<int64_t> result(v->count);
  for (uint64_t i = 0; i < v->count; ++i) {
    const auto integer = load_integer(v->element, v->data + i * scalar_size(v->element));
    if (integer->too_large) throw Error(label_ + ": metadata key " + in_quotes(key) + " holds a number above 2^63 - 1");
    result[i] = integer->value;
  }
  return result;
}

}  // namespace svq::convert
