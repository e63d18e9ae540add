// Unicode normalisation before byte-level BPE (Qwen2, Qwen3).
#pragma once
#include <string>
#include <string_view>

namespace svq::rt {

// True if `text` is NFC for sure: it holds nothing from U+0300 on. Cheap.
bool is_plainly_nfc(std::string_view text);
// NFC of well-formed UTF-8.
std::string to_nfc(std::string_view text);

}  // namespace svq::rt
