#include "runtime/grammar/matcher.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"

namespace svq::rt {

Matcher::Matcher(std::shared_ptr<const Grammar> grammar) : grammar_(std::move(grammar)) {
  frames_.reserve(kMaxFrames);
  moved_.reserve(kMaxFrames);
  mask_.resize(grammar_->words());
  levels_.resize(grammar_->trie().depth + 2);
  for (Stacks* s : {&tops_, &open_, &exit_tops_, &exit_open_}) s->reserve(kMaxStacks);
  for (Level& l : levels_) {
    l.tops.reserve(kMaxStacks);
    l.open.reserve(kMaxStacks);
  }
  reset();
}

void Matcher::add(Stacks& set, uint32_t frame) {
  if (std::find(set.begin(), set.end(), frame) != set.end()) return;
  if (set.size() == kMaxStacks) fail(SVQ_ERROR_GRAMMAR, "grammar: more than 512 ways to read the text so far");
  set.push_back(frame);
}

// Frames made since `since` are compared, so that equal stacks are one.
uint32_t Matcher::push(uint32_t state, uint32_t parent, size_t since) {
  for (size_t i = since; i < frames_.size(); ++i) {
    if (frames_[i].state == state && frames_[i].parent == parent) return static_cast<uint32_t>(i);
  }
  if (frames_.size() == kMaxFrames) fail(SVQ_ERROR_GRAMMAR, "grammar: the text is nested deeper than 65536 rules");
  const uint32_t below =
      parent == kBottom ? 0 : grammar_->automaton().states[frames_[parent].state].least + frames_[parent].below;
  frames_.push_back({state, parent, below});
  return static_cast<uint32_t>(frames_.size()) - 1;
}

void Matcher::close(Stacks& tops, Stacks& open, bool& complete, size_t since) {
  const Automaton& a = grammar_->automaton();
  complete = false;
  for (size_t i = 0; i < tops.size(); ++i) {
    const Frame f = frames_[tops[i]];
    if (!a.states[f.state].accepts) continue;
    if (f.parent == kBottom) {
      complete = true;
    } else {
      add(tops, f.parent);
    }
  }
  open.clear();
  for (const uint32_t t : tops) add(open, t);
  for (size_t i = 0; i < open.size(); ++i) {
    const Frame f = frames_[open[i]];
    const Automaton::State& s = a.states[f.state];
    for (uint32_t c = s.calls_begin; c < s.calls_end; ++c) {
      const Automaton::Call& call = a.calls[c];
      const uint32_t below = a.states[call.to].tail ? f.parent : push(call.to, f.parent, since);
      add(open, push(a.starts[call.rule], below, since));
    }
    // What is called may be empty: then what stands below it is open too.
    if (s.accepts) {
      if (f.parent == kBottom) {
        complete = true;
      } else {
        add(open, f.parent);
      }
    }
  }
  std::erase_if(open, [&](uint32_t t) {
    const Automaton::State& s = a.states[frames_[t].state];
    return s.edges_begin == s.edges_end;
  });
}

bool Matcher::advance(const Stacks& open, uint8_t byte, Stacks& tops, Stacks& next_open, bool& complete) {
  const Automaton& a = grammar_->automaton();
  tops.clear();
  const size_t since = frames_.size();
  for (const uint32_t t : open) {
    const Frame f = frames_[t];
    const Automaton::State& s = a.states[f.state];
    for (uint32_t e = s.edges_begin; e < s.edges_end; ++e) {
      if (byte >= a.edges[e].low && byte <= a.edges[e].high) add(tops, push(a.edges[e].to, f.parent, since));
    }
  }
  if (tops.empty()) return false;
  close(tops, next_open, complete, since);
  return true;
}

void Matcher::reset() {
  const Automaton& a = grammar_->automaton();
  frames_.clear();
  compact_at_ = 256;
  tops_.clear();
  add(tops_, push(a.starts[a.root], kBottom, 0));
  close(tops_, open_, complete_, 0);
}

// Keeps the frames that the current stacks stand on. A parent is older than its child and so has the lower index.
void Matcher::compact() {
  moved_.assign(frames_.size(), {0, kBottom, 0});  // state 1: kept; parent: its new index
  const auto mark = [&](uint32_t f) {
    for (; f != kBottom && moved_[f].state == 0; f = frames_[f].parent) moved_[f].state = 1;
  };
  for (const uint32_t t : tops_) mark(t);
  for (const uint32_t t : open_) mark(t);
  uint32_t n = 0;
  for (uint32_t f = 0; f < frames_.size(); ++f) {
    if (moved_[f].state == 0) continue;
    Frame kept = frames_[f];
    if (kept.parent != kBottom) kept.parent = moved_[kept.parent].parent;
    moved_[f].parent = n;
    frames_[n++] = kept;
  }
  frames_.resize(n);
  compact_at_ = std::min<size_t>(2 * n + 256, kMaxFrames - kWalkFrames);
  for (uint32_t& t : tops_) t = moved_[t].parent;
  for (uint32_t& t : open_) t = moved_[t].parent;
}

uint32_t Matcher::least_of(const Stacks& tops) const {
  uint32_t least = UINT32_MAX;
  for (const uint32_t t : tops)
    least = std::min(least, grammar_->automaton().states[frames_[t].state].least + frames_[t].below);
  return least;
}

bool Matcher::read(std::string_view bytes) {
  if (bytes.empty() || bytes.size() + 1 > levels_.size()) return false;
  const Stacks* open = &open_;
  trial_ = 0;
  for (const char c : bytes) {
    Level& next = levels_[trial_];
    if (!advance(*open, static_cast<uint8_t>(c), next.tops, next.open, next.complete)) return false;
    open = &next.open;
    ++trial_;
  }
  --trial_;
  return true;
}

bool Matcher::accept(int32_t token) {
  if (grammar_->tokenizer().is_end(token)) return complete_;
  const size_t frames = frames_.size();
  if (!read(grammar_->bytes_of(token))) {
    frames_.resize(frames);
    return false;
  }
  std::swap(tops_, levels_[trial_].tops);
  std::swap(open_, levels_[trial_].open);
  complete_ = levels_[trial_].complete;
  if (frames_.size() > compact_at_) compact();
  return true;
}

uint32_t Matcher::least_after(int32_t token) {
  if (grammar_->tokenizer().is_end(token)) return complete_ ? 0 : UINT32_MAX;
  const size_t frames = frames_.size();
  const uint32_t least = read(grammar_->bytes_of(token)) ? least_of(levels_[trial_].tops) : UINT32_MAX;
  frames_.resize(frames);
  return least;
}

void Matcher::admit_ends() {
  if (!complete_) return;
  for (const int32_t t : grammar_->tokenizer().ends()) mask_[static_cast<uint32_t>(t) / 64] |= uint64_t{1} << (t % 64);
}

// Admits the tokens of the subtree that can be read from these stacks; closing: with every byte taking one off `least`.
void Matcher::walk(uint32_t top, const Stacks& from, uint32_t least, bool closing) {
  const TokenTrie& trie = grammar_->trie();
  const size_t frames = frames_.size();
  // ends[d]: end of the subtree whose children are read from levels_[d - 1] (or `from`).
  uint32_t ends[TokenTrie::kMaxTokenBytes + 1];
  size_t marks[TokenTrie::kMaxTokenBytes + 1];
  uint32_t depth = 0;
  ends[0] = trie.nodes[top].end;
  marks[0] = frames;
  for (uint32_t at = top + 1; at < trie.nodes[top].end;) {
    while (at >= ends[depth]) --depth;
    frames_.resize(marks[depth]);
    const TokenTrie::Node& node = trie.nodes[at];
    Level& next = levels_[depth];
    if (!advance(depth == 0 ? from : levels_[depth - 1].open, node.byte, next.tops, next.open, next.complete) ||
        (closing && least_of(next.tops) != least - depth - 1)) {
      at = node.end;
      continue;
    }
    for (uint32_t t = node.tokens_begin; t < trie.nodes[at + 1].tokens_begin; ++t) {
      const auto token = static_cast<uint32_t>(trie.tokens[t]);
      if (grammar_->automaton().is_special(trie.tokens[t])) continue;
      mask_[token / 64] |= uint64_t{1} << (token % 64);
    }
    ++depth;
    ends[depth] = node.end;
    marks[depth] = frames_.size();
    ++at;
  }
  frames_.resize(frames);
}

const uint64_t* Matcher::mask() {
  std::fill(mask_.begin(), mask_.end(), 0);
  const size_t frames = frames_.size();
  for (const uint32_t t : tops_) {
    const Frame f = frames_[t];
    grammar_->admit(f.state, mask_.data());
    const auto& exits = grammar_->exits(f.state);
    if (exits.empty() || f.parent == kBottom) continue;
    exit_tops_.clear();
    add(exit_tops_, f.parent);
    bool complete;
    close(exit_tops_, exit_open_, complete, frames_.size());
    if (!exit_open_.empty()) {
      for (const uint32_t node : exits) walk(node, exit_open_, 0, false);
    }
    frames_.resize(frames);
  }
  admit_ends();
  return mask_.data();
}

const uint64_t* Matcher::closing_mask() {
  std::fill(mask_.begin(), mask_.end(), 0);
  const uint32_t needed = least();
  if (needed != 0) {
    walk(0, open_, needed, true);
    const Automaton& a = grammar_->automaton();
    for (uint32_t i = 0; i < a.specials.size(); ++i) {
      if (least_after(a.specials[i]) == needed - 1) {
        const auto token = static_cast<uint32_t>(a.specials[i]);
        mask_[token / 64] |= uint64_t{1} << (token % 64);
      }
    }
  }
  admit_ends();
  return mask_.data();
}

}  // namespace svq::rt
