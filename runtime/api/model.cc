// Loading, facts about a model, its integrity.
#include <cstdlib>
#include <cstring>

#include "runtime/api/guard.h"
#include "runtime/file/tensors.h"
#include "runtime/model/describe.h"
#include "runtime/model/kv_cache.h"
#include "runtime/model/random_model.h"
#include "runtime/tokenizer/chat.h"
#include "schema/packing.h"

using namespace svq::rt;
namespace fb = svq::fb;

namespace {

const fb::Linear& find_linear(const Model& model, const char* name) {
  const fb::Linear* found = nullptr;
  for_each_linear(model.metadata(), [&](const std::string& path, const fb::Linear& linear) {
    if (path == name) found = &linear;
  });
  if (found == nullptr)
    fail(SVQ_ERROR_INVALID_ARGUMENT, model.file().name(), ": there is no linear called \"", name, "\"");
  return *found;
}

const char* text_or(const flatbuffers::String* text, const char* otherwise) {
  return text == nullptr ? otherwise : text->c_str();
}

}  // namespace

extern "C" {

svq_model_params* svq_model_params_create(void) { return new (std::nothrow) svq_model_params(); }
void svq_model_params_free(svq_model_params* params) { delete params; }

svq_status svq_model_params_set(svq_model_params* params, svq_model_parameter parameter, int64_t value) {
  return guard([&] {
    require(params != nullptr, "params is NULL");
    switch (raw(parameter)) {
      case SVQ_MODEL_VERIFY:
        require(value == 0 || value == 1, "SVQ_MODEL_VERIFY takes 0 or 1");
        params->options.verify = value == 1;
        return;
      case SVQ_MODEL_MEMORY_LIMIT:
        require(value >= 0, "SVQ_MODEL_MEMORY_LIMIT takes a number of bytes, 0 for no limit");
        params->options.memory_limit = static_cast<uint64_t>(value);
        return;
      case SVQ_MODEL_PREFAULT:
        require(value == 0 || value == 1, "SVQ_MODEL_PREFAULT takes 0 or 1");
        params->options.prefault = value == 1;
        return;
      case SVQ_MODEL_MEMORY_BUDGET:
        require(value >= 0, "SVQ_MODEL_MEMORY_BUDGET takes a number of bytes, 0 for no budget");
        params->options.memory_budget = static_cast<uint64_t>(value);
        return;
      case SVQ_MODEL_LOCK:
        require(value == 0 || value == 1, "SVQ_MODEL_LOCK takes 0 or 1");
        params->options.lock = value == 1;
        return;
      case SVQ_MODEL_DEVICE:
        require(value >= SVQ_DEVICE_CPU && value <= SVQ_DEVICE_AUTO, "SVQ_MODEL_DEVICE takes an svq_device");
        params->options.device = static_cast<DeviceKind>(value);
        return;
      case SVQ_MODEL_GPU:
        require(value >= 0 && value < 1024, "SVQ_MODEL_GPU takes 0 to 1023");
        params->options.gpu = static_cast<uint32_t>(value);
        return;
      case SVQ_MODEL_GPU_MAPPED:
        require(value == 0 || value == 1, "SVQ_MODEL_GPU_MAPPED takes 0 or 1");
        params->options.gpu_mapped = value == 1;
        return;
    }
    fail(SVQ_ERROR_INVALID_ARGUMENT, "unknown model parameter ", raw(parameter));
  });
}

svq_status svq_estimate_size(const char* path, const svq_session_params* session_params, svq_size_estimate* out) {
  return guard([&] {
    require(path != nullptr && out != nullptr, "path or out is NULL");
    const ModelFile file = ModelFile::open(path);
    const Weights weights(file, false);
    const SessionOptions options = session_params == nullptr ? SessionOptions() : session_params->options;
    *out = {};
    out->file_bytes = file.bytes();
    out->model_bytes = model_heap_bytes(file.model(), weights);
    out->session_bytes = session_bytes(weights, select_kernels(), options);
    out->kv_bytes_per_token = KvCache::bytes_per_token(weights.config, options.kv_bits);
    out->gpu_model_bytes = DeviceModel::bytes(file, weights);
    out->gpu_session_bytes = gpu_session_bytes(weights, nullptr, options);
  });
}

svq_status svq_model_load(const char* path, const svq_model_params* params, svq_model** out) {
  return guard([&] {
    require(out != nullptr, "out is NULL");
    *out = nullptr;
    require(path != nullptr, "path is NULL");
    *out = new svq_model{Model::load(path, params == nullptr ? ModelOptions() : params->options)};
  });
}

void svq_model_free(svq_model* model) { delete model; }

svq_status svq_model_get_info(const svq_model* model, svq_model_info* out) {
  return guard([&] {
    require(model != nullptr && out != nullptr, "model or out is NULL");
    const Model& m = *model->model;
    const fb::Model& meta = m.metadata();
    const Config& c = m.weights().config;
    *out = {};
    out->name = meta.name()->c_str();
    out->family = meta.architecture()->family()->c_str();
    out->method = meta.provenance() == nullptr ? "" : text_or(meta.provenance()->method(), "");
    out->chat_format = chat_format_name(meta.chat() == nullptr ? fb::ChatFormat::None : meta.chat()->format());
    out->isa = m.on_gpu() != nullptr ? "cuda" : svq::kernels::isa_name(m.kernels().isa);
    out->n_layers = c.n_layers;
    out->hidden = c.hidden;
    out->intermediate = c.intermediate;
    out->n_heads = c.n_heads;
    out->n_kv_heads = c.n_kv_heads;
    out->head_dim = c.head_dim;
    out->vocab = c.vocab;
    out->context_length = c.context_length;
    out->n_parameters = m.sizes().n_parameters;
    out->file_bytes = m.file().bytes();
    out->decode_bytes = m.sizes().decode_bytes;
    out->bits_per_weight = m.sizes().bits_per_weight;
    out->bos = m.tokenizer() == nullptr ? -1 : m.tokenizer()->bos();
  });
}

svq_status svq_model_describe(const svq_model* model, int with_tensors, char** out_json) {
  return guard([&] {
    require(out_json != nullptr, "out_json is NULL");
    *out_json = nullptr;
    require(model != nullptr, "model is NULL");
    const std::string json = describe(*model->model, with_tensors != 0);
    char* copy = static_cast<char*>(std::malloc(json.size() + 1));
    if (copy == nullptr) throw std::bad_alloc();
    std::memcpy(copy, json.c_str(), json.size() + 1);
    *out_json = copy;
  });
}

void svq_string_free(char* string) { std::free(string); }

svq_status svq_model_verify(const svq_model* model) {
  return guard([&] {
    require(model != nullptr, "model is NULL");
    verify_checksums(model->model->file());
  });
}

svq_status svq_model_code_histogram(const svq_model* model, const char* name, uint64_t* counts, size_t* n) {
  return guard([&] {
    require(model != nullptr && name != nullptr && n != nullptr, "model, name or n is NULL");
    const Model& m = *model->model;
    const fb::Linear& linear = find_linear(m, name);
    if (linear.bits() == 16)
      fail(SVQ_ERROR_UNSUPPORTED, "the linear \"", name, "\" has 16 bits: there are no codes to count");
    std::vector<uint64_t> histogram(size_t{1} << linear.bits());
    if (counts != nullptr && *n >= histogram.size()) {
      const auto packed = m.file().data().subspan(linear.weight()->offset(), linear.weight()->size());
      std::vector<uint8_t> codes(linear.columns());
      for (uint32_t row = 0; row < linear.rows(); ++row) {
        svq::format::unpack_row(packed, linear.rows(), linear.columns(), linear.bits(), row, codes);
        for (const uint8_t code : codes) ++histogram[code];
      }
    }
    copy_out(histogram.data(), histogram.size(), counts, n);
  });
}

svq_status svq_model_create_random(const char* shape, uint32_t bits, uint64_t seed, svq_model** out) {
  return guard([&] {
    require(out != nullptr, "out is NULL");
    *out = nullptr;
    require(shape != nullptr, "shape is NULL");
    *out = new svq_model{std::make_shared<const Model>(create_random_model(shape, bits, seed))};
  });
}

const char* svq_shape_name(size_t index) { return shape_name(index); }

}  // extern "C"
