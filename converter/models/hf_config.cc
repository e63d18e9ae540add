// Architecture from a Hugging Face config.json. Keys and their defaults: the configuration classes of transformers.
#include <cmath>
#include <nlohmann/json.hpp>

#include "converter/base/error.h"
#include "converter/models/architecture.h"
#include "converter/models/config.h"
#include "converter/models/rope.h"
#include "converter/sources/text.h"

namespace svq::convert {
namespace {

using nlohmann::json;

// One JSON object with typed, ranged access. A key that is null counts as absent.
class Object {
 public:
  Object(std::string label, const json& value) : label_(std::move(label)), value_(value) {}

  const json* get(const char* key) const {
    const auto it = value_.find(key);
    return it == value_.end() || it->is_null() ? nullptr : &*it;
  }
  bool has_key(const char* key) const { return value_.contains(key); }  // null included
  [[noreturn]] void fail(const char* key, const std::string& what) const {
    throw Error(label_ + ": \"" + key + "\" " + what);
  }
  [[noreturn]] void wrong(const char* key, const json& value, const std::string& expected) const {
    const bool compound = value.is_structured();
    const std::string shown = compound            ? std::string("an ") + value.type_name()
                              : value.is_string() ? in_quotes(value.get_ref<const std::string&>())
                                                  : value.dump();
    fail(key, "is " + shown + ", expected " + expected);
  }
  std::optional<uint32_t> maybe_uint(const char* key, uint64_t low, uint64_t high) const {
    const json* value = get(key);
    if (!value) return std::nullopt;
    // A negative number is above `high` once unsigned.
    const uint64_t number = value->is_number_integer() ? value->get<uint64_t>() : UINT64_MAX;
    if (number < low || number > high) {
      wrong(key, *value, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
    }
    return static_cast<uint32_t>(number);
  }
  uint32_t uint(const char* key, uint64_t low, uint64_t high) const {
    const auto value = maybe_uint(key, low, high);
    if (!value) fail(key, "is missing");
    return *value;
  }
  std::optional<double> maybe_positive(const char* key) const {
    const json* value = get(key);
    if (!value) return std::nullopt;
    if (!value->is_number() || !(value->get<double>() > 0) || !std::isfinite(value->get<double>())) {
      wrong(key, *value, "a positive number");
    }
    return value->get<double>();
  }
  double positive(const char* key) const {
    const auto value = maybe_positive(key);
    if (!value) fail(key, "is missing");
    return *value;
  }
  std::optional<bool> maybe_bool(const char* key) const {
    const json* value = get(key);
    if (!value) return std::nullopt;
    if (!value->is_boolean()) wrong(key, *value, "true or false");
    return value->get<bool>();
  }
  std::optional<std::string> maybe_string(const char* key) const {
    const json* value = get(key);
    if (!value) return std::nullopt;
    if (!value->is_string()) wrong(key, *value, "a string");
    return value->get<std::string>();
  }
  const std::string& label() const { return label_; }

 private:
  std::string label_;
  const json& value_;
};

const Family& family_of(const Object& config) {
  const json* list = config.get("architectures");
  if (!list) config.fail("architectures", "is missing");
  if (!list->is_array() || list->size() != 1 || !(*list)[0].is_string()) {
    config.wrong("architectures", *list, "a list of one class name");
  }
  const auto& name = (*list)[0].get_ref<const std::string&>();
  for (const Family* family : families()) {
    if (name == family->hf_class) return *family;
  }
  throw Error(config.label() + ": the architecture " + in_quotes(name) + " is not supported; supported are " +
              supported_hf_classes());
}

RopeScaling read_scaling(const Object& rope, uint32_t context) {
  using Kind = RopeScaling::Kind;
  RopeScaling scaling;
  const char* type_key = rope.get("rope_type") ? "rope_type" : "type";  // the older spelling
  const std::string type = rope.maybe_string(type_key).value_or("default");
  if (type == "default") return scaling;
  if (type == "linear") {
    scaling.kind = Kind::kLinear;
  } else if (type == "llama3") {
    scaling.kind = Kind::kLlama3;
  } else if (type == "yarn") {
    scaling.kind = Kind::kYarn;
  } else {
    rope.fail(type_key, "is " + in_quotes(type) + "; supported are default, linear, llama3, yarn");
  }
  const auto original = rope.maybe_uint("original_max_position_embeddings", 1, kMaxContext);
  if (scaling.kind == Kind::kYarn && !rope.get("factor") && original) {
    scaling.factor = static_cast<double>(context) / *original;
  } else {
    scaling.factor = rope.positive("factor");
  }
  if (scaling.kind == Kind::kLlama3) {
    if (!original) rope.fail("original_max_position_embeddings", "is missing");
    scaling.low_freq_factor = rope.positive("low_freq_factor");
    scaling.high_freq_factor = rope.positive("high_freq_factor");
    if (!(scaling.high_freq_factor > scaling.low_freq_factor)) {
      rope.fail("high_freq_factor", "is not above \"low_freq_factor\"");
    }
  }
  if (scaling.kind == Kind::kYarn) {
    scaling.beta_fast = rope.maybe_positive("beta_fast").value_or(32);
    scaling.beta_slow = rope.maybe_positive("beta_slow").value_or(1);
    scaling.attention_factor = rope.maybe_positive("attention_factor").value_or(0);
    scaling.mscale = rope.maybe_positive("mscale").value_or(0);
    scaling.mscale_all_dim = rope.maybe_positive("mscale_all_dim").value_or(0);
    scaling.truncate = rope.maybe_bool("truncate").value_or(true);
  }
  scaling.original_context = original.value_or(context);
  return scaling;
}

// The one window of all layers; mixtures of full and windowed layers are refused.
uint32_t read_window(const Family& family, const Object& config, uint32_t n_layers) {
  if (family.window == WindowRule::kNone) return 0;
  if (family.window == WindowRule::kSwitched && !config.maybe_bool("use_sliding_window").value_or(false)) return 0;
  // The class's default holds only where the key is absent: null means full attention.
  if (config.has_key("sliding_window") && !config.get("sliding_window")) return 0;
  const uint32_t window = config.maybe_uint("sliding_window", 1, kMaxContext).value_or(family.default_window);
  if (const json* types = config.get("layer_types")) {
    if (!types->is_array() || types->size() != n_layers) {
      config.wrong("layer_types", *types, "a list of " + std::to_string(n_layers) + " names");
    }
    size_t windowed = 0;
    for (const json& type : *types) {
      if (type == "sliding_attention") {
        ++windowed;
      } else if (type != "full_attention") {
        config.fail("layer_types", "holds a name other than \"full_attention\" and \"sliding_attention\"");
      }
    }
    if (windowed != 0 && windowed != n_layers) {
      config.fail("layer_types", "mixes layers of full and sliding attention, which is not supported");
    }
    return windowed ? window : 0;
  }
  if (family.window == WindowRule::kSwitched) {
    const uint32_t first = config.maybe_uint("max_window_layers", 0, kMaxLayers).value_or(28);
    if (first >= n_layers) return 0;
    if (first != 0)
      config.fail("max_window_layers", "mixes layers of full and sliding attention, which is not supported");
  }
  return window;
}

}  // namespace

Config read_hf_config(const std::string& path, const json& document) {
  if (!document.is_object()) throw Error(path + ": is not a JSON object");
  const Object file(path, document);
  Config config;
  config.family = &family_of(file);
  const Family& family = *config.family;

  if (file.get("quantization_config")) {
    file.fail("quantization_config", "is given: checkpoints that are already quantized are not supported");
  }
  const std::string activation = file.maybe_string("hidden_act").value_or("silu");
  if (activation != "silu") file.fail("hidden_act", "is " + in_quotes(activation) + ", expected \"silu\"");

  fb::ArchitectureT& a = config.architecture;
  a.family = family.name;
  a.n_layers = file.uint("num_hidden_layers", 1, kMaxLayers);
  a.context_length = file.uint("max_position_embeddings", 1, kMaxContext);
  a.hidden = file.uint("hidden_size", 1, kMaxHidden);
  a.intermediate = file.uint("intermediate_size", 1, kMaxIntermediate);
  a.vocab = file.uint("vocab_size", 1, kMaxVocab);
  a.n_heads = file.uint("num_attention_heads", 1, kMaxHeads);
  const uint32_t default_kv = family.kv_heads_default_to_heads ? a.n_heads : family.default_kv_heads;
  a.n_kv_heads = file.maybe_uint("num_key_value_heads", 1, kMaxHeads).value_or(default_kv);
  if (const auto head_dim = file.maybe_uint("head_dim", 1, kMaxHeadDim)) {
    a.head_dim = *head_dim;
  } else if (family.default_head_dim) {
    a.head_dim = family.default_head_dim;
  } else if (a.hidden % a.n_heads == 0 && a.hidden / a.n_heads <= kMaxHeadDim) {
    a.head_dim = a.hidden / a.n_heads;
  } else {
    file.fail("hidden_size", "is " + std::to_string(a.hidden) + ", expected a multiple of \"num_attention_heads\" (" +
                                 std::to_string(a.n_heads) + ") with a head size of at most " +
                                 std::to_string(kMaxHeadDim));
  }
  const double eps = file.maybe_positive("rms_norm_eps").value_or(1e-6);
  if (eps >= 1) file.fail("rms_norm_eps", "is not below 1");
  a.norm_eps = static_cast<float>(eps);
  a.activation = fb::Activation::Silu;
  a.sliding_window = read_window(family, file, a.n_layers);
  config.tied = file.maybe_bool("tie_word_embeddings");
  config.attention_bias = file.maybe_bool("attention_bias");

  // transformers 5 keeps theta and the scaling in "rope_parameters", earlier versions in "rope_theta" and
  // "rope_scaling".
  static const json kEmpty = json::object();
  const char* rope_key = file.get("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const json* rope = file.get(rope_key);
  if (rope && !rope->is_object()) file.wrong(rope_key, *rope, "an object");
  const Object rope_object(path + ": \"" + rope_key + "\"", rope ? *rope : kEmpty);
  const double theta =
      rope_object.maybe_positive("rope_theta").value_or(file.maybe_positive("rope_theta").value_or(10000));
  if (theta <= 1) file.fail("rope_theta", "is not above 1");
  if (file.maybe_positive("partial_rotary_factor").value_or(1) != 1 ||
      rope_object.maybe_positive("partial_rotary_factor").value_or(1) != 1) {
    file.fail("partial_rotary_factor", "is not 1: partial rotation is not supported");
  }
  check_architecture(path, a);
  set_rope(a, theta, read_scaling(rope_object, a.context_length), {});
  check_architecture(path, a);
  return config;
}

}  // namespace svq::convert
