// The same in C++.
#include <svqrt/svqrt.hpp>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    const svq::Model model(argv[1]);
    svq::Session session(model);
    session.set_sampler(SVQ_SAMPLER_TEMPERATURE, 0);
    session.generate({'a', 'b', 'c'}, 8, [](std::string_view, svq_token token) {
      std::printf("%d ", static_cast<int>(token));
      return true;
    });
  } catch (const svq::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
