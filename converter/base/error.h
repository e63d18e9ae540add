// The converter's one exception: what() is a full sentence for the user, naming file, field and what was expected.
#pragma once
#include <stdexcept>
#include <string>

namespace svq::convert {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace svq::convert
