#include "converter/sources/safetensors.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "converter/base/error.h"
#include "converter/sources/hash.h"
#include "converter/sources/json.h"
#include "converter/sources/text.h"

namespace svq::convert {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // bytes; the limit of the format's own library
constexpr size_t kMaxSafetensorsDims = 8;

std::optional<WeightType> type_of(std::string_view dtype) {
  if (dtype == "F32") return WeightType::kF32;
  if (dtype == "F16") return WeightType::kF16;
  if (dtype == "BF16") return WeightType::kBF16;
  if (dtype == "F64") return WeightType::kF64;
  if (dtype == "U8") return WeightType::kU8;
  return std::nullopt;
}

uint64_t unsigned_of(const nlohmann::json& value, const std::string& what) {
  if (!value.is_number_unsigned()) throw Error(what + " is not an unsigned integer");
  return value.get<uint64_t>();
}

TensorView read_entry(const std::string& label, const std::string& name, const nlohmann::json& entry,
                      std::span<const std::byte> data) {
  const std::string what = label + ": tensor " + in_quotes(name);
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets")) {
    throw Error(what + " has no object with dtype, shape and data_offsets");
  }
  const auto& dtype = entry["dtype"];
  const auto& shape = entry["shape"];
  const auto& offsets = entry["data_offsets"];
  if (!dtype.is_string()) throw Error(what + ": dtype is not a string");
  const auto type = type_of(dtype.get_ref<const std::string&>());
  if (!type) {
    throw Error(what + " has the unsupported type " + in_quotes(dtype.get_ref<const std::string&>()) +
                "; supported are F32, F16, BF16, F64, U8");
  }
  if (!shape.is_array() || shape.size() > kMaxSafetensorsDims)
    throw Error(what + ": shape is not an array of at most 8 sizes");
  if (!offsets.is_array() || offsets.size() != 2) throw Error(what + ": data_offsets is not an array of two offsets");

  TensorView view;
  view.name = name;
  view.type = *type;
  view.bytes = block_size(*type).bytes;
  for (const auto& size : shape) {
    view.shape.push_back(unsigned_of(size, what + ": a size in shape"));
    if (view.shape.back() == 0) throw Error(what + " has a dimension of size 0");
    if (__builtin_mul_overflow(view.bytes, view.shape.back(), &view.bytes))
      throw Error(what + " has more bytes than fit 64 bits");
  }
  const uint64_t begin = unsigned_of(offsets[0], what + ": data_offsets[0]");
  const uint64_t end = unsigned_of(offsets[1], what + ": data_offsets[1]");
  if (begin > end || end > data.size()) {
    throw Error(what + " lies at " + std::to_string(begin) + " to " + std::to_string(end) + " of a data section of " +
                std::to_string(data.size()) + " bytes");
  }
  if (end - begin != view.bytes) {
    throw Error(what + " has " + std::to_string(end - begin) + " bytes, expected " + std::to_string(view.bytes) +
                " by its shape");
  }
  view.data = data.data() + begin;
  return view;
}

bool by_name(const TensorView& a, const TensorView& b) { return a.name < b.name; }

bool is_small_metadata(const std::filesystem::path& path) {
  const auto extension = path.extension();
  return extension == ".json" || extension == ".jinja" || extension == ".model";
}

}  // namespace

std::vector<TensorView> parse_safetensors(const std::string& label, std::span<const std::byte> bytes) {
  uint64_t header_size = 0;
  if (bytes.size() < sizeof header_size) throw Error(label + ": is not a safetensors file: it has fewer than 8 bytes");
  std::memcpy(&header_size, bytes.data(), sizeof header_size);
  if (header_size > kMaxHeader || header_size > bytes.size() - sizeof header_size) {
    throw Error(label + ": claims a header of " + std::to_string(header_size) + " bytes, of " +
                std::to_string(bytes.size()) + " in the file (at most " + std::to_string(kMaxHeader) + " are allowed)");
  }
  const auto header =
      parse_json(label, {reinterpret_cast<const char*>(bytes.data()) + sizeof header_size, header_size});
  if (!header.is_object()) throw Error(label + ": the header is not a JSON object");
  const auto data = bytes.subspan(sizeof header_size + header_size);

  std::vector<TensorView> tensors;
  tensors.reserve(header.size());
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    tensors.push_back(read_entry(label, name, entry, data));
  }
  std::sort(tensors.begin(), tensors.end(), [](const TensorView& a, const TensorView& b) { return a.data < b.data; });
  for (size_t i = 1; i < tensors.size(); ++i) {
    if (static_cast<uint64_t>(tensors[i].data - tensors[i - 1].data) < tensors[i - 1].bytes) {
      throw Error(label + ": tensors " + in_quotes(tensors[i - 1].name) + " and " + in_quotes(tensors[i].name) +
                  " overlap");
    }
  }
  std::sort(tensors.begin(), tensors.end(), by_name);
  return tensors;
}

SafetensorsDirectory::SafetensorsDirectory(const std::filesystem::path& directory) : directory_(directory) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  std::map<std::string, std::string> placed;  // tensor -> shard, by the index
  std::set<std::string> names;
  const fs::path index_path = directory / "model.safetensors.index.json";
  if (fs::exists(index_path, ignored)) {
    const auto index = read_json(index_path);
    if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
      throw Error(index_path.string() + ": has no object \"weight_map\"");
    }
    for (const auto& [tensor, shard] : index["weight_map"].items()) {
      if (!shard.is_string())
        throw Error(index_path.string() + ": weight_map of " + in_quotes(tensor) + " is not a file name");
      const auto& name = shard.get_ref<const std::string&>();
      // A plain name: a shard never lies outside the directory.
      if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos || name == "..") {
        throw Error(index_path.string() + ": weight_map of " + in_quotes(tensor) + " names " + in_quotes(name) +
                    ", expected a plain file name");
      }
      names.insert(name);
      placed.emplace(tensor, name);
    }
    if (names.empty()) throw Error(index_path.string() + ": weight_map is empty");
  } else if (fs::exists(directory / "model.safetensors", ignored)) {
    names.insert("model.safetensors");
  } else {
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator(directory, failed)) {
      if (entry.path().extension() == ".safetensors") names.insert(entry.path().filename().string());
    }
    if (failed) throw Error(directory.string() + ": cannot be listed: " + failed.message());
    if (names.empty())
      throw Error(directory.string() + ": holds no *.safetensors file (PyTorch *.bin files are not supported)");
    if (names.size() > 1) {
      throw Error(directory.string() +
                  ": holds several *.safetensors files but no model.safetensors.index.json that lists them");
    }
  }
  std::string missing;
  for (const auto& name : names) {
    if (!fs::exists(directory / name, ignored)) missing += (missing.empty() ? "" : ", ") + in_quotes(name);
  }
  if (!missing.empty())
    throw Error(directory.string() + ": shards listed by model.safetensors.index.json are missing: " + missing);

  std::map<std::string, std::string> found;  // tensor -> shard
  for (const auto& name : names) {
    files_.emplace_back(directory / name);
    for (TensorView& view : parse_safetensors(files_.back().path().string(), files_.back().bytes())) {
      const auto [it, inserted] = found.emplace(view.name, name);
      if (!inserted) {
        throw Error(directory.string() + ": tensor " + in_quotes(view.name) + " is in both " + in_quotes(it->second) +
                    " and " + in_quotes(name));
      }
      tensors_.push_back(std::move(view));
    }
  }
  for (const auto& [tensor, shard] : placed) {
    const auto it = found.find(tensor);
    if (it == found.end() || it->second != shard) {
      throw Error((directory / shard).string() + ": tensor " + in_quotes(tensor) +
                  " is missing, which the index places there");
    }
  }
  std::sort(tensors_.begin(), tensors_.end(), by_name);
}

uint64_t SafetensorsDirectory::file_bytes() const {
  uint64_t total = 0;
  for (const auto& file : files_) total += file.size();
  return total;
}

void SafetensorsDirectory::release(std::span<const std::byte> read) const {
  for (const auto& file : files_) file.release(read);  // one of them holds it
}

std::string SafetensorsDirectory::hash() const {
  namespace fs = std::filesystem;
  Hasher hasher;
  for (const auto& file : files_) {
    hasher.add(file.path().filename().string(), file.bytes());
    file.release(file.bytes());
  }
  std::set<fs::path> small;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(directory_, failed)) {
    if (is_small_metadata(entry.path()) && entry.is_regular_file(failed)) small.insert(entry.path());
  }
  if (failed) throw Error(directory_.string() + ": cannot be listed: " + failed.message());
  for (const auto& path : small) {
    const MappedFile file(path);
    hasher.add(path.filename().string(), file.bytes());
  }
  return hasher.hex();
}

}  // namespace svq::convert
