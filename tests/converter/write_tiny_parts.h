// Parts of a one-block model of fixed content, for tests of the writer: every width, shared transforms, biases, folded
// norms.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "converter/write/part_file.h"

namespace svq::convert::testing {

inline constexpr uint64_t kFingerprint = 0x1234;
inline constexpr uint32_t kHidden = 32, kIntermediate = 48, kVocab = 20;

// Bytes that depend on the tensor's name and their place alone. Halves and floats stay finite: small positive numbers.
inline std::vector<std::byte> tiny_content(const fb::TensorT& tensor) {
  std::vector<std::byte> bytes(tensor.size);
  uint32_t state = 2166136261u;
  for (char c : tensor.name) state = (state ^ static_cast<uint8_t>(c)) * 16777619u;
  for (size_t i = 0; i < bytes.size(); ++i) {
    state = state * 1664525u + 1013904223u;
    bytes[i] = static_cast<std::byte>(state >> 24);
    if (tensor.dtype == fb::DType::F16 && i % 2 == 1) bytes[i] = std::byte{0x2c};  // about 1/16
    if (tensor.dtype == fb::DType::F32 && i % 4 == 3) bytes[i] = std::byte{0x3d};  // about 1/16
  }
  return bytes;
}

inline std::unique_ptr<fb::LinearT> tiny_linear(const std::string& name, uint32_t rows, uint32_t columns, int bits,
                                                bool bias) {
  auto linear = std::make_unique<fb::LinearT>();
  linear->name = name;
  linear->rows = rows;
  linear->columns = columns;
  linear->bits = static_cast<uint8_t>(bits);
  linear->output_rotation = std::make_unique<fb::Rotation>();
  linear->weight = make_tensor(name + ".weight", bits == 16 ? fb::DType::F16 : fb::DType::Codes, {rows, columns}, bits);
  if (bits != 16) {
    linear->input_transform = 0;
    linear->affine = 0;
    linear->out_scale = make_tensor(name + ".out_scale", fb::DType::F16, {rows});
  }
  if (bias) linear->bias = make_tensor(name + ".bias", fb::DType::F32, {rows});
  return linear;
}

inline void add_transform(fb::PartT& part, uint32_t columns) {
  auto transform = std::make_unique<fb::InputTransformT>();
  transform->columns = columns;
  transform->rotation =
      std::make_unique<fb::Rotation>(fb::RotationKind::Mixed, columns == 48 ? 16u : 32u, columns == 48 ? 3u : 1u);
  transform->scale = make_tensor(part.name + ".scale", fb::DType::F16, {columns});
  part.input_transforms.push_back(std::move(transform));
  auto maps = std::make_unique<fb::AffineMapsT>();
  maps->dim = 4;
  maps->a = make_tensor(part.name + ".affine.a", fb::DType::F16, {1, 4, 4});
  maps->b = make_tensor(part.name + ".affine.b", fb::DType::F16, {1, 4});
  part.affine_maps.push_back(std::move(maps));
}

inline fb::PartT tiny_part(const std::string& name) {
  fb::PartT part;
  part.name = name;
  part.fingerprint = kFingerprint;
  const std::string b = "blocks.0.";
  if (name == "embedding") {
    part.linears.push_back(tiny_linear("embedding", kVocab, kHidden, 4, false));
    add_transform(part, kHidden);
  } else if (name == b + "attn_in") {
    part.linears.push_back(tiny_linear(b + "q", kHidden, kHidden, 2, true));
    part.linears.push_back(tiny_linear(b + "k", kHidden / 2, kHidden, 2, true));
    part.linears.push_back(tiny_linear(b + "v", kHidden / 2, kHidden, 2, true));
    add_transform(part, kHidden);
  } else if (name == b + "o_in") {
    part.linears.push_back(tiny_linear(b + "o", kHidden, kHidden, 3, false));
    add_transform(part, kHidden);
  } else if (name == b + "ffn_in") {
    part.norms.push_back(make_tensor(b + "ffn_norm", fb::DType::F32, {kHidden}));
    part.linears.push_back(tiny_linear(b + "gate", kIntermediate, kHidden, 16, false));
    part.linears.push_back(tiny_linear(b + "up", kIntermediate, kHidden, 16, false));
  } else if (name == b + "down_in") {
    part.linears.push_back(tiny_linear(b + "down", kHidden, kIntermediate, 8, false));
    add_transform(part, kIntermediate);
  } else {
    part.norms.push_back(make_tensor("final_norm", fb::DType::F32, {kHidden}));
  }
  part.relative_errors.assign(part.linears.size(), 0.25);
  assign_offsets(part);
  return part;
}

inline std::vector<std::string> tiny_part_names() {
  return {"embedding", "blocks.0.attn_in", "blocks.0.o_in", "blocks.0.ffn_in", "blocks.0.down_in", "final_norm"};
}

inline void write_tiny_part(const std::filesystem::path& path, fb::PartT& part) {
  PartWriter writer(path, part);
  std::vector<fb::TensorT*> tensors;
  for_each_tensor(part, [&](fb::TensorT& t) { tensors.push_back(&t); });
  for (fb::TensorT* t : tensors) {
    const auto bytes = tiny_content(*t);
    const auto half = std::span(bytes).first(bytes.size() / 2);  // in two pieces
    writer.append(*t, half);
    writer.append(*t, std::span(bytes).subspan(half.size()));
  }
  writer.commit();
}

inline fb::ModelT tiny_model() {
  fb::ModelT model;
  model.name = "tiny";
  model.architecture = std::make_unique<fb::ArchitectureT>();
  auto& a = *model.architecture;
  a.family = "llama";
  a.hidden = kHidden;
  a.intermediate = kIntermediate;
  a.n_layers = 1;
  a.n_heads = 2;
  a.n_kv_heads = 1;
  a.head_dim = 16;
  a.vocab = kVocab;
  a.context_length = 64;
  a.norm_eps = 1e-5f;
  for (int i = 0; i < 8; ++i) a.rope_inv_freq.push_back(1.0f / static_cast<float>(1 << i));
  a.rope_scaling = "none";
  model.provenance = std::make_unique<fb::ProvenanceT>();
  model.provenance->source_name = "tiny";
  model.provenance->method = "unisvq";
  model.provenance->recipe = "{}";
  return model;
}

}  // namespace svq::convert::testing
