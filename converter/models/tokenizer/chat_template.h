// Recognises a chat format in a model's Jinja template.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "svq_generated.h"

namespace svq::convert {

// By the markers that the template writes; None if there are none of the known ones.
fb::ChatFormat recognise_chat_format(std::string_view source_template);

// The system message that the template inserts where none is given, if it is written out in it.
std::optional<std::string> default_system_message(std::string_view source_template);

// Fills `chat` from a template (may be empty). Returns a warning for the user, or nothing.
std::optional<std::string> fill_chat(std::string source_template, fb::ChatT& chat);

}  // namespace svq::convert
