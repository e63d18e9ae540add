#include "converter/job/export.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "converter/base/error.h"
#include "converter/job/group_writer.h"
#include "converter/job/tensor_bytes.h"
#include "converter/models/float/block.h"
#include "converter/models/hf_export.h"
#include "converter/sources/json.h"
#include "converter/write/atomic_file.h"

namespace svq::convert {

namespace fs = std::filesystem;

namespace {

struct Entry {
  std::string name;
  std::vector<uint64_t> shape;
  std::function<at::Tensor(const GroupContent&)> value;
  size_t group;
};

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  if (!in) throw_errno(path, "read");
  return std::move(out).str();
}

// In the order of the file, group by group.
std::vector<Entry> entries_of(const Model& model, const Plan& plan) {
  const Family& family = family_named(model.architecture().family);
  std::vector<Entry> entries;
  for (size_t i = 0; i < plan.groups.size(); ++i) {
    const PlannedGroup& group = plan.groups[i];
    const int layer = group.layer;
    const auto add = [&](Slot slot, std::vector<uint64_t> shape, std::function<at::Tensor(const GroupContent&)> value) {
      entries.push_back({tensor_name(family, Naming::kHf, slot, layer), std::move(shape), std::move(value), i});
    };
    const std::string prefix = layer < 0 ? "" : "blocks." + std::to_string(layer) + ".";
    // As it is stored, or as the source has it, where nothing can have changed it.
    const auto stored = [&](Slot slot, const std::string& name) {
      return [&model, slot, layer, name, imported = group.imported](const GroupContent& c) {
        return imported ? read_tensor(model, slot, layer, true) : c.float_tensor(name);
      };
    };
    for (const Slot slot : group.norms)
      add(slot, {model.shape(slot, layer).columns}, stored(slot, prefix + slot_name(slot)));
    if (group.folded_norm) {
      const auto columns = static_cast<int64_t>(model.shape(*group.folded_norm, layer).columns);
      add(*group.folded_norm, {static_cast<uint64_t>(columns)},
          [columns](const GroupContent&) { return at::ones({columns}, at::kFloat); });
    }
    size_t next = 0;
    for (const PlannedLinear& l : group.linears) {
      if (l.packed() && !group.imported) {
        add(l.slot, {l.rows, l.columns},
            [index = next++](const GroupContent& c) { return dequantize_linear(c.quantized, index); });
      } else {
        add(l.slot, {l.rows, l.columns},
            [&model, slot = l.slot, layer](const GroupContent&) { return read_tensor(model, slot, layer, false); });
      }
      if (l.bias) add(*l.bias, {l.rows}, stored(*l.bias, l.name + ".bias"));
    }
    // With "attention_bias" these classes want one on every projection.
    if (group.kind == GroupKind::kOIn && (&family == &kLlama || &family == &kQwen3) && model.has(Slot::kQBias, layer) &&
        !model.has(Slot::kOBias, layer)) {
      const uint64_t rows = group.linears[0].rows;
      add(Slot::kOBias, {rows},
          [rows](const GroupContent&) { return at::zeros({static_cast<int64_t>(rows)}, at::kFloat); });
    }
  }
  return entries;
}

void write_weights(const fs::path& path, const std::vector<Entry>& entries, const std::vector<const fb::PartT*>& parts,
                   const std::vector<fs::path>& files, const std::function<void(double)>& progress) {
  nlohmann::ordered_json header{{"__metadata__", {{"format", "pt"}}}};
  uint64_t end = 0;
  for (const Entry& e : entries) {
    uint64_t bytes = 2;
    for (const uint64_t size : e.shape) bytes *= size;
    header[e.name] = {{"dtype", "F16"}, {"shape", e.shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // tensors are aligned to 8
  static_assert(std::endian::native == std::endian::little);
  const uint64_t size = text.size();
  AtomicFile file(path);
  file.append(std::as_bytes(std::span(&size, 1)));
  file.append(std::as_bytes(std::span(text)));
  GroupContent content;
  size_t group = parts.size();
  for (const Entry& e : entries) {
    if (e.group != group && parts[e.group]->input_transforms.size() < 2)
      content = read_content(*parts[e.group], files[e.group]);
    group = e.group;
    const at::Tensor value = to_half(e.value(content), e.name);
    file.append(bytes_of(value));
    progress(static_cast<double>(file.size()) / static_cast<double>(end + size + 8));
  }
  if (file.size() != end + size + 8) throw Error("internal error: " + path.string() + ": a tensor's size");
  file.commit();
}

}  // namespace

void check_export(const Options& options) {
  const fs::path& directory = options.export_directory;
  if (directory.empty()) return;
  std::error_code error;
  if (fs::exists(directory, error) && !fs::is_directory(directory, error))
    throw Error("--export-dequantized " + directory.string() + ": is not a directory");
  if (fs::equivalent(directory, options.source, error))
    throw Error("--export-dequantized " + directory.string() + ": is the source itself");
  if (!options.force && fs::is_directory(directory, error) && !fs::is_empty(directory, error))
    throw Error("--export-dequantized " + directory.string() + ": is not empty; overwrite its files by --force");
  fs::create_directories(directory, error);
  if (error) throw Error("--export-dequantized " + directory.string() + ": " + error.message());
}

void export_dequantized(const Model& model, const Plan& plan, const std::vector<const fb::PartT*>& parts,
                        const std::vector<fs::path>& files, const Options& options,
                        const std::function<void(double)>& progress) {
  const at::NoGradGuard no_grad;
  const fs::path& directory = options.export_directory;
  nlohmann::ordered_json config;
  std::error_code error;
  if (fs::is_directory(options.source, error)) {
    config = nlohmann::ordered_json::parse(read_file(options.source / "config.json"));
    config.erase("dtype");
    config.erase("quantization_config");
    config["torch_dtype"] = "float16";
    config["tie_word_embeddings"] = model.tied();
    for (const fs::path& file : hf_side_files(options.source))
      write_atomically(directory / file.filename(), read_file(file));
  } else {
    config = hf_config(model);
    for (const HfFile& file : hf_tokenizer_files(model)) write_atomically(directory / file.name, file.content);
  }
  write_weights(directory / "model.safetensors", entries_of(model, plan), parts, files, progress);
  write_atomically(directory / "config.json", config.dump(2) + "\n");
}

}  // namespace svq::convert
