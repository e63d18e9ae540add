// A .svq file held in memory: header and metadata checked, data section in place. Nothing in it is trusted before.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/memory_map.h"
#include "svq_generated.h"

namespace svq::rt {

class ModelFile {
 public:
  // Maps the file and checks container, metadata and every tensor's place and shape. Throws Error.
  static ModelFile open(const std::string& path);
  // The same on bytes that the caller keeps alive; `name` stands for the path in errors. 8-byte aligned.
  static ModelFile view(std::span<const uint8_t> bytes, std::string name);
  // A model without a file: metadata as of a file, data section beside it.
  static ModelFile from_parts(std::vector<uint8_t> metadata, MemoryMap data, std::string name);

  const std::string& name() const { return name_; }
  const fb::Model& model() const { return *model_; }
  std::span<const uint8_t> data() const { return data_; }
  uint64_t bytes() const { return bytes_; }
  // Of a file opened by name: where its data section begins, and its first 64 bytes. 0 and null: there is none.
  uint64_t data_offset() const { return map_.data() != nullptr && metadata_.empty() ? bytes_ - data_.size() : 0; }
  const uint8_t* header() const { return data_offset() == 0 ? nullptr : map_.data(); }
  void prefault() const { map_.prefault(); }
  void lock() const { map_.lock(name_); }  // throws Error (OUT_OF_MEMORY)
  // Of the metadata, which holds the checksums of all tensors: what tells two models apart.
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  ModelFile() = default;
  void open_container(std::span<const uint8_t> bytes);
  void open_metadata(std::span<const uint8_t> metadata);

  std::string name_;
  MemoryMap map_;                  // of the file, or the data section of from_parts
  std::vector<uint8_t> metadata_;  // of from_parts
  const fb::Model* model_ = nullptr;
  std::span<const uint8_t> data_;
  uint64_t bytes_ = 0;
  uint64_t fingerprint_ = 0;
};

// Recomputes the checksum of every tensor; throws Error (CHECKSUM) naming the first that differs.
void verify_checksums(const ModelFile& file);

}  // namespace svq::rt
