// The tokens that are matched on the raw text before the text model sees it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace svq::rt {

struct SpecialEntry {
  int32_t id = -1;
  std::string_view content;
  bool control = true, lstrip = false, rstrip = false;
  bool searched = true;  // false: the text model finds it by itself
};

class SpecialTokens {
 public:
  static constexpr size_t kMaxBytes = 1024;  // of one token's content: bounds the search at every position

  // Throws std::runtime_error if two entries share an id or a text, or if a content is empty or longer than kMaxBytes.
  explicit SpecialTokens(std::vector<SpecialEntry> entries);

  struct Match {
    size_t begin, end;
    const SpecialEntry* entry;
  };
  // The first match at or after `from`, the longest one there. Control tokens count only up to `control_end`.
  // Returns false if there is none that begins before `limit`.
  bool find(std::string_view text, size_t from, size_t limit, size_t control_end, Match& match) const;

  const SpecialEntry* by_id(int32_t id) const;
  const SpecialEntry* by_content(std::string_view content) const;
  bool any_searched() const { return !searched_.empty(); }

 private:
  std::vector<SpecialEntry> entries_;          // sorted by content
  std::vector<const SpecialEntry*> searched_;  // likewise, those to be searched for
  std::unordered_map<int32_t, const SpecialEntry*> ids_;
  uint32_t first_[257] = {};  // searched_[first_[b] … first_[b + 1]) begin with byte b
};

}  // namespace svq::rt
