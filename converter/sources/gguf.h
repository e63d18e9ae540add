// GGUF files (versions 2 and 3, little-endian): metadata and tensors, read in place. Format:
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
// Safe on untrusted input: every count, length and offset is checked against the file's size before it is used, and
// memory is bounded by a small multiple of that size.
#pragma once
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "converter/sources/mapped_file.h"
#include "converter/sources/source.h"

namespace svq::convert {

enum class GgufType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };
const char* gguf_type_name(GgufType type);

struct GgufValue {
  GgufType type = GgufType::kU8;
  const std::byte* data = nullptr;        // scalars, and arrays of them: little-endian, not aligned
  std::string_view string;                // kString
  GgufType element = GgufType::kU8;       // kArray
  uint64_t count = 0;                     // kArray
  std::vector<std::string_view> strings;  // kArray of kString
};

class GgufFile final : public Source {
 public:
  // Throws Error, naming the file and the field, for anything that is not a well-formed file.
  explicit GgufFile(const std::filesystem::path& path);
  // From memory, which must outlive the object; `label` stands for the file's name in messages.
  GgufFile(std::string label, std::span<const std::byte> bytes);

  const std::string& format() const override { return format_; }
  const std::vector<TensorView>& tensors() const override { return tensors_; }
  std::string hash() const override;
  void release(std::span<const std::byte> read) const override;

  const std::string& label() const { return label_; }
  uint64_t file_bytes() const { return bytes_.size(); }

  // Metadata. Absent keys give nullopt; a value of another type, or out of the result's range, throws Error naming the
  // key.
  const GgufValue* value(std::string_view key) const;
  std::optional<uint64_t> get_uint(std::string_view key) const;  // any integer type, not negative
  std::optional<double> get_float(std::string_view key) const;   // f32 or f64, finite
  std::optional<bool> get_bool(std::string_view key) const;
  std::optional<std::string> get_string(std::string_view key) const;
  std::optional<std::vector<std::string>> get_strings(std::string_view key) const;
  std::optional<std::vector<float>> get_floats(std::string_view key) const;  // array of f32
  std::optional<std::vector<int64_t>> get_ints(std::string_view key) const;  // array of any integer type

 private:
  void parse();
  [[noreturn]] void wrong_type(std::string_view key, const GgufValue& value, const char* expected) const;

  std::optional<MappedFile> file_;
  std::string label_;
  std::span<const std::byte> bytes_;
  std::string format_;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::vector<TensorView> tensors_;  // sorted by name
};

}  // namespace svq::convert
