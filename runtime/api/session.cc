// Sessions: evaluation, sampling, generation.
#include <cmath>

#include "runtime/api/guard.h"
#include "runtime/base/bandwidth.h"
#include "runtime/model/generate.h"

using namespace svq::rt;

namespace {

// `value` if it lies in [low, high], as an integer type.
template <class T>
T within(int64_t value, int64_t low, int64_t high, const char* name) {
  if (value < low || value > high)
    fail(SVQ_ERROR_INVALID_ARGUMENT, name, " is ", value, ", expected ", low, " to ", high);
  return static_cast<T>(value);
}

double within(double value, double low, double high, const char* name) {
  if (!(value >= low && value <= high))
    fail(SVQ_ERROR_INVALID_ARGUMENT, name, " is ", value, ", expected ", low, " to ", high);
  return value;
}

double whole(double value, double high, const char* name) {
  if (!(value >= 0 && value <= high && value == std::floor(value))) {
    fail(SVQ_ERROR_INVALID_ARGUMENT, name, " is ", value, ", expected a whole number from 0 to ", high);
  }
  return value;
}

}  // namespace

extern "C" {

svq_session_params* svq_session_params_create(void) { return new (std::nothrow) svq_session_params(); }
void svq_session_params_free(svq_session_params* params) { delete params; }

svq_status svq_session_params_set(svq_session_params* params, svq_session_parameter parameter, int64_t value) {
  return guard([&] {
    require(params != nullptr, "params is NULL");
    SessionOptions& o = params->options;
    switch (raw(parameter)) {
      case SVQ_SESSION_CONTEXT:
        o.context = within<uint32_t>(value, 0, 1 << 24, "SVQ_SESSION_CONTEXT");
        return;
      case SVQ_SESSION_THREADS:
        o.threads = within<uint32_t>(value, 0, 1024, "SVQ_SESSION_THREADS");
        return;
      case SVQ_SESSION_KV_BITS:
        require(value == 8 || value == 16, "SVQ_SESSION_KV_BITS takes 8 or 16");
        o.kv_bits = static_cast<uint32_t>(value);
        return;
      case SVQ_SESSION_CHUNK:
        o.chunk = within<uint32_t>(value, 1, 4096, "SVQ_SESSION_CHUNK");
        return;
      case SVQ_SESSION_ACTIVATIONS:
        require(value == 8 || value == 32, "SVQ_SESSION_ACTIVATIONS takes 8 or 32");
        o.activations = static_cast<uint32_t>(value);
        return;
      case SVQ_SESSION_PIN_THREADS:
        require(value == 0 || value == 1, "SVQ_SESSION_PIN_THREADS takes 0 or 1");
        o.pin_threads = value == 1;
        return;
      case SVQ_SESSION_AFFINITY:
        o.affinity = static_cast<uint64_t>(value);
        return;
      case SVQ_SESSION_SHIFT:
        require(value == 0 || value == 1, "SVQ_SESSION_SHIFT takes 0 or 1");
        o.shift = value == 1;
        return;
      case SVQ_SESSION_KEEP:
        o.keep = within<uint32_t>(value, 0, 1 << 24, "SVQ_SESSION_KEEP");
        return;
      case SVQ_SESSION_PRIORITY:
        o.nice = within<int>(value, -20, 20, "SVQ_SESSION_PRIORITY");
        return;
      case SVQ_SESSION_LOCK:
        require(value == 0 || value == 1, "SVQ_SESSION_LOCK takes 0 or 1");
        o.lock = value == 1;
        return;
      case SVQ_SESSION_GPU_PRIORITY:
        o.gpu_priority = within<int32_t>(value, 0, 5, "SVQ_SESSION_GPU_PRIORITY");
        return;
    }
    fail(SVQ_ERROR_INVALID_ARGUMENT, "unknown session parameter ", raw(parameter));
  });
}

svq_status svq_session_create(svq_model* model, const svq_session_params* params, svq_session** out) {
  return guard([&] {
    require(out != nullptr, "out is NULL");
    *out = nullptr;
    require(model != nullptr, "model is NULL");
    *out = new svq_session(model->model, params == nullptr ? SessionOptions() : params->options);
  });
}

void svq_session_free(svq_session* session) { delete session; }

svq_status svq_session_eval(svq_session* session, const svq_token* tokens, size_t n_tokens) {
  return guard([&] {
    require(session != nullptr, "session is NULL");
    require(tokens != nullptr || n_tokens == 0, "tokens is NULL");
    session->session.pace().begin_call();
    session->session.eval({tokens, n_tokens}, nullptr);
  });
}

svq_status svq_session_eval_logits(svq_session* session, const svq_token* tokens, size_t n_tokens, float* logits) {
  return guard([&] {
    require(session != nullptr, "session is NULL");
    require(tokens != nullptr || n_tokens == 0, "tokens is NULL");
    require(logits != nullptr || n_tokens == 0, "logits is NULL");
    session->session.pace().begin_call();
    session->session.eval({tokens, n_tokens}, logits);
  });
}

svq_status svq_sessions_eval(svq_session* const* sessions, const svq_token* tokens, size_t n) {
  return guard([&] {
    require((sessions != nullptr && tokens != nullptr) || n == 0, "sessions or tokens is NULL");
    if (n == 0) return;
    constexpr size_t kMost = 256;
    Session* all[kMost];
    if (n > kMost) fail(SVQ_ERROR_INVALID_ARGUMENT, "n is ", n, ", expected at most ", kMost, " sessions");
    for (size_t i = 0; i < n; ++i) {
      if (sessions[i] == nullptr) fail(SVQ_ERROR_INVALID_ARGUMENT, "session ", i, " is NULL");
      all[i] = &sessions[i]->session;
    }
    all[0]->pace().begin_call();
    Session::eval_together({all, n}, {tokens, n});
  });
}

const float* svq_session_logits(const svq_session* session) {
  const float* logits = nullptr;
  if (session != nullptr) guard([&] { logits = session->session.logits(); });
  return logits;
}
size_t svq_session_position(const svq_session* session) { return session == nullptr ? 0 : session->session.position(); }
size_t svq_session_context(const svq_session* session) { return session == nullptr ? 0 : session->session.context(); }
uint64_t svq_session_memory(const svq_session* session) { return session == nullptr ? 0 : session->session.memory(); }
uint32_t svq_session_threads(const svq_session* session) { return session == nullptr ? 0 : session->session.threads(); }

svq_status svq_session_truncate(svq_session* session, size_t position) {
  return guard([&] {
    require(session != nullptr, "session is NULL");
    session->session.truncate(position);
  });
}

void svq_session_cancel(svq_session* session) {
  if (session != nullptr) session->session.cancel();
}

svq_status svq_session_set_sampler(svq_session* session, svq_sampler_parameter parameter, double value) {
  return guard([&] {
    require(session != nullptr, "session is NULL");
    SamplerSettings& s = session->session.sampler().settings;
    switch (raw(parameter)) {
      case SVQ_SAMPLER_TEMPERATURE:
        s.temperature = within(value, 0, 100, "SVQ_SAMPLER_TEMPERATURE");
        return;
      case SVQ_SAMPLER_TOP_K:
        s.top_k = static_cast<uint32_t>(whole(value, 1 << 30, "SVQ_SAMPLER_TOP_K"));
        return;
      case SVQ_SAMPLER_TOP_P:
        s.top_p = within(value, 1e-6, 1, "SVQ_SAMPLER_TOP_P");
        return;
      case SVQ_SAMPLER_MIN_P:
        s.min_p = within(value, 0, 1, "SVQ_SAMPLER_MIN_P");
        return;
      case SVQ_SAMPLER_REPETITION_PENALTY:
        s.repetition_penalty = within(value, 1e-3, 1e3, "SVQ_SAMPLER_REPETITION_PENALTY");
        return;
      case SVQ_SAMPLER_REPETITION_WINDOW:
        s.repetition_window = static_cast<uint32_t>(whole(value, 1 << 30, "SVQ_SAMPLER_REPETITION_WINDOW"));
        return;
      case SVQ_SAMPLER_SEED:
        session->session.sampler().seed(static_cast<uint64_t>(whole(value, 0x1p53, "SVQ_SAMPLER_SEED")));
        return;
    }
    fail(SVQ_ERROR_INVALID_ARGUMENT, "unknown sampler parameter ", raw(parameter));
  });
}

svq_status svq_session_sample(svq_session* session, svq_token* out) {
  return guard([&] {
    require(session != nullptr && out != nullptr, "session or out is NULL");
    *out = session->session.sample();
  });
}

svq_status svq_session_generate(svq_session* session, const svq_token* prompt, size_t n_prompt, size_t max_tokens,
                                svq_stream_fn fn, void* user, svq_generate_result* result) {
  svq_generate_result ignored;
  if (result == nullptr) result = &ignored;
  *result = {};
  return guard([&] {
    require(session != nullptr, "session is NULL");
    require(prompt != nullptr || n_prompt == 0, "prompt is NULL");
    generate(session->session, {prompt, n_prompt}, max_tokens, fn, user, *result);
  });
}

double svq_measure_read_bandwidth(uint32_t threads, uint64_t bytes) {
  double result = 0;
  guard([&] {
    require(threads >= 1 && threads <= 1024 && bytes >= 4096, "threads takes 1 to 1024, bytes at least 4096");
    result = measure_read_bandwidth(threads, bytes);
  });
  return result;
}

}  // extern "C"
