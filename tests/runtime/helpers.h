// Models and sessions for the runtime's tests.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/model/model.h"
#include "runtime/model/session.h"
#include "tests/runtime/tiny_model.h"

namespace svq::test {

// A loaded tiny model with the bytes it views.
struct Loaded {
  explicit Loaded(const TinyModel& tiny)
      : bytes(std::make_unique<PageBytes>(file_bytes(tiny))),
        model(std::make_shared<const rt::Model>(rt::ModelFile::view(bytes->span(), "tiny"))) {}
  explicit Loaded(const TinyOptions& options) : Loaded(make_tiny(options)) {}

  std::unique_ptr<PageBytes> bytes;
  std::shared_ptr<const rt::Model> model;
};

inline std::vector<int32_t> some_tokens(size_t n, uint32_t vocab, uint32_t seed = 7) {
  std::mt19937 rng(seed);
  std::vector<int32_t> out(n);
  for (int32_t& t : out) t = static_cast<int32_t>(rng() % vocab);
  return out;
}

// Those of the last token; empty before the first.
inline std::vector<float> logits_of(const rt::Session& s) {
  const float* p = s.logits();
  return p == nullptr ? std::vector<float>() : std::vector<float>(p, p + s.model().weights().config.vocab);
}

inline std::vector<uint8_t> saved(const rt::Session& s) {
  std::vector<uint8_t> out(s.state_bytes());
  s.save_state(out.data());
  return out;
}

inline std::vector<int32_t> joined(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Root mean square of a − b over that of b.
inline double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double error = 0, size = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    error += std::pow(double{a[i]} - b[i], 2);
    size += std::pow(double{b[i]}, 2);
  }
  return std::sqrt(error / size);
}

// Logits [tokens, vocab] of a fresh session; `step` tokens a call.
inline std::vector<float> all_logits(const std::shared_ptr<const rt::Model>& model, const rt::SessionOptions& options,
                                     const std::vector<int32_t>& tokens, size_t step = SIZE_MAX) {
  rt::Session session(model, options);
  const size_t vocab = model->weights().config.vocab;
  std::vector<float> out(tokens.size() * vocab);
  for (size_t at = 0; at < tokens.size();) {
    const size_t n = std::min(step, tokens.size() - at);
    session.eval({tokens.data() + at, n}, out.data() + at * vocab);
    at += n;
  }
  return out;
}

// The status of the Error that body() throws; SVQ_OK if none.
template <class Body>
svq_status status_of(const Body& body, std::string* message = nullptr) {
  try {
    body();
  } catch (const rt::Error& e) {
    if (message != nullptr) *message = e.what();
    return e.status();
  }
  return SVQ_OK;
}

// A temporary file that goes with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::span<const uint8_t> bytes) {
    static int count = 0;
    path_ = testing::TempDir() + "svq_runtime_" + std::to_string(getpid()) + "_" + std::to_string(count++) + ".svq";
    write_file(path_, bytes);
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace svq::test
