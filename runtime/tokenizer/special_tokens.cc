#include "runtime/tokenizer/special_tokens.h"

#include <algorithm>
#include <stdexcept>

namespace svq::rt {

SpecialTokens::SpecialTokens(std::vector<SpecialEntry> entries) : entries_(std::move(entries)) {
  std::sort(entries_.begin(), entries_.end(),
            [](const SpecialEntry& a, const SpecialEntry& b) { return a.content < b.content; });
  ids_.reserve(entries_.size());
  for (size_t i = 0; i < entries_.size(); ++i) {
    const SpecialEntry& e = entries_[i];
    if (e.content.empty() || e.content.size() > kMaxBytes)
      throw std::runtime_error("tokenizer.special: the content of token " + std::to_string(e.id) + " has " +
                               std::to_string(e.content.size()) + " bytes; 1 to " + std::to_string(kMaxBytes) +
                               " were expected");
    if (i > 0 && entries_[i - 1].content == e.content)
      throw std::runtime_error("tokenizer.special: tokens " + std::to_string(entries_[i - 1].id) + " and " +
                               std::to_string(e.id) + " have the same content");
    if (!ids_.emplace(e.id, &e).second)
      throw std::runtime_error("tokenizer.special: token " + std::to_string(e.id) + " is listed twice");
    if (e.searched) searched_.push_back(&e);
  }
  uint32_t at = 0;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    first_[byte] = at;
    while (at < searched_.size() && static_cast<uint8_t>(searched_[at]->content[0]) == byte) ++at;
  }
  first_[256] = at;
}

bool SpecialTokens::find(std::string_view text, size_t from, size_t limit, size_t control_end, Match& match) const {
  for (size_t begin = from; begin < limit; ++begin) {
    const auto byte = static_cast<uint8_t>(text[begin]);
    uint32_t low = first_[byte], high = first_[byte + 1];
    if (low == high) continue;
    const std::string_view rest = text.substr(begin);
    // Narrow [low, high) to the entries that agree with one more byte; a whole entry sorts first among those it begins.
    const SpecialEntry* best = nullptr;
    for (size_t depth = 1; low < high; ++depth) {
      const SpecialEntry* e = searched_[low];
      if (e->content.size() == depth) {
        if (!e->control || begin + depth <= control_end) best = e;
        if (++low == high) break;
      }
      if (depth >= rest.size()) break;
      const auto next = static_cast<uint8_t>(rest[depth]);
      const auto it = searched_.begin();
      low = static_cast<uint32_t>(
          std::partition_point(it + low, it + high,
                               [&](const SpecialEntry* s) { return static_cast<uint8_t>(s->content[depth]) < next; }) -
          it);
      high = static_cast<uint32_t>(
          std::partition_point(it + low, it + high,
                               [&](const SpecialEntry* s) { return static_cast<uint8_t>(s->content[depth]) == next; }) -
          it);
    }
    if (best) {
      match = {begin, begin + best->content.size(), best};
      return true;
    }
  }
  return false;
}

const SpecialEntry* SpecialTokens::by_id(int32_t id) const {
  const auto it = ids_.find(id);
  return it == ids_.end() ? nullptr : it->second;
}

const SpecialEntry* SpecialTokens::by_content(std::string_view content) const {
  const auto it = std::lower_bound(entries_.begin(), entries_.end(), content,
                                   [](const SpecialEntry& e, std::string_view c) { return e.content < c; });
  return it != entries_.end() && it->content == content ? &*it : nullptr;
}

}  // namespace svq::rt
