// The border of the C ABI: exceptions become statuses, and the sentence is kept for svq_last_error.
#pragma once
#include <cstring>
#include <exception>
#include <memory>
#include <new>

#include "runtime/base/error.h"
#include "runtime/include/svqrt/svqrt.h"
#include "runtime/model/model.h"
#include "runtime/model/session.h"

struct svq_model {
  std::shared_ptr<const svq::rt::Model> model;
};
struct svq_model_params {
  svq::rt::ModelOptions options;
};
struct svq_grammar {
  std::shared_ptr<const svq::rt::Model> model;  // whose tokenizer the grammar reads with
  std::shared_ptr<const svq::rt::Grammar> grammar;
};
struct svq_session_params {
  svq::rt::SessionOptions options;
};
struct svq_session {
  template <class... Args>
  explicit svq_session(Args&&... args) : session(std::forward<Args>(args)...) {}
  svq::rt::Session session;
};

namespace svq::rt {

// Allocates nothing: a fixed buffer per thread; longer sentences are cut.
void set_last_error(const char* message) noexcept;

template <class Body>
svq_status guard(const Body& body) noexcept {
  set_last_error("");
  try {
    body();
    return SVQ_OK;
  } catch (const Error& e) {
    set_last_error(e.what());
    return e.status();
  } catch (const std::bad_alloc&) {
    set_last_error("out of memory");
    return SVQ_ERROR_OUT_OF_MEMORY;
  } catch (const std::exception& e) {
    set_last_error(e.what());
    return SVQ_ERROR_INTERNAL;
  } catch (...) {
    set_last_error("unknown failure");
    return SVQ_ERROR_INTERNAL;
  }
}

// An enum's value as a C caller passed it: C allows any integer, and C++ must not read one that the enum does not know.
template <class Enum>
int raw(const Enum& value) {
  static_assert(sizeof(Enum) == sizeof(int));
  int out;
  std::memcpy(&out, &value, sizeof out);
  return out;
}

inline void require(bool condition, const char* sentence) {
  if (!condition) fail(SVQ_ERROR_INVALID_ARGUMENT, sentence);
}

// Copies n values to out if they fit its capacity *n; *n becomes n either way. Throws Error (BUFFER_TOO_SMALL).
template <class T>
void copy_out(const T* values, size_t n, T* out, size_t* capacity) {
  const size_t room = out == nullptr ? 0 : *capacity;
  *capacity = n;
  if (n > room) fail(SVQ_ERROR_BUFFER_TOO_SMALL, "the result takes ", n, " elements, the buffer holds ", room);
  for (size_t i = 0; i < n; ++i) out[i] = values[i];
}

}  // namespace svq::rt
