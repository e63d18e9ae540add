// safetensors: one file, or a directory with one or several of them (shards listed by model.safetensors.index.json).
// Format: https://github.com/huggingface/safetensors#format Safe on untrusted input, as gguf.h.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "converter/sources/mapped_file.h"
#include "converter/sources/source.h"

namespace svq::convert {

// The tensors of one file's bytes, sorted by name, in place; `label` stands for the file's name in messages. Types F32,
// F16, BF16, F64 and U8 only; the ranges may neither overlap nor leave the file.
std::vector<TensorView> parse_safetensors(const std::string& label, std::span<const std::byte> bytes);

class SafetensorsDirectory final : public Source {
 public:
  // `directory` holds model.safetensors, or model.safetensors.index.json and the shards that it names, or a single
  // *.safetensors.
  explicit SafetensorsDirectory(const std::filesystem::path& directory);

  const std::string& format() const override { return format_; }
  const std::vector<TensorView>& tensors() const override { return tensors_; }
  // Of the tensors' files, in the order of their names, and the small files beside them (*.json, *.jinja, *.model).
  std::string hash() const override;
  void release(std::span<const std::byte> read) const override;

  const std::filesystem::path& directory() const { return directory_; }
  uint64_t file_bytes() const;  // of the tensors' files

 private:
  std::filesystem::path directory_;
  std::string format_ = "safetensors";
  std::vector<MappedFile> files_;  // sorted by path
  std::vector<TensorView> tensors_;
};

}  // namespace svq::convert
