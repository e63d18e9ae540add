// Prompt in, text out: the loop around eval and sample.
#pragma once
#include <span>

#include "runtime/include/svqrt/svqrt.h"
#include "runtime/model/session.h"

namespace svq::rt {

// As svq_session_generate. The result is filled in also when an Error leaves it.
void generate(Session& session, std::span<const int32_t> prompt, size_t max_tokens, svq_stream_fn fn, void* user,
              svq_generate_result& result);

}  // namespace svq::rt
