#include "runtime/file/model_file.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/file/check.h"
#include "runtime/file/tensors.h"
#include "schema/container.h"

namespace svq::rt {
namespace {

// A decoder block is 7 linears of up to 7 tables; 1024 blocks and a million special tokens stay below this. It bounds
// the verifier's time: shared tables are visited once for each reference.
constexpr uint32_t kMaxTables = 2'000'000;
constexpr uint32_t kMaxTableDepth = 16;

}  // namespace

ModelFile ModelFile::open(const std::string& path) {
  ModelFile file;
  file.name_ = path;
  file.map_ = MemoryMap::file(path);
  file.open_container({file.map_.data(), file.map_.size()});
  return file;
}

ModelFile ModelFile::view(std::span<const uint8_t> bytes, std::string name) {
  ModelFile file;
  file.name_ = std::move(name);
  file.open_container(bytes);
  return file;
}

ModelFile ModelFile::from_parts(std::vector<uint8_t> metadata, MemoryMap data, std::string name) {
  ModelFile file;
  file.name_ = std::move(name);
  file.metadata_ = std::move(metadata);
  file.map_ = std::move(data);
  file.data_ = {file.map_.data(), file.map_.size()};
  file.bytes_ = file.metadata_.size() + file.data_.size();
  file.open_metadata(file.metadata_);
  return file;
}

void ModelFile::open_container(std::span<const uint8_t> bytes) {
  format::Header header;
  if (bytes.size() < sizeof header) {
    fail(SVQ_ERROR_FORMAT, name_, ": not a .svq file: ", bytes.size(), " bytes, shorter than the header's 64");
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != format::kMagic)
    fail(SVQ_ERROR_FORMAT, name_, ": not a .svq file: it does not begin with \"SVQ1\"");
  if (header.major != format::kMajor) {
    fail(header.major > format::kMajor ? SVQ_ERROR_VERSION : SVQ_ERROR_FORMAT, name_, ": format version ", header.major,
         ".", header.minor, ", but this library reads version ", format::kMajor);
  }
  if (XXH3_64bits(bytes.data(), offsetof(format::Header, header_checksum)) != header.header_checksum) {
    fail(SVQ_ERROR_CHECKSUM, name_, ": the header differs from its checksum");
  }
  const uint64_t size = bytes.size();
  if (header.metadata_offset < sizeof header || header.metadata_offset % 8 != 0 || header.metadata_offset > size) {
    fail(SVQ_ERROR_FORMAT, name_, ": header.metadata_offset is ", header.metadata_offset,
         ", expected a multiple of 8 from 64 to the file's size");
  }
  if (header.metadata_size > format::kMaxMetadata || header.metadata_size > size - header.metadata_offset) {
    fail(SVQ_ERROR_FORMAT, name_, ": header.metadata_size is ", header.metadata_size, ", beyond the file's ", size,
         " bytes or the format's limit: the file is truncated or damaged");
  }
  if (header.data_offset % format::kDataAlignment != 0 || header.data_offset > size ||
      header.data_offset < header.metadata_offset + header.metadata_size) {
    fail(SVQ_ERROR_FORMAT, name_, ": header.data_offset is ", header.data_offset,
         ", expected a multiple of 4096 after the metadata and within the file's ", size, " bytes");
  }
  if (header.data_size != size - header.data_offset) {
    fail(SVQ_ERROR_FORMAT, name_, ": header.data_size is ", header.data_size, ", but ", size - header.data_offset,
         " bytes follow data_offset: the file is truncated or has grown");
  }
  const auto metadata = bytes.subspan(header.metadata_offset, header.metadata_size);
  if (XXH3_64bits(metadata.data(), metadata.size()) != header.metadata_checksum) {
    fail(SVQ_ERROR_CHECKSUM, name_, ": the metadata differs from its checksum");
  }
  data_ = bytes.subspan(header.data_offset, header.data_size);
  bytes_ = size;
  open_metadata(metadata);
}

void ModelFile::open_metadata(std::span<const uint8_t> metadata) {
  flatbuffers::Verifier verifier(metadata.data(), metadata.size(), kMaxTableDepth, kMaxTables);
  // The identifier lies in bytes 4 … 7: shorter buffers must not reach the generated check.
  if (metadata.size() < 16 || !fb::VerifyModelBuffer(verifier)) {
    fail(SVQ_ERROR_FORMAT, name_, ": the metadata is not a valid \"SVQM\" flatbuffer");
  }
  model_ = fb::GetModel(metadata.data());
  fingerprint_ = XXH3_64bits(metadata.data(), metadata.size());
  check_model(*model_, data_.size(), name_);
}

void verify_checksums(const ModelFile& file) {
  for_each_tensor(file.model(), [&](const std::string& path, const fb::Tensor& tensor) {
    if (XXH3_64bits(file.data().data() + tensor.offset(), tensor.size()) != tensor.checksum()) {
      fail(SVQ_ERROR_CHECKSUM, file.name(), ": tensor ", path, " differs from its checksum");
    }
  });
}

}  // namespace svq::rt
