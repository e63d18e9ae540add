// Writes a tiny model file: svq_make_tiny OUT [bits]. For tests of programs that read files.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "tests/runtime/tiny_model.h"

int main(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') {
    const bool asked = argc > 1 && (std::string(argv[1]) == "--help" || std::string(argv[1]) == "-h");
    std::fprintf(asked ? stdout : stderr, "usage: svq_make_tiny OUT [bits]\n");
    return asked ? 0 : 2;
  }
  try {
    svq::test::TinyOptions options;
    if (argc > 2) options.bits = static_cast<uint32_t>(std::atoi(argv[2]));
    svq::test::write_file(argv[1], svq::test::file_bytes(svq::test::make_tiny(options)));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "svq_make_tiny: %s\n", e.what());
    return 1;
  }
  return 0;
}
