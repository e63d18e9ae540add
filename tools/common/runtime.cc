#include "tools/common/runtime.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace svq::tools {

void check(svq_status status) {
  if (status == SVQ_OK) return;
  const char* text = svq_last_error();
  throw Failure(text && *text ? text : svq_status_name(status));
}

ModelPtr load_model(const std::string& path, const std::string& device) {
  std::unique_ptr<svq_model_params, Free> params(svq_model_params_create());
  if (!params) throw Failure("out of memory");
  const svq_device kind = device == "cuda" ? SVQ_DEVICE_CUDA : device == "auto" ? SVQ_DEVICE_AUTO : SVQ_DEVICE_CPU;
  check(svq_model_params_set(params.get(), SVQ_MODEL_DEVICE, kind));
  svq_model* model = nullptr;
  check(svq_model_load(path.c_str(), params.get(), &model));
  return ModelPtr(model);
}

svq_model_info model_info(const svq_model* model) {
  svq_model_info info{};
  check(svq_model_get_info(model, &info));
  return info;
}

std::string model_description(const svq_model* model, bool with_tensors) {
  char* text = nullptr;
  check(svq_model_describe(model, with_tensors, &text));
  const std::unique_ptr<char, void (*)(char*)> description(text, svq_string_free);
  return description.get();
}

SessionPtr create_session(svq_model* model, const SessionOptions& options) {
  std::unique_ptr<svq_session_params, Free> params(svq_session_params_create());
  if (!params) throw Failure("out of memory");
  auto set = [&](svq_session_parameter parameter, uint32_t value) {
    if (value) check(svq_session_params_set(params.get(), parameter, value));
  };
  set(SVQ_SESSION_CONTEXT, options.context);
  set(SVQ_SESSION_THREADS, options.threads);
  set(SVQ_SESSION_KV_BITS, options.kv_bits);
  set(SVQ_SESSION_ACTIVATIONS, options.activations);
  svq_session* session = nullptr;
  check(svq_session_create(model, params.get(), &session));
  return SessionPtr(session);
}

namespace {

// Calls fill(buffer, &n) with a buffer that it finds large enough.
template <typename Buffer, typename Fill>
Buffer filled(size_t guess, Fill fill) {
  Buffer buffer(guess, {});
  size_t n = buffer.size();
  svq_status status = fill(buffer.data(), &n);
  if (status == SVQ_ERROR_BUFFER_TOO_SMALL) {
    buffer.resize(n);
    status = fill(buffer.data(), &n);
  }
  check(status);
  buffer.resize(n);
  return buffer;
}

}  // namespace

std::vector<svq_token> tokenize(const svq_model* model, std::string_view text, uint32_t flags) {
  return filled<std::vector<svq_token>>(text.size() / 2 + 16, [&](svq_token* tokens, size_t* n) {
    return svq_tokenize(model, text.data(), text.size(), flags, tokens, n);
  });
}

std::string detokenize(const svq_model* model, std::span<const svq_token> tokens, bool with_special) {
  return filled<std::string>(tokens.size() * 8 + 16, [&](char* text, size_t* n) {
    return svq_detokenize(model, tokens.data(), tokens.size(), with_special, text, n);
  });
}

std::vector<svq_token> chat_tokenize(const svq_model* model, std::span<const svq_message> messages, bool continued,
                                     bool open_answer) {
  return filled<std::vector<svq_token>>(256, [&](svq_token* tokens, size_t* n) {
    return svq_chat_tokenize(model, messages.data(), messages.size(), continued, open_answer, tokens, n);
  });
}

bool adds_bos(const svq_model* model) {
  const int32_t bos = model_info(model).bos;
  if (bos < 0) return false;
  const std::vector<svq_token> tokens = tokenize(model, "", SVQ_TOKENIZE_ADD_SPECIAL);
  return !tokens.empty() && tokens[0] == bos;
}

GrammarPtr load_grammar(svq_model* model, svq_grammar_kind kind, const std::string& path) {
  const std::string text = read_file(path);
  svq_grammar* grammar = nullptr;
  if (svq_grammar_create(model, kind, text.data(), text.size(), &grammar) != SVQ_OK)
    throw Failure(path + ": " + svq_last_error());
  return GrammarPtr(grammar);
}

std::string read_file(const std::string& path) {
  auto fail = [&](const char* what) { return Failure(path + ": " + what + ": " + std::strerror(errno)); };
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) throw fail("cannot be opened");
  std::string text;
  char block[1 << 16];
  size_t n;
  while ((n = std::fread(block, 1, sizeof block, file.get())) > 0) text.append(block, n);
  if (std::ferror(file.get())) throw fail("cannot be read");
  return text;
}

}  // namespace svq::tools
