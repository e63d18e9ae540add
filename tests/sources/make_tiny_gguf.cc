// Writes a tiny random model as GGUF: svq_make_tiny_gguf OUT.gguf [FAMILY] [untied] [key=value …]. For trying
// svqconvert.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "tests/sources/tiny_gguf.h"

int main(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') {
    const bool asked = argc > 1 && (std::string(argv[1]) == "--help" || std::string(argv[1]) == "-h");
    std::fprintf(asked ? stdout : stderr,
                 "usage: svq_make_tiny_gguf OUT.gguf [llama|mistral|qwen2|qwen3] [untied] [hidden=64] …\n");
    return asked ? 0 : 2;
  }
  svq::test::TinyShape shape;
  const std::map<std::string, uint32_t*> numbers = {
      {"hidden", &shape.hidden}, {"intermediate", &shape.intermediate}, {"layers", &shape.layers},
      {"heads", &shape.heads},   {"kv_heads", &shape.kv_heads},         {"head_dim", &shape.head_dim}};
  for (int i = 2; i < argc; ++i) {
    const std::string word = argv[i];
    const size_t equals = word.find('=');
    const auto number = numbers.find(word.substr(0, equals));
    if (word == "untied") {
      shape.tied = false;
    } else if (equals != std::string::npos && number != numbers.end()) {
      *number->second = static_cast<uint32_t>(std::atoi(word.c_str() + equals + 1));
    } else if (equals == std::string::npos && i == 2) {
      shape.family = word;
    } else {
      std::fprintf(stderr, "svq_make_tiny_gguf: %s is no size of a model\n", argv[i]);
      return 2;
    }
  }
  svq::test::write_file(argv[1], svq::test::tiny_gguf(shape).build());
  return 0;
}
