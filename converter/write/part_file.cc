#include "converter/write/part_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "converter/base/error.h"
#include "converter/write/checksum.h"
#include "schema/container.h"
#include "schema/packing.h"

namespace svq::convert {

using format::align_up;

namespace {

template <class PartType, class Visit>
void visit_tensors(PartType& part, const Visit& visit) {
  const auto optional = [&](auto& tensor) {
    if (tensor) visit(*tensor);
  };
  for (auto& norm : part.norms) optional(norm);
  for (auto& transform : part.input_transforms) optional(transform->scale);
  for (auto& maps : part.affine_maps) {
    optional(maps->a);
    optional(maps->b);
  }
  for (auto& linear : part.linears) {
    optional(linear->weight);
    optional(linear->out_scale);
    optional(linear->bias);
    optional(linear->side_u);
    optional(linear->side_v);
  }
}

}  // namespace

void for_each_tensor(fb::PartT& part, const std::function<void(fb::TensorT&)>& visit) { visit_tensors(part, visit); }
void for_each_tensor(const fb::PartT& part, const std::function<void(const fb::TensorT&)>& visit) {
  visit_tensors(part, [&](const fb::TensorT& tensor) { visit(tensor); });
}

std::unique_ptr<fb::TensorT> make_tensor(std::string name, fb::DType dtype, std::vector<uint64_t> shape, int bits) {
  auto tensor = std::make_unique<fb::TensorT>();
  tensor->name = std::move(name);
  tensor->dtype = dtype;
  if (dtype == fb::DType::Codes) {
    tensor->size = format::packed_size(shape.at(0), shape.at(1), static_cast<uint32_t>(bits));
  } else {
    tensor->size = dtype == fb::DType::F32 ? 4 : 2;
    for (uint64_t n : shape) tensor->size *= n;
  }
  tensor->shape = std::move(shape);
  return tensor;
}

uint64_t assign_offsets(fb::PartT& part) {
  uint64_t offset = 0;
  visit_tensors(part, [&](fb::TensorT& tensor) {
    tensor.offset = offset;
    offset = align_up(offset + tensor.size, format::kTensorAlignment);
  });
  return offset;
}

uint64_t data_size(const fb::PartT& part) {
  uint64_t end = 0;
  visit_tensors(part, [&](const fb::TensorT& tensor) { end = std::max(end, tensor.offset + tensor.size); });
  return align_up(end, format::kTensorAlignment);
}

struct PartWriter::Hash : Checksum {};

PartWriter::PartWriter(const std::filesystem::path& path, fb::PartT& part)
    : file_(path), part_(part), hash_(std::make_shared<Hash>()) {
  visit_tensors(part, [&](fb::TensorT& tensor) { order_.push_back(&tensor); });
  file_.append_zeros(kPartDataOffset);
}

void PartWriter::append(fb::TensorT& tensor, std::span<const std::byte> bytes) {
  // Empty tensors would never be reached by a call; a model has none.
  if (current_ >= order_.size() || order_[current_] != &tensor || written_ + bytes.size() > tensor.size) {
    throw Error("internal error: tensor " + tensor.name + " is written out of order or beyond its size");
  }
  if (written_ == 0) file_.append_zeros(kPartDataOffset + tensor.offset - file_.size());
  file_.append(bytes);
  hash_->update(bytes);
  written_ += bytes.size();
  if (written_ == tensor.size) finish_tensor();
}

void PartWriter::finish_tensor() {
  order_[current_]->checksum = hash_->digest();
  hash_->reset();
  written_ = 0;
  ++current_;
}

void PartWriter::commit() {
  if (current_ != order_.size()) throw Error("internal error: tensor " + order_[current_]->name + " is incomplete");
  const uint64_t size = data_size(part_);
  file_.append_zeros(kPartDataOffset + size - file_.size());
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(fb::Part::Pack(builder, &part_), fb::PartIdentifier());
  const auto metadata = std::as_bytes(builder.GetBufferSpan());
  format::Header header{};
  header.magic = kPartMagic;
  header.major = format::kMajor;
  header.minor = format::kMinor;
  header.metadata_offset = file_.size();
  header.metadata_size = metadata.size();
  header.metadata_checksum = checksum(metadata);
  header.data_offset = kPartDataOffset;
  header.data_size = size;
  file_.append(std::span(metadata.data(), metadata.size()));
  seal(header);
  file_.overwrite(0, std::as_bytes(std::span(&header, 1)));
  file_.commit();
}

std::unique_ptr<fb::PartT> read_part(const std::filesystem::path& path, const std::string& name, uint64_t fingerprint,
                                     bool verify_data, std::string* reason) {
  const auto refuse = [&](const char* why) {
    if (reason) *reason = path.string() + ": " + why;
    return nullptr;
  };
  ReadFile file;
  if (!file.open(path)) return refuse("cannot be opened");
  format::Header header;
  if (!file.read(0, std::as_writable_bytes(std::span(&header, 1)))) return refuse("is truncated");
  if (header.magic != kPartMagic || !is_sealed(header)) return refuse("has a damaged header");
  if (header.data_offset != kPartDataOffset || header.data_size > file.size() ||
      header.metadata_offset != header.data_offset + header.data_size || header.metadata_size > file.size() ||
      header.metadata_offset + header.metadata_size != file.size()) {
    return refuse("has a size that differs from its header's");
  }
  std::vector<std::byte> metadata(header.metadata_size);
  if (!file.read(header.metadata_offset, metadata)) return refuse("is truncated");
  if (checksum(metadata) != header.metadata_checksum) return refuse("has damaged metadata");
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(metadata.data()), metadata.size());
  if (!verifier.VerifyBuffer<fb::Part>(fb::PartIdentifier())) return refuse("has invalid metadata");
  auto part = std::unique_ptr<fb::PartT>(fb::GetPart(metadata.data())->UnPack());
  if (part->name != name || part->fingerprint != fingerprint) return refuse("belongs to another conversion");
  const char* bad = nullptr;
  std::vector<std::byte> buffer(verify_data ? size_t{1} << 20 : 0);
  visit_tensors(*part, [&](const fb::TensorT& tensor) {
    if (bad) return;
    if (tensor.size > header.data_size || tensor.offset > header.data_size - tensor.size) {
      bad = "names a tensor outside its data";
      return;
    }
    if (!verify_data) return;
    Checksum hash;
    for (uint64_t done = 0; done < tensor.size;) {
      const auto chunk = std::span(buffer).first(std::min<uint64_t>(buffer.size(), tensor.size - done));
      if (!file.read(kPartDataOffset + tensor.offset + done, chunk)) {
        bad = "is truncated";
        return;
      }
      hash.update(chunk);
      done += chunk.size();
    }
    if (hash.digest() != tensor.checksum) bad = "has content that differs from its checksum";
  });
  if (bad) return refuse(bad);
  return part;
}

}  // namespace svq::convert
