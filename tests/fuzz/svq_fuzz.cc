// .svq files through the C ABI: whatever the bytes are, a model that can be described and run for a token, or a status.
// The checksums are made right first; otherwise almost every input would end at them.
#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL
#endif
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "runtime/include/svqrt/svqrt.h"
#include "schema/container.h"

namespace {

void repair(std::string& file) {
  svq::format::Header header;
  if (file.size() < sizeof header) return;
  std::memcpy(&header, file.data(), sizeof header);
  if (header.metadata_offset <= file.size() && header.metadata_size <= file.size() - header.metadata_offset) {
    header.metadata_checksum = XXH3_64bits(file.data() + header.metadata_offset, header.metadata_size);
  }
  header.header_checksum = XXH3_64bits(&header, offsetof(svq::format::Header, header_checksum));
  std::memcpy(file.data(), &header, sizeof header);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string file(reinterpret_cast<const char*>(data), size);
  repair(file);
  const int fd = ::memfd_create("fuzz.svq", MFD_CLOEXEC);
  if (fd < 0 || ::write(fd, file.data(), file.size()) != static_cast<ssize_t>(file.size())) std::abort();
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  svq_model* model = nullptr;
  if (svq_model_load(path.c_str(), nullptr, &model) == SVQ_OK) {
    char* json = nullptr;
    if (svq_model_describe(model, 1, &json) == SVQ_OK) svq_string_free(json);
    svq_session_params* params = svq_session_params_create();
    svq_session_params_set(params, SVQ_SESSION_CONTEXT, 16);
    svq_session_params_set(params, SVQ_SESSION_THREADS, 1);
    svq_session* session = nullptr;
    if (svq_session_create(model, params, &session) == SVQ_OK) {
      const svq_token token = 0;
      svq_session_eval(session, &token, 1);
      svq_session_free(session);
    }
    svq_session_params_free(params);
    svq_model_free(model);
  }
  ::close(fd);
  return 0;
}
