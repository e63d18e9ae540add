// Architectures from config.json and from GGUF metadata: values, defaults, and one sentence for what is not supported.
#include <gtest/gtest.h>

#include <fstream>

#include "converter/base/error.h"
#include "converter/models/config.h"
#include "converter/models/open_model.h"
#include "tests/sources/scratch.h"
#include "tests/sources/tiny_hf.h"

namespace svq::convert {
namespace {

using nlohmann::json;
using test::TinyShape;

TEST(Rope, EqualsTransformers) {
  std::ifstream in(SVQ_GOLDEN_DIR "/rope.json");
  const json cases = json::parse(in);
  ASSERT_EQ(cases.size(), 7u);
  for (const json& test : cases) {
    json config = test::tiny_config({});
    config.update(test["config"]);
    for (const char* spelling : {"rope_scaling", "rope_parameters", "type"}) {
      json changed = config;
      if (config.contains("rope_scaling") && std::string(spelling) == "rope_parameters") {
        changed["rope_parameters"] = config["rope_scaling"];  // transformers 5
        changed["rope_parameters"]["rope_theta"] = config["rope_theta"];
        changed.erase("rope_scaling");
        changed.erase("rope_theta");
      } else if (config.contains("rope_scaling") && std::string(spelling) == "type") {
        changed["rope_scaling"]["type"] = changed["rope_scaling"]["rope_type"];
        changed["rope_scaling"].erase("rope_type");
      }
      const auto a = read_hf_config("config.json", changed).architecture;
      const auto& expected = test["inv_freq"];
      ASSERT_EQ(a.rope_inv_freq.size(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        // transformers computes in f32.
        EXPECT_NEAR(a.rope_inv_freq[i], expected[i].get<double>(), 2e-6 * expected[i].get<double>())
            << test["name"] << " " << i;
      }
      EXPECT_NEAR(a.rope_attention_factor, test["attention_factor"].get<double>(), 1e-6) << test["name"];
    }
  }
}

TEST(Rope, GgufScalingEqualsHuggingFace) {
  TinyShape shape{.hidden = 256, .heads = 4, .kv_heads = 2, .head_dim = 64, .context = 4096};
  const auto architecture = [&](auto change) {
    auto writer = test::tiny_gguf(shape);
    change(writer);
    const std::string file = writer.build();
    return read_gguf_config(GgufFile("x.gguf", std::as_bytes(std::span(file)))).architecture;
  };
  const auto hf = [&](const json& scaling) {
    json config = test::tiny_config(shape);
    config["rope_scaling"] = scaling;
    return read_hf_config("config.json", config).architecture;
  };
  auto a = architecture([](auto& w) {
    w.add_string("llama.rope.scaling.type", "linear");
    w.add_float("llama.rope.scaling.factor", 4);
  });
  EXPECT_EQ(a.rope_inv_freq, hf({{"rope_type", "linear"}, {"factor", 4.0}}).rope_inv_freq);
  EXPECT_EQ(a.rope_scaling, "linear");
  a = architecture([](auto& w) {
    w.add_string("llama.rope.scaling.type", "yarn");
    w.add_float("llama.rope.scaling.factor", 8);
    w.add_uint("llama.rope.scaling.original_context_length", 512);
  });
  const auto yarn = hf({{"rope_type", "yarn"}, {"factor", 8.0}, {"original_max_position_embeddings", 512}});
  EXPECT_EQ(a.rope_inv_freq, yarn.rope_inv_freq);
  EXPECT_EQ(a.rope_attention_factor, yarn.rope_attention_factor);

  // Llama 3 in GGUF: llama.cpp's converter writes divisors, computed here by its formula.
  const auto llama3 = hf({{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 1024}});
  const auto plain = hf(nullptr);
  std::vector<float> divisors(32);
  for (size_t i = 0; i < 32; ++i) {
    const double wavelength = 2 * 3.14159265358979323846 / plain.rope_inv_freq[i];
    const double smooth = (1024 / wavelength - 1) / 3;
    divisors[i] = wavelength < 256    ? 1.0f
                  : wavelength > 1024 ? 8.0f
                                      : static_cast<float>(1 / ((1 - smooth) / 8 + smooth));
  }
  a = architecture([&](auto& w) {
    w.tensors.push_back({"rope_freqs.weight", {32}, 0, test::encode_values(divisors, test::TinyType::kF32)});
  });
  for (size_t i = 0; i < 32; ++i)
    EXPECT_NEAR(a.rope_inv_freq[i], llama3.rope_inv_freq[i], 1e-6 * llama3.rope_inv_freq[i]) << i;
  EXPECT_EQ(a.rope_scaling, "llama3");
}

struct Fault {
  const char* key;
  json value;  // discarded: the key is removed
  const char* says;
};
const json kRemove = json(json::value_t::discarded);

std::string hf_error(const TinyShape& shape, const Fault& fault) {
  json config = test::tiny_config(shape);
  if (fault.value.is_discarded()) {
    config.erase(fault.key);
  } else {
    config[fault.key] = fault.value;
  }
  return test::message_of<Error>([&] { read_hf_config("dir/config.json", config); });
}

TEST(HfConfig, OneSentencePerFault) {
  const Fault faults[] = {
      {"architectures", kRemove, "dir/config.json: \"architectures\" is missing"},
      {"architectures", "LlamaForCausalLM", "expected a list of one class name"},
      {"architectures", json::array(), "expected a list of one class name"},
      {"architectures",
       {"GPT2LMHeadModel"},
       "the architecture \"GPT2LMHeadModel\" is not supported; supported are LlamaForCausalLM"},
      {"hidden_size", kRemove, "\"hidden_size\" is missing"},
      {"hidden_size", nullptr, "\"hidden_size\" is missing"},
      {"hidden_size", "64", "\"hidden_size\" is \"64\", expected an integer from 1 to"},
      {"hidden_size", 64.5, "\"hidden_size\" is 64.5, expected an integer"},
      {"hidden_size", -64, "\"hidden_size\" is -64, expected an integer"},
      {"hidden_size", 0, "\"hidden_size\" is 0"},
      {"hidden_size", 1e30, "expected an integer"},
      {"hidden_size", json::array({1}), "\"hidden_size\" is an array"},
      {"num_hidden_layers", 1ull << 40, "\"num_hidden_layers\" is 1099511627776"},
      {"num_key_value_heads", 3,
       "the number of attention heads (4) is not a multiple of the number of key/value heads (3)"},
      {"num_key_value_heads", 8, "is not a multiple"},
      {"head_dim", 15, "the head size is 15, expected a positive even number"},
      {"rms_norm_eps", 0, "\"rms_norm_eps\" is 0, expected a positive number"},
      {"rms_norm_eps", "1e-5", "expected a positive number"},
      {"rms_norm_eps", 2, "is not below 1"},
      {"rope_theta", -1, "\"rope_theta\" is -1, expected a positive number"},
      {"rope_theta", 1, "\"rope_theta\" is not above 1"},
      {"hidden_act", "gelu", "\"hidden_act\" is \"gelu\", expected \"silu\""},
      {"hidden_act", 4, "\"hidden_act\" is 4, expected a string"},
      {"tie_word_embeddings", "yes", "expected true or false"},
      {"quantization_config", {{"bits", 4}}, "already quantized"},
      {"partial_rotary_factor", 0.5, "partial rotation is not supported"},
      {"rope_scaling", 4, "\"rope_scaling\" is 4, expected an object"},
      {"rope_scaling",
       {{"rope_type", "dynamic"}, {"factor", 2}},
       "\"rope_type\" is \"dynamic\"; supported are default, linear, llama3, yarn"},
      {"rope_scaling", {{"type", "su"}}, "\"type\" is \"su\""},
      {"rope_scaling", {{"rope_type", "linear"}}, "\"rope_scaling\": \"factor\" is missing"},
      {"rope_scaling", {{"rope_type", "linear"}, {"factor", 0}}, "\"factor\" is 0, expected a positive number"},
      {"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}}, "\"original_max_position_embeddings\" is missing"},
      {"rope_scaling",
       {{"rope_type", "llama3"},
        {"factor", 8},
        {"original_max_position_embeddings", 64},
        {"low_freq_factor", 4},
        {"high_freq_factor", 4}},
       "\"high_freq_factor\" is not above \"low_freq_factor\""},
  };
  for (const Fault& fault : faults) EXPECT_SAYS(hf_error({}, fault), fault.says);
  EXPECT_SAYS(test::message_of<Error>([] { read_hf_config("c", json::array()); }), "c: is not a JSON object");
  json config = test::tiny_config({});
  config.erase("head_dim");
  config["hidden_size"] = 66;
  EXPECT_SAYS(test::message_of<Error>([&] { read_hf_config("c", config); }),
              "expected a multiple of \"num_attention_heads\" (4)");
}

TEST(HfConfig, Windows) {
  const auto window = [](const char* family, const json& changes) {
    json config = test::tiny_config({.family = family});
    config.update(changes);
    return read_hf_config("c", config).architecture.sliding_window;
  };
  EXPECT_EQ(window("mistral", json::object()), 0u);
  EXPECT_EQ(window("mistral", {{"sliding_window", 32}}), 32u);
  json absent = test::tiny_config({.family = "mistral"});
  absent.erase("sliding_window");
  EXPECT_EQ(read_hf_config("c", absent).architecture.sliding_window, 4096u);  // MistralConfig's default
  EXPECT_EQ(window("llama", {{"sliding_window", 32}}), 0u);
  EXPECT_EQ(window("qwen2", {{"sliding_window", 32}}), 0u);
  EXPECT_EQ(window("qwen2", {{"sliding_window", 32}, {"use_sliding_window", true}, {"max_window_layers", 2}}), 0u);
  EXPECT_EQ(window("qwen2", {{"sliding_window", 32}, {"use_sliding_window", true}, {"max_window_layers", 0}}), 32u);
  EXPECT_SAYS(test::message_of<Error>([&] {
                window("qwen2", {{"sliding_window", 32}, {"use_sliding_window", true}, {"max_window_layers", 1}});
              }),
              "mixes layers of full and sliding attention");
  const json full = {"full_attention", "full_attention"}, mixed = {"full_attention", "sliding_attention"};
  EXPECT_EQ(window("qwen3", {{"sliding_window", 32}, {"use_sliding_window", true}, {"layer_types", full}}), 0u);
  EXPECT_SAYS(test::message_of<Error>([&] {
                window("qwen3", {{"sliding_window", 32}, {"use_sliding_window", true}, {"layer_types", mixed}});
              }),
              "\"layer_types\" mixes layers");
}

std::string gguf_error(const TinyShape& shape, const std::function<void(test::GgufWriter&)>& change) {
  auto writer = test::tiny_gguf(shape);
  change(writer);
  const std::string file = writer.build();
  return test::message_of<Error>(
      [&] { open_gguf(std::make_unique<GgufFile>("x.gguf", std::as_bytes(std::span(file))), "x.gguf"); });
}

TEST(GgufConfig, OneSentencePerFault) {
  using Writer = test::GgufWriter;
  const auto set = [](const char* key, uint32_t value) {
    return [=](Writer& w) {
      w.remove_key(key);
      w.add_uint(key, value);
    };
  };
  const auto without = [](const char* key) { return [=](Writer& w) { w.remove_key(key); }; };
  const auto set_float = [](const char* key, float value) {
    return [=](Writer& w) {
      w.remove_key(key);
      w.add_float(key, value);
    };
  };
  struct {
    std::function<void(Writer&)> change;
    const char* says;
  } const faults[] = {
      {without("general.architecture"), "x.gguf: metadata key \"general.architecture\" is missing"},
      {[](Writer& w) { w.keys[0].payload.back() = 'x'; },
       "the architecture \"llamx\" is not supported; supported are llama, qwen2, qwen3"},
      {set("general.architecture", 5), "\"general.architecture\" is of type uint32, expected a string"},
      {without("llama.block_count"), "\"llama.block_count\" is missing"},
      {set("llama.block_count", 0), "\"llama.block_count\" is 0, expected 1 to"},
      {set("llama.block_count", 1u << 30), "\"llama.block_count\" is 1073741824"},
      {set("llama.block_count", 4000), "claims 4000 layers but holds only"},
      {set("llama.block_count", 1), "\"blk.1.attn_k.weight\" belongs to a layer beyond the model's 1"},
      {set("llama.block_count", 3), "the tensor \"blk.2.attn_norm.weight\" is missing"},
      {set_float("llama.block_count", 2), "is of type float32, expected an unsigned integer"},
      {set("llama.attention.head_count", 0), "\"llama.attention.head_count\" is 0"},
      {set("llama.attention.head_count", 5), "expected a multiple of the 5 heads"},
      {set("llama.attention.head_count", 8), "\"blk.0.attn_k.weight\" has the shape [32, 64], expected [16, 64]"},
      {set("llama.attention.head_count_kv", 3), "(4) is not a multiple of the number of key/value heads (3)"},
      {set("llama.feed_forward_length", 64), "has the shape [128, 64], expected [64, 64]"},
      {set("llama.vocab_size", 5), "\"llama.vocab_size\" differs from the 272 rows"},
      {set("llama.expert_count", 8), "mixtures of experts are not supported"},
      {set("llama.rope.dimension_count", 8), "partial rotation is not supported"},
      {set("llama.attention.value_length", 8), "differs from the keys' length"},
      {set("split.count", 2), "one part of a split GGUF file"},
      {set_float("llama.rope.freq_base", -1), "\"llama.rope.freq_base\" is not positive"},
      {set_float("llama.rope.freq_base", NAN), "is not a finite number"},
      {set_float("llama.attention.layer_norm_rms_epsilon", 0), "is not positive"},
      {set_float("llama.attn_logit_softcapping", 30), "is not 0, which is not supported"},
      {set_float("llama.logit_scale", 2), "is not 1, which is not supported"},
      {[](Writer& w) { w.add_string("llama.rope.scaling.type", "longrope"); },
       "is \"longrope\"; supported are none, linear, yarn"},
      {[](Writer& w) { w.add_string("llama.rope.scaling.type", "yarn"); }, "\"llama.rope.scaling.factor\" is missing"},
      {[](Writer& w) {
         w.tensors.push_back({"rope_freqs.weight", {3}, 0, std::string(12, '\0')});
       },
       "has not the shape [8]"},
      {[](Writer& w) {
         w.tensors.push_back({"rope_freqs.weight", {8}, 0, std::string(32, '\0')});
       },
       "not a positive number"},
      {[](Writer& w) { w.remove_tensor("token_embd.weight"); }, "\"token_embd.weight\" is missing"},
      {[](Writer& w) { w.remove_tensor("output_norm.weight"); }, "the tensor \"output_norm.weight\" is missing"},
      {[](Writer& w) { w.remove_tensor("blk.1.ffn_gate.weight"); }, "the tensor \"blk.1.ffn_gate.weight\" is missing"},
      {[](Writer& w) {
         w.tensor("blk.0.attn_v.weight")->dims = {64, 16};
       },
       "\"blk.0.attn_v.weight\" has the shape [16, 64], expected [32, 64]"},
      {[](Writer& w) {
         w.tensor("blk.0.attn_norm.weight")->dims = {32, 2};
       },
       "has the shape [2, 32], expected [64]"},
      {[](Writer& w) {
         w.tensor("blk.0.attn_q.weight")->dims = {64, 8, 8};
       },
       "has the shape [8, 8, 64], expected [64, 64]"},
      {[](Writer& w) {
         w.tensors.push_back({"blk.0.ffn_gate_inp.weight", {64}, 0, std::string(256, '\0')});
       },
       "tensor \"blk.0.ffn_gate_inp.weight\" is not supported in a model of the family llama; supported are (# = "
       "layer) token_embd.weight"},
      {[](Writer& w) { w.tensor("blk.0.attn_q.weight")->name = "blk.00.attn_q.weight"; },
       "\"blk.00.attn_q.weight\" is not supported"},
      {[](Writer& w) { w.tensor("blk.0.attn_q.weight")->name = "blk.99999999999.attn_q.weight"; }, "is not supported"},
      {set("tokenizer.ggml.bos_token_id", 4000), "tokenizer.ggml.bos_token_id"},
      {[](Writer& w) { w.key("tokenizer.ggml.pre")->payload.back() = '9'; }, "pre-tokenizer"},
      {without("tokenizer.ggml.tokens"), "tokenizer.ggml.tokens"},
  };
  for (const auto& fault : faults) EXPECT_SAYS(gguf_error({}, fault.change), fault.says);
  EXPECT_EQ(gguf_error({}, [](Writer&) {}), "");
}

TEST(GgufConfig, DefaultsAndVariants) {
  const auto architecture = [](auto change) {
    auto writer = test::tiny_gguf({.kv_heads = 4});
    change(writer);
    const std::string file = writer.build();
    return open_gguf(std::make_unique<GgufFile>("x.gguf", std::as_bytes(std::span(file))), "x.gguf")->architecture();
  };
  using Writer = test::GgufWriter;
  EXPECT_EQ(architecture([](Writer& w) { w.remove_key("llama.attention.head_count_kv"); }).n_kv_heads, 4u);
  EXPECT_EQ(architecture([](Writer& w) { w.add_uint("llama.attention.sliding_window", 33); }).sliding_window, 33u);
  EXPECT_FLOAT_EQ(architecture([](Writer& w) { w.remove_key("llama.rope.freq_base"); }).rope_inv_freq[1],
                  std::pow(10000.0f, -2.0f / 16));
  // One number per layer, all equal.
  EXPECT_EQ(architecture([](Writer& w) {
              w.remove_key("llama.attention.head_count");
              w.add_array<uint32_t>("llama.attention.head_count", 4, {4, 4});
            }).n_heads,
            4u);
  EXPECT_SAYS(gguf_error({},
                         [](Writer& w) {
                           w.remove_key("llama.attention.head_count");
                           w.add_array<uint32_t>("llama.attention.head_count", 4, {4, 2});
                         }),
              "differs between layers");
}

TEST(GgufConfig, TokenizerMayBeAbsentButNotLargerThanTheEmbedding) {
  auto writer = test::tiny_gguf({});
  std::erase_if(writer.keys, [](const auto& key) { return key.name.starts_with("tokenizer."); });
  const std::string file = writer.build();
  const auto model = open_gguf(std::make_unique<GgufFile>("x.gguf", std::as_bytes(std::span(file))), "x.gguf");
  EXPECT_EQ(model->tokenizer(), nullptr);
  EXPECT_EQ(model->chat().format, fb::ChatFormat::None);

  EXPECT_NE(gguf_error({},
                       [](test::GgufWriter& w) {
                         auto* embedding = w.tensor("token_embd.weight");
                         embedding->dims[1] = 200;
                         embedding->data.resize(200 * 64 * 2);
                       }),
            "");
}

}  // namespace
}  // namespace svq::convert
