// A part: one finished group of linears (with the norms before it) as a file in the work directory. A part's data
// section is copied as it stands into the .svq file, so a tensor's place in a part plus the part's place in the file is
// its place there. The layout is known before any of the content: layout functions make the metadata with every offset
// and size, and PartWriter fills in bytes and checksums. That is what makes the expected file size exact.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "converter/write/atomic_file.h"
#include "part_generated.h"

namespace svq::convert {

// Calls visit for every tensor of a part, in the order of the data section: norms; transforms' scales; affine maps' a,
// b; each linear's weight, out_scale, bias, side_u, side_v.
void for_each_tensor(fb::PartT& part, const std::function<void(fb::TensorT&)>& visit);
void for_each_tensor(const fb::PartT& part, const std::function<void(const fb::TensorT&)>& visit);

// A tensor of the given shape with its size; its offset is given by assign_offsets. Codes: shape [rows, columns],
// `bits` wide.
std::unique_ptr<fb::TensorT> make_tensor(std::string name, fb::DType dtype, std::vector<uint64_t> shape, int bits = 0);

// Sets every tensor's offset, aligned to 64 in the order above. Returns the size of the data section, a multiple of 64.
uint64_t assign_offsets(fb::PartT& part);
uint64_t data_size(const fb::PartT& part);

// Container: header (magic "SVQP"), data section at kPartDataOffset, metadata behind it.
inline constexpr uint32_t kPartMagic = 0x50515653;  // "SVQP"
inline constexpr uint64_t kPartDataOffset = 4096;

class PartWriter {
 public:
  // `part` has its offsets (assign_offsets) and outlives the writer.
  PartWriter(const std::filesystem::path& path, fb::PartT& part);
  // Bytes of a tensor of `part`, in the order of for_each_tensor; a tensor may come in several calls.
  void append(fb::TensorT& tensor, std::span<const std::byte> bytes);
  // Writes metadata and header, and makes the file appear. Every tensor must be complete.
  void commit();

 private:
  void finish_tensor();
  AtomicFile file_;
  fb::PartT& part_;
  std::vector<fb::TensorT*> order_;
  size_t current_ = 0;    // index into order_
  uint64_t written_ = 0;  // bytes of the current tensor
  struct Hash;
  std::shared_ptr<Hash> hash_;
};

// Metadata of a part file whose structure and, with verify_data, content match their checksums; null with a reason if
// not. `fingerprint` and `name` must be the file's own.
std::unique_ptr<fb::PartT> read_part(const std::filesystem::path& path, const std::string& name, uint64_t fingerprint,
                                     bool verify_data, std::string* reason = nullptr);

}  // namespace svq::convert
