// Architecture from GGUF metadata. Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#include <cmath>

#include "converter/base/error.h"
#include "converter/models/architecture.h"
#include "converter/models/config.h"
#include "converter/models/rope.h"
#include "converter/sources/text.h"

namespace svq::convert {
namespace {

class Keys {
 public:
  Keys(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  std::string name(const char* key) const { return prefix_ + "." + key; }
  bool has(const char* key) const { return file_.value(name(key)) != nullptr; }
  [[noreturn]] void fail(const char* key, const std::string& what) const {
    throw Error(file_.label() + ": metadata key " + in_quotes(name(key)) + " " + what);
  }

  std::optional<uint32_t> maybe_uint(const char* key, uint64_t low, uint64_t high) const {
    std::optional<uint64_t> value;
    const GgufValue* raw = file_.value(name(key));
    if (raw && raw->type == GgufType::kArray) {
      // One number per layer: supported where they are all the same.
      const auto values = file_.get_ints(name(key));
      if (values->empty()) fail(key, "is an empty array");
      for (int64_t v : *values) {
        if (v != values->front()) fail(key, "differs between layers, which is not supported");
      }
      if (values->front() < 0) fail(key, "is negative, expected an unsigned integer");
      value = static_cast<uint64_t>(values->front());
    } else {
      value = file_.get_uint(name(key));
    }
    if (!value) return std::nullopt;
    if (*value < low || *value > high) {
      fail(key, "is " + std::to_string(*value) + ", expected " + std::to_string(low) + " to " + std::to_string(high));
    }
    return static_cast<uint32_t>(*value);
  }
  uint32_t uint(const char* key, uint64_t low, uint64_t high) const {
    const auto value = maybe_uint(key, low, high);
    if (!value) fail(key, "is missing");
    return *value;
  }
  std::optional<double> maybe_positive(const char* key) const {
    const auto value = file_.get_float(name(key));
    if (value && !(*value > 0)) fail(key, "is not positive");
    return value;
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

// Features that this project does not have; a value other than the neutral one is refused.
void refuse_unsupported(const GgufFile& file, const Keys& keys) {
  if (keys.maybe_uint("expert_count", 0, UINT32_MAX).value_or(0) > 0) {
    keys.fail("expert_count", "is not 0: mixtures of experts are not supported");
  }
  for (const char* key :
       {"attn_logit_softcapping", "final_logit_softcapping", "attention.clamp_kqv", "attention.max_alibi_bias"}) {
    if (file.get_float(keys.name(key)).value_or(0) != 0) keys.fail(key, "is not 0, which is not supported");
  }
  for (const char* key : {"logit_scale", "embedding_scale", "residual_scale"}) {
    const double value = file.get_float(keys.name(key)).value_or(1);
    if (value != 1 && value != 0) keys.fail(key, "is not 1, which is not supported");
  }
  if (keys.has("attention.scale")) keys.fail("attention.scale", "is given; only 1/sqrt(head size) is supported");
  if (!file.get_bool(keys.name("attention.causal")).value_or(true))
    keys.fail("attention.causal", "is false, expected true");
  if (file.get_uint("split.count").value_or(1) > 1) {
    throw Error(file.label() + ": is one part of a split GGUF file; join the parts first (gguf-split --merge)");
  }
}

RopeScaling read_scaling(const GgufFile& file, const Keys& keys, uint32_t context) {
  RopeScaling scaling;
  const std::string type = file.get_string(keys.name("rope.scaling.type")).value_or("");
  const auto factor = file.get_float(keys.name("rope.scaling.factor"));
  const auto legacy = file.get_float(keys.name("rope.scale_linear"));
  if (type.empty() || type == "none") {
    if (type.empty() && legacy && *legacy != 0 && *legacy != 1) {
      scaling.kind = RopeScaling::Kind::kLinear;
      scaling.factor = *legacy;
      if (!(*legacy > 0)) keys.fail("rope.scale_linear", "is not positive");
    }
    return scaling;
  }
  if (type != "linear" && type != "yarn") {
    keys.fail("rope.scaling.type", "is " + in_quotes(type) + "; supported are none, linear, yarn");
  }
  if (!factor) keys.fail("rope.scaling.factor", "is missing");
  if (!(*factor > 0)) keys.fail("rope.scaling.factor", "is not positive");
  scaling.factor = *factor;
  scaling.kind = type == "linear" ? RopeScaling::Kind::kLinear : RopeScaling::Kind::kYarn;
  if (scaling.kind == RopeScaling::Kind::kYarn) {
    scaling.original_context =
        keys.maybe_uint("rope.scaling.original_context_length", 1, kMaxContext).value_or(context);
    scaling.beta_fast = keys.maybe_positive("rope.scaling.yarn_beta_fast").value_or(32);
    scaling.beta_slow = keys.maybe_positive("rope.scaling.yarn_beta_slow").value_or(1);
    // A multiplier of the usual 0.1 ln(factor) + 1.
    const auto multiplier = keys.maybe_positive("rope.scaling.attn_factor").value_or(1);
    if (multiplier != 1)
      scaling.attention_factor = multiplier * (scaling.factor > 1 ? 0.1 * std::log(scaling.factor) + 1 : 1);
    // 1 is what they are by default in a yarn file.
    for (const char* key : {"rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor"}) {
      if (file.get_float(keys.name(key)).value_or(1) != 1) keys.fail(key, "is not 1, which is not supported");
    }
    if (keys.has("rope.scaling.yarn_log_multiplier")) {
      keys.fail("rope.scaling.yarn_log_multiplier", "is given, which is not supported");
    }
  }
  return scaling;
}

std::vector<float> read_divisors(const GgufFile& file, uint32_t head_dim) {
  const TensorView* tensor = file.find("rope_freqs.weight");
  if (!tensor) return {};
  if (tensor->shape.size() != 1 || tensor->shape[0] != head_dim / 2) {
    throw Error(file.label() + ": tensor \"rope_freqs.weight\" has not the shape [" + std::to_string(head_dim / 2) +
                "], half the head size");
  }
  std::vector<float> divisors(head_dim / 2);
  dequantize(*tensor, 0, 1, divisors.data());
  for (float divisor : divisors) {
    if (!(divisor > 0) || !std::isfinite(divisor)) {
      throw Error(file.label() + ": tensor \"rope_freqs.weight\" holds a value that is not a positive number");
    }
  }
  return divisors;
}

const Family& family_of(const GgufFile& file) {
  const auto name = file.get_string("general.architecture");
  if (!name) throw Error(file.label() + ": metadata key \"general.architecture\" is missing");
  for (const Family* family : families()) {
    if (family->gguf_architecture && *name == family->gguf_architecture) return *family;
  }
  throw Error(file.label() + ": the architecture " + in_quotes(*name) + " is not supported; supported are " +
              supported_gguf_architectures());
}

}  // namespace

Config read_gguf_config(const GgufFile& file) {
  Config config;
  config.family = &family_of(file);
  const Keys keys(file, config.family->gguf_architecture);
  refuse_unsupported(file, keys);

  fb::ArchitectureT& a = config.architecture;
  a.family = config.family->name;
  a.n_layers = keys.uint("block_count", 1, kMaxLayers);
  a.context_length = keys.uint("context_length", 1, kMaxContext);
  a.hidden = keys.uint("embedding_length", 1, kMaxHidden);
  a.intermediate = keys.uint("feed_forward_length", 1, kMaxIntermediate);
  a.n_heads = keys.uint("attention.head_count", 1, kMaxHeads);
  a.n_kv_heads = keys.maybe_uint("attention.head_count_kv", 1, kMaxHeads).value_or(a.n_heads);
  if (const auto key_length = keys.maybe_uint("attention.key_length", 1, kMaxHeadDim)) {
    a.head_dim = *key_length;
  } else if (a.hidden % a.n_heads == 0 && a.hidden / a.n_heads <= kMaxHeadDim) {
    a.head_dim = a.hidden / a.n_heads;
  } else {
    keys.fail("embedding_length", "is " + std::to_string(a.hidden) + ", expected a multiple of the " +
                                      std::to_string(a.n_heads) + " heads with a head size of at most " +
                                      std::to_string(kMaxHeadDim));
  }
  if (keys.maybe_uint("attention.value_length", 1, kMaxHeadDim).value_or(a.head_dim) != a.head_dim) {
    keys.fail("attention.value_length", "differs from the keys' length, which is not supported");
  }
  if (keys.maybe_uint("rope.dimension_count", 1, kMaxHeadDim).value_or(a.head_dim) != a.head_dim) {
    keys.fail("rope.dimension_count", "differs from the head size: partial rotation is not supported");
  }
  a.sliding_window = keys.maybe_uint("attention.sliding_window", 0, kMaxContext).value_or(0);
  const auto eps = keys.maybe_positive("attention.layer_norm_rms_epsilon");
  if (!eps || *eps >= 1) keys.fail("attention.layer_norm_rms_epsilon", "is missing or not below 1");
  a.norm_eps = static_cast<float>(*eps);
  a.activation = fb::Activation::Silu;

  const TensorView* embedding = file.find("token_embd.weight");
  if (!embedding || embedding->shape.size() != 2) {
    throw Error(file.label() + ": the tensor \"token_embd.weight\" is missing or not a matrix");
  }
  if (embedding->shape[0] > kMaxVocab) {
    throw Error(file.label() + ": the tensor \"token_embd.weight\" has " + std::to_string(embedding->shape[0]) +
                " rows, expected at most " + std::to_string(kMaxVocab));
  }
  a.vocab = static_cast<uint32_t>(embedding->shape[0]);
  if (keys.maybe_uint("vocab_size", 1, kMaxVocab).value_or(a.vocab) != a.vocab) {
    keys.fail("vocab_size", "differs from the " + std::to_string(a.vocab) + " rows of \"token_embd.weight\"");
  }

  const double theta = keys.maybe_positive("rope.freq_base").value_or(10000);
  if (theta <= 1) keys.fail("rope.freq_base", "is not above 1");
  check_architecture(file.label(), a);
  set_rope(a, theta, read_scaling(file, keys, a.context_length), read_divisors(file, a.head_dim));
  check_architecture(file.label(), a);
  config.tied = std::nullopt;  // GGUF says it by the absence of output.weight
  return config;
}

}  // namespace svq::convert
