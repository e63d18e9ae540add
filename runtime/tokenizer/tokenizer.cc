#include "runtime/tokenizer/tokenizer.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "runtime/tokenizer/special_tokens.h"
#include "runtime/tokenizer/text_model.h"
#include "runtime/tokenizer/utf8.h"

namespace svq::rt {
namespace {

constexpr size_t kMaxSpecial = 1u << 20, kMaxEnds = 256;

int32_t checked_id(int64_t id, uint32_t vocab, const char* field) {
  if (id < 0 || id >= static_cast<int64_t>(vocab))
    throw std::runtime_error("tokenizer." + std::string(field) + ": token " + std::to_string(id) +
                             " is not in the vocabulary of " + std::to_string(vocab));
  return static_cast<int32_t>(id);
}

std::vector<SpecialEntry> special_entries(const fb::Tokenizer& tables, uint32_t vocab, const TextModel& model) {
  std::vector<SpecialEntry> entries;
  const auto* list = tables.special();
  if (!list) return entries;
  if (list->size() > kMaxSpecial)
    throw std::runtime_error("tokenizer.special: " + std::to_string(list->size()) + " entries, at most " +
                             std::to_string(kMaxSpecial) + " were expected");
  entries.reserve(list->size());
  for (const fb::SpecialToken* t : *list) {
    if (!t || !t->content()) throw std::runtime_error("tokenizer.special: an entry has no content");
    SpecialEntry e;
    e.id = checked_id(t->id(), vocab, "special");
    e.content = t->content()->string_view();
    e.control = t->control();
    e.lstrip = t->lstrip();
    e.rstrip = t->rstrip();
    e.searched = e.control || e.lstrip || e.rstrip || !model.finds(e.id, e.content);
    entries.push_back(e);
  }
  return entries;
}

// `at` moved left over the white space that ends text[from, at).
size_t skip_space_left(std::string_view text, size_t from, size_t at) {
  while (at > from) {
    size_t n = 1;
    while (n < 4 && at - n > from && (static_cast<uint8_t>(text[at - n]) & 0xC0) == 0x80) ++n;
    const std::string_view c = text.substr(at - n, n);
    if (utf8_char(c) != n || !is_white_space(utf8_code_point(c, n))) break;
    at -= n;
  }
  return at;
}

size_t skip_space_right(std::string_view text, size_t at) {
  while (at < text.size()) {
    const std::string_view rest = text.substr(at);
    const size_t n = utf8_char(rest);
    if (n == 0 || !is_white_space(utf8_code_point(rest, n))) break;
    at += n;
  }
  return at;
}

}  // namespace

Tokenizer::Tokenizer() = default;
Tokenizer::~Tokenizer() = default;

std::unique_ptr<Tokenizer> Tokenizer::create(const fb::Tokenizer& tables, uint32_t vocab) {
  if (vocab == 0 || vocab > (1u << 30))
    throw std::runtime_error("tokenizer: a vocabulary of " + std::to_string(vocab) + " tokens is not supported");
  std::unique_ptr<Tokenizer> t(new Tokenizer);
  t->vocab_ = vocab;
  switch (tables.kind()) {
    case fb::TokenizerKind::Bpe:
      t->model_ = make_bpe(tables, vocab);
      break;
    case fb::TokenizerKind::SentencePiece:
      t->model_ = make_sentencepiece(tables, vocab);
      break;
    default:
      throw std::runtime_error("tokenizer.kind: " + std::to_string(static_cast<int>(tables.kind())) +
                               " is unknown; 0 (BPE) or 1 (SentencePiece) was expected");
  }
  t->special_ = std::make_unique<SpecialTokens>(special_entries(tables, vocab, *t->model_));
  if (tables.bos() != -1) t->bos_ = checked_id(tables.bos(), vocab, "bos");
  if (tables.pad() != -1) t->pad_ = checked_id(tables.pad(), vocab, "pad");
  if (const auto* ends = tables.eos()) {
    if (ends->size() > kMaxEnds)
      throw std::runtime_error("tokenizer.eos: " + std::to_string(ends->size()) + " tokens, at most " +
                               std::to_string(kMaxEnds) + " were expected");
    for (uint32_t id : *ends) t->ends_.push_back(checked_id(id, vocab, "eos"));
  }
  t->add_bos_ = tables.add_bos();
  t->add_eos_ = tables.add_eos();
  if (t->add_bos_ && t->bos_ < 0) throw std::runtime_error("tokenizer.add_bos is set but tokenizer.bos is not");
  if (t->add_eos_ && t->ends_.empty()) throw std::runtime_error("tokenizer.add_eos is set but tokenizer.eos is empty");
  return t;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special, bool parse_special) const {
  const Run run{text.size(), parse_special};
  return encode_runs(text, {&run, 1}, add_special);
}

std::vector<int32_t> Tokenizer::encode(std::span<const Piece> pieces, bool add_special) const {
  std::string text;
  std::vector<Run> runs;
  for (const Piece& p : pieces) {
    text += p.text;
    if (!runs.empty() && runs.back().special == p.special) {
      runs.back().end = text.size();
    } else {
      runs.push_back({text.size(), p.special});
    }
  }
  return encode_runs(text, runs, add_special);
}

std::vector<int32_t> Tokenizer::encode_runs(std::string_view text, std::span<const Run> runs, bool add_special) const {
  std::vector<int32_t> out;
  out.reserve(text.size() / 4 + 2);
  if (add_special && add_bos_) out.push_back(bos_);
  size_t done = 0;  // text[0, done) is encoded
  if (special_->any_searched()) {
    size_t run_begin = 0;
    for (const Run& run : runs) {
      SpecialTokens::Match m;
      size_t from = std::max(done, run_begin);
      while (special_->find(text, from, run.end, run.special ? run.end : 0, m)) {
        const size_t begin = m.entry->lstrip ? skip_space_left(text, done, m.begin) : m.begin;
        if (begin > done) model_->encode(text.substr(done, begin - done), out);
        out.push_back(m.entry->id);
        done = m.entry->rstrip ? skip_space_right(text, m.end) : m.end;
        from = done;
      }
      run_begin = run.end;
    }
  }
  if (done < text.size()) model_->encode(text.substr(done), out);
  if (add_special && add_eos_) out.push_back(ends_.front());
  return out;
}

std::string_view Tokenizer::token_bytes(int32_t id, bool with_special) const {
  if (id < 0 || static_cast<uint32_t>(id) >= vocab_) return {};
  const SpecialEntry* e = special_->by_id(id);
  if (e && e->control) return with_special ? e->content : std::string_view();
  const std::string_view bytes = model_->bytes(id);
  if (e && bytes.empty()) return e->content;
  if (!e && model_->is_control(id) && !with_special) return {};
  return bytes;
}

std::string Tokenizer::decode(std::span<const int32_t> tokens, bool with_special) const {
  std::string out;
  // The text model puts its dummy space at the start and after every special token; a decoded text without the special
  // tokens keeps the latter, as the sentencepiece library does.
  bool dummy = model_->dummy_space();
  for (int32_t id : tokens) {
    std::string_view bytes = token_bytes(id, with_special);
    if (is_control(id)) {
      out += bytes;
      if (with_special) dummy = model_->dummy_space();
      continue;
    }
    if (bytes.empty()) continue;
    if (dummy && bytes.front() == ' ') bytes.remove_prefix(1);
    dummy = false;
    out += bytes;
  }
  return out;
}

bool Tokenizer::is_control(int32_t id) const {
  if (id < 0 || static_cast<uint32_t>(id) >= vocab_) return false;
  const SpecialEntry* e = special_->by_id(id);
  return e ? e->control : model_->is_control(id);
}

bool Tokenizer::is_end(int32_t id) const { return std::find(ends_.begin(), ends_.end(), id) != ends_.end(); }

int32_t Tokenizer::special_id(std::string_view content) const {
  const SpecialEntry* e = special_->by_content(content);
  return e ? e->id : -1;
}

std::string_view Tokenizer::special_text(int32_t id) const {
  const SpecialEntry* e = special_->by_id(id);
  return e ? e->content : std::string_view();
}

std::string_view Tokenizer::bos_text() const { return special_text(bos_); }

}  // namespace svq::rt
