#include "converter/write/svq_file.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "converter/base/error.h"
#include "converter/write/checksum.h"
#include "schema/container.h"

namespace svq::convert {

using format::align_up;

namespace {

// "blocks.12.q" → 12 and "q".
struct BlockName {
  size_t layer;
  std::string part;
};
std::optional<BlockName> parse_block_name(const std::string& name) {
  static constexpr std::string_view kPrefix = "blocks.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  BlockName result{};
  const char* begin = name.data() + kPrefix.size();
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(begin, end, result.layer);
  if (error != std::errc{} || stop == end || *stop != '.') return std::nullopt;
  result.part.assign(stop + 1, end);
  return result;
}

std::unique_ptr<fb::LinearT>* linear_place(fb::ModelT& model, const std::string& name) {
  if (name == "embedding") return &model.embedding;
  if (name == "head") return &model.head;
  const auto where = parse_block_name(name);
  if (!where || where->layer >= model.blocks.size()) return nullptr;
  fb::BlockT& block = *model.blocks[where->layer];
  if (where->part == "q") return &block.q;
  if (where->part == "k") return &block.k;
  if (where->part == "v") return &block.v;
  if (where->part == "o") return &block.attn_out;
  if (where->part == "gate") return &block.gate;
  if (where->part == "up") return &block.up;
  if (where->part == "down") return &block.down;
  return nullptr;
}

std::unique_ptr<fb::TensorT>* norm_place(fb::ModelT& model, const std::string& name) {
  if (name == "final_norm") return &model.final_norm;
  const auto where = parse_block_name(name);
  if (!where || where->layer >= model.blocks.size()) return nullptr;
  fb::BlockT& block = *model.blocks[where->layer];
  if (where->part == "attn_norm") return &block.attn_norm;
  if (where->part == "ffn_norm") return &block.ffn_norm;
  if (where->part == "q_norm") return &block.q_norm;
  if (where->part == "k_norm") return &block.k_norm;
  return nullptr;
}

}  // namespace

uint64_t assemble(fb::ModelT& model, const std::vector<const fb::PartT*>& parts) {
  model.input_transforms.clear();
  model.affine_maps.clear();
  model.embedding.reset();
  model.head.reset();
  model.final_norm.reset();
  model.blocks.clear();
  for (uint32_t i = 0; i < model.architecture->n_layers; ++i) model.blocks.push_back(std::make_unique<fb::BlockT>());

  uint64_t base = 0;
  for (const fb::PartT* source : parts) {
    fb::PartT part(*source);
    for_each_tensor(part, [&](fb::TensorT& tensor) { tensor.offset += base; });
    const auto first_transform = static_cast<int32_t>(model.input_transforms.size());
    const auto first_maps = static_cast<int32_t>(model.affine_maps.size());
    for (auto& transform : part.input_transforms) model.input_transforms.push_back(std::move(transform));
    for (auto& maps : part.affine_maps) model.affine_maps.push_back(std::move(maps));
    for (auto& linear : part.linears) {
      if (linear->input_transform >= 0) linear->input_transform += first_transform;
      if (linear->affine >= 0) linear->affine += first_maps;
      auto* place = linear_place(model, linear->name);
      if (!place || *place)
        throw Error("part " + part.name + ": linear " + linear->name + " is unknown or given twice");
      *place = std::move(linear);
    }
    for (auto& norm : part.norms) {
      auto* place = norm_place(model, norm->name);
      if (!place || *place) throw Error("part " + part.name + ": norm " + norm->name + " is unknown or given twice");
      *place = std::move(norm);
    }
    base += data_size(*source);
  }
  const auto require = [](const auto& linear, const std::string& name) {
    if (!linear) throw Error("the parts of the model lack the linear " + name);
  };
  require(model.embedding, "embedding");
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    const std::string prefix = "blocks." + std::to_string(i) + ".";
    const fb::BlockT& block = *model.blocks[i];
    require(block.q, prefix + "q");
    require(block.k, prefix + "k");
    require(block.v, prefix + "v");
    require(block.attn_out, prefix + "o");
    require(block.gate, prefix + "gate");
    require(block.up, prefix + "up");
    require(block.down, prefix + "down");
  }
  return base;
}

std::vector<uint8_t> serialize(const fb::ModelT& model) {
  flatbuffers::FlatBufferBuilder builder(size_t{1} << 20);
  builder.ForceDefaults(true);
  builder.Finish(fb::Model::Pack(builder, &model), fb::ModelIdentifier());
  return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
}

uint64_t file_size(uint64_t metadata_size, uint64_t data_size) {
  return align_up(sizeof(format::Header) + metadata_size, format::kDataAlignment) + data_size;
}

uint64_t write_svq(const std::filesystem::path& path, const fb::ModelT& model,
                   const std::vector<std::filesystem::path>& part_files, const std::vector<const fb::PartT*>& parts,
                   const std::function<void(double)>& progress,
                   const std::function<void(const std::filesystem::path&)>& check) {
  const std::vector<uint8_t> metadata = serialize(model);
  if (metadata.size() > format::kMaxMetadata) throw Error(path.string() + ": the metadata would exceed 2 GiB");
  uint64_t total = 0;
  for (const fb::PartT* part : parts) total += data_size(*part);

  format::Header header{};
  header.magic = format::kMagic;
  header.major = format::kMajor;
  header.minor = format::kMinor;
  header.metadata_offset = sizeof(header);
  header.metadata_size = metadata.size();
  header.metadata_checksum = checksum(metadata);
  header.data_offset = align_up(sizeof(header) + metadata.size(), format::kDataAlignment);
  header.data_size = total;
  seal(header);

  AtomicFile file(path);
  file.append(std::as_bytes(std::span(&header, 1)));
  file.append(std::as_bytes(std::span(metadata)));
  file.append_zeros(header.data_offset - file.size());
  std::vector<std::byte> buffer(size_t{4} << 20);
  uint64_t base = header.data_offset;
  for (size_t i = 0; i < parts.size(); ++i) {
    ReadFile part;
    if (!part.open(part_files[i])) throw Error(part_files[i].string() + ": cannot be opened");
    for_each_tensor(*parts[i], [&](const fb::TensorT& tensor) {
      file.append_zeros(base + tensor.offset - file.size());
      Checksum hash;
      for (uint64_t done = 0; done < tensor.size;) {
        const auto chunk = std::span(buffer).first(std::min<uint64_t>(buffer.size(), tensor.size - done));
        if (!part.read(kPartDataOffset + tensor.offset + done, chunk))
          throw Error(part_files[i].string() + ": is truncated");
        hash.update(chunk);
        file.append(chunk);
        done += chunk.size();
        if (progress) progress(static_cast<double>(file.size()) / static_cast<double>(header.data_offset + total));
      }
      if (hash.digest() != tensor.checksum) {
        throw Error(part_files[i].string() + ": the content of " + tensor.name + " differs from its checksum");
      }
    });
    base += data_size(*parts[i]);
  }
  file.append_zeros(base - file.size());
  const uint64_t size = file.size();
  if (check) {
    try {
      check(file.temporary());
    } catch (const Error& error) {
      const std::filesystem::path rejected = rejected_path(path);
      file.commit_as(rejected);
      throw Error(std::string(error.what()) + "; the file is kept as " + rejected.string());
    }
  }
  file.commit();
  return size;
}

std::filesystem::path rejected_path(const std::filesystem::path& path) {
  std::filesystem::path rejected = path;
  return rejected += ".rejected";
}

}  // namespace svq::convert
