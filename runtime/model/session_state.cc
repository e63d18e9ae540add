#include "runtime/model/session_state.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/model/session.h"

namespace svq::rt {
namespace {

constexpr size_t kChecked = offsetof(StateHeader, bytes);  // the checksum covers what follows

uint64_t padded(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

constexpr uint64_t kCheckedPiece = 1 << 20;  // read at a time to be checked

// XXH3-64 of what is added piece by piece.
class Checksum {
 public:
  Checksum() { XXH3_64bits_reset(&state_); }
  void add(const void* data, uint64_t bytes) { XXH3_64bits_update(&state_, data, bytes); }
  uint64_t value() const { return XXH3_64bits_digest(&state_); }

 private:
  XXH3_state_t state_;
};

uint64_t bytes_of(const StateHeader& h, uint64_t cache_bytes) {
  return sizeof h + padded(h.name_bytes) + padded(uint64_t{h.n_tokens} * 4) +
         (h.has_logits != 0 ? padded(uint64_t{h.vocab} * 4) : 0) + cache_bytes;
}

std::string_view name_of(const Model& model) {
  const flatbuffers::String& name = *model.metadata().name();
  return {name.c_str(), std::min<size_t>(name.size(), 4096)};
}

}  // namespace

uint64_t Session::state_bytes() const {
  const StateHeader h{.name_bytes = static_cast<uint32_t>(name_of(*model_).size()),
                      .n_tokens = position_,
                      .vocab = model_->weights().config.vocab,
                      .has_logits = has_logits_};
  return bytes_of(h, parts_->backend.cache_bytes(position_));
}

void Session::save_state(const Backend::Sink& sink, StateHeader* header) const {
  const Config& c = model_->weights().config;
  const std::string_view name = name_of(*model_);
  StateHeader h{.magic = kStateMagic,
                .major = kStateMajor,
                .minor = kStateMinor,
                .checksum = 0,
                .bytes = state_bytes(),
                .model = model_->file().fingerprint(),
                .name_bytes = static_cast<uint32_t>(name.size()),
                .n_tokens = position_,
                .n_layers = c.n_layers,
                .n_kv_heads = c.n_kv_heads,
                .head_dim = c.head_dim,
                .kv_bits = options_.kv_bits,
                .vocab = c.vocab,
                .has_logits = has_logits_,
                .random_state = parts_->sampler.state(),
                .reserved = {}};
  Checksum sum;
  sum.add(reinterpret_cast<const uint8_t*>(&h) + kChecked, sizeof h - kChecked);
  const auto give = [&](const uint8_t* data, uint64_t bytes) {
    sum.add(data, bytes);
    sink(data, bytes);
  };
  const auto put = [&](const void* data, uint64_t bytes) {
    static constexpr uint8_t kZeros[8] = {};
    if (bytes != 0) give(static_cast<const uint8_t*>(data), bytes);
    if (padded(bytes) != bytes) give(kZeros, padded(bytes) - bytes);
  };
  put(name.data(), name.size());
  put(parts_->history, uint64_t{position_} * 4);
  if (has_logits_) put(logits(), uint64_t{c.vocab} * 4);
  parts_->backend.read_cache(position_, give);
  h.checksum = sum.value();
  *header = h;
}

void Session::save_state(uint8_t* out) const {
  StateHeader h;
  uint8_t* at = out + sizeof h;
  save_state(
      [&](const uint8_t* data, uint64_t bytes) {
        std::memcpy(at, data, bytes);
        at += bytes;
      },
      &h);
  std::memcpy(out, &h, sizeof h);
}

void Session::restore_state(std::span<const uint8_t> state, const std::string& name) {
  restore_state(StateSource{state.size(),
                            [&](uint64_t at, uint8_t* to, uint64_t bytes) {
                              if (bytes != 0) std::memcpy(to, state.data() + at, bytes);
                            }},
                name);
}

// The source is read twice: to check all of it, and into the session. What comes the second time is summed up again, as
// a file may be written to meanwhile; values of the cache may be anything, so that nothing but the session's context is
// lost.
void Session::restore_state(const StateSource& state, const std::string& name) {
  const Config& c = model_->weights().config;
  StateHeader h;
  if (state.bytes < sizeof h) {
    fail(SVQ_ERROR_FORMAT, name, ": not a saved session: ", state.bytes, " bytes, shorter than its header");
  }
  state.read(0, reinterpret_cast<uint8_t*>(&h), sizeof h);
  if (h.magic != kStateMagic) fail(SVQ_ERROR_FORMAT, name, ": not a saved session: it does not begin with \"SVQK\"");
  if (h.major != kStateMajor) {
    fail(h.major > kStateMajor ? SVQ_ERROR_VERSION : SVQ_ERROR_FORMAT, name, ": saved in version ", h.major, ".",
         h.minor, " of the format, but this library reads version ", kStateMajor);
  }
  if (h.bytes != state.bytes) {
    fail(SVQ_ERROR_FORMAT, name, ": ", state.bytes, " bytes, but ", h.bytes,
         " were saved: it is truncated or has grown");
  }
  Checksum sum;
  sum.add(reinterpret_cast<const uint8_t*>(&h) + kChecked, sizeof h - kChecked);
  const Checksum of_header = sum;
  std::vector<uint8_t> piece(std::min<uint64_t>(state.bytes, kCheckedPiece));
  for (uint64_t at = sizeof h; at < state.bytes; at += piece.size()) {
    const uint64_t n = std::min<uint64_t>(piece.size(), state.bytes - at);
    state.read(at, piece.data(), n);
    sum.add(piece.data(), n);
  }
  if (sum.value() != h.checksum) fail(SVQ_ERROR_CHECKSUM, name, ": the saved session differs from its checksum");
  const uint64_t room = state.bytes - sizeof h;
  if (h.name_bytes > room) fail(SVQ_ERROR_FORMAT, name, ": the model's name is longer than the saved session");
  std::string saved_by(std::min<size_t>(h.name_bytes, 4096), '\0');
  state.read(sizeof h, reinterpret_cast<uint8_t*>(saved_by.data()), saved_by.size());
  if (h.model != model_->file().fingerprint()) {
    fail(SVQ_ERROR_MISMATCH, name, ": saved by the model \"", saved_by, "\", but this session's model is \"",
         name_of(*model_), "\"",
         saved_by == name_of(*model_) ? std::string_view(", another conversion") : std::string_view());
  }
  if (h.kv_bits != options_.kv_bits) {
    fail(SVQ_ERROR_MISMATCH, name, ": saved with a KV cache of ", h.kv_bits, " bits, but this session's has ",
         options_.kv_bits);
  }
  if (h.n_layers != c.n_layers || h.n_kv_heads != c.n_kv_heads || h.head_dim != c.head_dim || h.vocab != c.vocab ||
      h.has_logits > 1) {
    fail(SVQ_ERROR_FORMAT, name, ": the saved session's dimensions are not those of its model");
  }
  if (h.n_tokens > options_.context) {
    fail(SVQ_ERROR_CONTEXT_FULL, name, ": the ", h.n_tokens, " tokens saved do not fit in the context of ",
         options_.context);
  }
  if (h.bytes != bytes_of(h, parts_->backend.cache_bytes(h.n_tokens))) {
    fail(SVQ_ERROR_FORMAT, name, ": the saved session's size does not fit its ", h.n_tokens, " tokens");
  }
  std::vector<int32_t> tokens(h.n_tokens);
  state.read(sizeof h + padded(h.name_bytes), reinterpret_cast<uint8_t*>(tokens.data()), tokens.size() * 4);
  for (uint32_t i = 0; i < h.n_tokens; ++i) {
    if (tokens[i] < 0 || static_cast<uint32_t>(tokens[i]) >= c.vocab) {
      fail(SVQ_ERROR_FORMAT, name, ": token ", i, " is ", tokens[i], ", outside the vocabulary of ", c.vocab);
    }
  }

  position_ = shared_to_ = 0;
  has_logits_ = false;
  uint64_t at = sizeof h;
  sum = of_header;
  const auto take = [&](uint8_t* to, uint64_t bytes) {
    state.read(at, to, bytes);
    sum.add(to, bytes);
    at += bytes;
  };
  const auto take_padded = [&](void* to, uint64_t bytes) {
    uint8_t padding[8];
    if (bytes != 0) take(static_cast<uint8_t*>(to), bytes);
    if (padded(bytes) != bytes) take(padding, padded(bytes) - bytes);
  };
  std::vector<uint8_t> skipped(h.name_bytes);
  take_padded(skipped.data(), skipped.size());
  std::vector<int32_t> again(h.n_tokens);
  take_padded(again.data(), again.size() * 4);
  if (h.has_logits != 0) take_padded(parts_->logits, uint64_t{c.vocab} * 4);
  parts_->backend.write_cache(h.n_tokens, take);
  if (sum.value() != h.checksum) {
    fail(SVQ_ERROR_CHECKSUM, name, ": has changed while it was read; the session holds no tokens now");
  }
  std::copy(tokens.begin(), tokens.end(), parts_->history);
  parts_->sampler.seed(h.random_state);
  position_ = h.n_tokens;
  has_logits_ = logits_here_ = h.has_logits != 0;
}

}  // namespace svq::rt
