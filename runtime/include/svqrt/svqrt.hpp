// svqrt.h in C++: objects that free themselves, failures as exceptions. Header only, C++17 or newer.
#ifndef SVQRT_HPP
#define SVQRT_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "svqrt.h"

namespace svq {

class Error : public std::runtime_error {
 public:
  Error(svq_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  svq_status status() const noexcept { return status_; }

 private:
  svq_status status_;
};

inline void check(svq_status status) {
  if (status == SVQ_OK) return;
  const char* message = svq_last_error();
  throw Error(status, *message != '\0' ? message : svq_status_name(status));
}

namespace detail {
template <class T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* object) const { Free(object); }
};
template <class T, void (*Free)(T*)>
using Handle = std::unique_ptr<T, Deleter<T, Free>>;

// Calls fill(data, &n) once for the size and once for the content.
template <class Container, class Fill>
Container filled(const Fill& fill) {
  std::size_t n = 0;
  const svq_status first = fill(nullptr, &n);
  if (first != SVQ_ERROR_BUFFER_TOO_SMALL) check(first);
  Container out(n, typename Container::value_type());
  if (n != 0) check(fill(out.data(), &n));
  return out;
}
}  // namespace detail

struct Message {
  std::string role, content;
};

struct ModelOptions {
  bool verify = false;             // SVQ_MODEL_VERIFY
  std::int64_t memory_limit = 0;   // SVQ_MODEL_MEMORY_LIMIT
  bool prefault = false;           // SVQ_MODEL_PREFAULT
  std::int64_t memory_budget = 0;  // SVQ_MODEL_MEMORY_BUDGET
  bool lock = false;               // SVQ_MODEL_LOCK
  svq_device device = SVQ_DEVICE_CPU;
  std::int64_t gpu = 0;     // SVQ_MODEL_GPU
  bool gpu_mapped = false;  // SVQ_MODEL_GPU_MAPPED
};

struct SessionOptions {
  std::int64_t context = 0;       // SVQ_SESSION_CONTEXT
  std::int64_t threads = 0;       // SVQ_SESSION_THREADS
  std::int64_t kv_bits = 16;      // SVQ_SESSION_KV_BITS
  std::int64_t chunk = 0;         // SVQ_SESSION_CHUNK; 0: the library's default
  std::int64_t activations = 8;   // SVQ_SESSION_ACTIVATIONS
  bool pin_threads = false;       // SVQ_SESSION_PIN_THREADS
  std::uint64_t affinity = 0;     // SVQ_SESSION_AFFINITY
  bool shift = false;             // SVQ_SESSION_SHIFT
  std::int64_t keep = 0;          // SVQ_SESSION_KEEP
  std::int64_t priority = 0;      // SVQ_SESSION_PRIORITY
  bool lock = false;              // SVQ_SESSION_LOCK
  std::int64_t gpu_priority = 0;  // SVQ_SESSION_GPU_PRIORITY
};

class Model {
 public:
  explicit Model(const std::string& path, const ModelOptions& options = {}) {
    const detail::Handle<svq_model_params, svq_model_params_free> params(svq_model_params_create());
    check(svq_model_params_set(params.get(), SVQ_MODEL_VERIFY, options.verify));
    check(svq_model_params_set(params.get(), SVQ_MODEL_MEMORY_LIMIT, options.memory_limit));
    check(svq_model_params_set(params.get(), SVQ_MODEL_PREFAULT, options.prefault));
    check(svq_model_params_set(params.get(), SVQ_MODEL_MEMORY_BUDGET, options.memory_budget));
    check(svq_model_params_set(params.get(), SVQ_MODEL_LOCK, options.lock));
    check(svq_model_params_set(params.get(), SVQ_MODEL_DEVICE, options.device));
    check(svq_model_params_set(params.get(), SVQ_MODEL_GPU, options.gpu));
    check(svq_model_params_set(params.get(), SVQ_MODEL_GPU_MAPPED, options.gpu_mapped));
    svq_model* model = nullptr;
    check(svq_model_load(path.c_str(), params.get(), &model));
    handle_.reset(model);
  }
  static Model random(const std::string& shape, std::uint32_t bits, std::uint64_t seed = 0) {
    svq_model* model = nullptr;
    check(svq_model_create_random(shape.c_str(), bits, seed, &model));
    return Model(model);
  }

  svq_model* get() const { return handle_.get(); }
  svq_model_info info() const {
    svq_model_info out;
    check(svq_model_get_info(get(), &out));
    return out;
  }
  std::string describe(bool with_tensors = false) const {  // JSON
    char* json = nullptr;
    check(svq_model_describe(get(), with_tensors, &json));
    const detail::Handle<char, svq_string_free> owner(json);
    return json;
  }
  void verify() const { check(svq_model_verify(get())); }
  std::vector<std::uint64_t> code_histogram(const std::string& linear) const {
    return detail::filled<std::vector<std::uint64_t>>([&](std::uint64_t* counts, std::size_t* n) {
      return svq_model_code_histogram(get(), linear.c_str(), counts, n);
    });
  }

  std::vector<svq_token> tokenize(std::string_view text, std::uint32_t flags = SVQ_TOKENIZE_ADD_SPECIAL) const {
    return detail::filled<std::vector<svq_token>>([&](svq_token* tokens, std::size_t* n) {
      return svq_tokenize(get(), text.data(), text.size(), flags, tokens, n);
    });
  }
  std::string detokenize(const std::vector<svq_token>& tokens, bool with_special = false) const {
    return detail::filled<std::string>([&](char* text, std::size_t* n) {
      return svq_detokenize(get(), tokens.data(), tokens.size(), with_special, text, n);
    });
  }
  bool is_end(svq_token token) const { return svq_token_is_end(get(), token) != 0; }
  std::string chat_format(const std::vector<Message>& messages, bool continued = false, bool open_answer = true) const {
    const auto list = pointers(messages);
    return detail::filled<std::string>([&](char* text, std::size_t* n) {
      return svq_chat_format(get(), list.data(), list.size(), continued, open_answer, text, n);
    });
  }
  std::vector<svq_token> chat_tokenize(const std::vector<Message>& messages, bool continued = false,
                                       bool open_answer = true) const {
    const auto list = pointers(messages);
    return detail::filled<std::vector<svq_token>>([&](svq_token* tokens, std::size_t* n) {
      return svq_chat_tokenize(get(), list.data(), list.size(), continued, open_answer, tokens, n);
    });
  }
  // tools: JSON, as svq_chat_tokenize_tools takes it.
  std::vector<svq_token> chat_tokenize_tools(const std::vector<Message>& messages, const std::string& tools,
                                             bool continued = false, bool open_answer = true) const {
    const auto list = pointers(messages);
    return detail::filled<std::vector<svq_token>>([&](svq_token* tokens, std::size_t* n) {
      return svq_chat_tokenize_tools(get(), list.data(), list.size(), tools.c_str(), continued, open_answer, tokens, n);
    });
  }
  std::string tool_calls(std::string_view answer) const {  // JSON
    char* json = nullptr;
    check(svq_tool_calls(get(), answer.data(), answer.size(), &json));
    const detail::Handle<char, svq_string_free> owner(json);
    return json;
  }

 private:
  explicit Model(svq_model* model) : handle_(model) {}
  static std::vector<svq_message> pointers(const std::vector<Message>& messages) {
    std::vector<svq_message> out;
    for (const Message& m : messages) out.push_back({m.role.c_str(), m.content.c_str()});
    return out;
  }
  detail::Handle<svq_model, svq_model_free> handle_;
};

// What a generation may be: GBNF, a JSON Schema, or calls of tools.
class Grammar {
 public:
  Grammar(const Model& model, svq_grammar_kind kind, std::string_view text) {
    svq_grammar* grammar = nullptr;
    check(svq_grammar_create(model.get(), kind, text.data(), text.size(), &grammar));
    handle_.reset(grammar);
  }
  svq_grammar* get() const { return handle_.get(); }
  std::uint64_t memory() const { return svq_grammar_memory(get()); }

 private:
  detail::Handle<svq_grammar, svq_grammar_free> handle_;
};

class Session {
 public:
  // Keeps what it needs of the model: the Model may go first.
  explicit Session(const Model& model, const SessionOptions& options = {}) {
    svq_session* session = nullptr;
    check(svq_session_create(model.get(), parameters(options).get(), &session));
    handle_.reset(session);
    vocab_ = model.info().vocab;
  }

  svq_session* get() const { return handle_.get(); }
  // A session with the same context, whose pages are shared until one of the two writes to them.
  Session fork(const SessionOptions& options = {}) {
    svq_session* session = nullptr;
    check(svq_session_fork(get(), parameters(options).get(), &session));
    return Session(session, vocab_);
  }
  std::vector<unsigned char> save() const {
    return detail::filled<std::vector<unsigned char>>(
        [&](unsigned char* data, std::size_t* n) { return svq_session_save(get(), data, n); });
  }
  void restore(const std::vector<unsigned char>& state) {
    check(svq_session_restore(get(), state.data(), state.size()));
  }
  void save_file(const std::string& path) const { check(svq_session_save_file(get(), path.c_str())); }
  void restore_file(const std::string& path) { check(svq_session_restore_file(get(), path.c_str())); }
  void set_limit(svq_limit_parameter parameter, std::int64_t value) {
    check(svq_session_set_limit(get(), parameter, value));
  }
  void set_grammar(const Grammar& grammar) { check(svq_session_set_grammar(get(), grammar.get())); }
  void clear_grammar() { check(svq_session_set_grammar(get(), nullptr)); }
  void eval(const std::vector<svq_token>& tokens) { check(svq_session_eval(get(), tokens.data(), tokens.size())); }
  std::vector<float> eval_logits(const std::vector<svq_token>& tokens) {  // [tokens, vocab]
    std::vector<float> logits(tokens.size() * vocab_);
    check(svq_session_eval_logits(get(), tokens.data(), tokens.size(), logits.data()));
    return logits;
  }
  const float* logits() const { return svq_session_logits(get()); }  // [vocab]
  std::size_t position() const { return svq_session_position(get()); }
  std::size_t context() const { return svq_session_context(get()); }
  std::uint64_t memory() const { return svq_session_memory(get()); }
  std::uint32_t threads() const { return svq_session_threads(get()); }
  void truncate(std::size_t position) { check(svq_session_truncate(get(), position)); }
  void cancel() { svq_session_cancel(get()); }  // from any thread
  void set_sampler(svq_sampler_parameter parameter, double value) {
    check(svq_session_set_sampler(get(), parameter, value));
  }
  svq_token sample() {
    svq_token token = -1;
    check(svq_session_sample(get(), &token));
    return token;
  }
  // on_text(text, token) returns false to stop. It must not throw: it is called from C.
  svq_generate_result generate(const std::vector<svq_token>& prompt, std::size_t max_tokens,
                               const std::function<bool(std::string_view, svq_token)>& on_text = {}) {
    svq_generate_result result;
    const svq_stream_fn call = [](const char* text, std::size_t bytes, svq_token token, void* user) -> int {
      return (*static_cast<const std::function<bool(std::string_view, svq_token)>*>(user))({text, bytes}, token) ? 0
                                                                                                                 : 1;
    };
    check(svq_session_generate(get(), prompt.data(), prompt.size(), max_tokens, on_text ? call : nullptr,
                               const_cast<void*>(static_cast<const void*>(&on_text)), &result));
    return result;
  }

 private:
  using Parameters = detail::Handle<svq_session_params, svq_session_params_free>;
  Session(svq_session* session, std::size_t vocab) : handle_(session), vocab_(vocab) {}
  static Parameters parameters(const SessionOptions& options) {
    Parameters params(svq_session_params_create());
    const auto set = [&](svq_session_parameter parameter, std::int64_t value) {
      check(svq_session_params_set(params.get(), parameter, value));
    };
    set(SVQ_SESSION_CONTEXT, options.context);
    set(SVQ_SESSION_THREADS, options.threads);
    set(SVQ_SESSION_KV_BITS, options.kv_bits);
    if (options.chunk != 0) set(SVQ_SESSION_CHUNK, options.chunk);
    set(SVQ_SESSION_ACTIVATIONS, options.activations);
    set(SVQ_SESSION_PIN_THREADS, options.pin_threads);
    set(SVQ_SESSION_AFFINITY, static_cast<std::int64_t>(options.affinity));
    set(SVQ_SESSION_SHIFT, options.shift);
    set(SVQ_SESSION_KEEP, options.keep);
    set(SVQ_SESSION_PRIORITY, options.priority);
    set(SVQ_SESSION_LOCK, options.lock);
    set(SVQ_SESSION_GPU_PRIORITY, options.gpu_priority);
    return params;
  }
  detail::Handle<svq_session, svq_session_free> handle_;
  std::size_t vocab_ = 0;
};

// tokens[i] in sessions[i], evaluated together (svq_sessions_eval).
inline void eval_together(const std::vector<Session*>& sessions, const std::vector<svq_token>& tokens) {
  if (sessions.size() != tokens.size())
    throw Error(SVQ_ERROR_INVALID_ARGUMENT, "eval_together: expected a token for each session");
  std::vector<svq_session*> handles;
  for (const Session* s : sessions) handles.push_back(s->get());
  check(svq_sessions_eval(handles.data(), tokens.data(), tokens.size()));
}

}  // namespace svq

#endif  // SVQRT_HPP
